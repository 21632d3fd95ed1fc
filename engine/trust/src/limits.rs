//! Every bound of belief, with its unit, its source and what happens at it.

use std::time::Duration;

/// Bytes of a token; a longer one is refused before anything of it is read. Guess: Entra's tokens with 200
/// groups have less than 16 KiB, and proxies refuse headers of more than 64 KiB.
pub const TOKEN_BYTES_MAX: usize = 64 << 10;

/// Objects and lists inside one another; deeper JSON is refused. Guess: Keycloak's tokens have four.
pub const JSON_DEPTH_MAX: usize = 16;

/// Bytes of a set of keys; a longer one is refused whole. Guess: Entra's, with certificates, have 30 KiB.
pub const KEYS_BYTES_MAX: usize = 1 << 20;

/// Keys of one issuer; a larger set is refused whole. Guess: issuers publish two to twenty.
pub const KEYS_MAX: usize = 256;

/// Memory for tokens that were verified before; beyond it the least used are forgotten and verified again.
/// Guess: 15,000 of Entra's.
pub const REMEMBERED_BYTES_MAX: usize = 64 << 20;

/// How often an issuer is asked for its keys at the most because tokens name unknown ones. Guess: issuers show
/// new keys hours before they use them.
pub const KEYS_ASKED_INTERVAL: Duration = Duration::from_secs(30);

/// How long a token with an unknown key waits for newer keys: less than gateways wait for an answer, so that no token makes
/// one give up on us. SOURCE: Envoy's `ext_authz` waits 200 ms where nothing else is said. Where keys take longer to
/// come, they are there when the client comes back.
pub const KEYS_WAIT: Duration = Duration::from_millis(150);

/// How long an issuer may take to give its keys, all in all; beyond it the look has failed. Guess.
pub const KEYS_FETCH: Duration = Duration::from_secs(5);

/// How often keys are fetched where nothing asks for them, a tenth more or less. Guess: issuers give them
/// out to be kept for minutes up to a day.
pub const KEYS_INTERVAL: Duration = Duration::from_hours(1);

/// After how long a failed fetch is tried again, first and at the most; it doubles in between. Guess.
pub const KEYS_RETRY: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_mins(5);

/// How often a file of keys is looked at. Guess.
pub const KEYS_FILE_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes of an RSA modulus, least and most; a key beyond is skipped. SOURCE: RFC 7518 section 3.3 (2048
/// bits or more), and what AWS-LC verifies (8192 bits or less).
pub const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Entries of an address chain that are walked; behind so many trusted ones the address is unknown. Guess:
/// requests pass two or three proxies.
pub const CHAIN_ENTRIES_MAX: usize = 32;

/// Bytes of one entry of an address chain; a longer one is malformed. Guess: `Forwarded` with a host name
/// of 255 bytes stays below.
pub const CHAIN_ENTRY_BYTES_MAX: usize = 1024;
