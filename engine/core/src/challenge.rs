//! The bytes of a refusal: one `WWW-Authenticate` value that every known client parses.
//!
//! Clients differ in what they can read, so the value is written the one way that all of them can:
//! a single line that starts with `Bearer `, every value quoted, no comma, quote or backslash inside
//! a value, no empty `realm`, and base64 that is the same in the standard and the URL alphabet and
//! needs no padding. SOURCE: RFC 6750 section 3; Microsoft's documentation of CAE; the parsers of the
//! Azure SDKs, MSAL and Kiota.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::decision::{Challenge, Decision, Reason, Verdict};
use crate::request::Token;
use crate::rules::{Rules, TENANT_PLACEHOLDER};

/// What precedes the code in the description, as clients and people know it.
const DESCRIPTION: &str = "Continuous access evaluation resulted in challenge with result: \
                           InteractionRequired and code: ";

/// Room for most claims requests, and for most headers.
const CLAIMS_BYTES: usize = 192;
const HEADER_BYTES: usize = 768;

/// The claims request of a challenge, minified: ASCII, of a length divisible by three, so that its
/// base64 has no padding; none of its bytes makes a `+` or a `/`.
pub fn claims_json(challenge: &Challenge) -> String {
    let Challenge { not_before, address, max_age, code: _ } = challenge;
    let mut json = String::with_capacity(CLAIMS_BYTES);
    json.push_str(r#"{"access_token":{"#);
    // Writing to a text never fails.
    if let Some(not_before) = not_before {
        let _ = write!(json, r#""nbf":{{"essential":true,"value":"{not_before}"}},"#);
    }
    if let Some(address) = address {
        let _ = write!(json, r#""xms_rp_ipaddr":{{"value":"{address}"}},"#);
    }
    if max_age.is_some() {
        json.push_str(r#""auth_time":{"essential":true},"#);
    }
    if json.ends_with(',') {
        json.pop();
    }
    json.push('}');
    while json.len() % 3 != 2 {
        json.push(' ');
    }
    json.push('}');
    json
}

/// What a challenge with this code says to people who debug a client.
pub fn description(code: &str) -> String {
    [DESCRIPTION, code].concat()
}

/// The value of the `WWW-Authenticate` header that belongs to a decision with status 401; `None`
/// with any other.
pub fn www_authenticate(
    decision: &Decision,
    token: Option<&Token<'_>>,
    rules: &Rules,
) -> Option<String> {
    if decision.http_status != 401 {
        return None;
    }
    let mut header = Header(String::with_capacity(HEADER_BYTES));
    header.0.push_str("Bearer ");
    let realm = token.map(Token::tenant).unwrap_or_default();
    match (decision.verdict, &decision.challenge) {
        (Verdict::Challenge, Some(challenge)) => {
            header.parameter("realm", realm);
            let issuer = token.and_then(|token| rules.bind(token.issuer(), realm).ok());
            if let Some(uri) = issuer.and_then(|issuer| issuer.authorization_uri.as_deref()) {
                header.parameter("authorization_uri", &uri.replace(TENANT_PLACEHOLDER, realm));
            }
            header.parameter("error", "insufficient_claims");
            header.parameter("error_description", &description(challenge.code));
            // RFC 9470, section 3.
            if let Some(max_age) = challenge.max_age {
                header.parameter("max_age", &max_age.as_secs().to_string());
            }
            header.parameter("claims", &STANDARD.encode(claims_json(challenge)));
        }
        (Verdict::Deny, _) => {
            header.parameter("realm", realm);
            header.parameter("error", "invalid_token");
            if let Some(reason) = decision.primary {
                header.parameter("error_description", invalid_token(reason));
            }
        }
        _ => return None,
    }
    Some(header.0)
}

/// Whether a text may stand inside a quoted value as it is. Without an early end: a few instructions for all bytes at
/// once.
pub(crate) fn is_safe_value(text: &str) -> bool {
    let breaks = |byte| {
        let is_visible = matches!(byte, b' '..=b'~');
        u8::from(!is_visible) | u8::from(matches!(byte, b',' | b'"' | b'\\'))
    };
    !text.is_empty() && text.bytes().fold(0, |broken, byte| broken | breaks(byte)) == 0
}

struct Header(String);

impl Header {
    /// Adds a parameter; leaves it out where its value would break the line.
    fn parameter(&mut self, name: &str, value: &str) {
        if !is_safe_value(value) {
            return;
        }
        if self.0.ends_with('"') {
            self.0.push_str(", ");
        }
        for part in [name, "=\"", value, "\""] {
            self.0.push_str(part);
        }
    }
}

/// What an `invalid_token` refusal says, for people who debug a client.
const fn invalid_token(reason: Reason) -> &'static str {
    match reason {
        Reason::Unverified => "The access token is not believed",
        Reason::Malformed => "The access token is malformed",
        Reason::IssueTimeMissing => "The access token does not say when it was issued",
        Reason::BeyondHorizon | Reason::Lifetime | Reason::Stale => {
            "The access token was issued too long ago"
        }
        Reason::Expired => "The access token expired",
        Reason::NotYetValid => "The access token is not valid yet",
        Reason::UnknownIssuer | Reason::TenantNotServed => {
            "The access token is not for this resource"
        }
        Reason::Revoked | Reason::Account | Reason::Risk | Reason::Device => {
            "The access token was revoked"
        }
        Reason::Policy | Reason::Location => "A policy does not let this access token in",
        Reason::ConditionsChanged => "The access token was issued under other conditions",
        Reason::SignInFrequency => "The sign-in is too long ago",
        Reason::Outdated => "The access token was issued before policies changed",
        Reason::Unverifiable | Reason::NotReady => "The access token can not be judged yet",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixSeconds;

    fn challenge(not_before: i64) -> Challenge {
        Challenge {
            not_before: Some(UnixSeconds::from_seconds(not_before)),
            address: None,
            max_age: None,
            code: crate::decision::CODE_REVOKED,
        }
    }

    #[test]
    fn addresses_and_sign_ins_fit_both_alphabets_too() {
        let max_age = Some(std::time::Duration::from_hours(4));
        let v6 =
            |number: u32| std::net::Ipv6Addr::from(u128::from(number) << 64 | 0x2001_0db8 << 96);
        for number in 0..20_000u32 {
            let v4 = std::net::Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
            for address in [v4.into(), v6(number.wrapping_mul(40_503)).into()] {
                for max_age in [None, max_age] {
                    let asked = Challenge {
                        address: Some(address),
                        max_age,
                        ..challenge(1_760_000_000 + i64::from(number))
                    };
                    let json = claims_json(&asked);
                    let encoded = STANDARD.encode(&json);
                    assert!(!encoded.contains(['=', '+', '/', '-', '_']), "{json}");
                }
            }
        }
        let sign_in = Challenge { not_before: None, max_age, ..challenge(0) };
        assert_eq!(
            claims_json(&sign_in).trim_end_matches(['}', ' ']),
            r#"{"access_token":{"auth_time":{"essential":true"#
        );
    }

    #[test]
    fn an_address_is_asked_for_in_the_bytes_that_clients_were_tested_with() {
        let address = Some("203.0.113.9".parse().expect("an address"));
        assert_eq!(
            STANDARD.encode(claims_json(&Challenge { address, ..challenge(1_760_000_000) })),
            "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzYwMDAwMDAwIn0sInhtc19ycF9pcGFkZHIiOnsidmFsdWUiOiIyMDMuMC4xMTMuOSJ9fSB9"
        );
    }

    #[test]
    fn the_claims_need_no_padding_and_fit_both_alphabets() {
        for not_before in (0..10_000).map(|step| 1_700_000_000 + step * 65_537).chain([0, 9, -1]) {
            let json = claims_json(&challenge(not_before));
            let encoded = STANDARD.encode(&json);
            assert!(json.is_ascii() && !encoded.contains(['=', '+', '/', '-', '_']), "{json}");
        }
    }

    #[test]
    fn the_bytes_are_those_that_clients_were_tested_with() {
        assert_eq!(
            STANDARD.encode(claims_json(&challenge(1_760_000_000))),
            "eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNzYwMDAwMDAwIn19ICB9"
        );
    }

    #[test]
    fn what_would_break_the_line_is_not_safe() {
        for text in ["", "a,b", "a\"b", "a\\b", "a\nb", "ä"] {
            assert!(!is_safe_value(text), "{text:?}");
        }
        assert!(is_safe_value("https://login.example/42/oauth2/v2.0/authorize?a=b&c=d"));
    }
}
