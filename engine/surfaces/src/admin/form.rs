//! The form that asks for an explanation, as data: what was typed, and the question that it means.
//!
//! INVARIANT: no value holds a signed token. Whoever holds one can use it, so what looks like one is
//! dropped where it is read, and never shown again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use caed_core::ids::Id;
use caed_core::rules::Issuers;
use caed_core::time::{UnixMillis, Utc};
use caed_decode::claims;
use caed_proto::v1;

/// A field of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Tenant,
    User,
    Issued,
    Address,
    Route,
    Profile,
    Issuer,
    Expires,
    Session,
    Client,
    Device,
    Capable,
    Claims,
}

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Form {
    values: BTreeMap<Field, String>,
    /// Where a signed token stood.
    signed: BTreeSet<Field>,
}

/// What is wrong with a field, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) field: Field,
    pub(super) text: String,
}

/// What the question is asked of.
pub(super) struct Known<'k> {
    /// The names of the profiles that can be asked for.
    pub(super) profiles: Vec<&'static str>,
    /// Whose tokens count.
    pub(super) issuers: &'k Issuers,
}

impl Field {
    pub(super) const ALL: [Self; 13] = [
        Self::Tenant,
        Self::User,
        Self::Issued,
        Self::Address,
        Self::Route,
        Self::Profile,
        Self::Issuer,
        Self::Expires,
        Self::Session,
        Self::Client,
        Self::Device,
        Self::Capable,
        Self::Claims,
    ];

    /// Its name in a form that is sent.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Issued => "issued",
            Self::Address => "address",
            Self::Route => "route",
            Self::Profile => "profile",
            Self::Issuer => "issuer",
            Self::Expires => "expires",
            Self::Session => "session",
            Self::Client => "client",
            Self::Device => "device",
            Self::Capable => "capable",
            Self::Claims => "claims",
        }
    }

    /// What people read above it.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Tenant => "Tenant",
            Self::User => "User",
            Self::Issued => "Issued",
            Self::Address => "Address of the client",
            Self::Route => "The route has no address by its nature",
            Self::Profile => "Profile of the resource",
            Self::Issuer => "Issuer",
            Self::Expires => "Expires",
            Self::Session => "Session",
            Self::Client => "Client",
            Self::Device => "Device",
            Self::Capable => "The client answers claims challenges",
            Self::Claims => "Claims as JSON",
        }
    }
}

