//! Measurements, closed-loop (a fixed number of callers, each starting its next call when it has its answer) and open-loop
//! (calls at fixed instants, whatever became of those before).

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The first part of every measurement, which fills caches and is not counted.
const WARM_UP: f64 = 0.2;

/// One measurement, or the medians of several. Latencies are 0 where only a rate was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    #[serde(default)]
    pub max_ms: f64,
}

/// Measures all contenders in turns (A B C A B C …), so that whatever else the machine does in the meantime meets all
/// alike; answers each one's medians. `measure` gets the contender and the round, from 1.
///
/// # Errors
/// The first error of a measurement.
pub async fn in_turns<C: Copy>(
    contenders: &[C],
    rounds: u16,
    mut measure: impl AsyncFnMut(C, u16) -> Result<Figures>,
) -> Result<Vec<(C, Figures)>> {
    let mut measured: Vec<(C, Vec<Figures>)> = contenders.iter().map(|c| (*c, Vec::new())).collect();
    for round in 1..=rounds {
        for (contender, figures) in &mut measured {
            figures.push(measure(*contender, round).await?);
        }
    }
    Ok(measured.into_iter().map(|(contender, rounds)| (contender, Figures::median(&rounds))).collect())
}

/// Keeps `callers` busy for `duration` and a warm-up before it, and counts each one's last call too, however long it
/// takes. `call` gets the caller's number.
///
/// # Errors
/// The first error of a call: a benchmark of failures measures nothing.
pub async fn closed_loop<C, F>(callers: usize, duration: Duration, call: C) -> Result<Figures>
where
    C: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send,
{
    let counted_from = Instant::now() + duration.mul_f64(WARM_UP);
    let end = counted_from + duration;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let call = call.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let begun = Instant::now();
                if begun >= end {
                    return anyhow::Ok(latencies);
                }
                call(caller).await?;
                let done = Instant::now();
                if done >= counted_from {
                    latencies.push(done - begun);
                }
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        latencies.append(&mut joined??);
    }
    Ok(Figures::of(latencies, counted_from.elapsed()))
}

/// Starts a call at every instant of a timetable, `per_second` times a second for `duration` and a warm-up before it.
/// `call` gets its number. A latency counts from the instant at which the call was due, not from when it could be made:
/// a stall is seen by everybody who would have come in the meantime.
///
/// # Errors
/// The first error of a call.
pub async fn open_loop<C, F>(per_second: f64, duration: Duration, call: C) -> Result<Figures>
where
    C: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let calls = |seconds: f64| (seconds * per_second).round().max(1.0) as usize;
    let warm_up = calls(duration.as_secs_f64() * WARM_UP);
    let all = warm_up + calls(duration.as_secs_f64());
    let runtime = Handle::current();
    // A thread of its own: the runtime's timer is exact to a millisecond only, which is longer than some answers take.
    let paced = tokio::task::spawn_blocking(move || {
        let (mut tasks, begun) = (JoinSet::new(), std::time::Instant::now());
        for number in 0..all {
            let due = begun + Duration::from_secs_f64(number as f64 / per_second);
            std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            let answered = call(number);
            let timed = async move {
                answered.await?;
                anyhow::Ok((number >= warm_up).then(|| due.elapsed()))
            };
            tasks.spawn_on(timed, &runtime);
        }
        tasks
    });
    let mut tasks = paced.await?;
    let mut latencies = Vec::with_capacity(all);
    while let Some(joined) = tasks.join_next().await {
        latencies.extend(joined??);
    }
    Ok(Figures::of(latencies, duration))
}

impl Figures {
    /// Where no single call was timed.
    pub fn rate(count: u64, within: Duration) -> Self {
        Self { per_second: count as f64 / within.as_secs_f64(), ..Self::default() }
    }

    pub fn of(mut latencies: Vec<Duration>, within: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            per_second: latencies.len() as f64 / within.as_secs_f64(),
            p50_ms: percentile(&latencies, 0.50),
            p99_ms: percentile(&latencies, 0.99),
            max_ms: percentile(&latencies, 1.0),
        }
    }

    /// Each figure's median on its own.
    pub fn median(rounds: &[Self]) -> Self {
        let of = |get: fn(&Self) -> f64| median(rounds.iter().map(get).collect());
        Self {
            per_second: of(|f| f.per_second),
            p50_ms: of(|f| f.p50_ms),
            p99_ms: of(|f| f.p99_ms),
            max_ms: of(|f| f.max_ms),
        }
    }
}

/// Milliseconds; 0 of nothing.
fn percentile(sorted: &[Duration], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let latencies = (1..=200).map(Duration::from_millis).collect();
        let figures = Figures::of(latencies, Duration::from_secs(2));
        let expected = Figures { per_second: 100.0, p50_ms: 100.0, p99_ms: 198.0, max_ms: 200.0 };
        assert_eq!(figures, expected);
        assert_eq!(Figures::of(Vec::new(), Duration::from_secs(1)), Figures::default());
    }

    #[test]
    fn medians_resist_one_bad_round() {
        let round = |per_second| Figures { per_second, p50_ms: per_second, ..Figures::default() };
        assert_eq!(Figures::median(&[round(9.0), round(1.0), round(10.0)]).per_second, 9.0);
        assert_eq!(Figures::median(&[round(2.0), round(4.0)]).per_second, 3.0);
    }

    #[tokio::test(start_paused = true)]
    async fn the_warm_up_is_not_counted() {
        let second = Duration::from_secs(1);
        let figures = closed_loop(3, second * 10, move |_| async move {
            tokio::time::sleep(second).await;
            Ok(())
        })
        .await
        .unwrap();
        assert!((figures.per_second - 3.0).abs() < 0.31, "{figures:?}");
        assert_eq!((figures.p50_ms, figures.p99_ms), (1000.0, 1000.0));
    }

    #[tokio::test(start_paused = true)]
    async fn contenders_take_turns() {
        let mut order = Vec::new();
        let medians = in_turns(&['a', 'b'], 2, async |contender, round| {
            order.push((contender, round));
            Ok(Figures { per_second: f64::from(round), ..Figures::default() })
        });
        let medians = medians.await.unwrap();
        assert_eq!(order, [('a', 1), ('b', 1), ('a', 2), ('b', 2)]);
        assert!(medians.iter().all(|(_, figures)| figures.per_second == 1.5), "{medians:?}");
    }

    /// A server that stops for 200 ms once: in a closed loop only the one that it stops on would notice.
    #[tokio::test]
    async fn a_stall_is_seen_by_all_who_were_due_meanwhile() {
        let stall = Duration::from_millis(200);
        let door = std::sync::Arc::new(tokio::sync::Mutex::new(()));
        let call = move |number| {
            let door = std::sync::Arc::clone(&door);
            async move {
                let _inside = door.lock().await;
                if number == 40 {
                    tokio::time::sleep(stall).await;
                }
                Ok(())
            }
        };
        let figures = open_loop(200.0, Duration::from_millis(500), call).await.unwrap();
        assert!(figures.p50_ms < figures.max_ms, "{figures:?}");
        assert!(figures.max_ms >= 200.0, "{figures:?}");
        // Of 100 calls 40 were due during the stall: the 40th slowest waited for at least a few milliseconds of it.
        assert!(figures.p99_ms > 150.0, "{figures:?}");
        assert!((figures.per_second - 200.0).abs() < 1.0, "every call is counted: {figures:?}");
    }
}
