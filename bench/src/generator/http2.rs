//! Calls of gRPC on a connection of HTTP/2. SOURCE: RFC 9113.
//!
//! A call is a stream of its own, or a message in the connection's one stream. Windows are honoured both ways: what
//! does not fit into the server's waits, and ours are opened again before they are used up.

use std::collections::VecDeque;
use std::mem;

use super::header_block::{Decoder, Header, Requests};
use super::run::{Asked, Ledger};
use super::socket::{Input, Socket};
use super::{Address, Answer, Calls, Problem, Target};

/// A connection.
#[derive(Debug)]
pub(super) struct Http2<'c> {
    socket: Socket,
    /// The calls' messages, each behind its prefix.
    messages: &'c [Vec<u8>],
    requests: Requests,
    decoder: Decoder,
    shape: Shape,
    /// The number of the next stream; all others from `oldest` on are in `streams`, without those that ended.
    next: u32,
    oldest: u32,
    streams: VecDeque<Option<Stream>>,
    under_way: usize,
    /// Streams of which something waits for a window.
    waiting: VecDeque<u32>,
    /// Streams that ended, to be used again.
    spare: Vec<Stream>,
    /// A header block that goes on: whose, and whether the stream ends with it.
    block: Option<(u32, bool, Vec<u8>)>,
    /// How many bytes came since the connection's window was opened.
    received: u32,
    server: Server,
}

/// What the server allows.
#[derive(Debug)]
struct Server {
    is_known: bool,
    streams: usize,
    frame: usize,
    /// The window that a new stream has, and the connection's.
    initial_window: i64,
    window: i64,
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One call.
    Unary,
    /// Messages, as many as there are.
    Messages,
}

/// A stream that has not ended.
#[derive(Debug, Default)]
struct Stream {
    /// What was asked and is not answered, in order; one where each call is a stream.
    asked: VecDeque<Asked>,
    /// What is not sent yet: of which messages, and how much of the first one is sent.
    unsent: VecDeque<usize>,
    sent: usize,
    window: i64,
    status: u16,
    grpc_status: Option<u32>,
    grpc_message: String,
    body: Vec<u8>,
    received: u32,
}

/// Bytes that a stream may send us before it is told to go on; and the same of a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 1 << 24;

/// The window of a connection that nobody changed.
const WINDOW: i64 = 65_535;

/// Streams that are kept to be used again.
const SPARE: usize = 1024;

/// Kinds of frames, and their flags.
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const WINDOW_UPDATE: u8 = 8;
    pub(super) const CONTINUATION: u8 = 9;

    pub(super) const END_STREAM: u8 = 1;
    pub(super) const ACK: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
    pub(super) const PADDED: u8 = 8;
    pub(super) const PRIORITY: u8 = 32;
}

