//! Who asks over the wire: the tokens of so many users, a tenth of whom are revoked, from inside and outside of the
//! ranges of an office; and what each must be told.
//!
//! All of it is data, of which caed is told by its events and asked by its messages, and of which a peer is told
//! and asked in its own form. Numbers draw everything, so that two runs ask the same, but for the times: servers
//! have clocks of their own, so tokens were issued an hour ago.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use caed_proto::ext_authz;
use caed_proto::v1;
use caed_proto::v1::event::Fact;
use prost_types::value::Kind as Json;
use prost_types::{ListValue, Struct};

use crate::generator::{Answer, Outcome, wire};
use crate::subject::{self, Kind, SEED, mixed};

/// Who issued the tokens.
pub const ISSUER: &str = "https://login.example/staff";

/// Whose they are.
pub const TENANT: &str = "staff";

/// The client application of all of them.
pub const CLIENT: &str = "04b07795-8ddb-461a-bbee-02f9e1bf7b46";

/// Different tokens, asked about in turn.
pub const TOKENS: u64 = 5000;

/// One of so many tokens is of a revoked user.
pub const ONE_REVOKED_OF: u64 = 10;

/// Users, ranges and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitors {
    /// How many users are revoked, of whom a few ask.
    pub revoked: u64,
    /// How many ranges the office has. A policy blocks everybody outside of them; of none, there is no policy.
    pub ranges: u64,
    /// When this was made, in seconds.
    pub now_s: i64,
}

/// One token, and from where it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The user's id.
    pub user: String,
    /// The session's.
    pub session: String,
    /// The device's.
    pub device: String,
    /// From where it comes.
    pub address: Ipv4Addr,
    /// Whether the user's sessions were revoked after the token was issued.
    pub is_revoked: bool,
    /// Whether the address is in none of the office's ranges. Half of all are.
    pub is_outside: bool,
    /// When the token was issued, in seconds.
    pub issued_s: i64,
}

impl Visitors {
    /// So many revoked users, and an office of so many ranges, now.
    pub fn new(revoked: u64, ranges: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { revoked, ranges, now_s: i64::try_from(now.as_secs()).unwrap_or(0) }
    }

    /// The ids of the revoked users.
    pub fn revoked_users(self) -> impl Iterator<Item = String> {
        (0..self.revoked).map(|number| subject::id(Kind::User, number))
    }

    /// The office's ranges, as CIDRs.
    pub fn cidrs(self) -> impl Iterator<Item = String> {
        (0..self.ranges).map(move |number| format!("{}/24", self.range(number)))
    }

    /// All visitors, in the order in which they ask.
    pub fn all(self) -> impl Iterator<Item = Visitor> {
        (0..TOKENS).map(move |number| self.visitor(number))
    }

    /// What caed is told: the revoked users half an hour ago, and the office with its policy.
    pub fn events(self) -> impl Iterator<Item = v1::Event> {
        let revoked =
            self.revoked_users().map(|user| Fact::SessionsRevoked(v1::SessionsRevoked { user }));
        let facts = (0..).zip(revoked.chain(self.office()));
        facts.map(move |(number, fact): (u64, Fact)| v1::Event {
            id: number.to_string(),
            tenant: TENANT.to_owned(),
            source: "directory".to_owned(),
            event_time_ms: (self.now_s - 1800) * 1000,
            fact: Some(fact),
            ..v1::Event::default()
        })
    }

    /// The visitor who asks at this place.
    pub fn visitor(self, number: u64) -> Visitor {
        let is_revoked = number.is_multiple_of(ONE_REVOKED_OF);
        let drawn = mixed(SEED ^ number);
        // Numbers from the revoked ones on are of those to whom nothing happened.
        let user = if is_revoked { drawn % self.revoked.max(1) } else { self.revoked + number };
        let is_outside = drawn >> 40 & 1 == 1;
        let range = u32::from(self.range(mixed(!SEED ^ number) % self.ranges.max(1)));
        let host = u32::try_from(drawn >> 48 & 0xff).unwrap_or(0);
        let address = Ipv4Addr::from(range + host + if is_outside { 256 } else { 0 });
        Visitor {
            user: subject::id(Kind::User, user),
            session: subject::id(Kind::Session, number),
            device: subject::id(Kind::Device, number % 500),
            address,
            is_revoked,
            is_outside,
            issued_s: self.now_s - 3600,
        }
    }

