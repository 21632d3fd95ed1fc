//! Why a token is answered as it is: a form, and what comes of it.
//!
//! What is asked names a user, so it comes in the body of a POST and never in an address, which logs and
//! histories keep. Asking changes nothing, is not counted and is logged nowhere. Whoever reaches the
//! listener may ask; a page of somebody else's, opened in the browser of one who does, may not.

use std::net::IpAddr;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::uri::{Authority, Uri};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::form::{Form, Known};
use super::page::{self, Outcome};
use super::{Shown, shielded};
use crate::limits;
use crate::native;
use crate::native::Parts;

const FORM: &str = "application/x-www-form-urlencoded";

/// The form with nothing in it.
pub(super) async fn blank(State(shown): State<Shown>) -> Response {
    let moment = shown.parts.pdp.moment();
    let profiles: Vec<_> = moment.profile_names().collect();
    answered(&Form::default(), &profiles, &Outcome::Blank)
}

/// An explanation, or what is wrong with the form.
pub(super) async fn asked(
    State(shown): State<Shown>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    match admitted(&headers, body) {
        Ok(body) => {
            // On a thread apart: so much work would hold up those who ask for decisions.
            let answered = tokio::task::spawn_blocking(move || explained(&shown.parts, &body));
            answered.await.unwrap_or_else(|_| {
                let why = "The explanation could not be made; the log of caed says why.".to_owned();
                refused(StatusCode::INTERNAL_SERVER_ERROR, why)
            })
        }
        Err((status, why)) => refused(status, why),
    }
}

fn explained(parts: &Parts, body: &[u8]) -> Response {
    let form = Form::read(body);
    let moment = parts.pdp.moment();
    let known =
        Known { profiles: moment.profile_names().collect(), issuers: &moment.rules().issuers };
    let outcome = match form.question(&known) {
        Ok(request) => match native::explain(parts, &request) {
            Ok(reply) => Outcome::Explained(Box::new(reply)),
            Err(status) => Outcome::Refused(status.message().to_owned()),
        },
        Err(faults) => Outcome::Faulty(faults),
    };
    answered(&form, &known.profiles, &outcome)
}

fn answered(form: &Form, profiles: &[&'static str], outcome: &Outcome) -> Response {
    let status = match outcome {
        Outcome::Blank | Outcome::Explained(_) => StatusCode::OK,
        Outcome::Faulty(_) | Outcome::Refused(_) => StatusCode::BAD_REQUEST,
    };
    let page = page::explain(form, profiles, outcome).into_string();
    (status, shielded(page::EXPLAIN_POLICY), Html(page)).into_response()
}

/// Without the form's fields: it was not read.
fn refused(status: StatusCode, why: String) -> Response {
    let page = page::explain(&Form::default(), &[], &Outcome::Refused(why)).into_string();
    (status, shielded(page::EXPLAIN_POLICY), Html(page)).into_response()
}

/// The body of a form of our own.
fn admitted(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Bytes, (StatusCode, String)> {
    if let Some(why) = foreign(headers) {
        return Err((StatusCode::FORBIDDEN, why));
    }
    let kind = text(headers, &header::CONTENT_TYPE).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some(FORM) {
        let why = format!("This takes a form alone; send `Content-Type: {FORM}`.");
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let most = limits::FORM_BYTES_MAX >> 10;
            let why =
                format!("The form has more than {most} KiB; leave out claims that no rule reads.");
            (StatusCode::PAYLOAD_TOO_LARGE, why)
        }
        status => (status, "The form did not arrive whole; send it again.".to_owned()),
    })
}

/// Why a request is not from a page of ours, as browsers tell. Who has no browser says nothing of it.
fn foreign(headers: &HeaderMap) -> Option<String> {
    let host = text(headers, &header::HOST).and_then(|host| host.parse::<Authority>().ok());
    // A name may be anybody's, who lets it lead here for a moment and then reads the answers as their own.
    if let Some(host) = &host
        && !is_here(host.host())
    {
        let host = host.host();
        return Some(format!(
            "This is answered at an address or at localhost, not at the name `{host}`, which may be anybody's."
        ));
    }
    let site = text(headers, &HeaderName::from_static("sec-fetch-site"));
    let is_ours = match (site, text(headers, &header::ORIGIN)) {
        (Some(site), _) => matches!(site, "same-origin" | "none"),
        (None, Some(origin)) => {
            let origin = origin.parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
            origin.is_some() && origin == host
        }
        (None, None) => true,
    };
    let why = "This was sent by a page of somebody else's; open the form here and send it again.";
    (!is_ours).then(|| why.to_owned())
}

/// Whether a host is no name, or the one name that is always this host's.
fn is_here(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.to_ascii_lowercase();
    address.parse::<IpAddr>().is_ok() || host == "localhost" || host.ends_with(".localhost")
}

/// A header that stands there once, as text.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn is_foreign(pairs: &[(&'static str, &'static str)]) -> bool {
        let pair = |(name, value): &(&'static str, &'static str)| {
            let value = HeaderValue::from_static(value);
            (HeaderName::from_static(name), value)
        };
        foreign(&pairs.iter().map(pair).collect()).is_some()
    }

    #[test]
    fn a_form_is_taken_from_our_own_pages_and_from_programs() {
        for host in ["127.0.0.1:9090", "[::1]:9090", "192.0.2.1", "localhost:9090", "a.LOCALHOST"] {
            assert!(!is_foreign(&[("host", host)]), "{host}");
        }
        let host = ("host", "127.0.0.1:9090");
        assert!(!is_foreign(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(!is_foreign(&[host, ("sec-fetch-site", "none")]));
        assert!(!is_foreign(&[host, ("origin", "http://127.0.0.1:9090")]));
        assert!(!is_foreign(&[]));
    }

    #[test]
    fn a_form_of_somebody_elses_is_refused() {
        for host in ["rebound.example:9090", "127.0.0.1.example", "localhost.example", "caed"] {
            assert!(is_foreign(&[("host", host)]), "{host}");
        }
        let host = ("host", "127.0.0.1:9090");
        for site in ["cross-site", "same-site", "", "SAME-ORIGIN"] {
            assert!(is_foreign(&[host, ("sec-fetch-site", site)]), "{site}");
            // Whatever the origin is said to be.
            let origin = ("origin", "http://127.0.0.1:9090");
            assert!(is_foreign(&[host, ("sec-fetch-site", site), origin]), "{site}");
        }
        for origin in ["http://evil.example", "http://127.0.0.1:9091", "null", "http://127.0.0.1"] {
            assert!(is_foreign(&[host, ("origin", origin)]), "{origin}");
        }
        assert!(is_foreign(&[("origin", "http://127.0.0.1:9090")]), "nobody says where we are");
    }
}
