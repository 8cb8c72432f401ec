//! What a benchmark found, for people and for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Pace;
use super::database::Server;
use super::finding::{self, Finding};
use super::measure::Figures;
use super::table::Table;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    pub benchmark: String,
    pub version: String,
    /// Whether the program was built to be fast; figures of another build say nothing.
    pub optimized: bool,
    pub server: Server,
    /// Of each measurement.
    pub seconds: f64,
    pub rounds: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    pub rows: Vec<Row>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory: Vec<Memory>,
    pub findings: Vec<Finding>,
    /// How to read the figures.
    pub notes: Vec<String>,
}

/// One row inserted and committed by itself, over one connection.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Commit {
    pub p50_ms: f64,
    /// The same without waiting for the disk; the rest is the disk.
    pub unsynced_p50_ms: f64,
}

/// One thing that was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    /// Calls that wait for an answer at any moment; 0 where that is not what was held fixed.
    pub callers: usize,
    /// Conversations that were stored meanwhile, where that is what was varied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u64>,
    #[serde(flatten)]
    pub figures: Figures,
    /// Rate over that of the plain means beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_plain: Option<f64>,
}

impl Row {
    pub fn new(name: &str, callers: usize, figures: Figures) -> Self {
        Self { name: name.to_owned(), callers, stored: None, figures, times_plain: None }
    }

    /// Compares with the rate of the same by plain means.
    pub fn beside(mut self, plain_per_second: f64) -> Self {
        self.times_plain = (plain_per_second > 0.0).then(|| self.figures.per_second / plain_per_second);
        self
    }

    /// Measured while this many conversations were stored.
    pub fn at(mut self, stored: u64) -> Self {
        self.stored = Some(stored);
        self
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    pub when: String,
    /// Of the program alone, without PostgreSQL.
    pub resident_mb: f64,
}

impl Report {
    /// Without figures yet.
    pub fn new(benchmark: &str, server: Server, pace: Pace) -> Self {
        Self {
            benchmark: benchmark.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            optimized: !cfg!(debug_assertions),
            server,
            seconds: pace.seconds,
            rounds: pace.rounds,
            commit: None,
            rows: Vec::new(),
            memory: Vec::new(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The row of this name at this many callers.
    pub fn row(&self, name: &str, callers: usize) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name && row.callers == callers)
    }

    pub fn is_empty(&self) -> bool {
        self.rows.iter().all(|row| row.figures.per_second == 0.0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "omnistream {} bench {}", self.version, self.benchmark)?;
        writeln!(f, "{}; medians of {} rounds of {} s", self.server, self.rounds, self.seconds)?;
        if let Some(Commit { p50_ms, unsynced_p50_ms }) = self.commit {
            writeln!(
                f,
                "commit of one row alone: {p50_ms:.2} ms ({unsynced_p50_ms:.2} ms without the disk)"
            )?;
        }
        if !self.optimized {
            writeln!(f, "{}", finding::NOT_OPTIMIZED)?;
        }
        writeln!(f, "\n{}", rows(&self.rows))?;
        for Memory { when, resident_mb } in &self.memory {
            writeln!(f, "resident memory, {when}: {resident_mb:.1} MB")?;
        }
        writeln!(f, "{}", finding::table(&self.findings))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

fn rows(rows: &[Row]) -> Table<8> {
    let mut table =
        Table::new(["", "callers", "stored", "per second", "p50 ms", "p99 ms", "max ms", "x plain"]);
    for Row { name, callers, stored, figures, times_plain } in rows {
        let Figures { per_second, p50_ms, p99_ms, max_ms } = figures;
        let unless_zero = |value: &f64| if *value > 0.0 { format!("{value:.2}") } else { String::new() };
        table.push([
            name.clone(),
            if *callers > 0 { callers.to_string() } else { String::new() },
            stored.map_or_else(String::new, |stored| stored.to_string()),
            format!("{per_second:.0}"),
            unless_zero(p50_ms),
            unless_zero(p99_ms),
            unless_zero(max_ms),
            times_plain.map_or_else(String::new, |times| format!("{times:.2}")),
        ]);
    }
    table
}