    /// The first address of a range, of 256 addresses; as many behind it are in none.
    fn range(self, number: u64) -> Ipv4Addr {
        let room = (1 << 24) / self.ranges.max(1);
        Ipv4Addr::from(u32::try_from((number * room) << 8).unwrap_or(0))
    }

    /// The location, in parts, and the policy.
    fn office(self) -> impl Iterator<Item = Fact> {
        let all = || vec!["All".to_owned()];
        let cidrs: Vec<String> = self.cidrs().collect();
        let location = v1::LocationChanged {
            location: "office".to_owned(),
            ranges: Some(v1::IpRanges { cidrs }),
            ..Default::default()
        };
        let policy = v1::PolicyChanged {
            policy: "from the office alone".to_owned(),
            state: v1::PolicyState::Enabled.into(),
            users: Some(v1::PolicyUsers { include_users: all(), ..Default::default() }),
            applications: Some(v1::PolicyApplications { include: all(), ..Default::default() }),
            locations: Some(v1::PolicyLocations {
                include: all(),
                exclude: vec!["office".to_owned()],
            }),
            grant_controls: vec!["block".to_owned()],
            ..Default::default()
        };
        let facts = [Fact::LocationChanged(location), Fact::PolicyChanged(policy)];
        facts.into_iter().filter(move |_| self.ranges > 0)
    }

    /// What a visitor must be told.
    pub const fn expected(self, visitor: &Visitor) -> Outcome {
        // Both are challenges: a token of after the revocation would pass, and one for another address might.
        if visitor.is_revoked || visitor.is_outside && self.ranges > 0 {
            Outcome::Challenged
        } else {
            Outcome::Allowed
        }
    }
}

impl Visitor {
    /// The token's claims.
    pub fn claims(&self) -> v1::TokenClaims {
        v1::TokenClaims {
            iss: Some(ISSUER.to_owned()),
            tid: Some(TENANT.to_owned()),
            sub: Some(self.user.clone()),
            iat: Some(self.issued_s),
            exp: Some(self.expires_s()),
            sid: Some(self.session.clone()),
            azp: Some(CLIENT.to_owned()),
            deviceid: Some(self.device.clone()),
            xms_cc: vec!["cp1".to_owned()],
            ..Default::default()
        }
    }

    /// When the token expires, in seconds.
    pub const fn expires_s(&self) -> i64 {
        self.issued_s + 24 * 3600
    }

    /// What caed's own interface is asked.
    pub fn evaluate(&self) -> v1::EvaluateRequest {
        v1::EvaluateRequest {
            token: Some(v1::evaluate_request::Token::Claims(self.claims())),
            client: Some(v1::ClientAddress {
                is: Some(v1::client_address::Is::Ip(self.address.to_string())),
            }),
            ..Default::default()
        }
    }

    /// What Envoy asks that has verified the token and removed it.
    pub fn check(&self) -> ext_authz::CheckRequest {
        self.check_with(Some(self.payload()), None)
    }

    /// What Envoy asks that hands on the token itself.
    pub fn check_bearing(&self, token: &str) -> ext_authz::CheckRequest {
        self.check_with(None, Some(token))
    }

