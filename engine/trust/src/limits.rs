//! Every bound of belief, with its unit, its source and what happens at it.

/// Bytes of a token; a longer one is refused before anything of it is read. Guess: Entra's tokens with 200
/// groups have less than 16 KiB, and proxies refuse headers of more than 64 KiB.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Objects and lists inside one another; deeper JSON is refused. Guess: Keycloak's tokens have four.
pub const JSON_DEPTH_MAX: usize = 16;

/// Bytes of a set of keys; a longer one is refused whole. Guess: Entra's, with certificates, have 30 KiB.
pub const KEYS_BYTES_MAX: usize = 1 << 20;

/// Keys of one issuer; a larger set is refused whole. Guess: issuers publish two to twenty.
pub const KEYS_MAX: usize = 256;

/// Bytes of an RSA modulus, least and most; a key beyond is skipped. SOURCE: RFC 7518 section 3.3 (2048
/// bits or more), and what AWS-LC verifies (8192 bits or less).
pub const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Entries of an address chain that are walked; behind so many trusted ones the address is unknown. Guess:
/// requests pass two or three proxies.
pub const CHAIN_ENTRIES_MAX: usize = 32;

/// Bytes of one entry of an address chain; a longer one is malformed. Guess: `Forwarded` with a host name
/// of 255 bytes stays below.
pub const CHAIN_ENTRY_BYTES_MAX: usize = 1024;
