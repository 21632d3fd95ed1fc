//! What an issuer's table says, and what it can't.

use std::collections::BTreeMap;

use caed_decode::claims::Machine;
use caed_trust::issuer::Issuers;
use caed_trust::maker::Maker;
use caed_trust::token::Refused;
use caed_trust::verifier::Verifier;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::{Config, Faults};
use super::*;

fn parse(issuer: &str) -> Result<Config, Faults> {
    let text = format!(
        "[log]\ndirectory = \"/data\"\n[listen]\ngrpc = \"127.0.0.1:7431\"\n[[issuers]]\n{issuer}"
    );
    Config::parse(&text, &BTreeMap::new())
}

fn raw(issuer: &str) -> RawTokens {
    let config = parse(issuer).unwrap_or_else(|faults| panic!("{faults}: {issuer}"));
    let [raw] = config.raw_tokens.try_into().expect("one issuer of raw tokens");
    raw
}

fn faults(issuer: &str) -> Vec<String> {
    let faults = parse(issuer).expect_err("faulty").faults;
    faults.iter().map(ToString::to_string).collect()
}

fn url(text: &str) -> Source {
    Source::parse(text).expect("a source")
}

#[test]
fn a_preset_fills_in_what_is_known() {
    let entra_keys = "https://login.microsoftonline.com/common/discovery/v2.0/keys";
    let entra_uri = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize";
    let china = "https://login.partner.microsoftonline.cn";
    let rows = [
        (
            "preset = \"entra-v2\"".to_owned(),
            "https://login.microsoftonline.com/{tenant}/v2.0",
            entra_keys.to_owned(),
            Some(entra_uri.to_owned()),
            300,
        ),
        (
            "preset = \"entra-v1\"".to_owned(),
            "https://sts.windows.net/{tenant}/",
            entra_keys.to_owned(),
            Some(entra_uri.to_owned()),
            300,
        ),
        (
            format!("preset = \"entra-v2\"\nissuer = \"{china}/{{tenant}}/v2.0\""),
            "https://login.partner.microsoftonline.cn/{tenant}/v2.0",
            format!("{china}/common/discovery/v2.0/keys"),
            Some(format!("{china}/{{tenant}}/oauth2/v2.0/authorize")),
            300,
        ),
        (
            "preset = \"keycloak\"\nissuer = \"https://kc.example/realms/staff\"\ntenants = [\"staff\"]"
                .to_owned(),
            "https://kc.example/realms/staff",
            "https://kc.example/realms/staff/protocol/openid-connect/certs".to_owned(),
            Some("https://kc.example/realms/staff/protocol/openid-connect/auth".to_owned()),
            0,
        ),
        (
            "preset = \"okta\"\nissuer = \"https://a.okta.com/oauth2/default\"\ntenants = [\"staff\"]"
                .to_owned(),
            "https://a.okta.com/oauth2/default",
            "https://a.okta.com/oauth2/default/v1/keys".to_owned(),
            Some("https://a.okta.com/oauth2/default/v1/authorize".to_owned()),
            0,
        ),
        (
            "preset = \"auth0\"\nissuer = \"https://a.auth0.com/\"\ntenants = [\"staff\"]".to_owned(),
            "https://a.auth0.com/",
            "https://a.auth0.com/.well-known/jwks.json".to_owned(),
            Some("https://a.auth0.com/authorize".to_owned()),
            0,
        ),
    ];
    for (text, name, keys, uri, skew_s) in rows {
        let with_audience = format!("{text}\naudiences = [\"api\"]");
        let raw = raw(&with_audience);
        assert_eq!((raw.issuer.as_str(), raw.keys), (name, url(&keys)));
        assert_eq!(
            (raw.audiences, raw.algorithms),
            (vec!["api".to_owned()], vec![Algorithm::Rs256])
        );
        assert_eq!(raw.keys_max_age, Duration::from_hours(24));
        let rules = parse(&with_audience).expect("valid").rules;
        let bound = rules.bind(&name.replace("{tenant}", "staff"), "staff").expect("bound");
        assert_eq!((&bound.authorization_uri, bound.issue_time_skew.as_secs()), (&uri, skew_s));
        // Without audiences raw tokens are not verified, and nothing is fetched.
        assert!(parse(&text).expect("valid").raw_tokens.is_empty());
    }
    let v1 = raw("preset = \"entra-v1\"\naudiences = [\"api\"]");
    let key_issuer = "https://login.microsoftonline.com/{tenant}/v2.0";
    assert_eq!((v1.key_issuer.as_deref(), v1.claims), (Some(key_issuer), Names::entra()));
}

