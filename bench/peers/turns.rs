//! What a contestant is measured at: being asked, being loaded, and being told of one more.

use std::time::{Duration, Instant};

use caed_bench::generator::{self, Address, Calls, Load, Measured, Outcome, Pace};
use caed_bench::report::median;
use caed_bench::visitors::Visitors;
use tokio::runtime::Runtime;

use crate::contestant::{self, Asked, Contestant, Question};
use crate::process;

/// Callers at the same time, where throughput is measured.
const CALLERS: usize = 50;

/// How long a revocation may take to be enforced.
const PATIENCE: Duration = Duration::from_secs(30);

/// How being asked went: medians of rounds.
pub(crate) struct Answering {
    pub(crate) per_second: f64,
    pub(crate) cpu_us: f64,
    pub(crate) one_p50_us: f64,
    pub(crate) one_p99_us: f64,
    pub(crate) open_p50_us: f64,
    pub(crate) open_p99_us: f64,
}

/// One round of it.
struct Round {
    crowd: Measured,
    one: Measured,
    open: Measured,
}

/// How two contestants answered, and at what pace both were asked, callers not waiting for each other.
pub(crate) struct Match {
    pub(crate) caed: Answering,
    pub(crate) peer: Answering,
    pub(crate) pace: f64,
}

/// Asks both in turn, so many rounds, each by visitors of the same kinds.
pub(crate) fn asked(
    both: [(&dyn Contestant, Visitors); 2],
    question: Question,
    rounds: usize,
    duration: Duration,
) -> Result<Match, String> {
    let calls = both.map(|(server, visitors)| server.calls(question, &Asked::all(visitors)));
    let mut found: [Vec<Round>; 2] = [Vec::new(), Vec::new()];
    let mut pace = None;
    for _ in 0..rounds {
        let measure = |place: usize, pace| ask(both[place].0, &calls[place], pace, duration);
        let closed = |callers| Pace::Closed { callers };
        let crowd = [measure(0, closed(CALLERS))?, measure(1, closed(CALLERS))?];
        let one = [measure(0, closed(1))?, measure(1, closed(1))?];
        // Half of what the slower one can do; something even where the machine let it do nothing.
        let slower = crowd[0].per_second.min(crowd[1].per_second);
        let per_second = *pace.get_or_insert((slower / 2.0).max(10.0));
        let open = [0, 1].map(|place| measure(place, Pace::Open { per_second }));
        for (place, open) in open.into_iter().enumerate() {
            found[place].push(Round { crowd: crowd[place], one: one[place], open: open? });
        }
    }
    let [caed, peer] = found.map(|rounds| Answering::of(&rounds));
    Ok(Match { caed, peer, pace: pace.unwrap_or_default() })
}

impl Answering {
    fn of(rounds: &[Round]) -> Self {
        let middle = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            per_second: middle(|round| round.crowd.per_second),
            cpu_us: middle(|round| round.crowd.cpu_us),
            one_p50_us: middle(|round| round.one.p50_us),
            one_p99_us: middle(|round| round.one.p99_us),
            open_p50_us: middle(|round| round.open.p50_us),
            open_p99_us: middle(|round| round.open.p99_us),
        }
    }
}

fn ask(
    contestant: &dyn Contestant,
    calls: &Calls,
    pace: Pace,
    duration: Duration,
) -> Result<Measured, String> {
    let callers = match pace {
        Pace::Closed { callers } => callers,
        Pace::Open { .. } => CALLERS,
    };
    let load = Load {
        address: &Address::Tcp(contestant.address()),
        calls,
        connections: contestant::connections(calls, callers),
        pace,
        duration,
        server: &contestant.pids(),
    };
    generator::load(&load).map_err(|problem| problem.to_string())
}

/// How being loaded went.
pub(crate) struct Loading {
    /// From the first word to an answer that knows the last of them.
    pub(crate) took: Duration,
    /// How much more memory it has, for each revoked user, when all who ask have asked.
    pub(crate) bytes_each: f64,
}

/// Loads a contestant of whom nobody has told anything yet.
pub(crate) fn loaded(
    runtime: &Runtime,
    contestant: &mut dyn Contestant,
    visitors: Visitors,
    duration: Duration,
) -> Result<Loading, String> {
    let nobody = Visitors { revoked: 0, ranges: 0, ..visitors };
    let mut asked = Asked::all(nobody);
    for asked in &mut asked {
        asked.expected = Outcome::Allowed;
    }
    let crowd = Pace::Closed { callers: CALLERS };
    let calls = contestant.calls(Question::Own, &asked);
    ask(contestant, &calls, crowd, duration)?;
    let before = process::resident_bytes(&contestant.pids());

    let asked = Asked::all(visitors);
    let calls = contestant.calls(Question::Own, &asked);
    let begun = Instant::now();
    runtime.block_on(contestant.load(&visitors))?;
    // The last of those who ask was, in general, told of long before the last of all.
    let last = last_revoked(visitors);
    let last = contestant.calls(Question::Own, &[last]);
    runtime.block_on(async {
        let mut client = contestant::client(&last, contestant.address()).await?;
        until(&mut client, &last, Outcome::Challenged).await
    })?;
    let took = begun.elapsed();
    ask(contestant, &calls, crowd, duration)?;
    let after = process::resident_bytes(&contestant.pids());
    let bytes_each = (precise(after) - precise(before)) / precise(visitors.revoked);
    Ok(Loading { took, bytes_each })
}

fn last_revoked(visitors: Visitors) -> Asked {
    let mut last = Asked::newcomer(visitors, 0);
    last.visitor.user = visitors.revoked_users().last().unwrap_or_default();
    last.expected = Outcome::Challenged;
    last
}

/// From telling of a revocation to the first answer that knows it: what half and 99 of 100 of so many took at most, in
/// milliseconds.
pub(crate) fn enforced(
    runtime: &Runtime,
    contestant: &mut dyn Contestant,
    visitors: Visitors,
    newcomers: std::ops::Range<u64>,
) -> Result<(f64, f64), String> {
    let mut took = Vec::new();
    for number in newcomers {
        let newcomer = Asked::newcomer(visitors, number);
        let calls = contestant.calls(Question::Own, std::slice::from_ref(&newcomer));
        let address = contestant.address();
        let elapsed = runtime.block_on(async {
            let mut client = contestant::client(&calls, address).await?;
            until(&mut client, &calls, Outcome::Allowed).await?;
            let begun = Instant::now();
            let told = contestant.revoke(&newcomer.visitor.user);
            let known = async {
                until(&mut client, &calls, Outcome::Challenged).await?;
                Ok(begun.elapsed())
            };
            let ((), elapsed) = tokio::try_join!(told, known)?;
            Ok::<_, String>(elapsed)
        })?;
        took.push(elapsed.as_secs_f64() * 1000.0);
    }
    took.sort_by(f64::total_cmp);
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}

/// Asks again and again until the answer is this.
async fn until(
    client: &mut crate::client::Client,
    calls: &Calls,
    wanted: Outcome,
) -> Result<(), String> {
    let call = calls.calls.first().ok_or("nothing is asked")?;
    let begun = Instant::now();
    loop {
        let outcome = client.ask(calls, call).await?;
        if outcome == wanted {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("it went on to say {outcome:?} where {wanted:?} was expected"));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(crate) const fn precise(number: u64) -> f64 {
    number as f64
}
