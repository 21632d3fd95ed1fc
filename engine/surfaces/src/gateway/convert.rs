//! Headers that gateways pass on, and those that a resource gets, in no dialect.

use std::fmt::Write;

use caed_core::refusal::HttpRefusal;
use caed_core::request::Seen;
use caed_proto::v1;
use caed_proto::v1::client_address::Is;
use caed_trust::bearer;
use caed_trust::route::Route;

use super::{Answer, Outcome, Question, Said, Told};
use crate::native::Answered;
use crate::words;

/// What the names of headers begin with that a resource has from us, or not at all.
const OURS: &str = "x-caed-";

/// The verdict, for the resource.
const DECISION: &str = "x-caed-decision";
/// Whose token it is.
const TENANT: &str = "x-caed-tenant";
const SUBJECT: &str = "x-caed-subject";
/// The address that counted.
const ADDRESS: &str = "x-caed-address";

/// The headers of a request that count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// The lines of `Authorization`.
    authorization: Vec<String>,
    /// The lines of `X-Forwarded-For`.
    pub(crate) x_forwarded_for: Vec<String>,
    /// The lines of `Forwarded`.
    forwarded: Vec<String>,
    /// Names that only we may give.
    pub(crate) ours: Vec<String>,
}

impl Heard {
    /// Takes out of all headers, a name and a value each, what counts. What is no UTF-8 is no token, no address
    /// and no mark that divides them, whatever stands there instead.
    pub(crate) fn of<'h>(headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>) -> Self {
        let mut heard = Self::default();
        for (name, value) in headers {
            let text = || match str::from_utf8(value) {
                Ok(text) => text.to_owned(),
                Err(_) => String::from_utf8_lossy(value).into_owned(),
            };
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            if is("authorization") {
                heard.authorization.push(text());
            } else if is("x-forwarded-for") {
                heard.x_forwarded_for.push(text());
            } else if is("forwarded") {
                heard.forwarded.push(text());
            } else if let Ok(name) = str::from_utf8(name)
                && is_ours(name)
            {
                heard.ours.push(name.to_ascii_lowercase());
            }
        }
        heard
    }
}

/// Whether a resource may take this name for one of ours: some read `_` as `-`.
fn is_ours(name: &str) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() };
    name.get(..OURS.len()).is_some_and(|start| start.bytes().map(dashed).eq(OURS.bytes()))
}

/// What is asked; `None` where the request bears no token. SOURCE: RFC 6750 section 2.1.
pub(crate) fn question(told: Told) -> Option<Question> {
    use v1::evaluate_request::Token;
    let Told { heard, peer, claims, profile, route } = told;
    let Heard { authorization, x_forwarded_for, forwarded, ours: _ } = heard;
    let bearer = bearer::token(&authorization);
    let (token, presented) = match (claims, bearer) {
        (Some(claims), bearer) => {
            (Token::Claims(in_tenant(claims, &route)), bearer.unwrap_or_default())
        }
        (None, Some(token)) => (Token::Jwt(token), String::new()),
        (None, None) => return None,
    };
    let chain = v1::ForwardedChain { peer, x_forwarded_for, forwarded };
    let client = v1::ClientAddress { is: Some(Is::Forwarded(chain)) };
    let request =
        v1::EvaluateRequest { token: Some(token), profile, client: Some(client), presented };
    Some(Question { request, route })
}

/// Claims that name no tenant are of the one that the route is for (T2).
fn in_tenant(mut claims: v1::TokenClaims, route: &Route) -> v1::TokenClaims {
    if claims.tid.is_none() && !route.tenant.is_empty() {
        claims.tid = Some(route.tenant.clone());
    }
    claims
}

