//! Who may be believed: the signature of a token, and the address of a client.
//!
//! Law of this crate: **belief is in one place**. Signatures are verified here and nowhere else, against
//! keys that are given, and an address counts only as far as those who passed it on are trusted. No
//! socket, no task and no clock: whoever fetches keys or reads headers does it elsewhere, so that every
//! attack is a row in a table. Times are not judged here: that is the decision's part (D1).
//!
//! | module | noun |
//! |---|---|
//! | [`token`] | a raw token, verified |
//! | [`issuer`] | who may issue tokens, with which algorithms, for whom |
//! | [`keys`] | public keys, as issuers publish them |
//! | [`algorithm`] | the closed set of signatures that count |
//! | `agreement` | whether claims are those of a token |
//! | [`address`] | the client's address, out of what proxies passed on |
//! | `json` | JSON that has one meaning |
//! | [`limits`] | bounds |
//!
//! # Invariants
//!
//! - No symmetric key and no algorithm of one can be named: what is public never makes a signature.
//! - Nothing that a token says of itself chooses a key but its issuer's own key id.
//! - No error repeats a part of a token.
//! - What stands left of the first entry that is not trusted is never read.

pub mod address;
mod agreement;
pub mod algorithm;
pub mod issuer;
mod json;
pub mod keys;
pub mod limits;
#[cfg(test)]
mod maker;
pub mod token;
pub mod verifier;

pub use agreement::Disagreement;
pub use json::Flaw;
