//! The claims of a token, as core reads them.

use caed_core::request::{Claims, Texts, Token, Unusable, announces_cp1};
use caed_proto::v1;
use serde_json::{Map, Value};

/// Why a text is not the payload of a token. It repeats no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPayload {
    /// No JSON.
    #[error("is no JSON from line {line}, column {column} on; paste all of it, from `{{` to `}}`")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// JSON, but no object.
    #[error("must be one JSON object, such as {{\"sub\": \"…\"}}")]
    Object,
    /// A claim of another type.
    #[error("claim `{claim}` must be {must}")]
    Claim {
        /// The claim, as it is named here or in the configuration.
        claim: String,
        /// What it must be.
        must: &'static str,
    },
}

/// How an issuer names the claims that others name otherwise. Of several names the first that a token has
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The user or workload identity.
    pub subject: Vec<String>,
    /// The tenant; none where tokens don't name it.
    pub tenant: Vec<String>,
    /// The client application.
    pub client: Vec<String>,
    /// The session.
    pub session: Vec<String>,
    /// The mark of a judged token (D5); none where there is no such mark.
    pub judged: Option<String>,
    /// How tokens show that they are a client's own, and no user's.
    pub machine: Machine,
}

/// How tokens show that they are a client's own, and no user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// By `idtyp`, as in Entra tokens.
    #[default]
    IdentityType,
    /// By a `sub` that is the client's id with this behind it, where no claim names a user. Then the client's
    /// id is the subject. Or by `idtyp`.
    SubjectIsClient {
        /// What stands behind the client's id.
        suffix: &'static str,
        /// The claim that names a user, whatever else may do so.
        user: Option<&'static str>,
    },
}

impl Default for Names {
    /// As in Entra tokens, and with `sub` for a subject where there is no `oid`.
    fn default() -> Self {
        Self {
            subject: names(&["oid", "sub"]),
            tenant: names(&["tid"]),
            client: names(&["azp", "appid"]),
            session: names(&["sid"]),
            judged: None,
            machine: Machine::IdentityType,
        }
    }
}

impl Names {
    /// Entra's. Its `sub` is another one for each application, so no event names it.
    pub fn entra() -> Self {
        Self { subject: names(&["oid"]), ..Self::default() }
    }

    /// Keycloak's. A realm is what a tenant is elsewhere, and stands in the issuer's name alone.
    pub fn keycloak() -> Self {
        Self {
            subject: names(&["sub"]),
            tenant: Vec::new(),
            client: names(&["azp"]),
            ..Self::default()
        }
    }

    /// Those of Okta's custom authorization servers. `uid` is missing where no user is behind the token;
    /// then `sub` is the client's id. SOURCE: Okta, OpenID Connect & OAuth 2.0 API, access token claims.
    pub fn okta() -> Self {
        Self {
            subject: names(&["uid"]),
            tenant: Vec::new(),
            client: names(&["cid"]),
            machine: Machine::SubjectIsClient { suffix: "", user: Some("uid") },
            ..Self::default()
        }
    }

    /// Auth0's, in both of its profiles. The `sub` of a client's own token is the client's id with `@clients`;
    /// those of users hold a `|`. SOURCE: Auth0, access token profiles.
    pub fn auth0() -> Self {
        Self {
            subject: names(&["sub"]),
            tenant: Vec::new(),
            client: names(&["azp", "client_id"]),
            machine: Machine::SubjectIsClient { suffix: "@clients", user: None },
            ..Self::default()
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Reads a token's claims.
pub fn token(claims: &v1::TokenClaims) -> Result<Token<'_>, Unusable> {
    Token::parse(&of(claims))
}

/// The values of a claim that a token may have.
const fn listed(claim: &v1::ClaimValues) -> Texts<'_> {
    let v1::ClaimValues { values } = claim;
    Texts::Listed(values.as_slice())
}

/// Claims, as core reads them.
pub fn of(claims: &v1::TokenClaims) -> Claims<'_> {
    let v1::TokenClaims {
        iss,
        tid,
        sub,
        iat,
        exp,
        nbf,
        sid,
        jti,
        azp,
        deviceid,
        xms_cc,
        aud,
        ipaddr,
        acct,
        auth_time,
        idtyp,
        groups,
        wids,
        judged,
    } = claims;
    Claims {
        issuer: iss.as_deref(),
        tenant: tid.as_deref(),
        subject: sub.as_deref(),
        issued_at: *iat,
        expires: *exp,
        not_before: *nbf,
        session: sid.as_deref(),
        token_id: jti.as_deref(),
        client: azp.as_deref(),
        device: deviceid.as_deref(),
        answers_challenges: xms_cc.iter().any(|value| announces_cp1(value)),
        audiences: Texts::Listed(aud),
        address: ipaddr.as_deref(),
        account_kind: *acct,
        authenticated: *auth_time,
        identity_type: idtyp.as_deref(),
        groups: groups.as_ref().map(listed),
        roles: wids.as_ref().map(listed),
        judged: judged.as_deref(),
    }
}

