//! What the client of a refused request is sent, by whoever enforces: status, headers, and a JSON body.
//!
//! It says no more than the client must know, in the same letters whoever enforces, as far as that one sends on what it
//! is given: nginx has bodies of its own, and a gateway that verifies tokens itself answers for what it finds. No cache
//! keeps it. Pages of other origins can read the challenge where the gateway or the API allows their origin (CORS).

use crate::challenge;

/// The answer to a refused request. Its names and values are as headers bear them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRefusal {
    /// 401, 403 or 503.
    pub status: u16,
    /// Names, in small letters, with their values.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: String,
}

/// What is needed. SOURCE: RFC 6750 section 3.
const BEARER: &str = "Bearer";

const FORBIDDEN: u16 = 403;

impl HttpRefusal {
    /// The refusal of a token: with its challenge and the seconds to wait, where there are any, and with the code of
    /// what it is challenged for.
    pub fn of_token(
        status: u16,
        www_authenticate: &str,
        retry_after_s: u32,
        code: Option<&str>,
    ) -> Self {
        let message = match (code, status) {
            (Some(code), _) => challenge::description(code),
            (None, 401) => "The access token is not accepted".to_owned(),
            (None, 503) => "Whether to let the access token in can not be told now".to_owned(),
            (None, _) => "The access token is not let in here".to_owned(),
        };
        Self::new(status, www_authenticate, retry_after_s, &message)
    }

    /// The answer to a request without a token: what is needed, and no error (D10). SOURCE: RFC 6750 section 3.1.
    pub fn without_token() -> Self {
        Self::new(401, BEARER, 0, "The request bears no access token")
    }

    /// The answer to what can't be asked (D10): not the client's fault, nor what it should be told.
    pub fn unasked() -> Self {
        Self::new(FORBIDDEN, "", 0, "The request can not be judged")
    }

    fn new(status: u16, www_authenticate: &str, retry_after_s: u32, message: &str) -> Self {
        let code = match status {
            401 => "InvalidAuthenticationToken",
            503 => "ServiceUnavailable",
            _ => "AccessDenied",
        };
        let mut headers = vec![
            ("cache-control", "no-store".to_owned()),
            ("content-type", "application/json".to_owned()),
        ];
        if !www_authenticate.is_empty() {
            headers.push(("www-authenticate", www_authenticate.to_owned()));
            headers.push(("access-control-expose-headers", "WWW-Authenticate".to_owned()));
        }
        if retry_after_s > 0 {
            headers.push(("retry-after", retry_after_s.to_string()));
        }
        // Both texts are our own: neither a quote nor a backslash is in them.
        let body = format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#);
        Self { status, headers, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{CODE_LOCATION, CODE_OUTDATED, CODE_REVOKED};

    #[test]
    fn a_refusal_says_what_the_client_must_know_and_no_more() {
        let told = |status, challenge, wait, code| {
            let HttpRefusal { status: sent, headers, body } =
                HttpRefusal::of_token(status, challenge, wait, code);
            assert_eq!(sent, status);
            let headers: Vec<String> =
                headers.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
            (headers.join("; "), body)
        };
        let always = "cache-control: no-store; content-type: application/json";
        let (headers, body) = told(401, "Bearer a=\"b\"", 0, Some(CODE_REVOKED));
        assert_eq!(
            headers,
            format!(
                "{always}; www-authenticate: Bearer a=\"b\"; access-control-expose-headers: WWW-Authenticate"
            )
        );
        assert_eq!(
            body,
            r#"{"error":{"code":"InvalidAuthenticationToken","message":"Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp"}}"#
        );
        assert_eq!(
            told(403, "", 0, None),
            (
                always.to_owned(),
                r#"{"error":{"code":"AccessDenied","message":"The access token is not let in here"}}"#.to_owned()
            )
        );
        assert_eq!(
            told(503, "", 7, None),
            (
                format!("{always}; retry-after: 7"),
                r#"{"error":{"code":"ServiceUnavailable","message":"Whether to let the access token in can not be told now"}}"#.to_owned()
            )
        );
        assert_eq!(HttpRefusal::without_token().status, 401);
        assert_eq!(HttpRefusal::unasked().status, 403);
    }

    #[test]
    fn every_code_stands_in_json_as_it_is() {
        for code in [CODE_REVOKED, CODE_LOCATION, CODE_OUTDATED] {
            assert!(code.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{code}");
        }
    }
}
