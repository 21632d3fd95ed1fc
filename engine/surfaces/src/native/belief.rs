//! What is believed of a request: its token (T2), and the address of its client (T3, D6).
//!
//! A token is verified here, by [`caed_trust`], or its claims are taken from a caller that may vouch; the
//! caller's right to that is checked before. Nothing of a token that is refused reaches a decision.

use std::net::IpAddr;
use std::sync::Arc;

use caed_core::request::{Claims, Seen, Texts, Token, Unusable};
use caed_decode::asked::{self, Asked};
use caed_decode::claims;
use caed_proto::v1;
use caed_trust::address::{Chain, Client, Forwarding, Header, Unknown};
use caed_trust::route::Route;
use tonic::Status;

use super::Parts;

/// What is believed of one request.
#[derive(Clone, Debug)]
pub(crate) struct Belief<'r> {
    token: Presented<'r>,
    /// Where it comes from.
    pub(crate) seen: Seen,
    /// How the chain of proxies told that, where one was given.
    forwarded: Option<Result<Client, Unknown>>,
}

/// A token, and why it is believed.
#[derive(Clone, Debug)]
enum Presented<'r> {
    /// The caller vouches for its claims.
    Given(&'r Claims<'r>),
    /// It was verified here.
    Verified(Arc<v1::TokenClaims>),
    /// It is not believed, for this reason.
    Refused(Unusable, String),
}

impl<'r> Belief<'r> {
    /// Verifies what there is to verify; `field` names the token where there is none.
    pub(super) async fn of(
        asked: &'r Asked<'r>,
        route: &Route,
        parts: &Parts,
        field: impl Fn() -> String,
    ) -> Result<Self, Status> {
        let Asked { token, profile: _, client, presented } = asked;
        let token = match token {
            Some(asked::Token::Claims(given)) if presented.is_empty() => {
                Presented::Given(&given.claims)
            }
            Some(asked::Token::Claims(given)) => {
                match parts.verifier.agrees(presented.as_bytes(), *given) {
                    Ok(()) => Presented::Given(&given.claims),
                    Err(problem) => Presented::Refused(Unusable::Unverified, problem.to_string()),
                }
            }
            Some(asked::Token::Jwt(_)) if !presented.is_empty() => {
                return Err(Status::invalid_argument(
                    "presented: goes with claims; a jwt is itself what is presented",
                ));
            }
            Some(asked::Token::Jwt(token)) => match parts.verifier.verify(token.as_bytes()).await {
                Ok(claims) => Presented::Verified(claims),
                Err(refused) => Presented::Refused(refused.unusable(), refused.to_string()),
            },
            None => {
                return Err(Status::invalid_argument(format!(
                    "{}: is missing; give the token as `jwt`, or the claims of the verified token",
                    field()
                )));
            }
        };
        let token = token.on(route);
        let (seen, forwarded) = seen_of(client.as_ref(), &parts.forwarding);
        Ok(Self { token, seen, forwarded })
    }