impl Form {
    /// Reads a form as browsers send it. Names that it does not have are passed over.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut form = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let Some(field) = Field::ALL.into_iter().find(|field| field.name() == name) else {
                continue;
            };
            if holds_signed_token(&value) {
                form.values.remove(&field);
                form.signed.insert(field);
            } else {
                form.values.insert(field, value.trim().to_owned());
            }
        }
        form
    }

    /// What stands in a field.
    pub(super) fn value(&self, field: Field) -> &str {
        self.values.get(&field).map(String::as_str).unwrap_or_default()
    }

    fn given(&self, field: Field) -> Option<&str> {
        Some(self.value(field)).filter(|value| !value.is_empty())
    }

    /// The question that it means, or all that is wrong with it. What is given in a field counts instead
    /// of the claim.
    pub(super) fn question(&self, known: &Known<'_>) -> Result<v1::EvaluateRequest, Vec<Fault>> {
        let mut faults = Faults::default();
        for field in &self.signed {
            faults.add(*field, SIGNED);
        }
        let mut claims = self.claims(&mut faults);
        let mut id = |field, claim: &mut Option<String>| {
            if let Some(text) = self.given(field) {
                if let Err(problem) = Id::parse(text) {
                    faults.add(field, problem.to_string());
                }
                *claim = Some(text.to_owned());
            }
        };
        id(Field::Tenant, &mut claims.tid);
        id(Field::User, &mut claims.sub);
        id(Field::Issuer, &mut claims.iss);
        id(Field::Session, &mut claims.sid);
        id(Field::Client, &mut claims.azp);
        id(Field::Device, &mut claims.deviceid);
        for (field, claim) in [(Field::Issued, &mut claims.iat), (Field::Expires, &mut claims.exp)]
        {
            if let Some(text) = self.given(field) {
                *claim = second(text);
                if claim.is_none() {
                    faults.add(field, NO_TIME);
                }
            }
        }
        if !self.has_claims() {
            self.complete(&mut claims, known.issuers, &mut faults);
        }
        let profile = self.value(Field::Profile);
        if !profile.is_empty() && !known.profiles.contains(&profile) {
            let known = known.profiles.join(", ");
            faults.add(Field::Profile, format!("is not known; known are {known}"));
        }
        let client = Some(v1::ClientAddress { is: self.address(&mut faults) });
        let token = Some(v1::evaluate_request::Token::Claims(claims));
        faults.or(v1::EvaluateRequest {
            profile: profile.to_owned(),
            client,
            token,
            presented: String::new(),
        })
    }

    fn has_claims(&self) -> bool {
        self.given(Field::Claims).is_some() || self.signed.contains(&Field::Claims)
    }

    fn claims(&self, faults: &mut Faults) -> v1::TokenClaims {
        let pasted = self.given(Field::Claims).map(claims::payload);
        let mut claims = match pasted {
            Some(Ok(claims)) => claims,
            Some(Err(problem)) => {
                faults.add(Field::Claims, problem.to_string());
                v1::TokenClaims::default()
            }
            None => v1::TokenClaims::default(),
        };
        match self.value(Field::Capable) {
            "" if self.has_claims() => {}
            "" | "yes" => claims.xms_cc = vec!["cp1".to_owned()],
            "no" => claims.xms_cc = Vec::new(),
            _ => faults.add(Field::Capable, "must be yes or no"),
        }
        claims
    }

    /// Without pasted claims nobody has seen a token: what each one has must be given, and the issuer is the
    /// one that is configured.
    fn complete(&self, claims: &mut v1::TokenClaims, issuers: &Issuers, faults: &mut Faults) {
        for (field, missing) in [
            (Field::Tenant, "is missing; give the token's `tid`"),
            (Field::User, "is missing; give the user's object id, the token's `oid` or `sub`"),
            (Field::Issued, "is missing; give the token's `iat`"),
        ] {
            if self.given(field).is_none() && !self.signed.contains(&field) {
                faults.add(field, missing);
            }
        }
        let (None, Some(tenant)) = (&claims.iss, &claims.tid) else { return };
        let mut speaking = issuers.speaking_for(tenant);
        match speaking.len() {
            0 => faults.add(
                Field::Issuer,
                format!("none is configured for tenant `{tenant}`; give the token's `iss`"),
            ),
            1 => claims.iss = speaking.pop(),
            _ => faults.add(
                Field::Issuer,
                format!("tenant `{tenant}` has several; give one of {}", speaking.join(", ")),
            ),
        }
    }

    fn address(&self, faults: &mut Faults) -> Option<v1::client_address::Is> {
        use v1::client_address::Is;
        match (self.given(Field::Address), self.given(Field::Route)) {
            (None, None) => None,
            (None, Some(_)) => Some(Is::NoneByNature(true)),
            (Some(address), route) => {
                if address.parse::<IpAddr>().is_err() {
                    let text =
                        "is no address; give one such as 198.51.100.7 or 2001:db8::7, or none";
                    faults.add(Field::Address, text);
                }
                if route.is_some() {
                    faults.add(
                        Field::Route,
                        "can not be while there is an address; give one of both",
                    );
                }
                Some(Is::Ip(address.to_owned()))
            }
        }
    }
}

const SIGNED: &str = "held a signed token, which was dropped: it need not and should not be pasted, since \
                      whoever holds it can use it; paste its claims alone, the decoded middle part";

const NO_TIME: &str =
    "is no time; give one in UTC, such as 2026-01-15T12:00:00Z, or seconds since 1970";

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: Field, text: impl Into<String>) {
        self.0.push(Fault { field, text: text.into() });
    }

    fn or<T>(self, whole: T) -> Result<T, Vec<Fault>> {
        if self.0.is_empty() { Ok(whole) } else { Err(self.0) }
    }
}

/// A time as people and tokens write it, in whole seconds.
fn second(text: &str) -> Option<i64> {
    let at = match text.parse() {
        Ok(number) => UnixMillis::from_wire(number).ok()?.0,
        Err(_) => Utc::parse(text)?,
    };
    Some(at.floor_to_second().as_seconds())
}

/// Whether a part of a text is a signed or an encrypted token, or a piece of one: parts of base64url between
/// dots, one of which is a JSON object.
fn holds_signed_token(text: &str) -> bool {
    let is_of_token =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '=');
    text.split(|letter| !is_of_token(letter))
        .filter(|piece| piece.contains('.'))
        .flat_map(|piece| piece.split('.'))
        .any(is_object)
}

/// Whether a part begins as a JSON object.
fn is_object(part: &str) -> bool {
    // Four letters are three bytes; a piece that ends early begins all the same.
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &URL_SAFE,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let whole = part.len() / 4 * 4;
    let head = part.get(..whole.min(16)).unwrap_or_default();
    LENIENT.decode(head).is_ok_and(|bytes| {
        let text = bytes.trim_ascii_start();
        text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\""))
    })
}

#[cfg(test)]
mod tests {
    use caed_core::rules::{Issuer, IssuerTenants, Judged};
    use proptest::prelude::*;

    use super::*;

    const HEADER: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
    const PAYLOAD: &str = "eyJzdWIiOiJhbm5hIiwidGlkIjoiY29udG9zbyJ9";
    const SIGNATURE: &str = "c2lnbmF0dXJlLW9mLXRoZS10b2tlbg";

