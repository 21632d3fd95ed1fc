//! What is in force in a running sidecar, as an import compares it with its files.

use std::collections::HashMap;

use anyhow::ensure;
use caed_core::time::UnixMillis;
use caed_decode::graph::{self, Kind, Object};
use caed_decode::parts;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_proto::v1::operations_client::OperationsClient;
use tonic::transport::Channel;

use super::{output, tenant};

/// What is in force in a sidecar.
pub(super) struct InForce {
    /// Whether it knows everything that its log held.
    is_current: bool,
    /// By kind and id as it is shown.
    objects: HashMap<(Kind, String), Standing>,
}

/// How an object stands.
pub(super) struct Standing {
    /// As it was told, but for the long ids of locations: of these only the hash is kept.
    pub(super) id: String,
    content_hash: String,
    name: String,
    since_ms: i64,
}

impl InForce {
    /// Asks a sidecar.
    pub(super) async fn ask(
        operations: &mut OperationsClient<Channel>,
        tenant: &str,
    ) -> anyhow::Result<Self> {
        let v1::GetTenantReply { settings_edition, policies, locations, knowledge, .. } =
            tenant::ask(operations, tenant).await?;
        let settings =
            settings_edition.map(|edition| (Kind::Settings, String::new(), String::new(), edition));
        let policies = policies
            .into_iter()
            .filter_map(|it| Some((Kind::Policy, it.policy, it.display_name, it.edition?)));
        let locations = locations
            .into_iter()
            .filter_map(|it| Some((Kind::Location, it.location, it.display_name, it.edition?)));
        // Graph does not know the ranges that MFA trusts, which have no id.
        let locations = locations.filter(|(_, id, ..)| !id.is_empty());
        let all = settings.into_iter().chain(policies).chain(locations);
        let objects = all.map(|(kind, id, name, v1::Edition { since_ms, content_hash })| {
            let shown = if kind == Kind::Policy { graph::shown_id(&id) } else { id.clone() };
            ((kind, shown), Standing { id, content_hash, name, since_ms })
        });
        let is_current = knowledge.is_some_and(|knowledge| knowledge.age_ms.is_some());
        Ok(Self { is_current, objects: objects.collect() })
    }

    pub(super) fn get(&self, kind: Kind, id: &str) -> Option<&Standing> {
        // Of the CAE policy there is one, whatever its id.
        let id = if kind == Kind::Settings { String::new() } else { graph::shown_id(id) };
        self.objects.get(&(kind, id))
    }

    /// Whether an object stands as these events say.
    pub(super) fn holds(&self, object: &Object, events: &[v1::Event]) -> anyhow::Result<bool> {
        let content = parts::fingerprint(events)?.map(|content| content.to_string());
        let standing = self.get(object.kind, &object.id);
        let name = events.first().map(name_of).unwrap_or_default();
        Ok(standing.is_some_and(|standing| {
            content.as_ref() == Some(&standing.content_hash) && standing.name == name
        }))
    }

    /// What is in force and gone from the files, policies first.
    pub(super) fn gone(&self, import: &graph::Import) -> anyhow::Result<Vec<(Kind, &Standing)>> {
        ensure!(
            import.policies.is_some() || import.locations.is_some(),
            "--whole needs a whole list of policies or of locations: what Graph answers to …/policies or …/namedLocations, every page"
        );
        ensure!(
            self.is_current,
            "the sidecar has not read its log yet, so what is gone is not known; try again when it is ready"
        );
        let mut gone = import.gone(self.objects.keys().map(|(kind, id)| (*kind, id.as_str())));
        gone.sort_by_key(|(kind, id)| (*kind != Kind::Policy, *id));
        let mut standings = Vec::new();
        for (kind, shown) in gone {
            let Some(standing) = self.objects.get(&(kind, shown.to_owned())) else { continue };
            let written = import.list(kind).and_then(|list| list.written).map(millis);
            let (word, id) = (kind.as_str(), &standing.id);
            if written.is_some_and(|written| standing.since_ms >= written) {
                output::note(format!("{word} {id} stays: it is newer than the files"));
                continue;
            }
            ensure!(
                graph::shown_id(id) == shown,
                "{word} {id} is gone, and of its id only this hash is kept; delete it by its id (`caed publish {word}-deleted`)"
            );
            standings.push((kind, standing));
        }
        Ok(standings)
    }
}

/// What people call what an event tells.
fn name_of(event: &v1::Event) -> &str {
    match &event.fact {
        Some(Fact::PolicyChanged(policy)) => &policy.display_name,
        Some(Fact::LocationChanged(location)) => &location.display_name,
        _ => "",
    }
}

/// A time on the wire.
pub(super) fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
