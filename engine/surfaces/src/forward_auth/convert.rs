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

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use caed_core::refusal::HttpRefusal;
use caed_trust::route::Route;
use percent_encoding::percent_decode_str;

use crate::gateway::{Answer, Heard, Outcome, Told};

const PREFIX: &str = "/forward-auth/";

const NO_STORE: (HeaderName, HeaderValue) =
    (HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));

/// The status that nginx does not understand.
const STATUS: HeaderName = HeaderName::from_static("x-caed-status");

/// Names of headers that Envoy must take out of its client's request.
const REMOVED: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

const PEER: &str = "x-caed-peer";
const FORWARDED_FOR: &str = "x-caed-forwarded-for";

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
    pub(super) fn told(self, options: &str, headers: &HeaderMap) -> Result<Told, String> {
        let pairs =
            headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        let heard = Heard::of(pairs);
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
    pub(super) fn response(self, answer: Answer) -> Response {
        let Answer { outcome, said: _ } = answer;
        match outcome {
            Outcome::Pass { headers, removed } => {
                let mut response = ([NO_STORE], StatusCode::OK).into_response();
                put(response.headers_mut(), headers);
                if self == Self::Envoy
                    && !removed.is_empty()
                    && let Ok(names) = HeaderValue::try_from(removed.join(","))
                {
                    response.headers_mut().insert(REMOVED, names);
                }
                response
            }
            Outcome::Refuse(HttpRefusal { status, headers, body }) => {
                let mut response = Response::new(Body::from(body));
                *response.status_mut() = self.status(status);
                put(response.headers_mut(), headers);
                if self == Self::Nginx {
                    response.headers_mut().insert(STATUS, status.into());
                }
                response
            }
        }
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
fn by_headers(headers: &HeaderMap, mut heard: Heard) -> Result<Told, String> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(String::new()),
            (Some(value), None) => Ok(String::from_utf8_lossy(value.as_bytes()).into_owned()),
            _ => Err(format!("`{name}` came twice; one of them may be the client's")),
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

fn put(response: &mut HeaderMap, headers: Vec<(&'static str, String)>) {
    for (name, value) in headers {
        // Every value is made of visible ASCII and spaces.
        if let Ok(value) = HeaderValue::try_from(value) {
            response.insert(HeaderName::from_static(name), value);
        }
    }
}
