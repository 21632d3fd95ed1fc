//! A small issuer of tokens, in the form that Entra's has: metadata, keys, and tokens for applications.
//!
//! It takes any client for one that exists, and the sandbox's own secret for the client's; what it gives is a
//! token of a user of that name, so that policies about users count, unless it was blocked. What a resource demanded by
//! a claims challenge, the client hands over as `claims`: a token is newer than the `nbf` in there, or there is none.
//! SOURCE: OpenID Connect Core 1.0 section 5.5.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use caed_trust::algorithm::Algorithm;
use caed_trust::maker::Maker;
use serde_json::{Value, json};

/// The tenant of every token.
pub const TENANT: &str = "5a1db0c5-0000-4000-8000-000000000042";

/// For whom every token is.
pub const AUDIENCE: &str = "api://sandbox";

/// How long a token lives.
const LIFETIME_S: u64 = 3600;

/// How far ahead of now a token may be demanded: a resource may round the second up, and its clock may differ.
const AHEAD: Duration = Duration::from_secs(3);

const KEY: &str = "sandbox";

/// The issuer, which every clone shares.
#[derive(Clone)]
pub struct Issuer {
    shared: Arc<Shared>,
}

struct Shared {
    /// Where it is, `https://localhost:…`.
    url: String,
    secret: String,
    /// The `claims` of every request for a token, as they came, in order.
    handed_over: Mutex<Vec<(String, Option<String>)>>,
    /// How many milliseconds its keys take to come.
    keys_take_ms: AtomicU64,
    /// Who gets no token.
    blocked: Mutex<HashSet<String>>,
}

impl Issuer {
    /// An issuer at `url` whose clients have this secret.
    pub fn new(url: &str, secret: &str) -> Self {
        let (url, secret) = (url.to_owned(), secret.to_owned());
        let (handed_over, blocked) = (Mutex::default(), Mutex::default());
        let keys_take_ms = AtomicU64::default();
        Self { shared: Arc::new(Shared { url, secret, handed_over, keys_take_ms, blocked }) }
    }

    /// Its name, as tokens have it.
    pub fn name(&self) -> String {
        format!("{}/{TENANT}/v2.0", self.shared.url)
    }

    /// Where its keys are.
    pub fn keys_url(&self) -> String {
        format!("{}/{TENANT}/discovery/v2.0/keys", self.shared.url)
    }

    /// Where it gives tokens.
    pub fn token_url(&self) -> String {
        format!("{}/{TENANT}/oauth2/v2.0/token", self.shared.url)
    }

    /// The keys that its tokens are verified with.
    pub fn keys(&self) -> Value {
        let mut key = Maker::ours().rsa_jwk(KEY);
        if let Some(key) = key.as_object_mut() {
            key.insert("use".to_owned(), "sig".into());
            key.insert("alg".to_owned(), "RS256".into());
        }
        json!({ "keys": [key] })
    }

    /// What this client handed over as `claims`, request by request; `None` where it had none.
    pub fn handed_over(&self, client: &str) -> Vec<Option<String>> {
        let all = self.shared.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = all.iter().filter(|(whose, _)| whose == client);
        mine.map(|(_, claims)| claims.clone()).collect()
    }

    /// From now on its keys take so many milliseconds to come.
    pub fn slow_down(&self, keys_take_ms: u64) {
        self.shared.keys_take_ms.store(keys_take_ms, Ordering::Relaxed);
    }

    /// Gives this client no token any more, as where its account is disabled.
    pub fn block(&self, client: &str) {
        let mut blocked = self.shared.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        blocked.insert(client.to_owned());
    }

    fn is_blocked(&self, client: &str) -> bool {
        self.shared.blocked.lock().unwrap_or_else(PoisonError::into_inner).contains(client)
    }

