//! Tokens as issuers and attackers make them.

use std::sync::Arc;

use caed_core::ids::Name;
use caed_decode::claims::Names;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::keyring::Keyring;
use crate::keys::Keys;
use crate::maker::{Maker, encoded};

const ISSUER: &str = "https://login.example/{tenant}/v2.0";
const OTHER: &str = "https://other.example/";
const RS256: &str = r#"{"alg":"RS256","typ":"JWT","kid":"rsa"}"#;
const PAYLOAD: &str = r#"{"iss":"https://login.example/contoso/v2.0","tid":"contoso","aud":"api://files","sub":"u-1001","iat":1768478400,"exp":1768482000}"#;

fn keys(maker: &Maker) -> Keys {
    let mut for_rs256 = maker.rsa_jwk("rs256 only");
    for_rs256["alg"] = "RS256".into();
    let set = json!({"keys": [
        maker.rsa_jwk("rsa"),
        for_rs256,
        maker.p256_jwk("p256"),
        maker.p384_jwk("p384"),
        maker.ed25519_jwk("ed25519"),
    ]});
    let (keys, skipped) = Keys::parse(set.to_string().as_bytes()).expect("keys");
    assert_eq!((keys.len(), skipped), (5, crate::keys::Skipped::default()));
    keys
}

fn issuer(name: &str, maker: &Maker, algorithms: &[Algorithm]) -> Issuer {
    Issuer {
        name: name.to_owned(),
        audiences: vec!["api://files".to_owned(), "api://mail".to_owned()],
        algorithms: algorithms.to_vec(),
        keys: Arc::new(Keyring::fixed(keys(maker))),
        key_issuer: None,
        tenant: None,
        claims: Names::default(),
    }
}

/// Two issuers whose keys have the same ids.
fn issuers() -> Issuers {
    use Algorithm::{EdDsa, Es256, Ps256, Rs256};
    Issuers::new([
        issuer(ISSUER, Maker::ours(), &[Rs256, Ps256, Es256, EdDsa]),
        issuer(OTHER, Maker::theirs(), &[Rs256]),
    ])
    .expect("issuers")
}

fn ours(header: &str, payload: &str) -> String {
    Maker::ours().token(Algorithm::Rs256, header, payload)
}

fn name() -> String {
    ISSUER.to_owned()
}

fn refused(token: &str) -> Refused {
    match verify(token.as_bytes(), &issuers()) {
        Err(refused) => refused,
        Ok(claims) => panic!("believed {claims:?}: {token:.300}"),
    }
}

fn claims(payload: &str) -> TokenClaims {
    let token = ours(RS256, payload);
    verify(token.as_bytes(), &issuers()).unwrap_or_else(|why| panic!("{why}: {payload}"))
}

/// The payload with a claim set.
fn with(claim: &str, value: Value) -> String {
    let mut payload: Map<String, Value> = serde_json::from_str(PAYLOAD).expect("an object");
    payload.insert(claim.to_owned(), value);
    Value::Object(payload).to_string()
}

fn without(claim: &str) -> String {
    let mut payload: Map<String, Value> = serde_json::from_str(PAYLOAD).expect("an object");
    payload.remove(claim).expect("the claim");
    Value::Object(payload).to_string()
}

#[test]
fn every_algorithm_verifies_what_its_key_signed_and_nothing_else() {
    let (ours, theirs) = (Maker::ours(), Maker::theirs());
    for algorithm in Algorithm::ALL {
        let issuers = Issuers::new([issuer(ISSUER, ours, &[algorithm])]).expect("an issuer");
        for key in ["rsa", "p256", "p384", "ed25519"] {
            for signed in Algorithm::ALL {
                let header = json!({"alg": algorithm.name(), "kid": key}).to_string();
                let told = |maker: &Maker| {
                    let token = maker.token(signed, &header, PAYLOAD);
                    verify(token.as_bytes(), &issuers).map(|claims| claims.sub)
                };
                let fits =
                    issuers.find("https://login.example/contoso/v2.0").is_some_and(|named| {
                        named.issuer.keys.current().is_ok_and(|held| {
                            held.keys.get(key).is_some_and(|key| key.fits(algorithm))
                        })
                    });
                let expected = match (fits, signed == algorithm) {
                    (false, _) => Err(Refused::KeyKind),
                    (true, false) => Err(Refused::Signature),
                    (true, true) => Ok(Some("u-1001".to_owned())),
                };
                assert_eq!(told(ours), expected, "{algorithm:?} {key} {signed:?}");
                assert!(told(theirs).is_err(), "{algorithm:?} {key} {signed:?}");
            }
        }
        // Every other algorithm is refused by name.
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let header = json!({"alg": other.name(), "kid": "rsa"}).to_string();
            let told = verify(ours.token(other, &header, PAYLOAD).as_bytes(), &issuers);
            assert_eq!(told.map(|_| ()), Err(Refused::Algorithm { issuer: name() }));
        }
    }
}