/// Reads the payload of a token, already decoded: one JSON object, with the usual [`Names`]. Claims that no
/// decision reads are passed over; `null` is no claim.
pub fn payload(json: &str) -> Result<v1::TokenClaims, InvalidPayload> {
    let object = serde_json::from_str(json)
        .map_err(|error| InvalidPayload::Json { line: error.line(), column: error.column() })?;
    let Value::Object(object) = object else { return Err(InvalidPayload::Object) };
    members(object, &Names::default())
}

/// Reads the members of a payload, as [`payload`] does: for who parsed it more strictly, and knows the
/// issuer's names.
pub fn members(
    object: Map<String, Value>,
    names: &Names,
) -> Result<v1::TokenClaims, InvalidPayload> {
    let claims = Payload(object);
    let azp = claims.first(&names.client)?;
    let (mut sub, mut idtyp) = (claims.first(&names.subject)?, claims.text("idtyp")?);
    if let Machine::SubjectIsClient { suffix, user } = names.machine
        && user.is_none_or(|user| claims.of(user).is_none())
        && let (Some(client), Some(named)) = (&azp, claims.text("sub")?)
        && sub.as_ref().is_none_or(|subject| *subject == named)
        && named.strip_suffix(suffix) == Some(client)
    {
        sub = Some(client.clone());
        idtyp = Some("app".to_owned());
    }
    Ok(v1::TokenClaims {
        iss: claims.text("iss")?,
        tid: claims.first(&names.tenant)?,
        sub,
        iat: claims.number("iat")?,
        exp: claims.number("exp")?,
        nbf: claims.number("nbf")?,
        sid: claims.first(&names.session)?,
        jti: claims.text("uti")?.or(claims.text("jti")?),
        azp,
        deviceid: claims.text("deviceid")?,
        xms_cc: claims.texts("xms_cc")?.unwrap_or_default(),
        aud: claims.texts("aud")?.unwrap_or_default(),
        ipaddr: claims.text("ipaddr")?,
        acct: claims.number("acct")?,
        auth_time: claims.number("auth_time")?,
        idtyp,
        groups: claims.texts("groups")?.map(|values| v1::ClaimValues { values }),
        wids: claims.texts("wids")?.map(|values| v1::ClaimValues { values }),
        judged: claims.mark(names.judged.as_deref())?,
    })
}

struct Payload(Map<String, Value>);

impl Payload {
    fn of(&self, claim: &str) -> Option<&Value> {
        self.0.get(claim).filter(|value| !value.is_null())
    }

    fn text(&self, claim: &str) -> Result<Option<String>, InvalidPayload> {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        self.read(claim, "a text in quotes", text)
    }

    /// The first of several claims that mean the same. Each must be what it should be.
    fn first(&self, names: &[String]) -> Result<Option<String>, InvalidPayload> {
        let mut first = None;
        for name in names {
            let text = self.text(name)?;
            first = first.or(text);
        }
        Ok(first)
    }

    /// A mark: a text, or `true`; core tells which texts are none.
    fn mark(&self, name: Option<&str>) -> Result<Option<String>, InvalidPayload> {
        let mark = |value: &Value| match value {
            Value::Bool(mark) => Some(mark.to_string()),
            Value::String(mark) => Some(mark.clone()),
            _ => None,
        };
        let Some(name) = name else { return Ok(None) };
        self.read(name, "a text in quotes, true or false", mark)
    }

    fn number(&self, claim: &str) -> Result<Option<i64>, InvalidPayload> {
        self.read(claim, "a whole number", Value::as_i64)
    }

