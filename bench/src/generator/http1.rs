//! Requests of HTTP/1.1, one at a time on a connection that stays. SOURCE: RFC 9112.

use super::run::{Asked, Ledger};
use super::socket::Socket;
use super::{Address, Answer, Call, Problem, Target};

/// A connection.
#[derive(Debug)]
pub(super) struct Http1<'c> {
    socket: Socket,
    /// The calls, as they are written.
    requests: &'c [Vec<u8>],
    asked: Option<Asked>,
    /// A body that came in chunks.
    body: Vec<u8>,
}

/// What the head of an answer says.
struct Head {
    status: u16,
    /// Bytes of the head.
    length: usize,
    body: Body,
}

/// How much follows.
enum Body {
    Bytes(usize),
    Chunks,
}

impl<'c> Http1<'c> {
    pub(super) fn connect(address: &Address, requests: &'c [Vec<u8>]) -> Result<Self, Problem> {
        Ok(Self { socket: Socket::connect(address)?, requests, asked: None, body: Vec::new() })
    }

    pub(super) const fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn flush(&mut self) -> Result<(), Problem> {
        self.socket.flush()
    }

    pub(super) fn under_way(&self) -> usize {
        usize::from(self.asked.is_some())
    }

    /// Whether nothing is under way.
    pub(super) const fn has_room(&self) -> bool {
        self.asked.is_none()
    }

    /// Asks.
    pub(super) fn send(&mut self, asked: Asked) {
        if let Some(request) = self.requests.get(asked.call) {
            self.socket.output.extend_from_slice(request);
        }
        self.asked = Some(asked);
    }

    /// Reads what came.
    pub(super) fn receive(&mut self, ledger: &mut Ledger<'_>) -> Result<(), Problem> {
        if !self.socket.receive()? {
            return Ok(());
        }
        ledger.came();
        let bytes = self.socket.input.bytes();
        let Some(Head { status, length, body }) = Head::read(bytes)? else { return Ok(()) };
        let rest = bytes.get(length..).unwrap_or_default();
        let (body, taken) = match body {
            Body::Bytes(count) => match rest.get(..count) {
                Some(body) => (body, length + count),
                None => return Ok(()),
            },
            Body::Chunks => {
                self.body.clear();
                match chunks(rest, &mut self.body)? {
                    Some(count) => (self.body.as_slice(), length + count),
                    None => return Ok(()),
                }
            }
        };
        let asked =
            self.asked.take().ok_or_else(|| unreadable("an answer that nobody asked for"))?;
        let answer = Answer { status, grpc_status: None, body };
        ledger.answered(asked, &answer)?;
        self.socket.input.take(taken);
        Ok(())
    }
}

impl Head {
    /// Reads it; `None` where it has not come whole.
    fn read(bytes: &[u8]) -> Result<Option<Self>, Problem> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = str::from_utf8(bytes.get(..end).unwrap_or_default());
        let text = text.map_err(|_| unreadable("a head that is no text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| {
            let rest = line.strip_prefix("HTTP/1.1 ")?;
            rest.get(..3)?.parse().ok()
        });
        let status = status.ok_or_else(|| unreadable("a first line"))?;
        let mut body = None;
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| unreadable("a header"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.parse().map_err(|_| unreadable("a length"))?;
                body = Some(Body::Bytes(length));
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                body = Some(Body::Chunks);
            } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close")
            {
                return Err(Problem::Ended(format!("with {status}, it says `close`")));
            }
        }
        let body = match (status, body) {
            (204 | 304, _) => Body::Bytes(0),
            (_, Some(body)) => body,
            (_, None) => return Err(unreadable("an answer that ends with its connection")),
        };
        Ok(Some(Self { status, length: end + 4, body }))
    }
}

/// Reads chunks into a body, and tells how many bytes they took; `None` where they have not come whole.
fn chunks(bytes: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, Problem> {
    let mut rest = bytes;
    loop {
        let Some(line) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let digits = str::from_utf8(rest.get(..line).unwrap_or_default()).unwrap_or_default();
        let digits = digits.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| unreadable("a chunk"))?;
        rest = rest.get(line + 2..).unwrap_or_default();
        let Some((chunk, after)) = rest.split_at_checked(length) else { return Ok(None) };
        let Some((ending, after)) = after.split_at_checked(2) else { return Ok(None) };
        if ending != b"\r\n" {
            return Err(unreadable("the end of a chunk"));
        }
        body.extend_from_slice(chunk);
        rest = after;
        if length == 0 {
            return Ok(Some(bytes.len() - rest.len()));
        }
    }
}

/// Calls as they are written.
pub(super) fn requests(target: &Target, calls: &[Call]) -> Vec<Vec<u8>> {
    let Target::Http { method, path, headers } = target else { return Vec::new() };
    let request = |call: &Call| {
        let path = call.path.as_ref().unwrap_or(path);
        let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers.iter().chain(&call.headers) {
            text.extend([name.as_str(), ": ", value, "\r\n"]);
        }
        if !call.body.is_empty() || method != "GET" {
            text.extend(["content-length: ", &call.body.len().to_string(), "\r\n"]);
        }
        text.push_str("\r\n");
        [text.as_bytes(), &call.body].concat()
    };
    calls.iter().map(request).collect()
}

fn unreadable(what: &str) -> Problem {
    Problem::Unreadable(format!("{what} of HTTP/1.1"))
}
