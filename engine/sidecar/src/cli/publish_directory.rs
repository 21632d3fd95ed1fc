//! What `caed publish` tells of directories: settings, policies, locations, groups.
//!
//! Lists come from flags and from files with one entry a line. A version that would be too large for one
//! record is split.

use std::path::PathBuf;

use anyhow::Context;
use caed_decode::parts;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use clap::{Args, ValueEnum};

use super::publish::Envelope;

#[derive(Args)]
pub(super) struct Settings {
    #[command(flatten)]
    envelope: Envelope,
    /// Whether events and policies are enforced.
    #[arg(long, default_value = "on")]
    cae: Cae,
    /// Limits CAE to this user. May be repeated.
    #[arg(long, value_name = "USER")]
    only_user: Vec<String>,
    /// Limits CAE to the members of this group. May be repeated.
    #[arg(long, value_name = "GROUP")]
    only_group: Vec<String>,
    /// Leaves this user out. May be repeated.
    #[arg(long, value_name = "USER")]
    except_user: Vec<String>,
    /// Leaves the members of this group out. May be repeated.
    #[arg(long, value_name = "GROUP")]
    except_group: Vec<String>,
    /// Enforces locations strictly.
    #[arg(long)]
    strict_location: bool,
    /// What becomes of clients that can't answer a challenge. An attacker may choose lifetime.
    #[arg(long, default_value = "enforce")]
    incapable_clients: Incapable,
}

#[derive(Clone, Copy, ValueEnum)]
enum Cae {
    On,
    ReportOnly,
    Off,
}

#[derive(Clone, Copy, ValueEnum)]
enum Incapable {
    Enforce,
    Lifetime,
}

#[derive(Args)]
pub(super) struct Policy {
    #[command(flatten)]
    envelope: Envelope,
    /// The policy, as the JSON form of caed.v1.PolicyChanged.
    #[arg(long, value_name = "FILE")]
    json: PathBuf,
}

#[derive(Args)]
pub(super) struct Location {
    #[command(flatten)]
    envelope: Envelope,
    /// The location's id.
    #[arg(long = "location")]
    named: String,
    /// `AllTrusted` means it, too.
    #[arg(long)]
    trusted: bool,
    /// What people call it.
    #[arg(long, default_value = "", hide_default_value = true)]
    display_name: String,
    /// A country that it is, in two letters, in place of ranges. May be repeated.
    #[arg(long, value_name = "CODE", conflicts_with_all = ["range", "ranges"])]
    country: Vec<String>,
    /// It is also where addresses are that belong to no country.
    #[arg(long, conflicts_with_all = ["range", "ranges"])]
    include_unknown: bool,
    #[command(flatten)]
    ranges: Ranges,
}

#[derive(Args)]
pub(super) struct MfaTrusted {
    #[command(flatten)]
    envelope: Envelope,
    #[command(flatten)]
    ranges: Ranges,
}

