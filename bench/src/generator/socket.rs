//! Bytes in and out of a connection, without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::{Address, Problem};

/// Bytes that are read at once at most. More than a frame of HTTP/2 has; a guess.
const INPUT: usize = 256 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Socket {
    address: Address,
    stream: Stream,
    pub(super) input: Input,
    /// What is still to be written.
    pub(super) output: Vec<u8>,
}

/// Bytes that came.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    begin: usize,
    end: usize,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn connect(address: &Address) -> Result<Self, Problem> {
        let stream = Stream::connect(address);
        let stream =
            stream.map_err(|cause| Problem::Connection { address: address.clone(), cause })?;
        let input = Input { bytes: vec![0; INPUT], ..Input::default() };
        Ok(Self { address: address.clone(), stream, input, output: Vec::new() })
    }

    /// Writes as much as can be.
    pub(super) fn flush(&mut self) -> Result<(), Problem> {
        let mut written = 0;
        while let Some(rest) = self.output.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(self.problem(cause)),
            }
        }
        self.output.drain(..written);
        Ok(())
    }

    /// Reads what there is, if anything.
    pub(super) fn receive(&mut self) -> Result<bool, Problem> {
        let room = self.input.room();
        if room.is_empty() {
            return Err(Problem::Unreadable(
                "more bytes at once than a server may send".to_owned(),
            ));
        }
        match self.stream.read(room) {
            Ok(0) => Err(Problem::Ended(format!("{} closed it", self.address))),
            Ok(count) => {
                self.input.end += count;
                Ok(true)
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                Ok(false)
            }
            Err(cause) => Err(self.problem(cause)),
        }
    }

    fn problem(&self, cause: io::Error) -> Problem {
        Problem::Connection { address: self.address.clone(), cause }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Input {
    /// What came and was not taken yet.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.begin..self.end).unwrap_or_default()
    }

    /// Takes so many bytes away.
    #[inline]
    pub(super) const fn take(&mut self, count: usize) {
        self.begin += count;
        if self.begin >= self.end {
            (self.begin, self.end) = (0, 0);
        }
    }

    /// Where more goes.
    fn room(&mut self) -> &mut [u8] {
        if self.begin > 0 {
            self.bytes.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        self.bytes.get_mut(self.end..).unwrap_or_default()
    }
}

impl Stream {
    fn connect(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                Self::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Self::Unix(stream)
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            Self::Unix(stream) => stream.read(room),
        }
    }
}
