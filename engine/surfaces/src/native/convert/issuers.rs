//! The issuers of tokens, and how their keys are.

use caed_proto::v1;
use caed_trust::keyring::KeysReport;
use caed_trust::verifier::Verifier;

use super::millis;
use crate::pdp::Moment;

/// Every configured issuer, in alphabetical order.
pub(crate) fn issuers(moment: &Moment<'_>, verifier: &Verifier) -> Vec<v1::IssuerStatus> {
    let keys: Vec<_> = verifier.reports().collect();
    let issuers = moment.rules().issuers.all().into_iter().map(|issuer| v1::IssuerStatus {
        issuer: issuer.name.clone(),
        issue_time_skew_s: issuer.issue_time_skew.as_secs(),
        least_token_age_s: moment.least_token_age_s(issuer),
        keys: keys.iter().find(|(name, _)| *name == issuer.name).map(|(_, report)| keys_of(report)),
    });
    issuers.collect()
}

fn keys_of(report: &KeysReport) -> v1::IssuerKeys {
    let KeysReport { keys, skipped, age, counts, failures, fault } = report;
    v1::IssuerKeys {
        keys: *keys as u64,
        skipped: *skipped as u64,
        age_ms: age.map(millis),
        in_force: *counts,
        failures: *failures,
        fault: fault.clone().unwrap_or_default(),
    }
}
