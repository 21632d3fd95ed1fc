//! `caed publish`.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use clap::error::ErrorKind;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::publish_directory as directory;
use super::{At, output};

/// Events of one call when publishing a file: large enough that the disk is synced rarely.
const BATCH_EVENTS: usize = 500;

#[derive(Args)]
#[command(subcommand_negates_reqs = true)]
pub(super) struct Publish {
    /// Publishes a file of events, one JSON object a line; - reads standard input.
    #[arg(long, value_name = "FILE", required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    event: Option<OneEvent>,
}

/// One event. Ids are directory object ids.
#[derive(Subcommand)]
enum OneEvent {
    /// The account may not be used until it is enabled again.
    AccountDisabled(OfUser),
    /// The account is gone.
    AccountDeleted(OfUser),
    /// The account may be used again; its old tokens stay dead. Corrects the state that the same
    /// --source reported.
    AccountEnabled(OfUser),
    /// The user chose a new password.
    PasswordChanged(OfUser),
    /// Somebody else set a new password.
    PasswordReset(OfUser),
    /// All refresh tokens of the user were revoked.
    SessionsRevoked(OfUser),
    /// Multi-factor authentication was switched on.
    MfaEnabled(OfUser),
    /// An authenticator was added, changed or removed.
    AuthenticatorChanged(OfUser),
    /// Claims in the user's tokens no longer hold.
    TokenClaimsChanged(OfUser),
    /// The assurance of earlier sign-ins was lowered.
    AssuranceLowered(OfUser),
    /// The user's risk was found to be at a level.
    UserRiskChanged {
        #[command(flatten)]
        of: OfUser,
        /// The level.
        #[arg(long)]
        level: Level,
    },
    /// A sign-in session was revoked.
    SessionRevoked {
        #[command(flatten)]
        of: Maybe,
        /// The issuer that numbered it.
        #[arg(long)]
        issuer: String,
        /// The tokens' `sid`.
        #[arg(long)]
        session: String,
    },
    /// One token was revoked, whatever its issue time.
    TokenRevoked {
        #[command(flatten)]
        of: Maybe,
        /// The issuer that numbered it.
        #[arg(long)]
        issuer: String,
        /// Its `jti` or `uti`.
        #[arg(long)]
        token: String,
    },
    /// A client application's tokens were revoked.
    ClientRevoked {
        #[command(flatten)]
        of: Maybe,
        /// The tokens' `azp` or `appid`.
        #[arg(long)]
        client: String,
    },
    /// The tokens bound to a device were revoked.
    DeviceRevoked {
        #[command(flatten)]
        of: Maybe,
        /// The tokens' `deviceid`.
        #[arg(long)]
        device: String,
    },
    /// Every token of the tenant was revoked.
    TenantRevoked(Envelope),
    /// The device may not be used until it is cleared.
    DeviceDisabled(OfDevice),
    /// The device is gone.
    DeviceDeleted(OfDevice),
    /// The device meets the compliance rules.
    DeviceCompliant(OfDevice),
    /// The device does not meet the compliance rules.
    DeviceNotCompliant(OfDevice),
    /// Nothing speaks against the device. Corrects the state that the same --source reported.
    DeviceCleared(OfDevice),
    /// Says what a source of events can be relied on for.
    SourceDeclared {
        #[command(flatten)]
        envelope: Envelope,
        /// The source that is declared.
        #[arg(long)]
        name: String,
        /// It is expected to give signs of life.
        #[arg(long)]
        declared: bool,
        /// It reports when an account is enabled again.
        #[arg(long)]
        emits_enabled: bool,
        /// It reports when a device is cleared again.
        #[arg(long)]
        emits_device_clear: bool,
        /// Its account and device states up to this instant (in milliseconds) no longer count.
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        retired_ms: i64,
    },
    /// The source is alive: what happened before was sent.
    Heartbeat {
        #[command(flatten)]
        envelope: Envelope,
        /// The source's own number for the stream that it speaks of.
        #[arg(long, default_value_t = 0)]
        partition: u32,
        /// How the stream is.
        #[arg(long, default_value = "enabled")]
        state: StreamState,
    },
    /// What the tenant decided: whether events and policies are enforced, and for whom.
    TenantSettings(directory::Settings),
    /// The tenant's settings are the defaults again.
    TenantSettingsDeleted(Envelope),
    /// A conditional access policy, from a file.
    PolicyChanged(directory::Policy),
    /// A policy was deleted.
    PolicyDeleted(directory::NamedPolicy),
    /// A named location.
    LocationChanged(directory::Location),
    /// A named location was deleted.
    LocationDeleted(directory::NamedLocation),
    /// The ranges that MFA trusts.
    MfaTrustedRangesChanged(directory::MfaTrusted),
    /// Nothing is known any more of the ranges that MFA trusts.
    MfaTrustedRangesDeleted(Envelope),
    /// Every member of a group, as it was read.
    GroupRead(directory::Group),
    /// A user came into a group.
    MemberAdded(directory::Member),
    /// A user left a group.
    MemberRemoved(directory::Member),
}

