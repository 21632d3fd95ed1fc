//! Whether claims are those of a token (T2).
//!
//! A gateway that verified a token hands on its claims, and the request with a token goes on to the
//! resource. Both must be the same token: else somebody is let in for what another one may. The token is
//! read here, not verified: whoever may vouch did that.

use std::sync::LazyLock;

use caed_core::request::{Claims, Texts};
use caed_decode::asked::Given;
use caed_decode::claims::{self, InvalidPayload, Names};
use caed_proto::v1::TokenClaims;
use serde_json::{Map, Value};

use crate::issuer::Issuers;
use crate::json::Flaw;
use crate::limits;
use crate::token::{self, Parts};

/// Why claims are not taken for those of a token. It repeats no part of either.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The token can't be read.
    #[error(
        "the token that is presented is no signed JWT of at most {} bytes",
        limits::TOKEN_BYTES_MAX
    )]
    Form,
    /// Its payload can't be read.
    #[error("the payload of the token that is presented {0}")]
    Payload(Flaw),
    /// A claim of another type.
    #[error("the token that is presented: {0}")]
    Claims(InvalidPayload),
    /// Another token's.
    #[error("claim `{0}` is not the one of the token that is presented")]
    Claim(&'static str),
}

/// Where an issuer is not known.
static USUAL: LazyLock<Names> = LazyLock::new(Names::default);

/// Reads a payload that somebody else has verified, as its issuer names claims.
pub(crate) fn members(
    payload: Map<String, Value>,
    issuers: &Issuers,
) -> Result<TokenClaims, InvalidPayload> {
    let issuer = payload.get("iss").and_then(Value::as_str);
    match issuer.and_then(|name| issuers.names(name)) {
        Some(names) => claims::members(payload, names),
        None => claims::members(payload, &USUAL),
    }
}

/// Checks that every claim that is given is the token's. A token may say more.
pub(crate) fn agree<'g>(
    token: &[u8],
    given: impl Into<Given<'g>>,
    issuers: &Issuers,
) -> Result<(), Disagreement> {
    let Parts { payload, .. } = Parts::of(token).map_err(|_| Disagreement::Form)?;
    let payload = token::decoded(payload).map_err(Disagreement::Payload)?;
    let said = members(payload, issuers).map_err(Disagreement::Claims)?;
    let (Given { claims: given, capabilities }, said) = (given.into(), Given::from(&said));
    let (said, said_capabilities) = (said.claims, said.capabilities);
    let Claims {
        issuer,
        tenant,
        subject,
        issued_at,
        expires,
        not_before,
        session,
        token_id,
        client,
        device,
        // By the capabilities.
        answers_challenges: _,
        audiences,
        address,
        account_kind,
        authenticated,
        identity_type,
        groups,
        roles,
        judged,
    } = given;
    for (agrees, claim) in [
        (agrees(issuer, said.issuer), "iss"),
        // Where the token has none, the tenant may be the one that its issuer speaks for.
        (said.tenant.is_none() || agrees(tenant, said.tenant), "tid"),
        (agrees(subject, said.subject), "sub"),
        (agrees(issued_at, said.issued_at), "iat"),
        (agrees(expires, said.expires), "exp"),
        (agrees(not_before, said.not_before), "nbf"),
        (agrees(session, said.session), "sid"),
        (agrees(token_id, said.token_id), "jti"),
        (agrees(client, said.client), "azp"),
        (agrees(device, said.device), "deviceid"),
        (agrees(listed(capabilities), Some(said_capabilities)), "xms_cc"),
        (agrees(listed(audiences), Some(said.audiences)), "aud"),
        (agrees(address, said.address), "ipaddr"),
        (agrees(account_kind, said.account_kind), "acct"),
        (agrees(authenticated, said.authenticated), "auth_time"),
        (agrees(identity_type, said.identity_type), "idtyp"),
        (agrees(groups, said.groups), "groups"),
        (agrees(roles, said.roles), "wids"),
        (agrees(judged, said.judged), "judged"),
    ] {
        if !agrees {
            return Err(Disagreement::Claim(claim));
        }
    }
    Ok(())
}

/// Whether a claim that may be given is the one that the token has.
fn agrees<T: Copy + PartialEq>(given: Option<T>, said: Option<T>) -> bool {
    given.is_none() || given == said
}

