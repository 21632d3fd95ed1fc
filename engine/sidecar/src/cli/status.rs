//! `caed status`.

use std::process::ExitCode;

use caed_proto::v1;
use caed_proto::v1::operations_client::OperationsClient;
use caed_surfaces::words::instant;
use clap::Args;
use tonic::transport::Channel;

use super::{At, output, tenant};

/// A partition that is younger is not worth a line.
const PARTITION_AGE_SHOWN_MS: u64 = 10_000;

#[derive(Args)]
pub(super) struct Status {
    /// Prints the reply as JSON.
    #[arg(long)]
    json: bool,
    /// Prints one number for everything that the sidecar knows, and up to where: two sidecars at one
    /// frontier print the same.
    #[arg(long)]
    digest: bool,
    /// Shows what is known of a tenant: settings, policies, locations, groups.
    #[arg(long, value_name = "TENANT", conflicts_with = "digest")]
    tenant: Option<String>,
    /// Shows what is known of a user: cutoffs, account states by source, groups. With several tenants,
    /// give --tenant as well.
    #[arg(long, value_name = "USER", conflicts_with = "digest")]
    user: Option<String>,
    #[command(flatten)]
    at: At,
}

impl Status {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let mut operations = OperationsClient::new(self.at.connect().await?);
        if let Some(user) = &self.user {
            return self.subject(operations, user).await;
        }
        if let Some(tenant) = &self.tenant {
            return self.tenant(operations, tenant).await;
        }
        if self.digest {
            let reply = operations.digest(v1::DigestRequest {}).await;
            let reply = reply.map_err(|status| output::refusal(&status))?.into_inner();
            if self.json {
                output::json(&reply)?;
            } else {
                let v1::DigestReply { digest, knowledge } = &reply;
                let knowledge = knowledge.as_ref().map(output::knowledge).unwrap_or_default();
                output::line(format!("digest     {digest}\nknowledge  {knowledge}"));
            }
            return Ok(ExitCode::SUCCESS);
        }
        let reply = operations
            .status(v1::StatusRequest {})
            .await
            .map_err(|status| output::refusal(&status))?
            .into_inner();
        if self.json {
            output::json(&reply)?;
        } else {
            lines(&reply).iter().for_each(output::line);
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn tenant(
        &self,
        mut operations: OperationsClient<Channel>,
        tenant: &str,
    ) -> anyhow::Result<ExitCode> {
        let reply = tenant::ask(&mut operations, tenant).await?;
        if self.json {
            output::json(&reply)?;
        } else if reply.known {
            tenant::tenant(&reply).iter().for_each(output::line);
        }
        known(reply.known, &reply.tenant)
    }

    async fn subject(
        &self,
        mut operations: OperationsClient<Channel>,
        user: &str,
    ) -> anyhow::Result<ExitCode> {
        let tenant = self.tenant.clone().unwrap_or_default();
        let request = v1::GetSubjectRequest { tenant, user: user.to_owned() };
        let reply = operations.get_subject(request).await;
        let reply = reply.map_err(|status| output::refusal(&status))?.into_inner();
        if self.json {
            output::json(&reply)?;
        } else if reply.tenant_known {
            tenant::subject(user, &reply).iter().for_each(output::line);
        }
        known(reply.tenant_known, &reply.tenant)
    }
}

/// A tenant of which nothing was told is most often misspelt.
fn known(is_known: bool, tenant: &str) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(
        is_known,
        "tenant `{tenant}` is not known: no event names it; its tokens are decided by their age alone, \
         if an issuer speaks for it"
    );
    Ok(ExitCode::SUCCESS)
}

