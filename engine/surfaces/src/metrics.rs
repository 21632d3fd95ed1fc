//! What is counted, and how Prometheus reads it.
//!
//! Counters that requests touch are plain atomics in a fixed array; everything else is read from
//! its owner when somebody scrapes. Labels are closed enums; no tenant and no subject is ever one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use caed_core::decision::{Decision, Reason, Verdict};
use caed_core::ingest::{Counter as Count, DURATION_BOUNDS, Durations, Ingest};
use caed_core::log_view::{Letters, LogView, PartitionView};
use caed_core::position::{Partition, Topics};
use caed_trust::verifier::Verifier;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::pdp::Pdp;

const VERDICTS: [(Verdict, &str); 3] =
    [(Verdict::Allow, "allow"), (Verdict::Challenge, "challenge"), (Verdict::Deny, "deny")];

/// Every primary reason, after "none", which ALLOW has.
const REASONS: [(Option<Reason>, &str); 22] = [
    (None, "none"),
    (Some(Reason::Unverified), "unverified"),
    (Some(Reason::Unverifiable), "unverifiable"),
    (Some(Reason::Malformed), "malformed"),
    (Some(Reason::IssueTimeMissing), "issue_time_missing"),
    (Some(Reason::BeyondHorizon), "beyond_horizon"),
    (Some(Reason::Expired), "expired"),
    (Some(Reason::NotYetValid), "not_yet_valid"),
    (Some(Reason::UnknownIssuer), "unknown_issuer"),
    (Some(Reason::TenantNotServed), "tenant_not_served"),
    (Some(Reason::Revoked), "revoked"),
    (Some(Reason::Account), "account"),
    (Some(Reason::Risk), "risk"),
    (Some(Reason::Device), "device"),
    (Some(Reason::Policy), "policy"),
    (Some(Reason::Location), "location"),
    (Some(Reason::ConditionsChanged), "conditions_changed"),
    (Some(Reason::SignInFrequency), "sign_in_frequency"),
    (Some(Reason::Outdated), "outdated"),
    (Some(Reason::Lifetime), "lifetime"),
    (Some(Reason::Stale), "stale"),
    (Some(Reason::NotReady), "not_ready"),
];

/// Decisions by verdict and primary reason.
#[derive(Debug, Default)]
pub struct DecisionCounts {
    counts: [[AtomicU64; REASONS.len()]; VERDICTS.len()],
    ip_variations: AtomicU64,
    /// The second of uptime, from 1, in which the last of them was logged.
    ip_variation_logged: AtomicU64,
}

impl DecisionCounts {
    /// Counts a decision.
    pub fn add(&self, decision: &Decision) {
        let verdict = decision.verdict as usize;
        let reason = decision.primary.map_or(0, |reason| reason as usize + 1);
        if let Some(count) = self.counts.get(verdict).and_then(|counts| counts.get(reason)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a judged token that passed (D5). Says whether it is the first of its second.
    pub fn add_ip_variation(&self, uptime: Duration) -> bool {
        self.ip_variations.fetch_add(1, Ordering::Relaxed);
        let second = uptime.as_secs() + 1;
        self.ip_variation_logged.swap(second, Ordering::Relaxed) != second
    }

    /// How many judged tokens passed.
    pub fn ip_variations(&self) -> u64 {
        self.ip_variations.load(Ordering::Relaxed)
    }

    /// How often each pair occurred, pairs that never did left out.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> + '_ {
        VERDICTS.iter().zip(&self.counts).flat_map(|((_, verdict), counts)| {
            REASONS.iter().zip(counts).filter_map(|((_, reason), count)| {
                let count = count.load(Ordering::Relaxed);
                (count > 0).then_some((*verdict, *reason, count))
            })
        })
    }
}

/// Connections that came to nothing.
#[derive(Debug, Default)]
pub struct Refused {
    /// TLS handshakes that failed.
    pub handshakes: Count,
    /// Connections of callers who may nothing, beyond those that are kept.
    pub strangers: Count,
}

/// A registry of everything that this process shows.
pub fn registry(
    pdp: Pdp,
    verifier: Verifier,
    ingest: Arc<Ingest>,
    log: Arc<dyn LogView>,
    topics: Arc<Topics>,
    refused: Arc<Refused>,
) -> Registry {
    let mut registry = Registry::with_prefix("caed");
    registry.register_collector(Box::new(Collected {
        pdp,
        verifier,
        ingest,
        log,
        topics,
        refused,
    }));
    registry
}

struct Collected {
    pdp: Pdp,
    verifier: Verifier,
    ingest: Arc<Ingest>,
    log: Arc<dyn LogView>,
    topics: Arc<Topics>,
    refused: Arc<Refused>,
}

impl std::fmt::Debug for Collected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.decisions(&mut encoder)?;
        self.knowledge(&mut encoder)?;
        self.sources(&mut encoder)?;
        self.tokens(&mut encoder)?;
        self.issuers(&mut encoder)?;
        self.records(&mut encoder)?;
        self.log(&mut encoder)?;
        self.connections(&mut encoder)
    }
}

