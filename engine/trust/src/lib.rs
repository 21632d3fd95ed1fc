//! Who may be believed: the signature of a token, and the address of a client.
//!
//! Law of this crate: **belief is in one place**. Signatures are verified here and nowhere else, against
//! keys that are given, and an address counts only as far as those who passed it on are trusted. No
//! socket, no task and no clock: whoever fetches keys or reads headers does it elsewhere, so that every
//! attack is a row in a table. Times are not judged here: that is the decision's part (D1).
//!
//! | module | noun |
//! |---|---|
//! | [`address`] | the client's address, out of what proxies passed on |
//! | [`limits`] | bounds |
//!
//! # Invariants
//!
//! - What stands left of the first entry that is not trusted is never read.

pub mod address;
pub mod limits;