/// A list that is given, where it is.
fn listed(texts: Texts<'_>) -> Option<Texts<'_>> {
    texts.iter().next().map(|_| texts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::maker::encoded;

    /// A token of anna's, signed by nobody: whoever may vouch has verified it.
    fn token(payload: &Value) -> String {
        format!(
            "{}.{}.c2lnbmVk",
            encoded(r#"{"alg":"RS256","kid":"k"}"#),
            encoded(payload.to_string())
        )
    }

    /// Every claim that decisions read, and what else it might say.
    fn claims() -> [(&'static str, Value, Value); 18] {
        [
            ("iss", json!("https://idp.example"), json!("https://idp.example/")),
            ("tid", json!("contoso"), json!("fabrikam")),
            ("sub", json!("anna"), json!("boris")),
            ("iat", json!(1_768_478_400), json!(1_768_478_401)),
            ("exp", json!(1_768_482_000), json!(1_768_485_600)),
            ("nbf", json!(1_768_478_400), json!(0)),
            ("sid", json!("s-1"), json!("s-2")),
            ("jti", json!("t-1"), json!("t-2")),
            ("azp", json!("app"), json!("other")),
            ("deviceid", json!("d-1"), json!("d-2")),
            ("xms_cc", json!(["cp1"]), json!(["cp1", "cp2"])),
            ("aud", json!(["api://files"]), json!(["api://mail"])),
            ("ipaddr", json!("198.51.100.7"), json!("198.51.100.8")),
            ("acct", json!(0), json!(1)),
            ("auth_time", json!(1_768_478_000), json!(1_768_478_001)),
            ("idtyp", json!("user"), json!("app")),
            ("groups", json!(["g-1"]), json!([])),
            ("wids", json!(["r-1"]), json!(["r-1", "r-2"])),
        ]
    }

    fn members(claims: impl IntoIterator<Item = (&'static str, Value)>) -> Map<String, Value> {
        claims.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn given(members: Map<String, Value>) -> TokenClaims {
        claims::members(members, &Names::default()).expect("claims")
    }

    #[test]
    fn claims_are_those_of_their_token_and_of_no_other() {
        let all = || members(claims().map(|(name, value, _)| (name, value)));
        let presented = token(&Value::Object(all()));
        assert_eq!(agree(presented.as_bytes(), &given(all()), &Issuers::default()), Ok(()));
        for (name, value, other) in claims() {
            let alone = || given(members([(name, value.clone())]));
            assert_eq!(
                agree(presented.as_bytes(), &alone(), &Issuers::default()),
                Ok(()),
                "{name} alone"
            );
            let mut another = all();
            another.insert(name.to_owned(), other);
            let another = token(&Value::Object(another));
            assert_eq!(
                agree(another.as_bytes(), &given(all()), &Issuers::default()),
                Err(Disagreement::Claim(name))
            );
            let mut without = all();
            without.remove(name);
            let without = token(&Value::Object(without));
            let told = agree(without.as_bytes(), &given(all()), &Issuers::default());
            // A token may leave its tenant to its issuer.
            let expected = if name == "tid" { Ok(()) } else { Err(Disagreement::Claim(name)) };
            assert_eq!(told, expected, "{name} is not in the token");
        }
    }

    #[test]
    fn claims_are_named_as_the_issuer_names_them() {
        let issuer = "https://example.okta.com/oauth2/default";
        let presented =
            json!({"iss": issuer, "sub": "anna@example.com", "uid": "00u1", "cid": "0oa1"});
        let presented = token(&presented);
        let handed_on = TokenClaims {
            iss: Some(issuer.to_owned()),
            sub: Some("00u1".to_owned()),
            azp: Some("0oa1".to_owned()),
            ..TokenClaims::default()
        };
        let known = |name: &str| Issuers::default().and_vouched(name.to_owned(), Names::okta());
        for issuers in [known(issuer), known("https://{tenant}.okta.com/oauth2/default")] {
            assert_eq!(agree(presented.as_bytes(), &handed_on, &issuers), Ok(()));
        }
        let unknown = agree(presented.as_bytes(), &handed_on, &Issuers::default());
        assert_eq!(unknown, Err(Disagreement::Claim("sub")));
    }

    #[test]
    fn what_can_not_be_read_agrees_with_nothing() {
        let payload = |text: &str| format!("{}.{}.c2lnbmVk", encoded("{}"), encoded(text));
        let long = "a".repeat(limits::TOKEN_BYTES_MAX + 1);
        for (presented, problem) in [
            ("", "the token that is presented is no signed JWT of at most 65536 bytes"),
            ("a.b", "the token that is presented is no signed JWT of at most 65536 bytes"),
            ("a.b.c.d", "the token that is presented is no signed JWT of at most 65536 bytes"),
            (long.as_str(), "the token that is presented is no signed JWT of at most 65536 bytes"),
            (
                &payload(r#"{"sub": "anna", "sub": "boris"}"#),
                "the payload of the token that is presented has a member twice, so that it could mean two things",
            ),
            (
                &payload(r#"{"sub": 7}"#),
                "the token that is presented: claim `sub` must be a text in quotes",
            ),
        ] {
            let told = agree(presented.as_bytes(), &TokenClaims::default(), &Issuers::default())
                .expect_err(problem);
            assert_eq!(told.to_string(), problem);
        }
    }
}
