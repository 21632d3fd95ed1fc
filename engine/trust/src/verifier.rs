//! Verifies raw tokens, and tells whether claims are those of one.

use std::sync::Arc;

use caed_proto::v1::TokenClaims;

use crate::agreement::{self, Disagreement};
use crate::issuer::Issuers;
use crate::token::{self, Refused};

/// Verifies raw tokens.
#[derive(Clone, Debug, Default)]
pub struct Verifier(Arc<Issuers>);

impl Verifier {
    /// Verifies a raw token: its claims, or why it is not believed.
    pub async fn verify(&self, token: &[u8]) -> Result<Arc<TokenClaims>, Refused> {
        token::verify(token, &self.0).map(|verified| Arc::new(verified.claims))
    }

    /// Checks that claims are those of a token, which somebody else has verified (T2).
    pub fn agrees(&self, token: &[u8], given: &TokenClaims) -> Result<(), Disagreement> {
        agreement::agree(token, given)
    }
}