    /// The token, as decisions read it.
    pub(crate) fn token(&self) -> Result<Token<'_>, Unusable> {
        match &self.token {
            Presented::Given(claims) => Token::parse(claims),
            Presented::Verified(claims) => claims::token(claims),
            Presented::Refused(unusable, _) => Err(*unusable),
        }
    }

    /// What is wrong with the token, in words.
    pub(super) fn detail(&self, unusable: Unusable) -> String {
        match &self.token {
            Presented::Refused(_, detail) => detail.clone(),
            Presented::Given(_) | Presented::Verified(_) => unusable.to_string(),
        }
    }

    /// Why the token is believed, or why not.
    pub(super) fn told(&self) -> v1::Belief {
        let (basis, detail) = match &self.token {
            Presented::Given(_) => (
                v1::BeliefBasis::Given,
                "its claims were given; a decision believes them from callers that may vouch",
            ),
            Presented::Verified(_) => {
                (v1::BeliefBasis::Verified, "verified here, by a key of its issuer")
            }
            Presented::Refused(Unusable::Unverifiable, detail) => {
                (v1::BeliefBasis::Unavailable, detail.as_str())
            }
            Presented::Refused(_, detail) => (v1::BeliefBasis::Refused, detail.as_str()),
        };
        v1::Belief { basis: basis.into(), detail: detail.to_owned() }
    }

    /// The address that counted, and why that one.
    pub(super) fn address(
        &self,
        client: Option<&asked::Client<'_>>,
        forwarding: &Forwarding,
    ) -> v1::SeenAddress {
        use asked::Client;
        use v1::AddressBasis as Basis;
        let (given, detail) = match client {
            Some(Client::Ip(text)) => ((*text).to_owned(), String::new()),
            Some(Client::Forwarded(chain)) => (chain_text(chain, forwarding.header), self.entry()),
            Some(Client::NoneByNature(_)) | None => (String::new(), String::new()),
        };
        let address = match self.seen {
            Seen::At(address) => address.to_string(),
            Seen::NoneByNature | Seen::Unknown => String::new(),
        };
        let basis = match (self.seen, &self.forwarded) {
            (Seen::At(_), Some(_)) => Basis::Forwarded,
            (Seen::Unknown, Some(_)) => Basis::NotForwarded,
            (Seen::At(_), None) => Basis::Given,
            (Seen::NoneByNature, _) => Basis::NoneByNature,
            (Seen::Unknown, None) if given.is_empty() => Basis::Missing,
            (Seen::Unknown, None) => Basis::Unreadable,
        };
        v1::SeenAddress { address, basis: basis.into(), given, detail }
    }

    /// Where in the chain the address stood, or why it stands nowhere.
    fn entry(&self) -> String {
        match self.forwarded {
            Some(Ok(Client { entry: 0, .. })) => {
                "the peer itself, which is no trusted proxy".to_owned()
            }
            Some(Ok(Client { entry, .. })) => {
                format!("entry {entry} from the right, the first that no trusted proxy is known by")
            }
            Some(Err(unknown)) => unknown.to_string(),
            None => String::new(),
        }
    }
}

impl Presented<'_> {
    /// The token, unless it is not for its route.
    fn on(self, route: &Route) -> Self {
        let checked = match &self {
            Self::Given(claims) => route.check(claims.tenant, claims.audiences),
            Self::Verified(claims) => {
                route.check(claims.tid.as_deref(), Texts::Listed(&claims.aud))
            }
            Self::Refused(..) => return self,
        };
        match checked {
            Ok(()) => self,
            Err(problem) => Self::Refused(Unusable::Unverified, problem.to_string()),
        }
    }
}

/// The address, or that there is none to believe (D6).
fn seen_of(
    client: Option<&asked::Client<'_>>,
    forwarding: &Forwarding,
) -> (Seen, Option<Result<Client, Unknown>>) {
    let seen = match client {
        Some(asked::Client::Ip(text)) => {
            text.parse::<IpAddr>().map_or(Seen::Unknown, |address| Seen::At(address.to_canonical()))
        }
        Some(asked::Client::NoneByNature(true)) => Seen::NoneByNature,
        Some(asked::Client::Forwarded(chain)) => {
            let told = forwarding.client(&Chain {
                peer: chain.peer.parse().ok(),
                lines: lines(chain, forwarding.header),
            });
            let seen = told.as_ref().map_or(Seen::Unknown, |client| Seen::At(client.address));
            return (seen, Some(told));
        }
        Some(asked::Client::NoneByNature(false)) | None => Seen::Unknown,
    };
    (seen, None)
}

/// The lines of the header that is configured: the other one may come from anybody.
fn lines(chain: &v1::ForwardedChain, header: Header) -> &[String] {
    match header {
        Header::XForwardedFor => &chain.x_forwarded_for,
        Header::Forwarded => &chain.forwarded,
    }
}

/// A chain as people read it.
fn chain_text(chain: &v1::ForwardedChain, header: Header) -> String {
    let name = match header {
        Header::XForwardedFor => "X-Forwarded-For",
        Header::Forwarded => "Forwarded",
    };
    let peer = if chain.peer.is_empty() { "not told" } else { &chain.peer };
    format!("peer {peer}, {name}: {}", lines(chain, header).join(", "))
}
