//! A token, and the answer that it must get.
//!
//! Tokens carry everything that a token can carry (session, token id, client, device), so that a
//! decision asks for all of it.

use std::net::IpAddr;

use caed_core::decision::{Decision, Reason, Verdict};
use caed_core::request::Claims;

use crate::scenario::Tokens;
use crate::subject::{self, Kind, mixed};
use crate::world::{self, ISSUER, TENANT};

/// One of so many revoked users has a session revoked besides; as many devices and accounts are
/// disabled.
pub const OTHERS: u64 = 100;

/// A token and its answer.
#[derive(Debug)]
pub struct Question {
    user: String,
    session: String,
    device: String,
    signed_in_at: Option<String>,
    issued_s: i64,
    answer: Answer,
}

/// What is expected: the verdict and the reason that is named first.
type Answer = (Verdict, Option<Reason>);

/// What is known of a token's user, session and device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Untouched,
    Revoked,
    /// A revoked user's token from after that.
    Renewed,
    RevokedSession,
    DisabledDevice,
    DisabledAccount,
}

impl Question {
    /// The question at this place of an endless sequence about a state of so many revoked users, by a client
    /// who signed in at this address.
    pub fn draw(tokens: Tokens, users: u64, place: u64, signed_in_at: Option<IpAddr>) -> Self {
        let drawn = mixed(subject::SEED.wrapping_add(place));
        let about = match (tokens, drawn % 100) {
            (Tokens::Untouched, _) | (Tokens::Mixed, 0..90) => About::Untouched,
            (Tokens::Revoked, _) | (Tokens::Mixed, 90..94) => About::Revoked,
            (Tokens::Renewed(_), _) | (Tokens::Mixed, 94..97) => About::Renewed,
            (Tokens::Mixed, 97) => About::RevokedSession,
            (Tokens::Mixed, 98) => About::DisabledDevice,
            (Tokens::Mixed, _) => About::DisabledAccount,
        };
        let number = match tokens {
            Tokens::Renewed(among) => subject::drawn(users, among, place),
            _ => drawn / 100 % users,
        };
        let other = number % (users / OTHERS).max(1);
        // Numbers from `users` on are of those to whom nothing happened.
        let nobody = users + number;
        let mut question = Self {
            user: subject::id(Kind::User, nobody),
            session: subject::id(Kind::Session, nobody),
            device: subject::id(Kind::Device, nobody),
            signed_in_at: signed_in_at.map(|address| address.to_string()),
            issued_s: world::OLD_S,
            answer: (Verdict::Allow, None),
        };
        match about {
            About::Untouched => {}
            About::Revoked => {
                question.user = subject::id(Kind::User, number);
                question.answer = (Verdict::Challenge, Some(Reason::Revoked));
            }
            About::Renewed => {
                question.user = subject::id(Kind::User, number);
                question.issued_s = world::FRESH_S;
            }
            About::RevokedSession => {
                question.session = subject::id(Kind::Session, other);
                question.answer = (Verdict::Challenge, Some(Reason::Revoked));
            }
            About::DisabledDevice => {
                question.device = subject::id(Kind::Device, other);
                question.issued_s = world::FRESH_S;
                question.answer = (Verdict::Deny, Some(Reason::Device));
            }
            About::DisabledAccount => {
                question.user = subject::id(Kind::DisabledUser, other);
                question.issued_s = world::FRESH_S;
                question.answer = (Verdict::Deny, Some(Reason::Account));
            }
        }
        question
    }

    /// The token's claims.
    pub fn claims(&self) -> Claims<'_> {
        Claims {
            issuer: Some(ISSUER),
            tenant: Some(TENANT),
            subject: Some(&self.user),
            issued_at: Some(self.issued_s),
            session: Some(&self.session),
            token_id: Some("0vQ2mWbXUk6b3s7cAtQMAA"),
            client: Some("04b07795-8ddb-461a-bbee-02f9e1bf7b46"),
            device: Some(&self.device),
            answers_challenges: true,
            address: self.signed_in_at.as_deref(),
            ..Claims::default()
        }
    }

    /// Whether this is the answer.
    #[inline]
    pub fn is_answered_by(&self, decision: &Decision) -> bool {
        (decision.verdict, decision.primary) == self.answer
    }
}