#[test]
fn a_header_chooses_neither_algorithm_nor_key() {
    let algorithm = || Refused::Algorithm { issuer: name() };
    let unknown = || Refused::UnknownKey { issuer: name() };
    let rows = [
        // Not signed, or by a secret that everybody knows.
        (r#"{"alg":"none","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"None","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"NONE","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"HS256","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"HS384","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"HS512","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"rs256","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"RS256 ","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"RS256\u0000","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"RS384","kid":"rsa"}"#, algorithm()),
        (r#"{"alg":"ES256K","kid":"p256"}"#, algorithm()),
        (r#"{"alg":"ES384","kid":"p384"}"#, algorithm()),
        (r#"{"alg":"ES512","kid":"p384"}"#, algorithm()),
        (r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"rsa"}"#, algorithm()),
        (r#"{"kid":"rsa"}"#, Refused::HeaderMember("alg")),
        (r#"{"alg":null,"kid":"rsa"}"#, Refused::HeaderMember("alg")),
        (r#"{"alg":["RS256"],"kid":"rsa"}"#, Refused::HeaderMember("alg")),
        // A key of another kind, or for another algorithm.
        (r#"{"alg":"ES256","kid":"rsa"}"#, Refused::KeyKind),
        (r#"{"alg":"ES256","kid":"p384"}"#, Refused::KeyKind),
        (r#"{"alg":"EdDSA","kid":"p256"}"#, Refused::KeyKind),
        (r#"{"alg":"RS256","kid":"p256"}"#, Refused::KeyKind),
        (r#"{"alg":"RS256","kid":"ed25519"}"#, Refused::KeyKind),
        (r#"{"alg":"PS256","kid":"rs256 only"}"#, Refused::KeyKind),
        (r#"{"alg":"PS256","kid":"rsa"}"#, Refused::Signature),
        // Keys that are not there.
        (r#"{"alg":"RS256","kid":"new"}"#, unknown()),
        (r#"{"alg":"RS256","kid":""}"#, unknown()),
        (r#"{"alg":"RS256","kid":"RSA"}"#, unknown()),
        (r#"{"alg":"RS256","kid":"rsa\u0000"}"#, unknown()),
        (r#"{"alg":"RS256","kid":"../../dev/null"}"#, unknown()),
        (r#"{"alg":"RS256","kid":"' OR 1=1 --"}"#, unknown()),
        (r#"{"alg":"RS256","kid":7}"#, Refused::HeaderMember("kid")),
        (r#"{"alg":"RS256"}"#, Refused::HeaderMember("kid")),
        // What must be understood, and is not.
        (r#"{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}"#, Refused::Critical),
        (r#"{"alg":"RS256","kid":"rsa","b64":false,"crit":["b64"]}"#, Refused::Critical),
        (r#"{"alg":"RS256","kid":"rsa","crit":[]}"#, Refused::Critical),
        // Signed by the issuer, for another use.
        (r#"{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}"#, Refused::Type),
        (r#"{"alg":"RS256","kid":"rsa","typ":"secevent+jwt"}"#, Refused::Type),
        (r#"{"alg":"RS256","kid":"rsa","typ":"dpop+jwt"}"#, Refused::Type),
        (r#"{"alg":"RS256","kid":"rsa","typ":""}"#, Refused::Type),
        (r#"{"alg":"RS256","kid":"rsa","typ":["JWT"]}"#, Refused::Type),
        // No header at all.
        (r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#, Refused::Header(Flaw::Twice)),
        (r#"{"alg":"RS256","kid":"rsa","kid":"p256"}"#, Refused::Header(Flaw::Twice)),
        (r#"["RS256"]"#, Refused::Header(Flaw::Object)),
        ("RS256", Refused::Header(Flaw::Json)),
        ("", Refused::Header(Flaw::Json)),
    ];
    for (header, expected) in rows {
        assert_eq!(refused(&ours(header, PAYLOAD)), expected, "{header}");
    }
    for header in [
        r#"{"alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"rs256 only","typ":"at+jwt"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"application/AT+JWT","x5t":"x"}"#,
    ] {
        let token = ours(header, PAYLOAD);
        assert!(verify(token.as_bytes(), &issuers()).is_ok(), "{header}");
    }
}

#[test]
fn keys_that_a_token_brings_do_not_count() {
    let theirs = Maker::theirs();
    for (kid, expected) in
        [("rsa", Refused::Signature), ("theirs", Refused::UnknownKey { issuer: name() })]
    {
        let jwk = theirs.rsa_jwk(kid);
        let header = json!({
            "alg": "RS256", "kid": kid, "jwk": jwk, "jku": "https://evil.example/", "x5u": "https://evil.example/",
        });
        let token = theirs.token(Algorithm::Rs256, &header.to_string(), PAYLOAD);
        assert_eq!(refused(&token), expected);
    }
    // HMAC with what is public as its secret, under a name that counts.
    let public = Maker::ours().rsa_jwk("rsa").to_string();
    let signed = format!("{}.{}", encoded(RS256), encoded(PAYLOAD));
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.as_bytes());
    let tag = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
    assert_eq!(refused(&format!("{signed}.{}", encoded(tag))), Refused::Signature);
    let signed = format!("{}.{}", encoded(r#"{"alg":"HS256","kid":"rsa"}"#), encoded(PAYLOAD));
    let tag = aws_lc_rs::hmac::sign(&secret, signed.as_bytes());
    let told = refused(&format!("{signed}.{}", encoded(tag)));
    assert_eq!(told, Refused::Algorithm { issuer: name() });
}

#[test]
fn what_says_that_it_is_no_access_token_is_none() {
    for (claim, value) in [
        ("typ", json!("ID")),
        ("typ", json!("Refresh")),
        ("typ", json!("Offline")),
        ("typ", json!("Logout")),
        ("at_hash", json!("MTIz")),
        ("c_hash", json!(null)),
        ("events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
    ] {
        assert_eq!(
            refused(&ours(RS256, &with(claim, value.clone()))),
            Refused::Use,
            "{claim} {value}"
        );
    }
    // Keycloak's access tokens, and what other issuers may mean by such claims.
    for (claim, value) in [("typ", json!("Bearer")), ("typ", json!(7)), ("nonce", json!("n"))] {
        claims(&with(claim, value));
    }
}

#[test]
fn an_issuer_whose_tokens_others_verify_is_not_verified_by_a_pattern() {
    let token = ours(RS256, PAYLOAD);
    let exact = "https://login.example/contoso/v2.0";
    assert!(PAYLOAD.contains(exact) && verify(token.as_bytes(), &issuers()).is_ok());
    let vouched = issuers().and_vouched(exact.to_owned(), Names::default());
    assert_eq!(verify(token.as_bytes(), &vouched), Err(Refused::Issuer));
    let other = issuers().and_vouched("https://login.example/x/v2.0".to_owned(), Names::default());
    assert!(verify(token.as_bytes(), &other).is_ok());
}

#[test]
fn an_issuer_speaks_for_itself_and_its_tenants() {
    let rows = [
        (with("iss", json!("https://evil.example/contoso/v2.0")), Refused::Issuer),
        (with("iss", json!("https://login.example/contoso/v2.0/")), Refused::Issuer),
        (with("iss", json!("https://login.example/contoso")), Refused::Issuer),
        (with("iss", json!("https://login.example//v2.0")), Refused::Issuer),
        (with("iss", json!("https://login.example/v2.0")), Refused::Issuer),
        (with("iss", json!("https://login.example/contoso/v2.0/fabrikam/v2.0")), Refused::Issuer),
        (with("iss", json!("https://login.example/con\0toso/v2.0")), Refused::Issuer),
        (with("iss", json!("HTTPS://LOGIN.EXAMPLE/contoso/v2.0")), Refused::Issuer),
        (with("iss", json!(["https://login.example/contoso/v2.0"])), Refused::Issuer),
        (with("iss", json!(7)), Refused::Issuer),
        (with("iss", json!(null)), Refused::Issuer),
        (without("iss"), Refused::Issuer),
        // The key's id is the other issuer's too; the key is not.
        (with("iss", json!(OTHER)), Refused::Signature),
        // Other tenants than the one in the name.
        (with("iss", json!("https://login.example/fabrikam/v2.0")), Refused::Tenant),
        (with("tid", json!("fabrikam")), Refused::Tenant),
        (with("tid", json!("Contoso")), Refused::Tenant),
        (with("tid", json!("contoso ")), Refused::Tenant),
        (with("tid", json!("contoso\0")), Refused::Tenant),
        (with("tid", json!("")), Refused::Tenant),
        (with("tid", json!(ISSUER)), Refused::Tenant),
        // Other audiences than ours.
        (with("aud", json!("api://other")), Refused::Audience { issuer: name() }),
        (with("aud", json!("api://files/")), Refused::Audience { issuer: name() }),
        (with("aud", json!("API://files")), Refused::Audience { issuer: name() }),
        (with("aud", json!("api://files api://mail")), Refused::Audience { issuer: name() }),
        (with("aud", json!("api://files\0")), Refused::Audience { issuer: name() }),
        (with("aud", json!([])), Refused::Audience { issuer: name() }),
        (with("aud", json!(["api://other", ""])), Refused::Audience { issuer: name() }),
        (with("aud", json!(null)), Refused::Audience { issuer: name() }),
        (without("aud"), Refused::Audience { issuer: name() }),
    ];
    for (payload, expected) in rows {
        assert_eq!(refused(&ours(RS256, &payload)), expected, "{payload}");
    }
    // The other issuer's key doesn't sign for ours, and signs for itself.
    let theirs = Maker::theirs();
    assert_eq!(refused(&theirs.token(Algorithm::Rs256, RS256, PAYLOAD)), Refused::Signature);
    let own = theirs.token(Algorithm::Rs256, RS256, &with("iss", json!(OTHER)));
    let issuers = issuers();
    let own = verify(own.as_bytes(), &issuers).expect("its own");
    assert_eq!((own.iss.as_deref(), own.tid.as_deref()), (Some(OTHER), Some("contoso")));

    assert_eq!(claims(&with("aud", json!(["api://other", "api://mail"]))).aud.len(), 2);
    assert_eq!(claims(&without("tid")).tid.as_deref(), Some("contoso"));
    let upper = "6BA7B810-9DAD-11D1-80B4-00C04FD430C8";
    let mut payload: Value = serde_json::from_str(PAYLOAD).expect("JSON");
    payload["iss"] = format!("https://login.example/{upper}/v2.0").into();
    payload["tid"] = upper.to_lowercase().into();
    assert_eq!(claims(&payload.to_string()).tid, Some(upper.to_lowercase()));
}

#[test]
fn a_key_that_is_bound_to_an_issuer_signs_for_no_other() {
    const V1: &str = "https://sts.example/{tenant}/";
    let contoso = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let bound = |name: &str, key_issuer: Option<&str>, tenant: Option<&str>, owner: &str| {
        let mut key = Maker::ours().rsa_jwk("rsa");
        key["issuer"] = owner.into();
        let set = json!({ "keys": [key] }).to_string();
        let (keys, _) = Keys::parse(set.as_bytes()).expect("keys");
        let issuer = Issuer {
            keys: Arc::new(Keyring::fixed(keys)),
            key_issuer: key_issuer.map(ToOwned::to_owned),
            tenant: tenant.map(|tenant| Name::parse(tenant).expect("a name")),
            ..issuer(name, Maker::ours(), &[Algorithm::Rs256])
        };
        let issuers = Issuers::new([issuer]).expect("an issuer");
        let payload = with("iss", json!(name.replace("{tenant}", contoso)));
        let payload = payload.replace("\"contoso\"", &format!("\"{contoso}\""));
        verify(ours(RS256, &payload).as_bytes(), &issuers).map(|_| ())
    };
    let own = format!("https://login.example/{contoso}/v2.0");
    for (name, key_issuer, tenant, owner, is_believed) in [
        (ISSUER, None, None, "https://login.example/{tenantid}/v2.0", true),
        (ISSUER, None, None, own.as_str(), true),
        (ISSUER, None, None, "https://login.example/other/v2.0", false),
        (ISSUER, None, None, "https://login.example/{tenantid}", false),
        (ISSUER, None, None, "https://evil.example/{tenantid}/v2.0", false),
        (ISSUER, None, None, "{tenantid}", false),
        (ISSUER, None, None, "", false),
        (V1, Some(ISSUER), None, "https://login.example/{tenantid}/v2.0", true),
        (V1, Some(ISSUER), None, own.as_str(), true),
        (V1, Some(ISSUER), None, "https://login.example/other/v2.0", false),
        (V1, None, None, "https://login.example/{tenantid}/v2.0", false),
        (own.as_str(), None, Some(contoso), "https://login.example/{tenantid}/v2.0", true),
        (own.as_str(), None, Some("other"), "https://login.example/{tenantid}/v2.0", false),
        (own.as_str(), None, None, "https://login.example/{tenantid}/v2.0", false),
        (OTHER, None, None, OTHER, true),
        (OTHER, None, None, "https://other.example", false),
    ] {
        let told = bound(name, key_issuer, tenant, owner);
        let refused = Refused::KeyIssuer { issuer: name.to_owned() };
        let expected = if is_believed { Ok(()) } else { Err(refused) };
        assert_eq!(told, expected, "{name} {key_issuer:?} {tenant:?} {owner}");
    }
}

#[test]
fn an_issuer_of_one_tenant_may_leave_it_out() {
    let issuers = |tenant: Option<&str>| {
        let tenant = tenant.map(|tenant| Name::parse(tenant).expect("a name"));
        let issuer = Issuer { tenant, ..issuer(OTHER, Maker::ours(), &[Algorithm::Rs256]) };
        Issuers::new([issuer]).expect("an issuer")
    };
    let told = |only: Option<&str>, tid: Value| {
        let mut payload: Map<String, Value> = serde_json::from_str(PAYLOAD).expect("an object");
        payload.insert("iss".to_owned(), OTHER.into());
        payload.insert("tid".to_owned(), tid);
        let token = ours(RS256, &Value::Object(payload).to_string());
        verify(token.as_bytes(), &issuers(only)).expect("verified").tid
    };
    assert_eq!(told(Some("staff"), json!(null)).as_deref(), Some("staff"));
    assert_eq!(told(None, json!(null)), None);
    // What it names is for the decision to judge (D2).
    assert_eq!(told(Some("staff"), json!("contoso")).as_deref(), Some("contoso"));
}

#[test]
fn claims_have_their_types_or_are_refused() {
    let text = "a text in quotes";
    let number = "a whole number";
    let texts = "a text, or a list of texts";
    let wrong = [json!(true), json!({}), json!([7]), json!({"a": ["b"]})];
    for (claim, must, more) in [
        ("tid", text, vec![json!(7), json!(["contoso"])]),
        ("sub", text, vec![json!(7), json!(["u-1001"])]),
        ("oid", text, vec![json!(7), json!(["u-1001"])]),
        ("jti", text, vec![json!(7)]),
        ("uti", text, vec![json!(7)]),
        ("sid", text, vec![json!(7)]),
        ("azp", text, vec![json!(7)]),
        ("appid", text, vec![json!(7)]),
        ("deviceid", text, vec![json!(7)]),
        ("ipaddr", text, vec![json!(7)]),
        ("idtyp", text, vec![json!(7)]),
        ("iat", number, vec![json!("1768478400"), json!(1.5), json!(1e300), json!(u64::MAX)]),
        ("exp", number, vec![json!("1768482000"), json!(1.5), json!([1])]),
        ("nbf", number, vec![json!("1768482000"), json!(1.5)]),
        ("auth_time", number, vec![json!("1768482000"), json!(1.5)]),
        ("acct", number, vec![json!("1"), json!(0.5)]),
        ("aud", texts, vec![json!(7), json!([["api://files"]])]),
        ("xms_cc", texts, vec![json!(7), json!(["cp1", 7])]),
        ("groups", texts, vec![json!(7), json!(["g-1", null])]),
        ("wids", texts, vec![json!(7), json!([{}])]),
    ] {
        for value in wrong.iter().cloned().chain(more) {
            let told = refused(&ours(RS256, &with(claim, value)));
            assert_eq!(
                told,
                Refused::Claims(InvalidPayload::Claim { claim: claim.to_owned(), must }),
                "{claim}"
            );
        }
    }
}

#[test]
fn times_are_left_to_the_decision() {
    assert_eq!(claims(&without("iat")).iat, None);
    assert_eq!(claims(&without("exp")).exp, None);
    assert_eq!(claims(&with("exp", json!(1))).exp, Some(1));
    assert_eq!(claims(&with("exp", json!(1_768_478_400))).exp, Some(1_768_478_400));
    assert_eq!(claims(&with("nbf", json!(i64::MAX))).nbf, Some(i64::MAX));
    assert_eq!(claims(&with("iat", json!(i64::MIN))).iat, Some(i64::MIN));
}

#[test]
fn an_id_with_a_control_character_is_no_token_for_the_decision() {
    for claim in ["sub", "sid", "jti", "azp", "deviceid"] {
        let claims = claims(&with(claim, json!("u-1001\0")));
        assert!(claims::token(&claims).is_err(), "{claim}");
    }
    assert!(claims::token(&claims(PAYLOAD)).is_ok());
}

#[test]
fn a_payload_means_one_thing_or_nothing() {
    let inner = PAYLOAD.trim_start_matches('{');
    let rows = [
        (format!(r#"{{"tid":"fabrikam",{inner}"#), Flaw::Twice),
        (format!(r#"{{"sub":"admin",{inner}"#), Flaw::Twice),
        (format!(r#"{{"\u0073ub":"admin",{inner}"#), Flaw::Twice),
        (format!(r#"{{"other":{{"a":1,"a":1}},{inner}"#), Flaw::Twice),
        (format!(r#"{{"deep":{}{},{inner}"#, "[".repeat(20_000), "]".repeat(20_000)), Flaw::Depth),
        (format!(r#"{{"deep":{}1{},{inner}"#, r#"{"a":"#.repeat(16), "}".repeat(16)), Flaw::Depth),
        (format!("{PAYLOAD}{PAYLOAD}"), Flaw::Json),
        (format!("{PAYLOAD}\0"), Flaw::Json),
        (format!("[{PAYLOAD}]"), Flaw::Object),
        (PAYLOAD.replace("u-1001", "u-\0"), Flaw::Json),
        ("null".to_owned(), Flaw::Object),
        (String::new(), Flaw::Json),
    ];
    for (payload, flaw) in rows {
        assert_eq!(refused(&ours(RS256, &payload)), Refused::Payload(flaw), "{payload:.80}");
    }
}

#[test]
fn a_token_is_three_parts_of_bounded_length() {
    let token = ours(RS256, PAYLOAD);
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("three parts") };
    let of =
        |header: &str, payload: &str, signature: &str| format!("{header}.{payload}.{signature}");
    let encoding = || Refused::Header(Flaw::Encoding);
    let other = encoded(with("sub", json!("admin")));
    let other_header = encoded(r#"{"kid":"rsa","alg":"RS256"}"#);
    let rows = [
        (String::new(), Refused::Parts),
        (".".to_owned(), Refused::Parts),
        (format!("{header}.{payload}"), Refused::Parts),
        (format!("{token}."), Refused::Parts),
        (format!(".{token}"), Refused::Parts),
        (format!("{header}.{payload}.a.b.{signature}"), Refused::Parts),
        ("..".to_owned(), Refused::Header(Flaw::Json)),
        (format!("{header}.."), Refused::Payload(Flaw::Json)),
        (format!("Bearer {token}"), encoding()),
        (format!(" {token}"), encoding()),
        (format!("\0{token}"), encoding()),
        (of(&format!("{header}="), payload, signature), encoding()),
        (of(header, &format!("{payload}\0"), signature), Refused::Payload(Flaw::Encoding)),
        (of(header, &format!("{payload}\n"), signature), Refused::Payload(Flaw::Encoding)),
        // Whatever was not signed.
        (of(header, payload, ""), Refused::Signature),
        (of(header, payload, "AAAA"), Refused::Signature),
        (of(header, payload, &format!("{signature}\0")), Refused::Signature),
        (of(header, payload, &format!("{signature}=")), Refused::Signature),
        (of(header, payload, &format!("{signature}AAAA")), Refused::Signature),
        (of(header, payload, &signature[4..]), Refused::Signature),
        (of(header, payload, &encoded([0; 256])), Refused::Signature),
        (of(header, &other, signature), Refused::Signature),
        (of(&other_header, payload, signature), Refused::Signature),
        // Nothing of these is read.
        ("a".repeat(limits::TOKEN_BYTES_MAX + 1), Refused::TooLong),
        (".".repeat(limits::TOKEN_BYTES_MAX + 1), Refused::TooLong),
        (format!("{token}{}", "A".repeat(limits::TOKEN_BYTES_MAX)), Refused::TooLong),
        ("a".repeat(limits::TOKEN_BYTES_MAX), Refused::Parts),
        (".".repeat(limits::TOKEN_BYTES_MAX), Refused::Parts),
    ];
    for (token, expected) in rows {
        assert_eq!(refused(&token), expected, "{token:.60}");
    }
    let told = verify(b"\xff.\xff.\xff", &issuers()).map(|_| ());
    assert_eq!(told, Err(Refused::Parts));
    // The longest token that counts: base64 has four bytes for three.
    let filled = ours(RS256, &with("filler", "x".repeat(48_000).into()));
    assert!(filled.len() <= limits::TOKEN_BYTES_MAX && filled.len() > 63_000);
    assert!(verify(filled.as_bytes(), &issuers()).is_ok());
}

#[test]
fn a_signature_has_one_form() {
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    let token = Maker::ours().token(Algorithm::Es256, header, PAYLOAD);
    assert!(verify(token.as_bytes(), &issuers()).is_ok());
    let (signed, signature) = token.rsplit_once('.').expect("parts");
    let numbers = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    let (r, s) = numbers.split_at(32);
    // As X.509 has it; all zeros; the order of the curve; too long.
    let mut der = vec![0x30, 70, 2, 33, 0];
    der.extend_from_slice(r);
    der.extend_from_slice(&[2, 33, 0]);
    der.extend_from_slice(s);
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).expect("a digit"))
        .collect();
    for forged in [
        der,
        vec![0; 64],
        vec![],
        [order.as_slice(), order.as_slice()].concat(),
        [numbers.as_slice(), &[0]].concat(),
        [&[0], numbers.as_slice()].concat(),
    ] {
        let token = format!("{signed}.{}", encoded(forged));
        assert_eq!(refused(&token), Refused::Signature);
    }
}

#[test]
fn tokens_are_read_as_issuers_write_them() {
    let tenant = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
    let entra = json!({
        "aud": "api://files", "iss": format!("https://login.example/{tenant}/v2.0"), "iat": 1_768_478_400,
        "nbf": 1_768_478_400, "exp": 1_768_482_300, "aio": "x", "azp": "c-1", "azpacr": "0", "oid": "u-1",
        "rh": "x", "scp": "access", "sid": "s-1", "sub": "pairwise", "tid": tenant, "uti": "t-1",
        "ver": "2.0", "xms_cc": ["CP1"], "ipaddr": "203.0.113.9", "wids": ["r-1"], "acct": 0,
        "_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://x"}},
    });
    let expected = TokenClaims {
        iss: Some(format!("https://login.example/{tenant}/v2.0")),
        tid: Some(tenant.to_owned()),
        sub: Some("u-1".to_owned()),
        iat: Some(1_768_478_400),
        exp: Some(1_768_482_300),
        nbf: Some(1_768_478_400),
        sid: Some("s-1".to_owned()),
        jti: Some("t-1".to_owned()),
        azp: Some("c-1".to_owned()),
        xms_cc: vec!["CP1".to_owned()],
        aud: vec!["api://files".to_owned()],
        ipaddr: Some("203.0.113.9".to_owned()),
        acct: Some(0),
        wids: Some(caed_proto::v1::ClaimValues { values: vec!["r-1".to_owned()] }),
        ..TokenClaims::default()
    };
    assert_eq!(claims(&entra.to_string()), expected);

    // Keycloak's have no tenant but in the issuer's name, a realm.
    let keycloak = json!({
        "exp": 1_768_482_000, "iat": 1_768_478_400, "auth_time": 1_768_478_399, "jti": "t-2",
        "iss": "https://login.example/staff/v2.0", "aud": ["api://files", "account"], "sub": "u-2",
        "typ": "Bearer", "azp": "web", "sid": "s-2", "acr": "1", "realm_access": {"roles": ["user"]},
        "resource_access": {"account": {"roles": ["view-profile"]}}, "scope": "openid",
    });
    let told = claims(&keycloak.to_string());
    assert_eq!((told.tid.as_deref(), told.sub.as_deref()), (Some("staff"), Some("u-2")));
    assert_eq!((told.sid.as_deref(), told.auth_time), (Some("s-2"), Some(1_768_478_399)));
}

#[test]
fn issuers_that_cannot_be_meant_are_refused() {
    use crate::issuer::InvalidIssuer;
    let plain = || issuer(OTHER, Maker::ours(), &[Algorithm::Rs256]);
    let named = |name: &str| Issuer { name: name.to_owned(), ..plain() };
    let rows = [
        (vec![named("")], InvalidIssuer::NoName),
        (vec![plain(), plain()], InvalidIssuer::Twice(OTHER.to_owned())),
        (
            vec![named("{tenant}/{tenant}")],
            InvalidIssuer::ManyPlaceholders("{tenant}/{tenant}".into()),
        ),
        (vec![Issuer { audiences: vec![], ..plain() }], InvalidIssuer::NoAudience(OTHER.into())),
        (
            vec![Issuer { audiences: vec!["a".into(), String::new()], ..plain() }],
            InvalidIssuer::NoAudience(OTHER.into()),
        ),
        (vec![Issuer { algorithms: vec![], ..plain() }], InvalidIssuer::NoAlgorithm(OTHER.into())),
    ];
    for (issuers, expected) in rows {
        assert_eq!(Issuers::new(issuers).map(|_| ()), Err(expected));
    }
    // A plain name comes before a pattern that fits too.
    let both = Issuers::new([named("https://a/{tenant}"), named("https://a/b")]).expect("issuers");
    let found = both.find("https://a/b").map(|named| named.issuer.name.as_str());
    assert_eq!(found, Some("https://a/b"));
}

proptest! {
    /// Not one character of a token can be another one.
    #[test]
    fn a_changed_token_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let issuers = issuers();
        let mut token = ours(RS256, PAYLOAD).into_bytes();
        let at = at.index(token.len());
        let was = std::mem::replace(&mut token[at], to);
        prop_assert_eq!(verify(&token, &issuers).is_ok(), was == to);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(verify(&bytes, &issuers()).is_err());
    }

    /// No refusal repeats what a token says.
    #[test]
    fn a_refusal_quotes_nothing(
        header in prop_oneof![Just(RS256.to_owned()), "\\PC{0,60}"],
        claim in prop::sample::select(vec!["iss", "aud", "tid", "sub", "iat", "kid"]),
        signed in any::<bool>(),
    ) {
        let marked = with(claim, json!({"claim": "swordfish"}));
        let header = header.replace("rsa", "swordfish");
        let algorithm = Algorithm::Rs256;
        let maker = if signed { Maker::ours() } else { Maker::theirs() };
        let told = refused(&maker.token(algorithm, &header, &marked));
        let told = format!("{told} {told:?}");
        prop_assert!(!told.contains("swordfish"));
    }
}
