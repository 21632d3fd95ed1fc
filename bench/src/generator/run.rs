//! The loop: sends what is due, waits until something comes, and reads it.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::http1::{self, Http1};
use super::http2::{self, Http2};
use super::pace::Due;
use super::processor::{self, Spent};
use super::socket::Socket;
use super::{Address, Answer, Calls, Load, Measured, Outcome, Pace, Problem, Target};
use crate::histogram::Histogram;

/// How long a server may say nothing while something is under way.
const SILENCE: Duration = Duration::from_secs(10);

/// A call that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Its number.
    pub(super) call: usize,
    /// When it was due, in nanoseconds from the beginning.
    pub(super) due: u64,
}

/// What was answered, and how long it took.
#[derive(Debug)]
pub(super) struct Ledger<'a> {
    calls: &'a Calls,
    begun: Instant,
    /// Now, as of the last look at the clock.
    now: u64,
    /// When something came the last time.
    came: u64,
    /// What is counted: calls that were due from the first of these on, until the second.
    counted: (u64, u64),
    answers: u64,
    taken: Histogram,
}

#[derive(Debug)]
enum Connection<'c> {
    Http1(Http1<'c>),
    Http2(Box<Http2<'c>>),
}

/// Runs a load to its end, on this thread.
pub(super) fn run(load: &Load<'_>) -> Result<Measured, Problem> {
    let Load { address, calls, connections, pace, duration, server } = *load;
    if calls.calls.is_empty() || connections == 0 {
        return Err(Problem::Asked("nothing is to be asked: give calls, and a connection"));
    }
    if let (Target::Http { .. }, Pace::Closed { callers }) = (&calls.target, pace)
        && callers > connections
    {
        return Err(Problem::Asked("HTTP/1.1 needs a connection for each caller"));
    }
    processor::settle();
    let encoded = match &calls.target {
        Target::Http { .. } => http1::requests(&calls.target, &calls.calls),
        Target::Grpc { .. } | Target::GrpcStream { .. } => {
            calls.calls.iter().map(|call| http2::framed(&call.body)).collect()
        }
    };
    let connect = |_| Connection::connect(address, calls, &encoded);
    let mut connections = (0..connections).map(connect).collect::<Result<Vec<_>, _>>()?;
    let mut ledger = Ledger::new(calls, duration);
    until_known(&mut connections, &mut ledger)?;

    let mut due = Due::of(pace)?;
    // Every connection has its share of callers; of requests that come when they are due, what the server takes.
    let share = match pace {
        Pace::Closed { callers } => callers.div_ceil(connections.len()),
        Pace::Open { .. } => usize::MAX,
    };
    let (mut next_call, mut turn, mut under_way) = (0, 0, 0);
    let (begin, end) = ledger.counted;
    let (mut before, mut after) = (None, None);
    ledger.begin();
    loop {
        ledger.look();
        if before.is_none() && ledger.now >= begin {
            before = Some(ledger.reading(server));
        }
        if after.is_none() && ledger.now >= end {
            after = Some(ledger.reading(server));
        }
        // What was due before the end is asked, however late that is.
        let until = if matches!(pace, Pace::Open { .. }) { end } else { ledger.now };
        while after.is_none() || due.at().is_some_and(|at| at < until) {
            let Some(place) = free(&connections, turn, share) else { break };
            let Some(due) = due.next(ledger.now, under_way) else { break };
            if let Some(connection) = connections.get_mut(place) {
                connection.send(Asked { call: next_call, due });
            }
            next_call = (next_call + 1) % calls.calls.len();
            (turn, under_way) = (place + 1, under_way + 1);
        }
        for connection in &mut connections {
            connection.flush()?;
        }
        if under_way == 0 && after.is_some() {
            break;
        }
        let wake = due.at().filter(|at| *at < end).unwrap_or(u64::MAX);
        let wake = if after.is_none() { wake.min(end) } else { wake };
        let wake = if before.is_none() { wake.min(begin) } else { wake };
        wait(&mut connections, &mut ledger, wake, under_way)?;
        under_way = connections.iter().map(Connection::under_way).sum();
    }
    let (Some(before), Some(after)) = (before, after) else {
        return Err(Problem::Asked("a load takes some time"));
    };
    Ok(ledger.measured(&before, &after))
}

/// Waits for the settings of all servers: they tell how many requests one takes at once.
fn until_known(connections: &mut [Connection<'_>], ledger: &mut Ledger<'_>) -> Result<(), Problem> {
    while !connections.iter().all(Connection::has_room) {
        for connection in &mut *connections {
            connection.flush()?;
        }
        wait(connections, ledger, u64::MAX, 1)?;
    }
    Ok(())
}

/// Waits until something comes, or can be written, or it is time; and reads what came.
fn wait(
    connections: &mut [Connection<'_>],
    ledger: &mut Ledger<'_>,
    wake: u64,
    under_way: usize,
) -> Result<(), Problem> {
    let silent_at = ledger.came + nanos(SILENCE);
    ledger.look();
    let left = Duration::from_nanos(wake.min(silent_at).saturating_sub(ledger.now));
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    let mut waited: Vec<PollFd<'_>> = connections.iter().map(Connection::waited_for).collect();
    match poll(&mut waited, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(Problem::Ended(error.to_string())),
    }
    let came = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
    let ready: Vec<bool> = waited.iter().map(|fd| fd.revents().intersects(came)).collect();
    for (connection, _) in connections.iter_mut().zip(ready).filter(|(_, is_ready)| *is_ready) {
        connection.receive(ledger)?;
    }
    ledger.look();
    if under_way > 0 && ledger.now >= ledger.came + nanos(SILENCE) {
        return Err(Problem::Silent { under_way, for_s: SILENCE.as_secs() });
    }
    if under_way == 0 {
        // Nobody was asked, so nobody is silent.
        ledger.came = ledger.now;
    }
    Ok(())
}

/// The next connection, from this one on, that takes one more.
#[inline]
fn free(connections: &[Connection<'_>], turn: usize, share: usize) -> Option<usize> {
    let count = connections.len();
    let mut places = (turn..turn + count).map(|place| place % count);
    places.find(|place| {
        let connection = connections.get(*place);
        connection.is_some_and(|one| one.has_room() && one.under_way() < share)
    })
}

/// What was spent and answered until some time.
struct Reading {
    at: u64,
    server: Spent,
    here: Duration,
    answers: u64,
}

impl<'a> Ledger<'a> {
    fn new(calls: &'a Calls, duration: Duration) -> Self {
        let begin = nanos((duration / 10).min(Duration::from_secs(1)));
        Self {
            calls,
            begun: Instant::now(),
            now: 0,
            came: 0,
            counted: (begin, begin + nanos(duration)),
            answers: 0,
            taken: Histogram::default(),
        }
    }

    /// The clock begins.
    fn begin(&mut self) {
        (self.begun, self.now, self.came) = (Instant::now(), 0, 0);
    }

    fn look(&mut self) {
        self.now = nanos(self.begun.elapsed());
    }

    /// Something came, now.
    #[inline]
    pub(super) fn came(&mut self) {
        self.look();
        self.came = self.now;
    }

    /// A call was answered.
    #[inline]
    pub(super) fn answered(&mut self, asked: Asked, answer: &Answer<'_>) -> Result<(), Problem> {
        let Asked { call, due } = asked;
        let expected = self.calls.calls.get(call).map(|call| call.expected);
        let got = (self.calls.outcome)(answer);
        if got.is_none() || got != expected {
            return Err(wrong(call, expected.unwrap_or_default(), got, answer));
        }
        self.answers += 1;
        let (begin, end) = self.counted;
        if (begin..end).contains(&due) {
            self.taken.record(Duration::from_nanos(self.now - due));
        }
        Ok(())
    }

    fn reading(&self, server: &[u32]) -> Reading {
        let Self { now, answers, .. } = *self;
        let server = Spent::so_far(server);
        Reading { at: now, server, here: processor::spent_here(), answers }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    fn measured(&self, before: &Reading, after: &Reading) -> Measured {
        let answers = after.answers - before.answers;
        let took = Duration::from_nanos(after.at - before.at);
        let each = |spent: Duration| spent.as_secs_f64() * 1e6 / answers as f64;
        let all_but = |but| self.taken.all_but_of_thousand(but) as f64 / 1e3;
        Measured {
            answers,
            per_second: answers as f64 / took.as_secs_f64(),
            cpu_us: each(after.server.since(&before.server)),
            own_cpu_us: each(after.here.saturating_sub(before.here)),
            p50_us: all_but(500),
            p99_us: all_but(10),
            p999_us: all_but(1),
        }
    }
}

/// An answer that is not the expected one.
#[cold]
fn wrong(call: usize, expected: Outcome, got: Option<Outcome>, answer: &Answer<'_>) -> Problem {
    let Answer { status, grpc_status, body } = answer;
    let shown = body.get(..body.len().min(500)).unwrap_or_default();
    let grpc = grpc_status.map(|status| format!(", gRPC {status}")).unwrap_or_default();
    let answer = format!("status {status}{grpc}, \"{}\"", shown.escape_ascii());
    Problem::Wrong { call, expected, got, answer }
}

impl<'c> Connection<'c> {
    fn connect(address: &Address, calls: &Calls, encoded: &'c [Vec<u8>]) -> Result<Self, Problem> {
        Ok(match &calls.target {
            Target::Http { .. } => Self::Http1(Http1::connect(address, encoded)?),
            _ => Self::Http2(Box::new(Http2::connect(address, calls, encoded)?)),
        })
    }

    const fn socket(&self) -> &Socket {
        match self {
            Self::Http1(connection) => connection.socket(),
            Self::Http2(connection) => connection.socket(),
        }
    }

    fn waited_for(&self) -> PollFd<'_> {
        let socket = self.socket();
        let writes = if socket.output.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        PollFd::new(socket, PollFlags::IN | writes)
    }

    fn under_way(&self) -> usize {
        match self {
            Self::Http1(connection) => connection.under_way(),
            Self::Http2(connection) => connection.under_way(),
        }
    }

    fn has_room(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.has_room(),
            Self::Http2(connection) => connection.has_room(),
        }
    }

    fn send(&mut self, asked: Asked) {
        match self {
            Self::Http1(connection) => connection.send(asked),
            Self::Http2(connection) => connection.send(asked),
        }
    }

    fn flush(&mut self) -> Result<(), Problem> {
        match self {
            Self::Http1(connection) => connection.flush(),
            Self::Http2(connection) => connection.flush(),
        }
    }

    fn receive(&mut self, ledger: &mut Ledger<'_>) -> Result<(), Problem> {
        match self {
            Self::Http1(connection) => connection.receive(ledger),
            Self::Http2(connection) => connection.receive(ledger),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