    /// A token that was issued then, to a client that can answer a challenge, or can't.
    pub fn token(&self, client: &str, issued_s: u64, is_capable: bool) -> String {
        let mut payload = json!({
            "ver": "2.0", "iss": self.name(), "aud": AUDIENCE, "tid": TENANT, "oid": client,
            "sub": client, "azp": client, "iat": issued_s, "nbf": issued_s,
            "exp": issued_s + LIFETIME_S,
        });
        if let Some(payload) = payload.as_object_mut().filter(|_| is_capable) {
            payload.insert("xms_cc".to_owned(), json!(["cp1"]));
        }
        let header = json!({"typ": "JWT", "alg": "RS256", "kid": KEY});
        Maker::ours().token(Algorithm::Rs256, &header.to_string(), &payload.to_string())
    }

    /// What it serves.
    pub(crate) fn router(self) -> Router {
        let path = |rest: &str| format!("/{TENANT}{rest}");
        Router::new()
            .route(&path("/v2.0/.well-known/openid-configuration"), get(metadata))
            .route(&path("/discovery/v2.0/keys"), get(keys))
            .route(&path("/oauth2/v2.0/token"), post(token))
            .with_state(self)
    }
}

/// SOURCE: OpenID Connect Discovery 1.0 section 3.
async fn metadata(State(issuer): State<Issuer>) -> Json<Value> {
    let authorize = format!("{}/{TENANT}/oauth2/v2.0/authorize", issuer.shared.url);
    Json(json!({
        "issuer": issuer.name(),
        "authorization_endpoint": authorize,
        "token_endpoint": issuer.token_url(),
        "jwks_uri": issuer.keys_url(),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    }))
}

async fn keys(State(issuer): State<Issuer>) -> Json<Value> {
    let take_ms = issuer.shared.keys_take_ms.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(take_ms)).await;
    Json(issuer.keys())
}

/// SOURCE: RFC 6749 sections 4.4 and 5.
async fn token(State(issuer): State<Issuer>, form: String) -> Response {
    let field = |name: &str| {
        let mut fields = form_urlencoded::parse(form.as_bytes());
        fields.find(|(field, _)| field == name).map(|(_, value)| value.into_owned())
    };
    if field("grant_type").as_deref() != Some("client_credentials") {
        return refused("unsupported_grant_type", "grant_type is not client_credentials");
    }
    let Some(client) = field("client_id").filter(|client| !client.is_empty()) else {
        return refused("invalid_client", "there is no client_id");
    };
    if field("client_secret").as_deref() != Some(&issuer.shared.secret) {
        return refused("invalid_client", "client_secret is not the sandbox's");
    }
    let scope = format!("{AUDIENCE}/.default");
    // Beside it libraries ask for those of sign-ins.
    if !field("scope").is_some_and(|asked| asked.split(' ').any(|asked| asked == scope)) {
        return refused("invalid_scope", &format!("scope has no {scope}"));
    }
    let claims = field("claims");
    {
        let mut all = issuer.shared.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((client.clone(), claims.clone()));
    }
    if issuer.is_blocked(&client) {
        // In Entra's words.
        let problem = format!("AADSTS7000112: Application '{client}'({client}) is disabled.");
        return refused("unauthorized_client", &problem);
    }
    let demanded = match claims.as_deref().map_or(Ok(Demanded::default()), Demanded::of) {
        Ok(demanded) => demanded,
        Err(problem) => return refused("invalid_request", problem),
    };
    let Some(now) = moment_after(demanded.nbf_s).await else {
        return refused("invalid_grant", "no token can be as new as the nbf in claims");
    };
    let token = issuer.token(&client, now, demanded.is_capable);
    let answer = json!({
        "token_type": "Bearer", "expires_in": LIFETIME_S, "ext_expires_in": LIFETIME_S,
        "access_token": token,
    });
    ([("cache-control", "no-store")], Json(answer)).into_response()
}

