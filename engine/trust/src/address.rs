//! The client's address, out of what proxies passed on (T3, D6).
//!
//! A chain is read from its end, where those stand whom we know: the peer, then the entries that proxies
//! added, the newest last. Each is believed because the one that added it is trusted, and the first that is
//! no proxy is the client. What stands further left was written by anybody and is not even parsed, so that
//! nobody can hide behind a broken chain either. Where a trusted proxy left something that is no address,
//! the client is unknown: taking the next entry instead would let clients choose it.
//!
//! Deliberately absent: RFC 9110's leave to skip empty entries. A hole counts, since it shifts the others.

use std::net::{IpAddr, SocketAddr};

use caed_core::index::ranges::RangeSet;

use crate::limits;

/// How a client's address is told, as configured. By default nobody is trusted, and the peer is the client.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// The header that the proxies add to. The other one is not looked at: any client may send it.
    pub header: Header,
    /// The proxies.
    pub proxies: Proxies,
}

/// A header with addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// `X-Forwarded-For`: addresses with commas between them.
    #[default]
    XForwardedFor,
    /// `Forwarded`, whose `for` are the addresses. SOURCE: RFC 7239 section 4.
    Forwarded,
}

/// Which part of a chain is trusted.
#[derive(Clone, Debug)]
pub enum Proxies {
    /// Those with an address in these ranges: the client is the first, from the right, with another one.
    Ranges(RangeSet),
    /// So many, the peer being the first of them: the client is the one behind them.
    Hops(usize),
}

impl Default for Proxies {
    fn default() -> Self {
        Self::Ranges(RangeSet::default())
    }
}

/// A request's chain, as it came.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a, Line> {
    /// Who connected to the gateway, where that is known.
    pub peer: Option<IpAddr>,
    /// The values of the header, a line each, in their order.
    pub lines: &'a [Line],
}

/// The client, and where in the chain it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address; IPv4 within IPv6 is IPv4.
    pub address: IpAddr,
    /// Which entry that was, counted from the right: 0 is the peer, 1 the last entry of the header.
    pub entry: usize,
}

/// Why a client's address is not known (D6). Entries are counted as in [`Client`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The gateway did not say who connected.
    #[error("the gateway did not say who connected to it")]
    NoPeer,
    /// The chain ends before its client: fewer entries than hops, or proxies alone.
    #[error("the chain ends after {entries} entries, all of them trusted proxies")]
    Short {
        /// How many entries the header has.
        entries: usize,
    },
    /// More trusted proxies than anybody has.
    #[error("the chain has more than {} trusted proxies", limits::CHAIN_ENTRIES_MAX)]
    Long,
    /// A trusted proxy added what is no address.
    #[error("entry {entry} from the right is no address, though a trusted proxy added it")]
    Malformed {
        /// The entry.
        entry: usize,
    },
    /// A trusted proxy hid an address, by `unknown` or a name of its own.
    #[error("entry {entry} from the right was hidden by a trusted proxy")]
    Hidden {
        /// The entry.
        entry: usize,
    },
}

/// Why an entry has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Malformed,
    Hidden,
}

impl Forwarding {
    /// The client's address.
    pub fn client<Line: AsRef<[u8]>>(&self, chain: &Chain<'_, Line>) -> Result<Client, Unknown> {
        let is_proxy = |client: &Client| match &self.proxies {
            Proxies::Ranges(ranges) => ranges.contains(client.address),
            Proxies::Hops(hops) => client.entry < *hops,
        };
        let peer = match (&self.proxies, chain.peer) {
            (_, Some(peer)) => Some(Client { address: peer.to_canonical(), entry: 0 }),
            // The first hop is trusted whatever its address.
            (Proxies::Hops(1..), None) => None,
            (_, None) => return Err(Unknown::NoPeer),
        };
        if let Some(peer) = peer
            && !is_proxy(&peer)
        {
            return Ok(peer);
        }
        let mut passed = 0;
        let lines = chain.lines.iter().rev();
        for text in lines.flat_map(|line| Entries { rest: Some(line.as_ref()) }) {
            let entry = passed + 1;
            if entry > limits::CHAIN_ENTRIES_MAX {
                return Err(Unknown::Long);
            }
            let address = self.header.address(text).map_err(|unread| match unread {
                Unread::Malformed => Unknown::Malformed { entry },
                Unread::Hidden => Unknown::Hidden { entry },
            })?;
            let client = Client { address, entry };
            if !is_proxy(&client) {
                return Ok(client);
            }
            passed = entry;
        }
        Err(Unknown::Short { entries: passed })
    }
}

