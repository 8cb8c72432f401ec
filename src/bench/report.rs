//! What a benchmark found, for people and for machines.

use std::fmt;

use serde::Serialize;

use super::database::Server;
use super::measure::Figures;

#[derive(Serialize)]
pub struct Report {
    pub benchmark: &'static str,
    pub version: &'static str,
    pub server: Server,
    /// Of each measurement.
    pub seconds: f64,
    pub rounds: u16,
    pub commit: Commit,
    pub rows: Vec<Row>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Memory>,
    pub aims: Vec<Aim>,
    /// How to read the figures.
    pub notes: Vec<String>,
}

/// One row inserted and committed by itself, over one connection.
#[derive(Clone, Copy, Serialize)]
pub struct Commit {
    pub p50_ms: f64,
    /// The same without waiting for the disk; the rest is the disk.
    pub unsynced_p50_ms: f64,
}

#[derive(Serialize)]
pub struct Row {
    pub name: &'static str,
    /// Calls that wait for an answer at any moment.
    pub callers: usize,
    #[serde(flatten)]
    pub figures: Figures,
    /// Rate over the plain inserts' at as many callers; what is no append has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_plain: Option<f64>,
}

#[derive(Serialize)]
pub struct Memory {
    pub when: &'static str,
    /// Of the program alone, without PostgreSQL.
    pub resident_mb: f64,
}

/// What the project promises itself.
#[derive(Serialize)]
pub struct Aim {
    pub aim: String,
    pub measured: f64,
    pub limit: f64,
    pub met: bool,
}

impl Aim {
    pub fn at_least(aim: &str, limit: f64, measured: f64) -> Self {
        Self { aim: aim.to_owned(), measured, limit, met: measured >= limit }
    }

    pub fn at_most(aim: &str, limit: f64, measured: f64) -> Self {
        Self { aim: aim.to_owned(), measured, limit, met: measured <= limit }
    }
}

impl Report {
    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.figures.per_second == 0.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Server { postgresql, fsync, synchronous_commit, full_page_writes, processors, .. } = &self.server;
        writeln!(f, "omnistream {} bench {}", self.version, self.benchmark)?;
        writeln!(
            f,
            "PostgreSQL {postgresql}, fsync {fsync}, synchronous_commit {synchronous_commit}, full_page_writes \
             {full_page_writes}; {processors} processors; medians of {} rounds of {} s",
            self.rounds, self.seconds
        )?;
        let Commit { p50_ms, unsynced_p50_ms } = self.commit;
        writeln!(f, "commit of one row alone: {p50_ms:.2} ms ({unsynced_p50_ms:.2} ms without the disk)\n")?;
        writeln!(
            f,
            "{:<44}{:>8}{:>12}{:>10}{:>10}{:>9}",
            "", "callers", "per second", "p50 ms", "p99 ms", "x plain"
        )?;
        for Row { name, callers, figures, times_plain } in &self.rows {
            let Figures { per_second, p50_ms, p99_ms } = figures;
            let times = times_plain.map_or_else(String::new, |times| format!("{times:.2}"));
            writeln!(f, "{name:<44}{callers:>8}{per_second:>12.0}{p50_ms:>10.2}{p99_ms:>10.2}{times:>9}")?;
        }
        for Memory { when, resident_mb } in &self.memory {
            writeln!(f, "resident memory, {when}: {resident_mb:.1} MB")?;
        }
        writeln!(f)?;
        for Aim { aim, measured, met, .. } in &self.aims {
            writeln!(f, "{} {aim}: {measured:.2}", if *met { "met   " } else { "MISSED" })?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
