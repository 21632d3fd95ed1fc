//! What a test tells the sandbox's caed itself, and asks it.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use caed_proto::v1;
use caed_proto::v1::access_evaluation_client::AccessEvaluationClient;
use caed_proto::v1::client_address::Is;
use caed_proto::v1::evaluate_request::Token;
use caed_proto::v1::event::Fact;
use caed_proto::v1::event_publisher_client::EventPublisherClient;
use caed_sandbox::Sandbox;
use caed_sandbox::issuer::TENANT;
use tonic::transport::Channel;

async fn channel(sandbox: &Sandbox) -> Channel {
    let address = format!("http://127.0.0.1:{}", sandbox.ports.grpc);
    Channel::from_shared(address).expect("an address").connect().await.expect("connected")
}

/// Tells what happened in a second; of none, as it is received.
pub(crate) async fn publish(sandbox: &Sandbox, facts: Vec<Fact>, second: Option<u64>) {
    let event_time_ms = i64::try_from(second.unwrap_or_default() * 1000).expect("a time");
    let event = |fact| v1::Event {
        tenant: TENANT.to_owned(),
        source: "directory".to_owned(),
        event_time_ms,
        fact: Some(fact),
        ..Default::default()
    };
    let events = facts.into_iter().map(event).collect();
    let request = v1::PublishRequest { events, wait: v1::Wait::Applied.into() };
    let mut publisher = EventPublisherClient::new(channel(sandbox).await);
    publisher.publish(request).await.expect("published");
}

/// All sessions of this user are revoked.
pub(crate) fn revoked(user: &str) -> Fact {
    Fact::SessionsRevoked(v1::SessionsRevoked { user: user.to_owned() })
}

/// What an API is answered about a token, of a client that is there, or who knows where.
pub(crate) async fn evaluated(
    sandbox: &Sandbox,
    token: &str,
    from: Option<Ipv4Addr>,
) -> v1::EvaluateReply {
    let client = from.map(|from| v1::ClientAddress { is: Some(Is::Ip(from.to_string())) });
    let token = Some(Token::Jwt(token.to_owned()));
    let request = v1::EvaluateRequest { token, client, ..Default::default() };
    let mut caed = AccessEvaluationClient::new(channel(sandbox).await);
    caed.evaluate(request).await.expect("an answer").into_inner()
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