    fn check_with(&self, payload: Option<Struct>, token: Option<&str>) -> ext_authz::CheckRequest {
        use ext_authz::{
            Address, AttributeContext, HeaderValue, HttpRequest, Metadata, Peer, Request,
            SocketAddress,
        };
        let header = |name: &str, value: &str| HeaderValue {
            key: name.into(),
            value: value.into(),
            raw_value: Vec::new(),
        };
        let request_id = self.session.as_str();
        let mut headers = vec![
            header(":authority", "files.example"),
            header(":method", "GET"),
            header(":path", "/v1/files/report.pdf"),
            header(":scheme", "https"),
            header("accept", "application/json"),
            header("user-agent", "files-client/2.4 (linux)"),
            header("x-forwarded-proto", "https"),
            header("x-request-id", request_id),
        ];
        headers.extend(token.map(|token| header("authorization", &format!("Bearer {token}"))));
        let socket_address = Some(SocketAddress { address: self.address.to_string() });
        let metadata = payload.map(|payload| {
            let payload = structure([("jwt_payload", Json::StructValue(payload))]);
            Metadata {
                filter_metadata: [("envoy.filters.http.jwt_authn".to_owned(), payload)].into(),
            }
        });
        ext_authz::CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(Peer { address: Some(Address { socket_address }) }),
                request: Some(Request { http: Some(HttpRequest { headers, header_map: None }) }),
                context_extensions: [].into(),
                metadata_context: metadata,
            }),
        }
    }

    /// The claims as Envoy hands them on.
    #[expect(clippy::cast_precision_loss, reason = "seconds, far below 2^53")]
    fn payload(&self) -> Struct {
        let text = |text: &str| Json::StringValue(text.to_owned());
        let capable = prost_types::Value { kind: Some(text("cp1")) };
        structure([
            ("iss", text(ISSUER)),
            ("tid", text(TENANT)),
            ("sub", text(&self.user)),
            ("iat", Json::NumberValue(self.issued_s as f64)),
            ("exp", Json::NumberValue(self.expires_s() as f64)),
            ("sid", text(&self.session)),
            ("azp", text(CLIENT)),
            ("deviceid", text(&self.device)),
            ("xms_cc", Json::ListValue(ListValue { values: vec![capable] })),
        ])
    }
}

fn structure<const N: usize>(members: [(&str, Json); N]) -> Struct {
    let value = |kind| prost_types::Value { kind: Some(kind) };
    Struct {
        fields: members.into_iter().map(|(name, kind)| (name.to_owned(), value(kind))).collect(),
    }
}

/// What an `EvaluateReply` says.
pub fn of_evaluate(answer: &Answer<'_>) -> Option<Outcome> {
    (answer.grpc_status == Some(0)).then(|| of_reply(answer.body)).flatten()
}

/// What an `EvaluateBatchReply` says.
pub fn of_batch(answer: &Answer<'_>) -> Option<Outcome> {
    let replies = wire::Fields(answer.body).filter_map(|(at, field)| match field {
        wire::Field::Bytes(reply) if at == 1 => Some(of_reply(reply)),
        _ => None,
    });
    let replies: Option<Vec<Outcome>> = replies.collect();
    replies.filter(|_| answer.grpc_status == Some(0)).map(Outcome::many)
}

fn of_reply(reply: &[u8]) -> Option<Outcome> {
    match wire::number(reply, 1) {
        1 => Some(Outcome::Allowed),
        2 => Some(Outcome::Challenged),
        3 => Some(Outcome::Denied),
        _ => None,
    }
}

/// What Envoy's `CheckResponse` says.
pub fn of_check(answer: &Answer<'_>) -> Option<Outcome> {
    let status = wire::bytes(answer.body, 1).filter(|_| answer.grpc_status == Some(0))?;
    if wire::number(status, 1) == 0 {
        return Some(Outcome::Allowed);
    }
    let denied = wire::bytes(answer.body, 2)?;
    of_status(u16::try_from(wire::number(wire::bytes(denied, 1)?, 1)).ok()?)
}

/// What the answer to forward authorization says.
pub fn of_forward_auth(answer: &Answer<'_>) -> Option<Outcome> {
    of_status(answer.status)
}