    fn sent(fields: &[(&str, &str)]) -> Form {
        let mut body = form_urlencoded::Serializer::new(String::new());
        Form::read(body.extend_pairs(fields).finish().as_bytes())
    }

    fn issuers(names: &[&str]) -> Issuers {
        let issuer = |name: &&str| Issuer {
            name: (*name).to_owned(),
            tenants: IssuerTenants::All,
            issue_time_skew: std::time::Duration::ZERO,
            authorization_uri: None,
            judged: Judged::default(),
        };
        Issuers::new(names.iter().map(issuer)).expect("valid")
    }

    fn asked(fields: &[(&str, &str)]) -> Result<v1::EvaluateRequest, Vec<Fault>> {
        let issuers = issuers(&["https://idp.example"]);
        sent(fields).question(&Known { profiles: vec!["exchange"], issuers: &issuers })
    }

    fn claims_of(request: v1::EvaluateRequest) -> v1::TokenClaims {
        let Some(v1::evaluate_request::Token::Claims(claims)) = request.token else {
            unreachable!("a form asks about claims");
        };
        claims
    }

    fn faults(fields: &[(&str, &str)]) -> Vec<(Field, String)> {
        let faults = asked(fields).expect_err("faulty");
        faults.into_iter().map(|Fault { field, text }| (field, text)).collect()
    }

    const LEAST: [(&str, &str); 3] =
        [("tenant", "contoso"), ("user", " anna\r\n"), ("issued", "2026-01-15T12:00:00Z")];

