//! What the project promises itself, and whether it holds: one line each in the table of all benchmarks.

use serde::{Deserialize, Serialize};

use super::table::Table;

pub const NOT_OPTIMIZED: &str =
    "THIS BUILD IS NOT OPTIMIZED: its figures say nothing (cargo build --release, or ./start bench)";

/// One figure, with what it is to be compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    pub name: String,
    pub figure: f64,
    pub unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beside: Option<Beside>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aim: Option<Aim>,
}

/// The same by plain means, on the same machine in the same run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    pub name: String,
    /// In the finding's unit.
    pub figure: f64,
    /// The finding's figure over this one.
    pub ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aim {
    pub of: Subject,
    pub bound: Bound,
    pub limit: f64,
    pub met: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Figure,
    Ratio,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    AtLeast,
    AtMost,
}

impl Finding {
    pub fn new(name: impl Into<String>, figure: f64, unit: &str) -> Self {
        Self { name: name.into(), figure, unit: unit.to_owned(), beside: None, aim: None }
    }

    /// Compares with this figure, of the same unit.
    pub fn beside(mut self, name: impl Into<String>, figure: f64) -> Self {
        let ratio = if figure > 0.0 { self.figure / figure } else { 0.0 };
        self.beside = Some(Beside { name: name.into(), figure, ratio });
        self
    }

    pub fn at_least(self, limit: f64) -> Self {
        self.aiming(Subject::Figure, Bound::AtLeast, limit)
    }

    pub fn at_most(self, limit: f64) -> Self {
        self.aiming(Subject::Figure, Bound::AtMost, limit)
    }

    /// An aim for what [`Finding::beside`] compared.
    pub fn ratio_at_least(self, limit: f64) -> Self {
        self.aiming(Subject::Ratio, Bound::AtLeast, limit)
    }

    pub fn ratio_at_most(self, limit: f64) -> Self {
        self.aiming(Subject::Ratio, Bound::AtMost, limit)
    }

    fn aiming(mut self, of: Subject, bound: Bound, limit: f64) -> Self {
        let measured = match of {
            Subject::Figure => Some(self.figure),
            Subject::Ratio => self.beside.as_ref().map(|beside| beside.ratio),
        };
        let met = measured.is_some_and(|measured| match bound {
            Bound::AtLeast => measured >= limit,
            Bound::AtMost => measured <= limit,
        });
        self.aim = Some(Aim { of, bound, limit, met });
        self
    }

    fn aim_in_words(&self) -> String {
        let Some(Aim { of, bound, limit, .. }) = self.aim else { return String::new() };
        let sign = match bound {
            Bound::AtLeast => "≥",
            Bound::AtMost => "≤",
        };
        match of {
            Subject::Figure if limit.fract() == 0.0 => format!("{sign} {limit} {}", self.unit),
            Subject::Figure => format!("{sign} {} {}", shown(limit), self.unit),
            Subject::Ratio => format!("{sign} {limit} x"),
        }
    }
}

/// All of them, each on a line.
pub fn table<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Table<6> {
    let mut table = Table::new(["what", "figure", "beside", "ratio", "aim", ""]);
    for finding in findings {
        let Finding { name, figure, unit, beside, aim } = finding;
        let met = aim.map_or("", |aim| if aim.met { "met" } else { "MISSED" });
        table.push([
            name.clone(),
            format!("{} {unit}", shown(*figure)),
            beside.as_ref().map_or_else(String::new, |b| format!("{}: {}", b.name, shown(b.figure))),
            beside.as_ref().map_or_else(String::new, |b| format!("{:.2}", b.ratio)),
            finding.aim_in_words(),
            met.to_owned(),
        ]);
    }
    table
}

/// Three significant digits or more.
fn shown(figure: f64) -> String {
    let decimals = match figure.abs() {
        small if small < 10.0 => 2,
        medium if medium < 100.0 => 1,
        _ => 0,
    };
    format!("{figure:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(finding: &Finding) -> bool {
        finding.aim.unwrap().met
    }

    #[test]
    fn an_aim_is_about_the_figure_or_about_the_ratio() {
        let import = || Finding::new("import", 40.0, "events/s").beside("COPY", 100.0);
        assert!(met(&import().at_least(40.0)) && !met(&import().at_least(41.0)));
        assert!(met(&import().at_most(40.0)) && !met(&import().at_most(39.0)));
        assert!(met(&import().ratio_at_least(0.4)) && !met(&import().ratio_at_least(0.5)));
        assert!(met(&import().ratio_at_most(0.4)) && !met(&import().ratio_at_most(0.3)));
    }

    #[test]
    fn a_missing_comparison_meets_no_aim() {
        assert!(!met(&Finding::new("import", 40.0, "events/s").ratio_at_most(9.0)));
    }

    #[test]
    fn the_table_says_what_was_aimed_at_and_missed() {
        let findings = [
            Finding::new("import", 40_000.0, "events/s").beside("COPY", 100_000.0).ratio_at_least(0.5),
            Finding::new("webhooks, p99", 9.25, "ms").at_most(50.0),
        ];
        let expected = "\
what           figure          beside        ratio  aim\n\
import         40000 events/s  COPY: 100000   0.40  ≥ 0.5 x  MISSED\n\
webhooks, p99         9.25 ms                       ≤ 50 ms  met\n";
        assert_eq!(table(&findings).to_string(), expected);
    }
}