#[derive(Args)]
struct Ranges {
    /// A range in CIDR notation, or an address. May be repeated.
    #[arg(long, value_name = "CIDR")]
    range: Vec<String>,
    /// A file with one range a line.
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Group {
    #[command(flatten)]
    envelope: Envelope,
    /// The group, or role. The event time is when its reading began; give it.
    #[arg(long = "group")]
    named: String,
    /// A member. May be repeated.
    #[arg(long, value_name = "USER")]
    member: Vec<String>,
    /// A file with one member a line.
    #[arg(long, value_name = "FILE")]
    members: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Member {
    #[command(flatten)]
    envelope: Envelope,
    /// The group, or role.
    #[arg(long)]
    group: String,
    /// The user.
    #[arg(long)]
    user: String,
}

#[derive(Args)]
pub(super) struct NamedPolicy {
    #[command(flatten)]
    envelope: Envelope,
    /// Its id.
    #[arg(long = "policy")]
    named: String,
}

#[derive(Args)]
pub(super) struct NamedLocation {
    #[command(flatten)]
    envelope: Envelope,
    /// Its id.
    #[arg(long = "location")]
    named: String,
}

impl Settings {
    pub(super) fn events(self) -> Vec<v1::Event> {
        let Self {
            envelope,
            cae,
            only_user,
            only_group,
            except_user,
            except_group,
            strict_location,
            incapable_clients,
        } = self;
        let cae = match cae {
            Cae::On => v1::CaeMode::On,
            Cae::ReportOnly => v1::CaeMode::ReportOnly,
            Cae::Off => v1::CaeMode::Off,
        };
        let incapable = match incapable_clients {
            Incapable::Enforce => v1::IncapableClients::Enforce,
            Incapable::Lifetime => v1::IncapableClients::Lifetime,
        };
        let only = v1::UsersAndGroups { users: only_user, groups: only_group };
        let is_limited = !only.users.is_empty() || !only.groups.is_empty();
        vec![envelope.event(Fact::TenantSettings(v1::TenantSettings {
            cae: cae.into(),
            only: is_limited.then_some(only),
            except: Some(v1::UsersAndGroups { users: except_user, groups: except_group }),
            strict_location,
            incapable_clients: incapable.into(),
            part: None,
        }))]
    }
}

impl Policy {
    pub(super) fn events(self) -> anyhow::Result<Vec<v1::Event>> {
        let path = self.json.display();
        let text = std::fs::read_to_string(&self.json)
            .with_context(|| format!("{path} can not be read"))?;
        let policy: v1::PolicyChanged =
            serde_json::from_str(&text).with_context(|| format!("{path} is no PolicyChanged"))?;
        parts(&self.envelope, Fact::PolicyChanged(policy))
    }
}

impl Location {
    pub(super) fn events(self) -> anyhow::Result<Vec<v1::Event>> {
        let Self { envelope, named, display_name, trusted, country, include_unknown, ranges } =
            self;
        let cidrs = listed(ranges.range, ranges.ranges)?;
        let by_country = !country.is_empty() || include_unknown;
        let countries = by_country.then_some(v1::Countries { codes: country, include_unknown });
        let ranges = (!by_country).then_some(v1::IpRanges { cidrs });
        parts(
            &envelope,
            Fact::LocationChanged(v1::LocationChanged {
                location: named,
                trusted,
                ranges,
                countries,
                display_name,
                part: None,
            }),
        )
    }
}

impl MfaTrusted {
    pub(super) fn events(self) -> anyhow::Result<Vec<v1::Event>> {
        let Self { envelope, ranges } = self;
        let cidrs = listed(ranges.range, ranges.ranges)?;
        let ranges = v1::MfaTrustedRangesChanged { cidrs, part: None };
        parts(&envelope, Fact::MfaTrustedRangesChanged(ranges))
    }
}

impl Group {
    pub(super) fn events(self) -> anyhow::Result<Vec<v1::Event>> {
        let Self { envelope, named, member, members } = self;
        let members = listed(member, members)?;
        parts(&envelope, Fact::GroupRead(v1::GroupRead { group: named, members, part: None }))
    }
}

impl Member {
    pub(super) fn added(self) -> Vec<v1::Event> {
        let Self { envelope, group, user } = self;
        vec![envelope.event(Fact::MemberAdded(v1::MemberAdded { group, user }))]
    }

    pub(super) fn removed(self) -> Vec<v1::Event> {
        let Self { envelope, group, user } = self;
        vec![envelope.event(Fact::MemberRemoved(v1::MemberRemoved { group, user }))]
    }
}

impl NamedPolicy {
    pub(super) fn deleted(self) -> v1::Event {
        self.envelope.event(Fact::PolicyDeleted(v1::PolicyDeleted { policy: self.named }))
    }
}

impl NamedLocation {
    pub(super) fn deleted(self) -> v1::Event {
        self.envelope.event(Fact::LocationDeleted(v1::LocationDeleted { location: self.named }))
    }
}

/// Entries from flags and from the lines of a file.
fn listed(mut entries: Vec<String>, file: Option<PathBuf>) -> anyhow::Result<Vec<String>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("{} can not be read", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        entries.extend(lines.map(str::to_owned));
    }
    Ok(entries)
}

/// One event, or as many as it needs.
fn parts(envelope: &Envelope, fact: Fact) -> anyhow::Result<Vec<v1::Event>> {
    let events = parts::split(envelope.clone().event(fact))?;
    anyhow::ensure!(
        events.len() == 1 || envelope.has_event_time(),
        "--event-time-ms is missing; what needs {} records needs it, so that all of them have the same",
        events.len()
    );
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_several_records_needs_a_time() {
        let location = || {
            let cidr = |at: u32| format!("2001:db8:{:x}:{:x}::/64", at >> 8, at & 255);
            let cidrs = (0..80_000).map(cidr);
            Fact::LocationChanged(v1::LocationChanged {
                location: "hq".to_owned(),
                ranges: Some(v1::IpRanges { cidrs: cidrs.collect() }),
                ..v1::LocationChanged::default()
            })
        };
        let split = |time| parts(&Envelope::new("contoso", "importer", time), location());
        let error = split(0).expect_err("parts need one time").to_string();
        assert!(error.starts_with("--event-time-ms is missing; what needs 4 records"), "{error}");
        assert_eq!(split(1_760_000_000_000).expect("split").len(), 4);
    }
}
