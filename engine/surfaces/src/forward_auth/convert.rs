//! How each gateway asks over HTTP, and what of an answer it understands.
//!
//! The peer, the profile and the route come from where no client can write. That is the path for most, with a step
//! for each, `/profile=exchange/tenant=contoso`; never the query, since Caddy passes on the client's own. It is
//! headers for Envoy, which puts the client's path behind ours.
//!
//! | | the peer is | the chain is | of a 503 it makes | so it is sent |
//! |---|---|---|---|---|
//! | nginx | in the path, `/peer=$remote_addr` | as the client sent it | 500, an error in its log | 403, and the 503 in `x-caed-status` |
//! | Caddy, Traefik | the last of `X-Forwarded-For`, which they always write | what stands before | 503 | 503 |
//! | Envoy | in `x-caed-peer` | in `x-caed-forwarded-for` | an error, which may be let pass | 429: clients wait and come back as after a 503 |

use caed_core::refusal::HttpRefusal;
use caed_trust::route::Route;
use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::gateway::{Answer, Heard, Outcome, Told};

const PREFIX: &str = "/forward-auth/";

/// The status that nginx does not understand.
const STATUS: &str = "x-caed-status";

/// Names of headers that Envoy must take out of its client's request.
const REMOVED: &str = "x-envoy-auth-headers-to-remove";

const PEER: &str = "x-caed-peer";
const FORWARDED_FOR: &str = "x-caed-forwarded-for";

/// The headers of a request, a name and a value each.
pub(super) trait Headers<'h>: Iterator<Item = (&'h [u8], &'h [u8])> + Clone {}

impl<'h, All: Iterator<Item = (&'h [u8], &'h [u8])> + Clone> Headers<'h> for All {}

/// An answer, as a gateway understands it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Names, in small letters, with values that headers may bear.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
}

/// How a gateway asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Nginx,
    Caddy,
    Traefik,
    Envoy,
    /// In no way that is known: it is refused.
    Other,
}

impl Dialect {
    /// The dialect of a path, and what stands behind it.
    pub(super) fn of(path: &str) -> (Self, &str) {
        let path = path.strip_prefix(PREFIX).unwrap_or_default();
        let (name, options) = path.split_once('/').unwrap_or((path, ""));
        let dialect = match name {
            "nginx" => Self::Nginx,
            "caddy" => Self::Caddy,
            "traefik" => Self::Traefik,
            "envoy" => Self::Envoy,
            _ => Self::Other,
        };
        (dialect, options)
    }

    /// What a gateway tells, or what is wrong with how it does.
    pub(super) fn told<'h>(
        self,
        options: &str,
        headers: &impl Headers<'h>,
    ) -> Result<Told, String> {
        let heard = Heard::of(headers.clone());
        match self {
            Self::Nginx => steps(options, heard, true),
            Self::Caddy | Self::Traefik => {
                let told = steps(options, heard, false)?;
                Ok(with_last_as_peer(told))
            }
            Self::Envoy => by_headers(headers, heard),
            Self::Other => Err(
                "no gateway is known at this path; use /forward-auth/ and nginx, caddy, traefik or envoy"
                    .to_owned(),
            ),
        }
    }

    /// The answer, as the gateway understands it.
    pub(super) fn reply(self, answer: Answer) -> Reply {
        let Answer { outcome, said: _ } = answer;
        let mut reply = match outcome {
            Outcome::Pass { mut headers, removed } => {
                headers.push(("cache-control", "no-store".to_owned()));
                if self == Self::Envoy && !removed.is_empty() {
                    headers.push((REMOVED, removed.join(",")));
                }
                Reply { status: StatusCode::OK, headers, body: String::new() }
            }
            Outcome::Refuse(HttpRefusal { status, mut headers, body }) => {
                if self == Self::Nginx {
                    headers.push((STATUS, status.to_string()));
                }
                Reply { status: self.status(status), headers, body }
            }
        };
        // Each is made of visible ASCII and spaces; nothing else may end a line.
        let may_stand = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        reply.headers.retain(|(_, value)| value.bytes().all(may_stand));
        reply
    }

    /// The status of a refusal.
    fn status(self, status: u16) -> StatusCode {
        let status = match (self, status) {
            (Self::Nginx, 401)
            | (Self::Caddy | Self::Traefik | Self::Other, _)
            | (Self::Envoy, ..500) => status,
            (Self::Envoy, 500..) => 429,
            (Self::Nginx, _) => 403,
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN)
    }
}

/// Reads the steps of a path, `name=value` each. What has no `=` goes on with the value before it, so that one may hold
/// slashes: some gateways escape a `%`, but none a slash. What is not known is refused: misspelt, it would demand nothing.
fn steps(options: &str, heard: Heard, may_name_peer: bool) -> Result<Told, String> {
    let mut told = Told { heard, ..Told::default() };
    let mut given: Vec<(&str, String)> = Vec::new();
    for step in options.split('/') {
        match (step.split_once('='), given.last_mut()) {
            (Some((name, value)), _) => given.push((name, value.to_owned())),
            (None, Some((_, value))) => value.extend(["/", step]),
            (None, None) if step.is_empty() => {}
            (None, None) => given.push((step, String::new())),
        }
    }
    for (name, value) in given {
        let place = match name {
            "profile" => &mut told.profile,
            "tenant" => &mut told.route.tenant,
            "audience" => &mut told.route.audience,
            "peer" if may_name_peer => &mut told.peer,
            _ => {
                return Err(format!(
                    "`{name}` is not known in the path; use profile, tenant, audience, and peer behind nginx"
                ));
            }
        };
        if !place.is_empty() || value.is_empty() {
            return Err(format!("`{name}` stands in the path twice, or without a value"));
        }
        *place = percent_decode_str(&value).decode_utf8_lossy().into_owned();
    }
    Ok(told)
}

/// Takes the last entry of `X-Forwarded-For`, which the gateway wrote, for its peer.
fn with_last_as_peer(mut told: Told) -> Told {
    let lines = &mut told.heard.x_forwarded_for;
    if let Some(line) = lines.pop() {
        let (before, last) = match line.rsplit_once(',') {
            Some((before, last)) => (Some(before.to_owned()), last),
            None => (None, line.as_str()),
        };
        lines.extend(before);
        last.trim().clone_into(&mut told.peer);
    }
    told
}

/// Reads the headers that Envoy adds instead of any that its client sent.
fn by_headers<'h>(headers: &impl Headers<'h>, mut heard: Heard) -> Result<Told, String> {
    let one = |known: &str| {
        let is_it = |name: &[u8]| name.eq_ignore_ascii_case(known.as_bytes());
        let mut values = headers.clone().filter(|(name, _)| is_it(name)).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(String::new()),
            (Some(value), None) => Ok(String::from_utf8_lossy(value).into_owned()),
            _ => Err(format!("`{known}` came twice; one of them may be the client's")),
        }
    };
    // What stands in the header itself names Envoy, for it passed on the check.
    heard.x_forwarded_for =
        Some(one(FORWARDED_FOR)?).filter(|line| !line.is_empty()).into_iter().collect();
    Ok(Told {
        heard,
        peer: one(PEER)?,
        claims: None,
        profile: one("x-caed-profile")?,
        route: Route { tenant: one("x-caed-tenant")?, audience: one("x-caed-audience")? },
    })
}
