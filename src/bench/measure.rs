//! Closed-loop measurements: a fixed number of callers, each starting its next call when it has its answer.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The first part of every measurement, which fills caches and is not counted.
const WARM_UP: f64 = 0.2;

/// One measurement, or the medians of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Keeps `callers` busy for `duration` and a warm-up before it. `call` gets the caller's number.
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
                if done >= counted_from && done < end {
                    latencies.push(done - begun);
                }
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        latencies.append(&mut joined??);
    }
    Ok(Figures::of(latencies, duration))
}

impl Figures {
    pub fn of(mut latencies: Vec<Duration>, within: Duration) -> Self {
        latencies.sort_unstable();
        Self {
            per_second: latencies.len() as f64 / within.as_secs_f64(),
            p50_ms: percentile(&latencies, 0.50),
            p99_ms: percentile(&latencies, 0.99),
        }
    }

    /// Each figure's median on its own.
    pub fn median(rounds: &[Self]) -> Self {
        let of = |get: fn(&Self) -> f64| median(rounds.iter().map(get).collect());
        Self { per_second: of(|f| f.per_second), p50_ms: of(|f| f.p50_ms), p99_ms: of(|f| f.p99_ms) }
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
        assert_eq!(figures, Figures { per_second: 100.0, p50_ms: 100.0, p99_ms: 198.0 });
        assert_eq!(Figures::of(Vec::new(), Duration::from_secs(1)), Figures::default());
    }

    #[test]
    fn medians_resist_one_bad_round() {
        let round = |per_second| Figures { per_second, p50_ms: per_second, p99_ms: 1.0 };
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
}