#[test]
fn what_is_said_counts_instead() {
    let raw = raw(
        "preset = \"okta\"\nissuer = \"https://id.example/oauth2/a\"\ntenants = [\"staff\"]\n\
         audiences = [\"a\", \"b\"]\nalgorithms = [\"ES256\", \"EdDSA\"]\nkeys = \"/keys.json\"\n\
         keys_max_age = \"2h\"\nissue_time_skew = \"1s\"\njudged_by_mark = true\n\
         claims = { subject = \"user\", tenant = \"org\", client = \"app\", session = \"ses\", judged = \"ip\" }",
    );
    assert_eq!(raw.keys, Source::File("/keys.json".into()));
    assert_eq!(raw.algorithms, [Algorithm::Es256, Algorithm::EdDsa]);
    assert_eq!(raw.keys_max_age, Duration::from_hours(2));
    let one = |name: &str| vec![name.to_owned()];
    let expected = Names {
        subject: one("user"),
        tenant: one("org"),
        client: one("app"),
        session: one("ses"),
        judged: Some("ip".to_owned()),
        machine: Machine::SubjectIsClient { suffix: "", user: Some("uid") },
    };
    assert_eq!(raw.claims, expected);
    assert_eq!(raw.tenant.as_ref().map(Name::as_str), Some("staff"));
    let plain = self::raw(
        "issuer = \"https://id.example\"\ntenants = [\"a\", \"b\"]\naudiences = [\"a\"]\n\
         keys = \"https://id.example/keys\"\nkeys_ca = \"/ca.pem\"",
    );
    assert_eq!((plain.claims, plain.tenant), (Names::default(), None));
    assert_eq!(plain.keys_ca, Some("/ca.pem".into()));
}

#[test]
fn every_fault_of_raw_tokens_is_reported() {
    let plain = "issuer = \"https://id.example\"\ntenants = [\"a\"]\n";
    let keyed = format!("{plain}audiences = [\"a\"]\nkeys = \"/keys.json\"\n");
    let okta = "preset = \"okta\"\nissuer = \"https://a.okta.com\"\ntenants = [\"a\"]\naudiences = [\"a\"]";
    let realms = "preset = \"keycloak\"\nissuer = \"https://kc.example/realms/{tenant}\"\naudiences = [\"a\"]";
    let rows: Vec<(String, Vec<&str>)> = vec![
        ("preset = \"ping\"".to_owned(), vec!["line 5: issuers[0].issuer: is missing", "line 6: issuers[0].preset: `ping` is no preset; known are"]),
        ("preset = \"keycloak\"\ntenants = [\"a\"]".to_owned(), vec!["line 5: issuers[0].issuer: is missing"]),
        (format!("{plain}audiences = [\"a\"]"), vec!["line 5: issuers[0].keys: is missing; give the `jwks_uri`"]),
        (format!("{plain}audiences = []\nkeys = \"/k\""), vec!["line 8: issuers[0].audiences: names no audience"]),
        (format!("{plain}audiences = \"a\"\nkeys = \"/k\""), vec![
            "line 8: issuers[0].audiences: must be a list", "line 9: issuers[0].keys: has no effect without `audiences`",
        ]),
        (
            format!("{plain}keys = \"/k\"\nalgorithms = [\"RS256\"]\nkeys_max_age = \"3h\"\nclaims = {{ subject = \"s\" }}"),
            vec![
                "line 8: issuers[0].keys: has no effect without `audiences`",
                "line 9: issuers[0].algorithms: has no effect without `audiences`",
                "line 10: issuers[0].keys_max_age: has no effect without `audiences`",
            ],
        ),
        (format!("{plain}audiences = [\"a\"]\nkeys = \"http://id.example/keys\""), vec![
            "line 9: issuers[0].keys: `http://id.example/keys` would fetch keys without TLS",
        ]),
        (format!("{keyed}algorithms = [\"HS256\"]"), vec![
            "line 10: issuers[0].algorithms: must be a list of some of RS256, RS384",
        ]),
        (format!("{keyed}algorithms = []"), vec!["line 10: issuers[0].algorithms: must be a list of some of"]),
        (format!("{keyed}keys_ca = \"/ca.pem\""), vec!["line 10: issuers[0].keys_ca: has no effect"]),
        (format!("{keyed}keys_max_age = \"1h\""), vec!["line 10: issuers[0].keys_max_age: must be at least \"2h\""]),
        (format!("{keyed}claims = {{ subject = \"\", user = \"a\" }}"), vec![
            "line 10: issuers[0].claims.subject: is empty", "line 10: issuers[0].claims.user: is not known; known here: subject",
        ]),
        (format!("{keyed}claims = {{ judged = \"a\" }}"), vec![
            "line 10: issuers[0].claims.judged: has no effect without judged_by_mark = true",
        ]),
        (okta.to_owned(), vec!["line 5: issuers[0].keys: is missing; the tokens of Okta's own authorization server"]),
        (realms.to_owned(), vec!["line 5: issuers[0].keys: is missing; by the preset they are at"]),
        (
            "preset = \"auth0\"\nissuer = \"https://a.auth0.com/\"\ntenants = [\"a\", \"b\"]\naudiences = [\"a\"]".to_owned(),
            vec!["line 8: issuers[0].tenants: must name exactly one tenant"],
        ),
        (
            "preset = \"auth0\"\nissuer = \"https://a.auth0.com\"\ntenants = [\"a\"]\naudiences = [\"a\"]".to_owned(),
            vec!["line 5: issuers[0].keys: is missing; give it, or the `issuer` as tokens have it"],
        ),
        (
            "preset = \"entra-v2\"\n[[issuers]]\npreset = \"entra-v2\"".to_owned(),
            vec!["line 7: issuers[1]: issuer `https://login.microsoftonline.com/{tenant}/v2.0` is configured twice"],
        ),
    ];
    for (text, expected) in rows {
        let told = faults(&text);
        for expected in &expected {
            assert!(told.iter().any(|told| told.starts_with(expected)), "{expected}: {told:#?}");
        }
        assert_eq!(told.len(), expected.len(), "{told:#?}");
    }
}