impl Header {
    fn address(self, entry: &[u8]) -> Result<IpAddr, Unread> {
        if entry.len() > limits::CHAIN_ENTRY_BYTES_MAX {
            return Err(Unread::Malformed);
        }
        let entry = str::from_utf8(entry).map_err(|_| Unread::Malformed)?.trim_matches(BLANKS);
        match self {
            Self::XForwardedFor => node(entry),
            Self::Forwarded => node(&forwarded_for(entry).ok_or(Unread::Malformed)?),
        }
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

/// The entries of one line, from the right. A comma in quotes divides nothing: a proxy that adds
/// `host="…"` puts there what a client sent.
struct Entries<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        match last(rest, b',') {
            Some(at) => {
                let (before, after) = rest.split_at_checked(at)?;
                self.rest = Some(before);
                after.get(1..)
            }
            None => Some(rest),
        }
    }
}

/// The place of the last `mark` that is not in quotes, read from the right: what stands left of it has no
/// part in the answer. A quote with an odd number of backslashes before it neither opens nor closes.
fn last(text: &[u8], mark: u8) -> Option<usize> {
    let mut quoted = false;
    for (at, &byte) in text.iter().enumerate().rev() {
        if byte == b'"' {
            let before = text.get(..at).unwrap_or_default();
            let escapes = before.iter().rev().take_while(|byte| **byte == b'\\').count();
            quoted ^= escapes % 2 == 0;
        } else if byte == mark && !quoted {
            return Some(at);
        }
    }
    None
}

/// The one `for` of an entry of `Forwarded`; `None` where the entry is not well formed.
/// SOURCE: RFC 7239 section 4.
fn forwarded_for(entry: &str) -> Option<String> {
    let mut found = None;
    let mut rest = Some(entry);
    while let Some(text) = rest {
        let pair = if let Some(at) = last(text.as_bytes(), b';') {
            let (before, after) = text.split_at_checked(at)?;
            rest = Some(before);
            after.get(1..)?
        } else {
            rest = None;
            text
        };
        let pair = pair.trim_matches(BLANKS);
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=')?;
        let value = unquoted(value)?;
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
            return None;
        }
    }
    found
}

/// A value that is a token, or a text in quotes without them.
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        // Wider than a token: proxies write `[…]` and ports without the quotes that they should have.
        let is_bare = |byte: u8| is_token_byte(byte) || b"[]:".contains(&byte);
        return (!value.is_empty() && value.bytes().all(is_bare)).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return None,
            '\\' => text.push(characters.next()?),
            other => text.push(other),
        }
    }
    Some(text)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// SOURCE: RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address as proxies write it: with or without a port, in brackets or not, with a zone or without.
fn node(text: &str) -> Result<IpAddr, Unread> {
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Err(Unread::Hidden);
    }
    let text = without_zone(text).ok_or(Unread::Malformed)?;
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address.or_else(|| {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6)
    });
    address.map(|address| address.to_canonical()).ok_or(Unread::Malformed)
}

/// An address without its zone, which names an interface of the host that wrote it; `None` where what
/// stands there is no zone. SOURCE: RFC 4007 section 11.
fn without_zone(text: &str) -> Option<String> {
    let Some((address, rest)) = text.split_once('%') else { return Some(text.to_owned()) };
    let (zone, behind) = rest.split_at(rest.find(']').unwrap_or(rest.len()));
    let is_zone = !zone.is_empty()
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    (is_zone && address.contains(':')).then(|| format!("{address}{behind}"))
}

#[cfg(test)]
mod tests;