impl<'c> Http2<'c> {
    /// A connection on which nothing was asked; the server's settings are still to come.
    pub(super) fn connect(
        address: &Address,
        calls: &Calls,
        messages: &'c [Vec<u8>],
    ) -> Result<Self, Problem> {
        let (path, shape) = match &calls.target {
            Target::Grpc { path } => (path, Shape::Unary),
            Target::GrpcStream { path } => (path, Shape::Messages),
            Target::Http { .. } => return Err(Problem::Asked("HTTP is asked as HTTP/1.1")),
        };
        let mut socket = Socket::connect(address)?;
        socket.output.extend(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut settings = Vec::new();
        // Nothing is pushed; windows are large.
        for (setting, value) in [(2_u16, 0_u32), (4, STREAM_WINDOW)] {
            settings.extend(setting.to_be_bytes());
            settings.extend(value.to_be_bytes());
        }
        write(&mut socket.output, frame::SETTINGS, 0, 0, &settings);
        write(&mut socket.output, frame::WINDOW_UPDATE, 0, 0, &CONNECTION_WINDOW.to_be_bytes());
        Ok(Self {
            socket,
            messages,
            requests: Requests::grpc(path),
            decoder: Decoder::default(),
            shape,
            next: 1,
            oldest: 1,
            streams: VecDeque::new(),
            under_way: 0,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            block: None,
            received: 0,
            server: Server {
                is_known: false,
                streams: usize::MAX,
                frame: 16_384,
                initial_window: WINDOW,
                window: WINDOW,
            },
        })
    }

    pub(super) const fn socket(&self) -> &Socket {
        &self.socket
    }

    pub(super) fn flush(&mut self) -> Result<(), Problem> {
        self.socket.flush()
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether the server takes one more.
    pub(super) fn has_room(&self) -> bool {
        self.server.is_known
            && match self.shape {
                Shape::Unary => self.under_way < self.server.streams,
                Shape::Messages => true,
            }
    }

    /// Asks.
    pub(super) fn send(&mut self, asked: Asked) {
        self.under_way += 1;
        let id = match self.shape {
            Shape::Messages if self.next > 1 => 1,
            _ => self.open(),
        };
        let Some(stream) = stream(&mut self.streams, self.oldest, id) else { return };
        stream.unsent.push_back(asked.call);
        stream.asked.push_back(asked);
        if stream.unsent.len() == 1 {
            self.pump(id);
        }
    }

    /// Reads what came.
    pub(super) fn receive(&mut self, ledger: &mut Ledger<'_>) -> Result<(), Problem> {
        if !self.socket.receive()? {
            return Ok(());
        }
        ledger.came();
        // Put back below: frames are read while everything else here may change.
        let mut input = mem::take(&mut self.socket.input);
        let read = self.frames(&mut input, ledger);
        self.socket.input = input;
        read
    }

    /// Opens a stream.
    fn open(&mut self) -> u32 {
        let id = self.next;
        self.next += 2;
        let block = if id == 1 { &self.requests.first } else { &self.requests.others };
        write(&mut self.socket.output, frame::HEADERS, frame::END_HEADERS, id, block);
        let mut stream = self.spare.pop().unwrap_or_default();
        stream.window = self.server.initial_window;
        self.streams.push_back(Some(stream));
        id
    }

    /// Sends of a stream what its window and the connection's allow.
    fn pump(&mut self, id: u32) {
        let Some(stream) = stream(&mut self.streams, self.oldest, id) else { return };
        while let Some(message) = stream.unsent.front().and_then(|call| self.messages.get(*call)) {
            let rest = message.get(stream.sent..).unwrap_or_default();
            let window = stream.window.min(self.server.window).max(0);
            let count = rest.len().min(self.server.frame).min(usize::try_from(window).unwrap_or(0));
            if count == 0 {
                self.waiting.push_back(id);
                return;
            }
            stream.window -= signed(count);
            self.server.window -= signed(count);
            let is_whole = count == rest.len();
            let flags = if is_whole && self.shape == Shape::Unary { frame::END_STREAM } else { 0 };
            let bytes = rest.get(..count).unwrap_or_default();
            write(&mut self.socket.output, frame::DATA, flags, id, bytes);
            stream.sent += count;
            if is_whole {
                stream.unsent.pop_front();
                stream.sent = 0;
            }
        }
    }

    /// Sends of all streams what waited.
    fn pump_all(&mut self) {
        for id in mem::take(&mut self.waiting) {
            self.pump(id);
        }
    }

    fn frames(&mut self, input: &mut Input, ledger: &mut Ledger<'_>) -> Result<(), Problem> {
        let bytes = input.bytes();
        let mut rest = bytes;
        while let Some((head, after)) = rest.split_first_chunk::<9>() {
            let [high, middle, low, kind, flags, id @ ..] = *head;
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            rest = after;
            let id = u32::from_be_bytes(id) & 0x7fff_ffff;
            self.frame(kind, flags, id, payload, ledger)?;
        }
        let taken = bytes.len() - rest.len();
        input.take(taken);
        Ok(())
    }

    fn frame(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        ledger: &mut Ledger<'_>,
    ) -> Result<(), Problem> {
        let ends = flags & frame::END_STREAM != 0;
        match kind {
            frame::DATA => self.data(id, ends, flags, payload, ledger),
            frame::HEADERS => {
                let block = unpadded(flags, payload)?;
                let skipped = if flags & frame::PRIORITY != 0 { 5 } else { 0 };
                let block = block.get(skipped..).ok_or_else(|| unreadable("headers"))?;
                if flags & frame::END_HEADERS != 0 {
                    return self.headers(id, ends, block, ledger);
                }
                self.block = Some((id, ends, block.to_vec()));
                Ok(())
            }
            frame::CONTINUATION => {
                let (id, ends, mut block) =
                    self.block.take().ok_or_else(|| unreadable("headers that go on"))?;
                block.extend(payload);
                if flags & frame::END_HEADERS != 0 {
                    return self.headers(id, ends, &block, ledger);
                }
                self.block = Some((id, ends, block));
                Ok(())
            }
            // Once a stream was answered whole, the server may say that it reads no more of it.
            frame::RST_STREAM if stream(&mut self.streams, self.oldest, id).is_some() => {
                let code = number(payload).unwrap_or_default();
                Err(Problem::Ended(format!("stream {id} was reset with code {code}")))
            }
            frame::SETTINGS if flags & frame::ACK == 0 => self.settings(payload),
            frame::PING if flags & frame::ACK == 0 => {
                write(&mut self.socket.output, frame::PING, frame::ACK, 0, payload);
                Ok(())
            }
            frame::GOAWAY => {
                let code = payload.get(4..).and_then(number).unwrap_or_default();
                let why = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
                Err(Problem::Ended(format!("it goes away with code {code} {why}")))
            }
            frame::WINDOW_UPDATE => {
                let more = number(payload).ok_or_else(|| unreadable("a window"))? & 0x7fff_ffff;
                if id == 0 {
                    self.server.window += i64::from(more);
                } else if let Some(stream) = stream(&mut self.streams, self.oldest, id) {
                    stream.window += i64::from(more);
                }
                self.pump_all();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Problem> {
        for setting in payload.chunks(6) {
            let [high, low, value @ ..] = setting else { return Err(unreadable("a setting")) };
            let value = number(value).ok_or_else(|| unreadable("a setting"))?;
            match u16::from_be_bytes([*high, *low]) {
                // The size of the table that requests put five headers into.
                1 if value < 4096 => {
                    return Err(Problem::Asked(
                        "servers must have room for 4,096 bytes of headers",
                    ));
                }
                3 => self.server.streams = usize::try_from(value).unwrap_or(usize::MAX),
                4 => {
                    let more = i64::from(value) - self.server.initial_window;
                    self.server.initial_window += more;
                    for stream in self.streams.iter_mut().flatten() {
                        stream.window += more;
                    }
                }
                5 => self.server.frame = usize::try_from(value).unwrap_or(self.server.frame),
                _ => {}
            }
        }
        self.server.is_known = true;
        write(&mut self.socket.output, frame::SETTINGS, frame::ACK, 0, &[]);
        self.pump_all();
        Ok(())
    }

    fn headers(
        &mut self,
        id: u32,
        ends: bool,
        block: &[u8],
        ledger: &mut Ledger<'_>,
    ) -> Result<(), Problem> {
        let mut stream = stream(&mut self.streams, self.oldest, id);
        let read = self.decoder.read(block, |header| {
            let Some(stream) = &mut stream else { return };
            match header {
                Header::Status(status) => stream.status = *status,
                Header::GrpcStatus(status) => stream.grpc_status = Some(*status),
                Header::GrpcMessage(message) => stream.grpc_message.clone_from(message),
                Header::Other => {}
            }
        });
        read.ok_or_else(|| unreadable("a header block"))?;
        if ends { self.end(id, ledger) } else { Ok(()) }
    }

    fn data(
        &mut self,
        id: u32,
        ends: bool,
        flags: u8,
        payload: &[u8],
        ledger: &mut Ledger<'_>,
    ) -> Result<(), Problem> {
        // Padding counts, too.
        let count = u32::try_from(payload.len()).unwrap_or(0);
        self.received += count;
        if self.received > CONNECTION_WINDOW / 2 {
            write(
                &mut self.socket.output,
                frame::WINDOW_UPDATE,
                0,
                0,
                &self.received.to_be_bytes(),
            );
            self.received = 0;
        }
        let Some(stream) = stream(&mut self.streams, self.oldest, id) else { return Ok(()) };
        stream.body.extend(unpadded(flags, payload)?);
        stream.received += count;
        if stream.received > STREAM_WINDOW / 2 && !ends {
            let more = stream.received.to_be_bytes();
            write(&mut self.socket.output, frame::WINDOW_UPDATE, 0, id, &more);
            stream.received = 0;
        }
        if self.shape == Shape::Messages {
            self.under_way -= stream.answered(ledger)?;
        }
        if ends { self.end(id, ledger) } else { Ok(()) }
    }

    /// A stream was answered whole.
    fn end(&mut self, id: u32, ledger: &mut Ledger<'_>) -> Result<(), Problem> {
        let place = usize::try_from((id - self.oldest) / 2).unwrap_or(usize::MAX);
        let Some(mut stream) = self.streams.get_mut(place).and_then(Option::take) else {
            return Ok(());
        };
        while let Some(None) = self.streams.front() {
            self.streams.pop_front();
            self.oldest += 2;
        }
        let Stream { status, grpc_status, .. } = stream;
        if self.shape == Shape::Messages {
            let said = format!("status {status}, gRPC {grpc_status:?} {}", stream.grpc_message);
            return Err(Problem::Ended(format!("the stream, with {said}")));
        }
        self.under_way -= 1;
        if stream.body.is_empty() {
            let body = stream.grpc_message.as_bytes();
            let answer = Answer { status, grpc_status, body };
            if let Some(asked) = stream.asked.pop_front() {
                ledger.answered(asked, &answer)?;
            }
        } else {
            let (message, rest) = message(&stream.body)?.ok_or_else(|| unreadable("a message"))?;
            if !rest.is_empty() {
                return Err(unreadable("what follows a message"));
            }
            let answer = Answer { status, grpc_status, body: message };
            if let Some(asked) = stream.asked.pop_front() {
                ledger.answered(asked, &answer)?;
            }
        }
        if self.spare.len() < SPARE {
            stream.clear();
            self.spare.push(stream);
        }
        Ok(())
    }
}

impl Stream {
    /// Forgets all, and keeps what was allocated for it.
    fn clear(&mut self) {
        let Self { asked, unsent, sent, window, status, grpc_status, grpc_message, body, received } =
            self;
        asked.clear();
        unsent.clear();
        grpc_message.clear();
        body.clear();
        (*sent, *window, *status, *grpc_status, *received) = (0, 0, 0, None, 0);
    }

    /// Tells of each message that came whole, and how many there were.
    fn answered(&mut self, ledger: &mut Ledger<'_>) -> Result<usize, Problem> {
        let (mut rest, mut count) = (self.body.as_slice(), 0);
        while let Some((message, after)) = message(rest)? {
            rest = after;
            count += 1;
            let asked = self.asked.pop_front();
            let asked = asked.ok_or_else(|| unreadable("a message that nobody asked for"))?;
            let answer = Answer { status: self.status, grpc_status: Some(0), body: message };
            ledger.answered(asked, &answer)?;
        }
        let taken = self.body.len() - rest.len();
        self.body.drain(..taken);
        Ok(count)
    }
}

/// The first message, and what follows; `None` where it has not come whole.
#[expect(clippy::type_complexity, reason = "two slices of one")]
fn message(bytes: &[u8]) -> Result<Option<(&[u8], &[u8])>, Problem> {
    let Some(([compressed, length @ ..], rest)) = bytes.split_first_chunk::<5>() else {
        return Ok(None);
    };
    if *compressed != 0 {
        return Err(unreadable("a compressed message"));
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    Ok(rest.split_at_checked(length))
}

/// A message behind its prefix.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// A stream that has not ended.
#[inline]
fn stream(streams: &mut VecDeque<Option<Stream>>, oldest: u32, id: u32) -> Option<&mut Stream> {
    let place = usize::try_from(id.checked_sub(oldest)? / 2).ok()?;
    streams.get_mut(place)?.as_mut()
}

/// Writes a frame, which is no longer than a server takes.
#[inline]
fn write(output: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0);
    let [_, length @ ..] = length.to_be_bytes();
    output.extend_from_slice(&length);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&id.to_be_bytes());
    output.extend_from_slice(payload);
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], Problem> {
    if flags & frame::PADDED == 0 {
        return Ok(payload);
    }
    let unpadded = payload
        .split_first()
        .and_then(|(padding, rest)| rest.get(..rest.len().checked_sub(usize::from(*padding))?));
    unpadded.ok_or_else(|| unreadable("padding"))
}

/// The first four bytes, as a number.
fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn unreadable(what: &str) -> Problem {
    Problem::Unreadable(format!("{what} of HTTP/2"))
}