/// A token as an issuer writes it, and what is read of it.
#[derive(Deserialize)]
struct Fixture {
    /// The issuer's table, without what only this test knows.
    config: String,
    header: Value,
    claims: Value,
    /// Proto3 JSON.
    meant: Value,
}

impl Fixture {
    /// A verifier for the configured issuer, with our key under the id `rsa`, bound to that owner.
    fn verifier(&self, folder: &std::path::Path, owner: Option<&str>) -> Verifier {
        let mut key = Maker::ours().rsa_jwk("rsa");
        if let Some(owner) = owner {
            key["issuer"] = owner.into();
        }
        let path = folder.join("keys.json");
        std::fs::write(&path, json!({ "keys": [key] }).to_string()).expect("written");
        let Self { config, claims, .. } = self;
        let audience = claims["aud"].as_str().or(claims["aud"][0].as_str()).expect("an audience");
        let raw =
            raw(&format!("keys = '{}'\naudiences = ['{audience}']\n{config}", path.display()));
        let (issuer, _) = raw.open(7).expect("keys");
        Verifier::new(Issuers::new([issuer]).expect("an issuer"))
    }

    fn token(&self, maker: &Maker) -> Vec<u8> {
        let (header, claims) = (self.header.to_string(), self.claims.to_string());
        maker.token(Algorithm::Rs256, &header, &claims).into_bytes()
    }
}

#[tokio::test]
async fn tokens_are_read_as_each_kind_of_issuer_writes_them() {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tokens");
    let folder = tempfile::tempdir().expect("a folder");
    let mut presets = std::collections::BTreeSet::new();
    for file in std::fs::read_dir(fixtures).expect("fixtures") {
        let path = file.expect("a file").path();
        let name = path.display();
        let text = std::fs::read_to_string(&path).expect("text");
        let fixture: Fixture = toml::from_str(&text).unwrap_or_else(|why| panic!("{name}: {why}"));
        presets.extend(
            fixture.config.lines().find(|line| line.starts_with("preset")).map(str::to_owned),
        );
        let verifier = fixture.verifier(folder.path(), None);
        let claims = verifier.verify(&fixture.token(Maker::ours())).await;
        let claims = claims.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(serde_json::to_value(&*claims).expect("JSON"), fixture.meant, "{name}");
        let forged = verifier.verify(&fixture.token(Maker::theirs())).await;
        assert_eq!(forged, Err(Refused::Signature), "{name}");
        // Entra says whose its keys are, in both forms by the name of the newer one.
        let is_entra = fixture.config.contains("entra");
        for (owner, is_believed) in [
            ("https://login.microsoftonline.com/{tenantid}/v2.0", is_entra),
            ("https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0", false),
        ] {
            let verifier = fixture.verifier(folder.path(), Some(owner));
            let told = verifier.verify(&fixture.token(Maker::ours())).await;
            assert_eq!(told.is_ok(), is_believed, "{name}: {owner}: {told:?}");
        }
    }
    assert_eq!(presets.len(), 5, "{presets:?}");
}
