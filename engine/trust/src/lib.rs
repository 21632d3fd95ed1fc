//! Who may be believed: the signature of a token, and the address of a client.
//!
//! Law of this crate: **belief is in one place**. Signatures are verified here and nowhere else, against
//! the issuers' own keys, and an address counts only as far as those who passed it on are trusted. What a token
//! or a chain means is told without socket, task and clock, so that every attack is a row in a table; around it
//! keys are fetched and kept, by the runtime's clock, which tests set. Times of tokens are not judged here: that
//! is the decision's part (D1).
//!
//! | module | noun |
//! |---|---|
//! | [`verifier`] | verifies tokens as they come, and remembers those that it verified |
//! | [`token`] | a raw token, verified |
//! | [`issuer`] | who may issue tokens, with which algorithms, for whom |
//! | [`keys`] | public keys, as issuers publish them |
//! | [`keyring`] | the keys of an issuer as they are now |
//! | [`fetch`] | where keys come from, and who keeps them |
//! | [`algorithm`] | the closed set of signatures that count |
//! | [`bearer`] | the token of a request, out of its headers |
//! | [`route`] | what the route of a request demands of its token |
//! | `agreement` | whether claims are those of a token |
//! | [`address`] | the client's address, out of what proxies passed on |
//! | `remembered` | tokens that were verified before |
//! | `json` | JSON that has one meaning |
//! | [`limits`] | bounds |
//!
//! # Invariants
//!
//! - No symmetric key and no algorithm of one can be named: what is public never makes a signature.
//! - Nothing that a token says of itself chooses a key but its issuer's own key id.
//! - A token that was verified counts for as long as the keys do that verified it; no decision is remembered.
//! - Whatever tokens say, an issuer is asked for its keys by one task, so often and no more.
//! - No error repeats a part of a token.
//! - What stands left of the first entry that is not trusted is never read.

pub mod address;
mod agreement;
pub mod algorithm;
pub mod bearer;
pub mod fetch;
pub mod issuer;
mod json;
pub mod keyring;
pub mod keys;
pub mod limits;
#[cfg(any(test, feature = "maker"))]
pub mod maker;
mod remembered;
pub mod route;
pub mod token;
pub mod verifier;

pub use agreement::Disagreement;
pub use json::Flaw;