/// What every event has.
#[derive(Args, Clone)]
pub(super) struct Envelope {
    /// The tenant.
    #[arg(long)]
    tenant: String,
    /// Who says so. Account and device states are kept by source.
    #[arg(long, default_value = "caed-cli")]
    source: String,
    /// The source's own id of the event.
    #[arg(long, default_value = "", hide_default_value = true)]
    id: String,
    /// When it happened, in milliseconds since 1970. [default: now]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    event_time_ms: i64,
}

#[derive(Args)]
struct OfUser {
    #[command(flatten)]
    envelope: Envelope,
    /// The user.
    #[arg(long)]
    user: String,
}

#[derive(Args)]
struct Maybe {
    #[command(flatten)]
    envelope: Envelope,
    /// The one user who is meant. Without it, tokens that lack the finer claim are out of reach.
    #[arg(long, default_value = "", hide_default_value = true)]
    user: String,
}

#[derive(Args)]
struct OfDevice {
    #[command(flatten)]
    envelope: Envelope,
    /// The device.
    #[arg(long)]
    device: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum StreamState {
    /// It runs.
    Enabled,
    /// What happens is kept, and told later.
    Paused,
    /// What happens is lost.
    Disabled,
    /// There is no such stream any more.
    Ended,
}

impl From<StreamState> for v1::StreamState {
    fn from(state: StreamState) -> Self {
        match state {
            StreamState::Enabled => Self::Enabled,
            StreamState::Paused => Self::Paused,
            StreamState::Disabled => Self::Disabled,
            StreamState::Ended => Self::Ended,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Level {
    Low,
    Medium,
    High,
}

impl Publish {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        if self.event.is_some() && self.file.is_some() {
            // The parser can't state this conflict without refusing --at before the event.
            let problem = "give an event or --file, not both\n";
            clap::Error::raw(ErrorKind::ArgumentConflict, problem).exit();
        }
        let channel = self.at.connect().await?;
        let client = EventPublisherClient::new(channel);
        match (self.event, self.file) {
            (Some(event), _) => {
                for event in event.into_events()? {
                    publish_one(client.clone(), event).await?;
                }
            }
            (None, Some(path)) => publish_file(client, &path).await?,
            (None, None) => {}
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Publishes one event and waits until decisions follow it.
async fn publish_one(
    mut client: EventPublisherClient<Channel>,
    event: v1::Event,
) -> anyhow::Result<()> {
    let request = v1::PublishRequest { events: vec![event], wait: v1::Wait::Applied.into() };
    let reply = client.publish(request).await.map_err(|status| one_refused(&status))?.into_inner();
    for published in &reply.published {
        let position = published.position.as_ref().map(output::position).unwrap_or_default();
        output::line(format!(
            "{position}  durable after {}, enforced after {}",
            millis(reply.durable_us),
            millis(reply.applied_us)
        ));
        for notice in published.notices() {
            output::note(format!("notice: {}", output::word(notice.as_str_name(), "NOTICE_")));
        }
    }
    Ok(())
}

/// Publishes a file of JSON lines, in batches. A faulty line ends it; what was published before
/// stays published, and the message says how far that is.
async fn publish_file(
    mut client: EventPublisherClient<Channel>,
    path: &PathBuf,
) -> anyhow::Result<()> {
    let (input, bytes) = open(path)?;
    let bar = progress(bytes);
    let mut lines = input.lines().zip(1usize..);
    let (mut published, mut notices) = (0usize, 0usize);
    loop {
        let mut events = Vec::with_capacity(BATCH_EVENTS);
        let mut numbers = Vec::with_capacity(BATCH_EVENTS);
        let mut read = 0;
        for (line, number) in lines.by_ref() {
            let line = line.with_context(|| format!("line {number}"))?;
            read += line.len() as u64 + 1;
            if line.trim().is_empty() {
                continue;
            }
            let event: v1::Event = serde_json::from_str(&line).with_context(|| {
                format!("line {number} is no event; {published} events before it are published")
            })?;
            events.push(event);
            numbers.push(number);
            if events.len() == BATCH_EVENTS {
                break;
            }
        }
        if events.is_empty() {
            break;
        }
        let count = events.len();
        let request = v1::PublishRequest { events, wait: v1::Wait::Durable.into() };
        let reply = client.publish(request).await.map_err(|status| {
            let fate = match status.code() {
                Code::InvalidArgument => format!("the next {count} are not"),
                // The answer may have been lost on the way.
                _ => format!("of the next {count} nothing is known"),
            };
            let refused = line_refused(&status, &numbers);
            refused.context(format!("{published} events are published, {fate}"))
        })?;
        published += count;
        notices += reply.get_ref().published.iter().map(|one| one.notices.len()).sum::<usize>();
        bar.inc(read);
        bar.set_message(format!("{published} events"));
    }
    bar.finish_and_clear();
    output::line(format!("{published} events are durable"));
    if notices > 0 {
        output::note(format!("{notices} notices; `caed status` says what they are"));
    }
    Ok(())
}

/// Why the event was refused.
fn one_refused(status: &Status) -> anyhow::Error {
    let problem = status.message().strip_prefix("events[0].");
    problem.map_or_else(|| output::refusal(status), |problem| anyhow!("{problem}"))
}

/// Why events were refused: with the line instead of the event's place in the call, which its
/// writer never saw.
fn line_refused(status: &Status, lines: &[usize]) -> anyhow::Error {
    let named = status.message().strip_prefix("events[").and_then(|rest| {
        let (index, problem) = rest.split_once("].")?;
        Some((lines.get(index.parse::<usize>().ok()?)?, problem))
    });
    match named {
        Some((line, problem)) => anyhow!("line {line}: {problem}"),
        None => output::refusal(status),
    }
}

/// The input with its size, where that is known.
fn open(path: &PathBuf) -> anyhow::Result<(Box<dyn BufRead + Send>, Option<u64>)> {
    let (reader, bytes): (Box<dyn Read + Send>, _) = if path.as_os_str() == "-" {
        (Box::new(std::io::stdin()), None)
    } else {
        let file =
            File::open(path).with_context(|| format!("{} can not be read", path.display()))?;
        let bytes = file.metadata().ok().map(|metadata| metadata.len());
        (Box::new(file), bytes)
    };
    Ok((Box::new(BufReader::new(reader)), bytes))
}

/// A bar on standard error, if that is a terminal.
fn progress(bytes: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40} {percent:>3}%  {msg}  {bytes_per_sec}";
    match (bytes, ProgressStyle::with_template(template)) {
        (Some(bytes), Ok(style)) => ProgressBar::new(bytes).with_style(style),
        _ => ProgressBar::new_spinner(),
    }
}

impl OneEvent {
    /// One event; several where a version is too large for one.
    fn into_events(self) -> anyhow::Result<Vec<v1::Event>> {
        use OneEvent as E;
        Ok(vec![match self {
            E::TenantSettings(settings) => return Ok(settings.events()),
            E::PolicyChanged(policy) => return policy.events(),
            E::LocationChanged(location) => return location.events(),
            E::MfaTrustedRangesChanged(ranges) => return ranges.events(),
            E::GroupRead(group) => return group.events(),
            E::MemberAdded(member) => return Ok(member.added()),
            E::MemberRemoved(member) => return Ok(member.removed()),
            E::PolicyDeleted(policy) => policy.deleted(),
            E::LocationDeleted(location) => location.deleted(),
            E::TenantSettingsDeleted(envelope) => {
                envelope.event(Fact::TenantSettingsDeleted(v1::TenantSettingsDeleted {}))
            }
            E::MfaTrustedRangesDeleted(envelope) => {
                envelope.event(Fact::MfaTrustedRangesDeleted(v1::MfaTrustedRangesDeleted {}))
            }
            E::AccountDisabled(of) => {
                of.event(|user| Fact::AccountDisabled(v1::AccountDisabled { user }))
            }
            E::AccountDeleted(of) => {
                of.event(|user| Fact::AccountDeleted(v1::AccountDeleted { user }))
            }
            E::AccountEnabled(of) => {
                of.event(|user| Fact::AccountEnabled(v1::AccountEnabled { user }))
            }
            E::PasswordChanged(of) => {
                of.event(|user| Fact::PasswordChanged(v1::PasswordChanged { user }))
            }
            E::PasswordReset(of) => {
                of.event(|user| Fact::PasswordReset(v1::PasswordReset { user }))
            }
            E::SessionsRevoked(of) => {
                of.event(|user| Fact::SessionsRevoked(v1::SessionsRevoked { user }))
            }
            E::MfaEnabled(of) => of.event(|user| Fact::MfaEnabled(v1::MfaEnabled { user })),
            E::AuthenticatorChanged(of) => {
                of.event(|user| Fact::AuthenticatorChanged(v1::AuthenticatorChanged { user }))
            }
            E::TokenClaimsChanged(of) => {
                of.event(|user| Fact::TokenClaimsChanged(v1::TokenClaimsChanged { user }))
            }
            E::AssuranceLowered(of) => {
                of.event(|user| Fact::AssuranceLowered(v1::AssuranceLowered { user }))
            }
            E::UserRiskChanged { of, level } => of.event(|user| {
                let level = i32::from(level.on_the_wire());
                Fact::UserRiskChanged(v1::UserRiskChanged { user, level })
            }),
            E::SessionRevoked { of, issuer, session } => {
                of.event(|user| Fact::SessionRevoked(v1::SessionRevoked { issuer, session, user }))
            }
            E::TokenRevoked { of, issuer, token } => {
                of.event(|user| Fact::TokenRevoked(v1::TokenRevoked { issuer, token, user }))
            }
            E::ClientRevoked { of, client } => {
                of.event(|user| Fact::ClientRevoked(v1::ClientRevoked { client, user }))
            }
            E::DeviceRevoked { of, device } => {
                of.event(|user| Fact::DeviceRevoked(v1::DeviceRevoked { device, user }))
            }
            E::TenantRevoked(envelope) => envelope.event(Fact::TenantRevoked(v1::TenantRevoked {})),
            E::DeviceDisabled(of) => {
                of.event(|device| Fact::DeviceDisabled(v1::DeviceDisabled { device }))
            }
            E::DeviceDeleted(of) => {
                of.event(|device| Fact::DeviceDeleted(v1::DeviceDeleted { device }))
            }
            E::DeviceCompliant(of) => {
                of.event(|device| Fact::DeviceCompliant(v1::DeviceCompliant { device }))
            }
            E::DeviceNotCompliant(of) => {
                of.event(|device| Fact::DeviceNotCompliant(v1::DeviceNotCompliant { device }))
            }
            E::DeviceCleared(of) => {
                of.event(|device| Fact::DeviceCleared(v1::DeviceCleared { device }))
            }
            E::SourceDeclared {
                envelope,
                name,
                declared,
                emits_enabled,
                emits_device_clear,
                retired_ms,
            } => envelope.event(Fact::SourceDeclared(v1::SourceDeclared {
                name,
                declared,
                emits_enabled,
                emits_device_clear,
                retired_ms,
            })),
            E::Heartbeat { envelope, partition, state } => {
                let state = v1::StreamState::from(state).into();
                envelope.event(Fact::Heartbeat(v1::Heartbeat { partition, state }))
            }
        }])
    }
}

impl Envelope {
    #[cfg(test)]
    pub(super) fn new(tenant: &str, source: &str, event_time_ms: i64) -> Self {
        let (tenant, source) = (tenant.to_owned(), source.to_owned());
        Self { tenant, source, id: String::new(), event_time_ms }
    }

    /// Whether it was said when it happened.
    pub(super) const fn has_event_time(&self) -> bool {
        self.event_time_ms != 0
    }

    pub(super) fn event(self, fact: Fact) -> v1::Event {
        let Self { tenant, source, id, event_time_ms } = self;
        v1::Event { id, tenant, source, event_time_ms, received_ms: 0, fact: Some(fact) }
    }
}

impl OfUser {
    fn event(self, fact: impl FnOnce(String) -> Fact) -> v1::Event {
        self.envelope.event(fact(self.user))
    }
}

impl Maybe {
    fn event(self, fact: impl FnOnce(String) -> Fact) -> v1::Event {
        self.envelope.event(fact(self.user))
    }
}

impl OfDevice {
    fn event(self, fact: impl FnOnce(String) -> Fact) -> v1::Event {
        self.envelope.event(fact(self.device))
    }
}

impl Level {
    const fn on_the_wire(self) -> v1::RiskLevel {
        match self {
            Self::Low => v1::RiskLevel::Low,
            Self::Medium => v1::RiskLevel::Medium,
            Self::High => v1::RiskLevel::High,
        }
    }
}

/// Microseconds as milliseconds.
#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn millis(micros: u64) -> String {
    format!("{:.2} ms", micros as f64 / 1000.0)
}