    /// Several texts, or one that stands alone.
    fn texts(&self, claim: &str) -> Result<Option<Vec<String>>, InvalidPayload> {
        let texts = |value: &Value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(values) => {
                values.iter().map(|value| value.as_str().map(ToOwned::to_owned)).collect()
            }
            _ => None,
        };
        self.read(claim, "a text, or a list of texts", texts)
    }

    fn read<T>(
        &self,
        claim: &str,
        must: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, InvalidPayload> {
        let Some(value) = self.of(claim) else { return Ok(None) };
        let invalid = || InvalidPayload::Claim { claim: claim.to_owned(), must };
        read(value).map(Some).ok_or_else(invalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLAIMS: [&str; 21] = [
        "iss",
        "tid",
        "sub",
        "oid",
        "iat",
        "exp",
        "nbf",
        "sid",
        "jti",
        "uti",
        "azp",
        "appid",
        "deviceid",
        "xms_cc",
        "aud",
        "ipaddr",
        "acct",
        "auth_time",
        "idtyp",
        "groups",
        "wids",
    ];

    fn values() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        plain.prop_recursive(2, 8, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Value::from)
        })
    }

    proptest! {
        #[test]
        fn any_text_is_a_payload_or_is_told_not_to_be(text in ".{0,200}") {
            let _ = payload(&text);
        }

        /// Whatever type a claim has: it is read, or it is the one that is named.
        #[test]
        fn a_claim_is_read_or_named(
            claim in prop::sample::select(&CLAIMS[..]),
            value in values(),
            other in values(),
        ) {
            let json = serde_json::json!({ claim: value, "unknown": other }).to_string();
            match payload(&json) {
                Ok(claims) => {
                    let is_lists = matches!(claim, "groups" | "wids");
                    let is_nothing = value.is_null() || (!is_lists && is_empty(&value));
                    prop_assert_eq!(claims == v1::TokenClaims::default(), is_nothing);
                }
                Err(InvalidPayload::Claim { claim: named, must: _ }) => prop_assert_eq!(named, claim),
                Err(error) => prop_assert!(false, "{error} in {json}"),
            }
        }
    }

    fn is_empty(value: &Value) -> bool {
        value.as_array().is_some_and(Vec::is_empty)
    }

    #[test]
    fn a_payload_is_read_as_issuers_write_them() {
        let entra = payload(
            r#"{"aud": "api://files", "iss": "https://sts/contoso/", "iat": 1768478400, "exp": 1768482000,
               "oid": "u-1001", "sub": "pairwise", "tid": "contoso", "uti": "t-1", "appid": "app",
               "xms_cc": ["CP1"], "wids": ["r-1"], "amr": ["pwd", "mfa"], "ver": "1.0", "acct": 0,
               "nbf": null, "_claim_names": {"groups": "src1"}}"#,
        );
        let expected = v1::TokenClaims {
            iss: Some("https://sts/contoso/".to_owned()),
            tid: Some("contoso".to_owned()),
            sub: Some("u-1001".to_owned()),
            iat: Some(1_768_478_400),
            exp: Some(1_768_482_000),
            jti: Some("t-1".to_owned()),
            azp: Some("app".to_owned()),
            xms_cc: vec!["CP1".to_owned()],
            aud: vec!["api://files".to_owned()],
            acct: Some(0),
            wids: Some(v1::ClaimValues { values: vec!["r-1".to_owned()] }),
            ..v1::TokenClaims::default()
        };
        assert_eq!(entra, Ok(expected));
        let other = payload(r#"{"sub": "anna", "aud": ["a", "b"], "jti": "t-2", "xms_cc": "cp1"}"#);
        let other = other.expect("a payload");
        assert_eq!(other.sub.as_deref(), Some("anna"));
        assert_eq!((other.jti.as_deref(), other.aud.len()), (Some("t-2"), 2));
        assert_eq!(other.xms_cc, ["cp1"]);
    }

    /// Reads an object with the usual names but these.
    fn named(json: Value, names: &Names) -> Result<v1::TokenClaims, InvalidPayload> {
        let Value::Object(object) = json else { panic!("an object") };
        members(object, names)
    }

    #[test]
    fn a_mark_is_a_text_or_true() {
        let names = Names { judged: Some("ip".to_owned()), ..Names::default() };
        let mark = |value: Value| named(serde_json::json!({ "ip": value }), &names);
        for (value, expected) in [
            (Value::from("203.0.113.9"), Some("203.0.113.9")),
            (true.into(), Some("true")),
            ("true".into(), Some("true")),
            // The decision takes an empty one for none, and one that says no (D5).
            ("".into(), Some("")),
            (false.into(), Some("false")),
            ("False".into(), Some("False")),
            (Value::Null, None),
        ] {
            let told = mark(value.clone()).map(|claims| claims.judged);
            assert_eq!(told, Ok(expected.map(ToOwned::to_owned)), "{value}");
        }
        for value in
            [Value::from(1), vec!["a"].into(), Vec::<String>::new().into(), serde_json::json!({})]
        {
            let must = "a text in quotes, true or false";
            let expected = InvalidPayload::Claim { claim: "ip".to_owned(), must };
            assert_eq!(mark(value.clone()), Err(expected), "{value}");
        }
        // Where no mark is configured none is read.
        let told = named(serde_json::json!({"ip": true, "judged": "true"}), &Names::default());
        assert_eq!(told.map(|claims| claims.judged), Ok(None));
    }

    #[test]
    fn of_several_names_the_first_counts_and_each_has_its_type() {
        let auth0 = Names::auth0();
        let client = |azp: Value, id: Value| {
            named(serde_json::json!({"azp": azp, "client_id": id}), &auth0).map(|claims| claims.azp)
        };
        assert_eq!(client("a".into(), "b".into()), Ok(Some("a".to_owned())));
        assert_eq!(client(Value::Null, "b".into()), Ok(Some("b".to_owned())));
        for (azp, id, claim) in
            [(Value::from("a"), 7.into(), "client_id"), (7.into(), "b".into(), "azp")]
        {
            let must = "a text in quotes";
            assert_eq!(
                client(azp, id),
                Err(InvalidPayload::Claim { claim: claim.to_owned(), must })
            );
        }
    }

    /// Only the client's own token is a machine's: never one that names a user.
    #[test]
    fn a_machine_is_its_own_client() {
        let told = |names: &Names, json: Value| {
            let claims = named(json, names).expect("claims");
            (claims.sub, claims.idtyp)
        };
        let (okta, auth0) = (Names::okta(), Names::auth0());
        let by_login = Names { subject: names(&["sub"]), ..Names::okta() };
        let some = |text: &str| Some(text.to_owned());
        for (names, json, sub, is_machine) in [
            (&okta, serde_json::json!({"cid": "c", "sub": "c"}), some("c"), true),
            (&okta, serde_json::json!({"cid": "c", "sub": "c", "uid": "u"}), some("u"), false),
            (&okta, serde_json::json!({"cid": "c", "sub": "u"}), None, false),
            // A login may be whatever its user chose.
            (&by_login, serde_json::json!({"cid": "c", "sub": "c", "uid": "u"}), some("c"), false),
            (&by_login, serde_json::json!({"cid": "c", "sub": "c"}), some("c"), true),
            (&okta, serde_json::json!({"sub": "c"}), None, false),
            (&okta, serde_json::json!({"cid": "", "sub": "x"}), None, false),
            (&auth0, serde_json::json!({"azp": "c", "sub": "c@clients"}), some("c"), true),
            (&auth0, serde_json::json!({"client_id": "c", "sub": "c@clients"}), some("c"), true),
            (&auth0, serde_json::json!({"azp": "c", "sub": "c"}), some("c"), false),
            (&auth0, serde_json::json!({"azp": "d", "sub": "c@clients"}), some("c@clients"), false),
            (
                &auth0,
                serde_json::json!({"azp": "c", "sub": "a|c@clients"}),
                some("a|c@clients"),
                false,
            ),
        ] {
            let idtyp = is_machine.then(|| "app".to_owned());
            assert_eq!(told(names, json.clone()), (sub, idtyp), "{json}");
        }
    }

    #[test]
    fn what_is_no_payload_is_told_without_its_values() {
        for (json, told) in [
            ("", "is no JSON from line 1, column 0 on; paste all of it, from `{` to `}`"),
            (
                "{\"sub\": \"anna\"",
                "is no JSON from line 1, column 14 on; paste all of it, from `{` to `}`",
            ),
            ("[]", "must be one JSON object, such as {\"sub\": \"…\"}"),
            ("{\"iat\": \"secret\"}", "claim `iat` must be a whole number"),
            ("{\"iat\": 1.5}", "claim `iat` must be a whole number"),
            ("{\"sub\": 7}", "claim `sub` must be a text in quotes"),
            ("{\"groups\": [7]}", "claim `groups` must be a text, or a list of texts"),
        ] {
            assert_eq!(payload(json).expect_err(json).to_string(), told);
        }
    }
}