const fn of_status(status: u16) -> Option<Outcome> {
    match status {
        200 => Some(Outcome::Allowed),
        401 => Some(Outcome::Challenged),
        403 => Some(Outcome::Denied),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use prost::Message;

    use super::*;

    #[test]
    fn a_tenth_is_revoked_and_half_are_outside() {
        let visitors = Visitors::new(10_000, 10_000);
        let revoked: HashSet<String> = visitors.revoked_users().collect();
        // A /24 each, so the first three numbers tell.
        let ranges: HashSet<[u8; 3]> = visitors.cidrs().map(|cidr| place(&cidr)).collect();
        assert_eq!((revoked.len(), ranges.len()), (10_000, 10_000));
        let all: Vec<Visitor> = visitors.all().collect();
        for visitor in &all {
            assert_eq!(revoked.contains(&visitor.user), visitor.is_revoked, "{visitor:?}");
            let address = visitor.address.to_string();
            assert_eq!(ranges.contains(&place(&address)), !visitor.is_outside, "{visitor:?}");
        }
        let count = |is: fn(&&Visitor) -> bool| all.iter().filter(is).count();
        assert_eq!(count(|visitor| visitor.is_revoked), 500);
        assert!((2400..2600).contains(&count(|visitor| visitor.is_outside)));
        let users: HashSet<&str> = all.iter().map(|visitor| visitor.user.as_str()).collect();
        assert!(users.len() > 4900, "{}", users.len());
    }

    #[test]
    fn places_count_where_there_are_some() {
        let (plain, located) = (Visitors::new(1000, 0), Visitors::new(1000, 100));
        let allowed = |visitors: Visitors| {
            let all = visitors.all();
            all.filter(|visitor| visitors.expected(visitor) == Outcome::Allowed).count()
        };
        assert_eq!(allowed(plain), 4500);
        assert!((2150..2350).contains(&allowed(located)), "{}", allowed(located));
        assert_eq!(plain.events().count(), 1000);
        assert_eq!(located.events().count(), 1002);
    }

    #[test]
    fn answers_are_read_by_what_counts() {
        use ext_authz::check_response::HttpResponse;
        let of = |outcome: fn(&Answer<'_>) -> Option<Outcome>, grpc_status, body: &[u8]| {
            outcome(&Answer { status: 200, grpc_status: Some(grpc_status), body })
        };
        let reply = |verdict| v1::EvaluateReply { verdict, http_status: 401, ..Default::default() };
        let check = |code, status: i32| {
            let status = Some(ext_authz::HttpStatus { code: status });
            let denied = ext_authz::DeniedHttpResponse { status, ..Default::default() };
            let http_response = Some(HttpResponse::DeniedResponse(denied));
            let status = Some(ext_authz::Status { code });
            ext_authz::CheckResponse { status, http_response, dynamic_metadata: None }
                .encode_to_vec()
        };
        let outcomes = [Some(Outcome::Allowed), Some(Outcome::Challenged), Some(Outcome::Denied)];
        for (verdict, expected) in (0..).zip([None].into_iter().chain(outcomes)) {
            assert_eq!(of(of_evaluate, 0, &reply(verdict).encode_to_vec()), expected);
            assert_eq!(of(of_evaluate, 2, &reply(verdict).encode_to_vec()), None, "no answer");
        }
        for (code, status, expected) in
            [(0, 200, outcomes[0]), (16, 401, outcomes[1]), (7, 403, outcomes[2]), (14, 503, None)]
        {
            assert_eq!(of(of_check, 0, &check(code, status)), expected);
            assert_eq!(of(of_check, 2, &check(code, status)), None, "no answer");
        }
        let replies = vec![reply(1), reply(2)];
        let batch = v1::EvaluateBatchReply { replies, ..Default::default() }.encode_to_vec();
        let expected = Outcome::many([Outcome::Allowed, Outcome::Challenged]);
        assert_eq!(of(of_batch, 0, &batch), Some(expected));
        assert_ne!(Outcome::many([Outcome::Challenged, Outcome::Allowed]), expected, "their order");
        assert_eq!(of(of_check, 0, &[]), None);
    }

    fn place(address: &str) -> [u8; 3] {
        let mut numbers = address.split(['.', '/']).map(|number| number.parse().expect("a number"));
        std::array::from_fn(|_| numbers.next().expect("three"))
    }
}