/// The answer to a request with a token.
pub(crate) fn answer(answered: &Answered<'_>, ours: Vec<String>) -> Answer {
    let Answered { belief, moment, reply } = answered;
    let word = |name: &str, prefix| words::word(name, prefix);
    let reason = match reply.primary_reason() {
        v1::Reason::Unspecified => String::new(),
        reason => word(reason.as_str_name(), "REASON_"),
    };
    let said = Said {
        decision: word(reply.verdict().as_str_name(), "VERDICT_"),
        reason,
        code: reply.challenge.as_ref().map(|asked| asked.code.clone()).unwrap_or_default(),
        detail: reply.detail.clone(),
        generation: Some(moment.generation()),
        age_ms: moment.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
    };
    let outcome = match (reply.verdict(), belief.token()) {
        (v1::Verdict::Allow, Ok(token)) => {
            let address = match belief.seen {
                Seen::At(address) => address.to_string(),
                // Said, so that what a client sent under this name does not stand.
                Seen::Unknown | Seen::NoneByNature => "unknown".to_owned(),
            };
            let headers = vec![
                (DECISION, said.decision.clone()),
                (TENANT, encoded(token.tenant())),
                (SUBJECT, encoded(token.subject())),
                (ADDRESS, address),
            ];
            let is_set = |name: &str| headers.iter().any(|(set, _)| *set == name);
            let removed = ours.into_iter().filter(|name| !is_set(name)).collect();
            Outcome::Pass { headers, removed }
        }
        _ => refused(reply),
    };
    Answer { outcome, said }
}

/// What the client of a refused request is told.
fn refused(reply: &v1::EvaluateReply) -> Outcome {
    let v1::EvaluateReply { http_status, www_authenticate, retry_after_s, challenge, .. } = reply;
    let status = u16::try_from(*http_status).unwrap_or(FORBIDDEN);
    let code = challenge.as_ref().map(|asked| asked.code.as_str());
    Outcome::Refuse(HttpRefusal::of_token(status, www_authenticate, *retry_after_s, code))
}

const FORBIDDEN: u16 = 403;

/// The answer to a request without a token.
pub(crate) fn without_token() -> Answer {
    let outcome = Outcome::Refuse(HttpRefusal::without_token());
    Answer { outcome, said: said("token_missing", "the request bears no bearer token") }
}

/// The answer to what can't be asked: the gateway's fault, which clients learn nothing of.
pub(crate) fn unasked(detail: &str) -> Answer {
    tracing::debug!(detail, "a gateway asked what can't be answered");
    let outcome = Outcome::Refuse(HttpRefusal::unasked());
    Answer { outcome, said: said("not_asked", detail) }
}

fn said(reason: &str, detail: &str) -> Said {
    let (decision, reason) = ("deny".to_owned(), reason.to_owned());
    Said { decision, reason, detail: detail.to_owned(), ..Said::default() }
}

/// An id as a header can bear it: visible ASCII as it is, but `%` and what divides values; everything else in
/// percents. So different ids never look alike.
fn encoded(id: &str) -> String {
    let stays = |byte: u8| byte.is_ascii_graphic() && !b"%,;\"\\".contains(&byte);
    if id.bytes().all(stays) {
        return id.to_owned();
    }
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            byte if stays(byte) => text.push(char::from(byte)),
            // Writing to a text never fails.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_however_a_resource_reads_them() {
        for (name, expected) in [
            ("x-caed-subject", true),
            ("X-Caed-Anything", true),
            ("x_caed_subject", true),
            ("X_CAED-subject", true),
            ("x-caed", false),
            ("x-caedsubject", false),
            ("x-cáed-a", false),
            ("my-x-caed-subject", false),
        ] {
            assert_eq!(is_ours(name), expected, "{name}");
        }
    }

    #[test]
    fn ids_in_headers_are_visible_and_differ_where_they_differ() {
        for (id, expected) in [
            ("5a1e0000-0000-4000-8000-00000a11ce00", "5a1e0000-0000-4000-8000-00000a11ce00"),
            ("auth0|1", "auth0|1"),
            ("anna@example.com", "anna@example.com"),
            ("a b", "a%20b"),
            ("a%20b", "a%2520b"),
            ("a,b;c\"d\\", "a%2Cb%3Bc%22d%5C"),
            ("ä", "%C3%A4"),
        ] {
            assert_eq!(encoded(id), expected);
        }
    }
}
