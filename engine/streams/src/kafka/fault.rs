//! What can be wrong between caed and Kafka, by name.
//!
//! librdkafka tries again for ever and tells of it in passing, in hundreds of codes. An operator
//! needs a dozen, each with what to do. The newest fault stands in the status until the brokers have
//! answered everything again.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Why Kafka can't be read or asked now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No broker answers.
    #[error("no broker can be reached: {0}; check kafka.brokers and the network")]
    Unreachable(String),
    /// The brokers do not know this client.
    #[error("authentication failed: {0}; check sasl.mechanisms, sasl.username and sasl.password")]
    Authentication(String),
    /// No secure connection.
    #[error(
        "the secure connection failed: {0}; check security.protocol, ssl.ca.location and the client's certificate"
    )]
    Tls(String),
    /// The brokers know this client and refuse it.
    #[error(
        "not allowed: {0}; allow this client to read and describe the topics, and to use its group"
    )]
    NotAllowed(String),
    /// A topic does not exist.
    #[error("topic `{0}` does not exist; run `caed topics create`")]
    UnknownTopic(String),
    /// A partition has no leader, or its leader does not answer.
    #[error("partition {0} has no leader that answers")]
    Leaderless(String),
    /// A topic was deleted and made again, or lost its end: everything is read again.
    #[error("partition {0} is not the log that it was; it is read again from its beginning")]
    Recreated(String),
    /// Records are compressed in a way that this build can't undo.
    #[error("partition {0} holds records in a codec that this build can not decompress")]
    Codec(String),
    /// Bytes that are not what was written.
    #[error("partition {0} holds a batch that is damaged")]
    Damaged(String),
    /// The log asks for a newer reader.
    #[error(
        "topic `{topic}` needs a reader of version {needs} and this one is {has}; install a newer caed"
    )]
    ReaderTooOld {
        /// The topic.
        topic: String,
        /// What its identity record asks for.
        needs: u32,
        /// What this program is.
        has: u32,
    },
    /// The log was made for another horizon.
    #[error(
        "topic `{topic}` was created with a horizon of {log_s} s, which never changes; the configuration says {own_s} s: set tokens.horizon to it"
    )]
    Horizon {
        /// The topic.
        topic: String,
        /// What its identity record says, in seconds.
        log_s: u64,
        /// What the configuration says, in seconds.
        own_s: u64,
    },
    /// This host's clock and the brokers' disagree.
    #[error("this host's clock and the append times of {0} are more than a minute apart; set them")]
    ClocksApart(String),
    /// Something else, in librdkafka's words.
    #[error("{0}")]
    Other(String),
}

/// An error of librdkafka in its own words: those of its code, where it has one.
pub(super) fn words(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mend {
    /// It passes by itself, or the brokers' operator mends it: try again for ever.
    Wait,
    /// The operator of this process: at a start there is a limit to trying again.
    Operator,
    /// Nobody while this process runs.
    Never,
}

impl Fault {
    /// What librdkafka's code and words mean.
    pub fn of(code: Code, words: &str) -> Self {
        let words = if words.is_empty() { code.to_string() } else { words.to_owned() };
        match code {
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState => Self::Authentication(words),
            Code::SSL => Self::Tls(words),
            // The words are all that tells a handshake from a socket.
            _ if words.contains("SSL") => Self::Tls(words),
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed => Self::NotAllowed(words),
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::TimedOutQueue
            | Code::NetworkException
            | Code::MessageTimedOut => Self::Unreachable(words),
            _ => Self::Other(words),
        }
    }

    /// Who can mend it.
    pub const fn mend(&self) -> Mend {
        match self {
            Self::Authentication(_)
            | Self::Tls(_)
            | Self::NotAllowed(_)
            | Self::UnknownTopic(_) => Mend::Operator,
            Self::Codec(_) | Self::ReaderTooOld { .. } | Self::Horizon { .. } => Mend::Never,
            Self::Unreachable(_)
            | Self::Leaderless(_)
            | Self::Recreated(_)
            | Self::Damaged(_)
            | Self::ClocksApart(_)
            | Self::Other(_) => Mend::Wait,
        }
    }

    /// Whether `next` says more than this one, which is still in force. That no broker is left
    /// follows from every cause, and must not hide it.
    pub(super) fn yields_to(&self, next: &Self) -> bool {
        !(self.mend() == Mend::Operator && matches!(next, Self::Unreachable(_)))
    }

    /// Whether both are of one kind; the words may differ.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_not_hidden_by_what_follows_from_it() {
        let cause = Fault::of(Code::Authentication, "SASL authentication error");
        let follows = Fault::of(Code::AllBrokersDown, "1/1 brokers are down");
        assert!(!cause.yields_to(&follows) && follows.yields_to(&cause));
        assert_eq!(cause.mend(), Mend::Operator);
        assert_eq!(follows.mend(), Mend::Wait);
    }

    #[test]
    fn a_failed_handshake_is_no_network_fault() {
        let fault = Fault::of(Code::BrokerTransportFailure, "SSL handshake failed: …");
        assert!(matches!(fault, Fault::Tls(_)), "{fault}");
    }
}