/// What a client demands of its token.
#[derive(Default)]
struct Demanded {
    /// That it is issued no earlier.
    nbf_s: u64,
    /// That it says that its client can answer challenges.
    is_capable: bool,
}

impl Demanded {
    fn of(claims: &str) -> Result<Self, &'static str> {
        let claims: Value = serde_json::from_str(claims).map_err(|_| "claims is no JSON")?;
        let of_token = claims.get("access_token").unwrap_or(&Value::Null);
        let nbf_s = match of_token.get("nbf").and_then(|nbf| nbf.get("value")) {
            None => 0,
            Some(value) => {
                let value = value.as_str().and_then(|text| text.parse().ok());
                value.ok_or("nbf in claims is no text of a number of seconds")?
            }
        };
        let values = of_token.get("xms_cc").and_then(|capabilities| capabilities.get("values"));
        let values = values.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_cp1 = |value: &Value| value.as_str().is_some_and(|v| v.eq_ignore_ascii_case("cp1"));
        Ok(Self { nbf_s, is_capable: values.iter().any(is_cp1) })
    }
}

/// The time once it is no earlier than `nbf_s`; `None` where that is too far ahead.
async fn moment_after(nbf_s: u64) -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ahead = Duration::from_secs(nbf_s).saturating_sub(now);
    if ahead > AHEAD {
        return None;
    }
    tokio::time::sleep(ahead).await;
    Some(now.as_secs().max(nbf_s))
}

/// SOURCE: RFC 6749 section 5.2.
fn refused(error: &str, description: &str) -> Response {
    let status =
        if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    let answer = json!({"error": error, "error_description": description});
    (status, [("cache-control", "no-store")], Json(answer)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test says what it expects, and stops where it is not so"
    )]

    use axum::body::to_bytes;
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;

    use super::*;

    fn issuer() -> Issuer {
        Issuer::new("https://localhost:8444", "secret")
    }

    /// What it answers to this client and these claims.
    async fn asked(issuer: &Issuer, client: &str, claims: &str) -> (StatusCode, Value) {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", client)
            .append_pair("client_secret", "secret")
            .append_pair("scope", "api://sandbox/.default openid")
            .append_pair("claims", claims)
            .finish();
        let answer = token(State(issuer.clone()), form).await;
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 16).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    fn now_s() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
    }

    fn demand(nbf_s: u64) -> String {
        let nbf = json!({"essential": true, "value": nbf_s.to_string()});
        json!({"access_token": {"nbf": nbf}}).to_string()
    }

    #[tokio::test]
    async fn a_token_is_as_new_as_is_demanded_or_there_is_none() {
        let nbf_s = now_s() + 1;
        let (status, answer) = asked(&issuer(), "anna", &demand(nbf_s)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        // Nor is it given before its time.
        assert!(now_s() >= nbf_s);
        let token = answer["access_token"].as_str().expect("a token");
        let payload = token.split('.').nth(1).expect("three parts");
        let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).expect("base64");
        let payload: Value = serde_json::from_slice(&payload).expect("JSON");
        assert!(payload["iat"].as_u64().expect("a number") >= nbf_s, "{payload}");

        let (status, answer) = asked(&issuer(), "anna", &demand(now_s() + 60)).await;
        assert_eq!((status, &answer["error"]), (StatusCode::BAD_REQUEST, &json!("invalid_grant")));
        assert_eq!(answer.get("access_token"), None);
    }

    #[tokio::test]
    async fn whoever_is_blocked_gets_no_token() {
        let issuer = issuer();
        issuer.block("anna");
        for claims in ["{}", &demand(now_s())] {
            let (status, answer) = asked(&issuer, "anna", claims).await;
            assert_eq!(status, StatusCode::BAD_REQUEST);
            assert_eq!(answer["error"], "unauthorized_client");
            assert_eq!(answer.get("access_token"), None);
            assert_eq!(asked(&issuer, "ben", claims).await.0, StatusCode::OK);
        }
    }
}
