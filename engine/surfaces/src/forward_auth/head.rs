//! A request that is read where it came, and an answer as it is sent. SOURCE: RFC 9112.
//!
//! Only the regular case is read: a request of HTTP/1.1 that has no body, with nothing in it about its connection. Where
//! it ends and the next begins is then plain, which keeps one client's answer from another. Whatever else comes is left
//! to hyper, which reads heads by the same parser.

use std::io::Write;
use std::mem::MaybeUninit;
use std::time::{Duration, UNIX_EPOCH};

use caed_core::time::UnixMillis;
use httparse::{Header, Request, Status};
use httpdate::HttpDate;

use super::convert::{Headers, Reply};

/// Headers of a request that is read here. Guess: a browser's, and those that two gateways add.
const HEADERS_MAX: usize = 64;

/// Where the headers of a request are put.
pub(super) type Room<'b> = [MaybeUninit<Header<'b>>; HEADERS_MAX];

/// Headers that say how a body comes, or what becomes of the connection.
const ODD: [&str; 4] = ["connection", "expect", "transfer-encoding", "upgrade"];

/// What stands at the beginning of some bytes.
#[derive(Debug)]
pub(super) enum Read<'r, 'b> {
    /// A request that can be answered.
    Whole(Asked<'r, 'b>),
    /// What may become one.
    Partial,
    /// Something else.
    Odd,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked<'r, 'b> {
    /// Whether the answer's body is not wanted.
    pub(super) is_head: bool,
    /// Without the query.
    pub(super) path: &'b str,
    headers: &'r [Header<'b>],
    /// How many bytes it takes.
    pub(super) length: usize,
}

impl<'r, 'b> Asked<'r, 'b> {
    /// Room for the headers of one.
    pub(super) const fn room() -> Room<'b> {
        [const { MaybeUninit::uninit() }; HEADERS_MAX]
    }

    /// What stands at the beginning of these bytes.
    pub(super) fn read(bytes: &'b [u8], room: &'r mut Room<'b>) -> Read<'r, 'b> {
        let mut request = Request::new(&mut []);
        let length = match request.parse_with_uninit_headers(bytes, room) {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Read::Partial,
            Err(_) => return Read::Odd,
        };
        let Request { method, path, version, headers } = request;
        let (Some(method), Some(target), Some(1)) = (method, path, version) else {
            return Read::Odd;
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let is_regular = path.starts_with('/')
            && path.bytes().all(is_of_path)
            && query.bytes().all(is_of_query)
            && method != "CONNECT"
            && headers.iter().all(is_regular);
        if !is_regular {
            return Read::Odd;
        }
        Read::Whole(Self { is_head: method == "HEAD", path, headers, length })
    }

    pub(super) fn headers(&self) -> impl Headers<'b> {
        self.headers.iter().map(|header| (header.name.as_bytes(), header.value))
    }
}

/// Whether a header says nothing about a body or the connection.
fn is_regular(header: &Header<'_>) -> bool {
    let is = |known: &&str| header.name.eq_ignore_ascii_case(known);
    !ODD.iter().any(is) && (!is(&"content-length") || header.value == b"0")
}

/// What a path is made of, as hyper takes it.
const fn is_of_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'@'..=b'_' | b'a'..=b'z' | b'|' | b'~')
}

/// What a query is made of, as hyper takes it.
const fn is_of_query(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'~')
}

impl Reply {
    /// Writes it, as of now.
    pub(super) fn write(&self, is_head: bool, now: UnixMillis, to: &mut Vec<u8>) {
        let Self { status, headers, body } = self;
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| to.extend(part.as_bytes()));
        let reason = status.canonical_reason().unwrap_or_default();
        put(&["HTTP/1.1 ", status.as_str(), " ", reason, "\r\n"]);
        for (name, value) in headers {
            put(&[name, ": ", value, "\r\n"]);
        }
        let since = Duration::from_millis(now.as_millis());
        let date = HttpDate::from(UNIX_EPOCH + since);
        // Writing to memory never fails.
        if !is_head || !body.is_empty() {
            let _ = write!(to, "content-length: {}\r\n", body.len());
        }
        let _ = write!(to, "date: {date}\r\n\r\n");
        if !is_head {
            to.extend(body.as_bytes());
        }
    }
}