    fn with<'f>(more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
        LEAST.iter().chain(more).copied().collect()
    }

    #[test]
    fn tenant_user_and_time_are_a_question() {
        let request = asked(&LEAST).expect("a question");
        assert_eq!((request.profile.as_str(), request.client.expect("said").is), ("", None));
        let expected = v1::TokenClaims {
            iss: Some("https://idp.example".to_owned()),
            tid: Some("contoso".to_owned()),
            sub: Some("anna".to_owned()),
            iat: Some(1_768_478_400),
            xms_cc: vec!["cp1".to_owned()],
            ..v1::TokenClaims::default()
        };
        assert_eq!(claims_of(asked(&LEAST).expect("a question")), expected);
    }

    #[test]
    fn every_field_counts() {
        let request = asked(&with(&[
            ("address", "192.0.2.1"),
            ("profile", "exchange"),
            ("issuer", "https://other"),
            ("expires", "1768482000"),
            ("session", "s-1"),
            ("client", "c-1"),
            ("device", "d-1"),
            ("capable", "no"),
            ("unknown", "passed over"),
        ]));
        let request = request.expect("a question");
        let ip = v1::client_address::Is::Ip("192.0.2.1".to_owned());
        assert_eq!(request.client.as_ref().expect("said").is, Some(ip));
        assert_eq!(request.profile, "exchange");
        let expected = v1::TokenClaims {
            iss: Some("https://other".to_owned()),
            tid: Some("contoso".to_owned()),
            sub: Some("anna".to_owned()),
            iat: Some(1_768_478_400),
            exp: Some(1_768_482_000),
            sid: Some("s-1".to_owned()),
            azp: Some("c-1".to_owned()),
            deviceid: Some("d-1".to_owned()),
            ..v1::TokenClaims::default()
        };
        assert_eq!(claims_of(request), expected);
        let by_nature = asked(&with(&[("route", "none")])).expect("a question").client;
        let is = Some(v1::client_address::Is::NoneByNature(true));
        assert_eq!(by_nature, Some(v1::ClientAddress { is }));
    }

    #[test]
    fn pasted_claims_are_the_token_but_for_what_a_field_says() {
        let pasted = r#"{"iss": "https://pasted", "tid": "contoso", "sub": "anna", "iat": 7}"#;
        let claims = claims_of(asked(&[("claims", pasted)]).expect("a question"));
        let expected = v1::TokenClaims {
            iss: Some("https://pasted".to_owned()),
            tid: Some("contoso".to_owned()),
            sub: Some("anna".to_owned()),
            iat: Some(7),
            ..v1::TokenClaims::default()
        };
        assert_eq!(claims, expected);
        let fields = [("claims", pasted), ("user", "bert"), ("issued", "8"), ("capable", "yes")];
        let claims = claims_of(asked(&fields).expect("a question"));
        let xms_cc = vec!["cp1".to_owned()];
        let expected =
            v1::TokenClaims { sub: Some("bert".to_owned()), iat: Some(8), xms_cc, ..expected };
        assert_eq!(claims, expected);
        // A token that lacks a claim is asked about as it is.
        let claims = claims_of(asked(&[("claims", "{}")]).expect("a question"));
        assert_eq!(claims, v1::TokenClaims::default());
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_beside_its_field() {
        let missing = faults(&[]);
        let fields: Vec<_> = missing.iter().map(|(field, _)| *field).collect();
        assert_eq!(fields, [Field::Tenant, Field::User, Field::Issued]);
        assert!(
            missing.iter().all(|(_, text)| text.starts_with("is missing; give")),
            "{missing:?}"
        );

        let long = "x".repeat(513);
        for (name, value, field, told) in [
            ("issued", "yesterday", Field::Issued, "is no time; give one in UTC"),
            ("expires", "-1", Field::Expires, "is no time; give one in UTC"),
            ("address", "office", Field::Address, "is no address; give one such as"),
            ("profile", "mail", Field::Profile, "is not known; known are exchange"),
            ("capable", "maybe", Field::Capable, "must be yes or no"),
            ("device", &long, Field::Device, "has 513 bytes; at most 512 are allowed"),
            ("claims", "{", Field::Claims, "is no JSON from line 1"),
        ] {
            let faults = faults(&with(&[(name, value)]));
            let [(at, text)] = faults.as_slice() else { unreachable!("{name}: {faults:?}") };
            assert_eq!(*at, field);
            assert!(text.starts_with(told), "{name}: {text}");
        }
        let both = faults(&with(&[("route", "none"), ("address", "192.0.2.1")]));
        let told = "can not be while there is an address; give one of both".to_owned();
        assert_eq!(both, [(Field::Route, told)]);
    }

    #[test]
    fn the_issuer_is_the_one_that_is_configured_where_there_is_one() {
        let asked = |names: &[&str]| {
            let issuers = issuers(names);
            sent(&LEAST).question(&Known { profiles: Vec::new(), issuers: &issuers })
        };
        let fault = |text: &str| Err(vec![Fault { field: Field::Issuer, text: text.to_owned() }]);
        let none = "none is configured for tenant `contoso`; give the token's `iss`";
        assert_eq!(asked(&[]), fault(none));
        let two = "tenant `contoso` has several; give one of https://a, https://b";
        assert_eq!(asked(&["https://b", "https://a"]), fault(two));
    }

    #[test]
    fn a_signed_token_is_refused_and_not_kept() {
        let token = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
        let (_, without_head) = token.split_at(7);
        for text in [
            token.clone(),
            format!("Bearer {token}"),
            format!("  {token}\n"),
            format!("{{\"access_token\": \"{token}\"}}"),
            format!("{HEADER}.{PAYLOAD}."),
            format!("{PAYLOAD}.{SIGNATURE}"),
            without_head.to_owned(),
            format!("{HEADER}.a.b.c.d"),
        ] {
            for field in Field::ALL {
                let form = sent(&with(&[(field.name(), &text)]));
                assert!(!format!("{form:?}").contains(SIGNATURE), "{text}");
                assert_eq!(form.value(field), "", "{text}");
                let issuers = issuers(&["https://idp.example"]);
                let known = Known { profiles: Vec::new(), issuers: &issuers };
                let faults = form.question(&known).expect_err(&text);
                let expected = Fault { field, text: SIGNED.to_owned() };
                assert_eq!(faults, [expected], "{text}");
            }
        }
        for text in [
            "https://sts.windows.net/contoso/",
            "eyebright.example.com",
            "spiffe://a.b.c/workload",
            "2026-01-15T12:00:00.000Z",
            "{\"iss\": \"https://idp.example/v2.0\", \"ver\": \"1.0\"}",
            "u.v.w",
            "...",
        ] {
            assert!(!holds_signed_token(text), "{text}");
        }
    }

    proptest! {
        /// Whatever is sent is a question, or is told to be wrong once a field.
        #[test]
        fn any_form_is_understood_or_told(
            fields in prop::collection::vec((prop::sample::select(&Field::ALL[..]), ".{0,20}"), 0..16),
            rest in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut body = form_urlencoded::Serializer::new(String::new());
            body.extend_pairs(fields.iter().map(|(field, value)| (field.name(), value)));
            let mut body = body.finish().into_bytes();
            body.extend(rest);
            let issuers = issuers(&["https://idp.example"]);
            let known = Known { profiles: Vec::new(), issuers: &issuers };
            if let Err(faults) = Form::read(&body).question(&known) {
                let fields: BTreeSet<Field> = faults.iter().map(|fault| fault.field).collect();
                prop_assert_eq!(fields.len(), faults.len());
            }
        }

        /// Wherever a token stands and whatever stands around it.
        #[test]
        fn no_form_keeps_a_signed_token(before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
            let text = format!("{before} {HEADER}.{PAYLOAD}.{SIGNATURE} {after}");
            let form = sent(&[("claims", &text)]);
            prop_assert_eq!(form.value(Field::Claims), "");
        }
    }
}