fn lines(reply: &v1::StatusReply) -> Vec<String> {
    let v1::StatusReply {
        version,
        ready,
        knowledge,
        uptime_s,
        horizon_s,
        holdings,
        records,
        quarantined,
        log_bytes,
        log_notes,
        partitions,
        sources,
        stale_sources,
        countries,
        issuers,
    } = reply;
    let ready = if *ready { "ready" } else { "not ready: the log is being read" };
    let knowledge = knowledge.as_ref().map(output::knowledge).unwrap_or_default();
    let v1::Holdings {
        tenants,
        cutoffs,
        pair_cutoffs,
        registers,
        heap_bytes,
        policies,
        locations,
        groups,
    } = (*holdings).unwrap_or_default();
    let v1::Records {
        changed,
        unchanged,
        stale,
        quarantined: records_quarantined,
        times_read_as_seconds,
        cutoffs_set_to_receipt,
        older_than_horizon,
        missing_tokens_without_claim,
        forgotten,
    } = (*records).unwrap_or_default();
    let size = match log_bytes {
        0 => "size unknown".to_owned(),
        bytes => format!("{bytes} bytes"),
    };
    let mut lines = vec![
        format!("caed {version}, {ready}, up {uptime_s} s"),
        format!("knowledge  {knowledge}"),
        format!("log        {size}, horizon {horizon_s} s"),
        format!(
            "state      {tenants} tenants, {cutoffs} cutoffs, {pair_cutoffs} within one user, {registers} registers (kept for ever), {heap_bytes} bytes"
        ),
        format!("directory  {policies} policies, {locations} locations, {groups} groups"),
        format!(
            "records    {changed} changed, {unchanged} unchanged, {stale} stale, {records_quarantined} quarantined; {forgotten} cutoffs forgotten"
        ),
    ];
    // The whole says it all while nothing is behind.
    for v1::PartitionState { log, partition, end, lag, age_ms } in partitions {
        if *lag > 0 || age_ms.is_none_or(|age| age > PARTITION_AGE_SHOWN_MS) {
            let age =
                age_ms.map_or_else(|| "never current".to_owned(), |age| format!("{age} ms old"));
            lines.push(format!(
                "partition  {log}/{partition}: {age}, {lag} behind its end at {end}"
            ));
        }
    }
    if *stale_sources > 0 {
        lines.push(format!("sources    {stale_sources} silent for too long, or halted"));
    }
    for v1::TenantSource { tenant, source } in sources {
        lines.extend(source.iter().map(|source| tenant::source_line(source, Some(tenant))));
    }
    if let Some(v1::CountryDatabase { built_s, ranges }) = countries {
        let built = instant(built_s.saturating_mul(1000));
        lines.push(format!("countries  {ranges} ranges, built {built}"));
    }
    lines.extend(issuers.iter().filter_map(issuer));
    lines.extend(log_notes.iter().map(|note| format!("log        {note}")));
    let notices = [
        (times_read_as_seconds, "times read as seconds: let their sender write milliseconds"),
        (
            cutoffs_set_to_receipt,
            "cutoffs lay over 5 min ahead and were set to their receipt: check their sender's clock",
        ),
        (older_than_horizon, "events were older than the horizon when they arrived"),
        (
            missing_tokens_without_claim,
            "revocations named no user: tokens without the finer claim are out of their reach",
        ),
    ];
    let noticed = notices.iter().filter(|(count, _)| *count > 0);
    lines.extend(noticed.map(|(count, text)| format!("notice     {count} {text}")));
    for v1::Quarantined { position, reason, head } in quarantined {
        let head = String::from_utf8_lossy(head);
        lines.push(format!("quarantine {position}: {reason}; begins with {head:?}"));
    }
    lines
}

/// What is worth a line of an issuer: its keys, and how far it dates tokens back.
fn issuer(issuer: &v1::IssuerStatus) -> Option<String> {
    let v1::IssuerStatus { issuer, issue_time_skew_s, least_token_age_s, keys } = issuer;
    let mut said = Vec::new();
    if let Some(v1::IssuerKeys { keys, skipped, age_ms, in_force, failures: _, fault }) = keys {
        let age = age_ms
            .map_or_else(|| "never read".to_owned(), |age| format!("seen {} s ago", age / 1000));
        let passed_over = match skipped {
            0 => String::new(),
            skipped => format!(" and {skipped} passed over"),
        };
        said.push(format!("{keys} keys{passed_over}, {age}"));
        if !in_force {
            said.push("its tokens get 503".to_owned());
        }
        if !fault.is_empty() {
            said.push(format!("the last look failed: {fault}"));
        }
    }
    if let Some(age_s) = least_token_age_s {
        said.push(format!("youngest token {age_s} s old (issue_time_skew {issue_time_skew_s} s)"));
    }
    (!said.is_empty()).then(|| format!("issuer     {issuer}: {}", said.join("; ")))
}
