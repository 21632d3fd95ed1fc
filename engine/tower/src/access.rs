//! What is enforced, and the decision about one request: as a sidecar decides what a gateway asks.

use std::net::IpAddr;
use std::sync::Arc;

use caed_core::challenge;
use caed_core::decide::decide;
use caed_core::decision::{Decision, Notes, Verdict};
use caed_core::publish::{Known, SnapshotReader};
use caed_core::refusal::HttpRefusal;
use caed_core::request::{AccessRequest, Seen, Texts, Unusable};
use caed_core::rules::Profile;
use caed_core::time::Clock;
use caed_decode::claims;
use caed_trust::address::{Chain, Forwarding, Header};
use caed_trust::bearer;
use caed_trust::route::Route;
use caed_trust::verifier::Verifier;
use http::header::{AUTHORIZATION, FORWARDED, HeaderName};
use http::{Extensions, HeaderMap};

/// A layer that lets requests through by caed's decision about their bearer token. Cheap to clone.
///
/// By default nothing is demanded beyond the configured rules, and the client's address is not known, so that
/// policies about locations meet everybody (D6): see [`with_peer`](Self::with_peer).
#[derive(Clone)]
pub struct Access {
    snapshots: SnapshotReader,
    verifier: Verifier,
    clock: Arc<dyn Clock>,
    profile: Arc<Profile>,
    route: Arc<Route>,
    forwarding: Arc<Forwarding>,
    peer: Arc<Peer>,
}

/// Who connected, out of a request's extensions.
type Peer = dyn Fn(&Extensions) -> Option<IpAddr> + Send + Sync;

/// What a request was let in for: in its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// The tenant of its token.
    pub tenant: String,
    /// The subject of its token.
    pub subject: String,
    /// The address that counted; `None` where it is not known.
    pub address: Option<IpAddr>,
    /// The snapshot that answered.
    pub generation: u64,
    /// What the decision says beside: a judged token that passed from another address (D5), for one.
    pub notes: Notes,
}

/// Why a request was refused: in the extensions of its response. It is for operators; clients are told less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The decision; `None` where the request bears no token.
    pub decision: Option<Decision>,
    /// What is wrong with the token, in words; empty: nothing.
    pub detail: String,
}

/// What counts of a request, before anything is believed of it.
pub(crate) struct Asked {
    token: Option<String>,
    seen: Seen,
}

impl Access {
    /// Decides by these snapshots about tokens that this verifier believes. The monotonic clock begins with the
    /// process: what was never known to be current is as old as it says (F2).
    pub fn new(snapshots: SnapshotReader, verifier: Verifier, clock: Arc<dyn Clock>) -> Self {
        Self {
            snapshots,
            verifier,
            clock,
            profile: Arc::default(),
            route: Arc::default(),
            forwarding: Arc::default(),
            peer: Arc::new(|_: &Extensions| None),
        }
    }

    /// What is enforced.
    #[must_use]
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = Arc::new(profile);
        self
    }

    /// What is demanded of the token besides: its tenant, an audience.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.route = Arc::new(route);
        self
    }

    /// Who connected, out of a request's extensions: where axum, tonic or hyper's user put it.
    #[must_use]
    pub fn with_peer(
        mut self,
        peer: impl Fn(&Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.peer = Arc::new(peer);
        self
    }

    /// The proxies that tell a client's address. By default nobody is trusted, and the peer is the client (T3).
    #[must_use]
    pub fn with_forwarding(mut self, forwarding: Forwarding) -> Self {
        self.forwarding = Arc::new(forwarding);
        self
    }

    /// What is asked by a request with these headers and extensions.
    pub(crate) fn asked(&self, headers: &HeaderMap, extensions: &Extensions) -> Asked {
        let lines = |name: &HeaderName| headers.get_all(name).iter().collect::<Vec<_>>();
        let authorization = lines(&AUTHORIZATION);
        // What is no UTF-8 is no token, whatever stands there instead.
        let authorization: Vec<_> =
            authorization.iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let lines = match self.forwarding.header {
            Header::XForwardedFor => lines(&X_FORWARDED_FOR),
            Header::Forwarded => lines(&FORWARDED),
        };
        let chain = Chain { peer: (self.peer)(extensions), lines: &lines };
        let client = self.forwarding.client(&chain);
        let seen = client.map_or(Seen::Unknown, |client| Seen::At(client.address));
        Asked { token: bearer::token(&authorization), seen }
    }

    /// Decides. The token first: it may wait for keys, and what is decided by is as new as the answer.
    pub(crate) async fn decide(&self, asked: Asked) -> Result<Admitted, (HttpRefusal, Refused)> {
        let Asked { token, seen } = asked;
        let Some(token) = token else {
            let refused = Refused { decision: None, detail: String::new() };
            return Err((HttpRefusal::without_token(), refused));
        };
        let believed = self.verifier.verify(token.as_bytes()).await;
        let believed = believed.map_err(|refused| (refused.unusable(), refused.to_string()));
        let believed = believed.and_then(|claims| {
            match self.route.check(claims.tid.as_deref(), Texts::Listed(&claims.aud)) {
                Ok(()) => Ok(claims),
                Err(problem) => Err((Unusable::Unverified, problem.to_string())),
            }
        });
        let token = match &believed {
            Ok(claims) => claims::token(claims),
            Err((unusable, _)) => Err(*unusable),
        };
        let Known { snapshot, at, age: _ } = self.snapshots.known(&*self.clock);
        let request = AccessRequest { token, profile: &self.profile, seen };
        let decision = decide(&snapshot, &request, at);
        if let (Verdict::Allow, Ok(token)) = (decision.verdict, &token) {
            let (tenant, subject) = (token.tenant().to_owned(), token.subject().to_owned());
            let address = match seen {
                Seen::At(address) => Some(address),
                Seen::Unknown | Seen::NoneByNature => None,
            };
            let Decision { generation, notes, .. } = decision;
            return Ok(Admitted { tenant, subject, address, generation, notes });
        }
        let challenge =
            challenge::www_authenticate(&decision, token.as_ref().ok(), snapshot.rules());
        let refusal = HttpRefusal::of_token(
            decision.http_status,
            &challenge.unwrap_or_default(),
            decision.retry_after_s.unwrap_or_default(),
            decision.challenge.map(|asked| asked.code),
        );
        let detail = match (&believed, token) {
            (Err((_, detail)), _) => detail.clone(),
            (Ok(_), Err(unusable)) => unusable.to_string(),
            (Ok(_), Ok(_)) => String::new(),
        };
        Err((refusal, Refused { decision: Some(decision), detail }))
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