impl Collected {
    fn decisions(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let counter = ConstCounter::new(0u64);
        let mut family = encoder.encode_descriptor(
            "decisions",
            "Decisions by verdict and primary reason",
            None,
            counter.metric_type(),
        )?;
        for (verdict, reason, count) in self.pdp.counts().iter() {
            let labels = [("verdict", verdict), ("reason", reason)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let judged = ConstCounter::new(self.pdp.counts().ip_variations());
        let metric_type = judged.metric_type();
        let help = "Judged tokens that passed from an address where policy blocks (D5)";
        judged.encode(encoder.encode_descriptor("ip_variations", help, None, metric_type)?)
    }

    fn knowledge(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let moment = self.pdp.moment();
        let counts = moment.counts();
        let ready = f64::from(u8::from(moment.is_caught_up()));
        // An age that nobody knows is no number.
        let age = moment.age.map_or(f64::NAN, |age| age.as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
        let gauges = [
            ("ready", "Whether requests are decided", None, ready),
            ("knowledge_age", "Age of what decisions know", Some(Unit::Seconds), age),
            ("snapshot_generation", "Number of the snapshot", None, moment.generation() as f64),
            ("tenants", "Tenants of which an event was seen", None, counts.tenants as f64),
            ("cutoffs", "Cutoffs of one scope each", None, counts.cutoffs as f64),
            ("pair_cutoffs", "Cutoffs within one user's tokens", None, counts.pairs as f64),
            ("registers", "Last words about accounts and devices", None, counts.registers as f64),
            ("state", "Memory of the tables", Some(Unit::Bytes), counts.heap_bytes as f64),
        ];
        for (name, help, unit, value) in gauges {
            let gauge = ConstGauge::new(value);
            let metric_type = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric_type)?)?;
        }
        Ok(())
    }

    fn records(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let Ingest {
            changed,
            unchanged,
            stale,
            quarantined,
            times_read_as_seconds,
            cutoffs_set_to_receipt,
            older_than_horizon,
            missing_tokens_without_claim,
            forgotten,
            publishing,
            enforced,
            janitor_runs,
            janitor_records,
            tombstones,
            ..
        } = &*self.ingest;
        let outcomes = [
            ("changed", changed),
            ("unchanged", unchanged),
            ("stale", stale),
            ("quarantined", quarantined),
        ];
        let help = "Records read by what became of them";
        family(encoder, "records", help, "outcome", &outcomes)?;
        let notices = [
            ("time_read_as_seconds", times_read_as_seconds),
            ("cutoff_set_to_receipt", cutoffs_set_to_receipt),
            ("older_than_horizon", older_than_horizon),
            ("misses_tokens_without_claim", missing_tokens_without_claim),
        ];
        let help = "Records applied about which their sender should know something";
        family(encoder, "record_notices", help, "notice", &notices)?;
        let help = "Cutoffs forgotten because no living token can meet them";
        counter(encoder, "cutoffs_forgotten", help, forgotten)?;
        let help = "Runs that were finished as the janitor of the log";
        counter(encoder, "janitor_runs", help, janitor_runs)?;
        counter(encoder, "janitor_records", "Records that the janitor looked at", janitor_records)?;
        counter(encoder, "tombstones", "Tombstones that the janitor wrote", tombstones)?;
        let help = "Time that publishing a snapshot took";
        histogram(encoder, "snapshot_publishing", help, publishing)?;
        let help =
            "Time from an event's own time until decisions followed it, catching up left out";
        histogram(encoder, "event_enforced_after", help, enforced)
    }

    fn log(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let Letters { written, failed } = self.log.letters();
        let help =
            "Records that could not be understood, by whether the dead-letter topic has them";
        let mut family =
            encoder.encode_descriptor("dead_letters", help, None, MetricType::Counter)?;
        for (outcome, count) in [("written", written), ("failed", failed)] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let help = "Faults and findings about the log; the status says which";
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
        let notes = ConstGauge::new(self.log.notes().len() as f64);
        let metric_type = notes.metric_type();
        notes.encode(encoder.encode_descriptor("log_notes", help, None, metric_type)?)?;

        let partitions = self.log.partitions();
        let moment = self.pdp.moment();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
        let lag = |view: &PartitionView| view.lag(moment.frontier()) as f64;
        let help = "Offsets between a partition's end and what decisions know";
        self.of_partitions(encoder, "partition_lag", help, None, &partitions, lag)?;
        let now = self.pdp.uptime();
        let age = |view: &PartitionView| view.age(now).map_or(f64::NAN, |age| age.as_secs_f64());
        let help = "Time since everything in a partition was known";
        self.of_partitions(encoder, "partition_age", help, Some(&Unit::Seconds), &partitions, age)
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let Refused { handshakes, strangers } = &*self.refused;
        let causes = [("handshake", handshakes), ("stranger", strangers)];
        family(encoder, "connections_refused", "Connections refused by cause", "cause", &causes)
    }

    /// One gauge per source that is declared to give signs of life.
    fn sources(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let moment = self.pdp.moment();
        let now = moment.now();
        let help = "Time since a declared source of events gave a sign of life, by tenant";
        let unit = Some(&Unit::Seconds);
        let mut family = encoder.encode_descriptor("source_age", help, unit, MetricType::Gauge)?;
        for (tenant, view) in moment.silent_sources() {
            // Of a source whose streams have all ended nothing is expected.
            let Some(age) = view.age(now) else { continue };
            let labels = [("tenant", tenant.as_str()), ("source", view.name.as_str())];
            ConstGauge::new(age.as_secs_f64()).encode(family.encode_family(&labels)?)?;
        }
        let help = "Declared sources of events that are silent for too long, or halted";
        let family = encoder.encode_descriptor("stale_sources", help, None, MetricType::Gauge)?;
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
        let stale = moment.stale_sources(now).count() as f64;
        ConstGauge::new(stale).encode(family)
    }

    fn tokens(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Raw tokens by what came of verifying them";
        let mut family =
            encoder.encode_descriptor("token_verifications", help, None, MetricType::Counter)?;
        for (outcome, count) in self.verifier.counts() {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let (tokens, bytes) = self.verifier.remembered();
        #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
        let gauges = [
            ("remembered_tokens", "Verified tokens that are remembered", None, tokens as f64),
            ("remembered_tokens", "Memory of these", Some(Unit::Bytes), bytes as f64),
        ];
        for (name, help, unit, value) in gauges {
            let family = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            ConstGauge::new(value).encode(family)?;
        }
        Ok(())
    }

    /// One gauge and counter per issuer whose keys are kept, and the least token age per configured issuer.
    fn issuers(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let unit = Some(&Unit::Seconds);
        let help = "Time since the keys of an issuer were seen to be its own";
        let mut family = encoder.encode_descriptor("keys_age", help, unit, MetricType::Gauge)?;
        let reports: Vec<_> = self.verifier.reports().collect();
        for (issuer, report) in &reports {
            let age = report.age.map_or(f64::NAN, |age| age.as_secs_f64());
            ConstGauge::new(age).encode(family.encode_family(&[("issuer", *issuer)])?)?;
        }
        let help = "Looks for the keys of an issuer that failed";
        let mut family =
            encoder.encode_descriptor("keys_failures", help, None, MetricType::Counter)?;
        for (issuer, report) in &reports {
            let labels = [("issuer", *issuer)];
            ConstCounter::new(report.failures).encode(family.encode_family(&labels)?)?;
        }
        let help = "Least time between the issue of a token and a request with it";
        let mut family =
            encoder.encode_descriptor("least_token_age", help, unit, MetricType::Gauge)?;
        let moment = self.pdp.moment();
        for issuer in moment.rules().issuers.all() {
            let Some(age_s) = moment.least_token_age_s(issuer) else { continue };
            #[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
            let gauge = ConstGauge::new(age_s as f64);
            gauge.encode(family.encode_family(&[("issuer", issuer.name.as_str())])?)?;
        }
        Ok(())
    }

    /// One gauge per partition.
    fn of_partitions(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        partitions: &[PartitionView],
        value: impl Fn(&PartitionView) -> f64,
    ) -> std::fmt::Result {
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for view in partitions {
            let Partition { topic, number } = view.partition;
            let number = number.to_string();
            let labels = [("topic", self.topics.name(topic)), ("partition", number.as_str())];
            ConstGauge::new(value(view)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

/// How often something took how long.
fn histogram(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    durations: &Durations,
) -> std::fmt::Result {
    let counts = durations.counts();
    #[expect(clippy::cast_precision_loss, reason = "bounds of seconds")]
    let bounds = DURATION_BOUNDS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::MAX]);
    let buckets: Vec<_> = bounds.zip(counts).collect();
    let mut metric =
        encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
    let (sum, count) = (durations.sum().as_secs_f64(), counts.iter().sum());
    metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
}

/// One counter.
fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    count: &Count,
) -> std::fmt::Result {
    let counter = ConstCounter::new(count.value());
    let metric_type = counter.metric_type();
    counter.encode(encoder.encode_descriptor(name, help, None, metric_type)?)
}

/// One counter per value of a label.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    counts: &[(&'static str, &Count)],
) -> std::fmt::Result {
    let metric_type = ConstCounter::new(0u64).metric_type();
    let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
    for (value, count) in counts {
        ConstCounter::new(count.value()).encode(family.encode_family(&[(label, *value)])?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judged_tokens_are_counted_each_time_and_logged_once_a_second() {
        let counts = DecisionCounts::default();
        let at = |millis| counts.add_ip_variation(Duration::from_millis(millis));
        assert_eq!([0, 999, 1000, 1001, 5000].map(at), [true, false, true, false, true]);
        assert_eq!(counts.ip_variations(), 5);
    }

    #[test]
    fn the_tables_stand_in_the_order_of_their_enums() {
        for (index, (verdict, _)) in VERDICTS.iter().enumerate() {
            assert_eq!(*verdict as usize, index);
        }
        for (index, (reason, _)) in REASONS.iter().enumerate().skip(1) {
            assert_eq!(reason.map(|reason| reason as usize + 1), Some(index));
        }
    }
}
