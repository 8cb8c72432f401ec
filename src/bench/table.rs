//! Columns as wide as what stands in them.

use std::fmt;

/// Between two columns.
const GAP: &str = "  ";

/// Text tables: the first column begins at the left, numbers end at the right. A column that stays empty is left out.
pub struct Table<const COLUMNS: usize> {
    head: [&'static str; COLUMNS],
    lines: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub const fn new(head: [&'static str; COLUMNS]) -> Self {
        Self { head, lines: Vec::new() }
    }

    pub fn push(&mut self, line: [String; COLUMNS]) {
        self.lines.push(line);
    }

    /// 0 for a column that stays empty.
    fn width(&self, column: usize) -> usize {
        let widest = self.lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        if widest == 0 { 0 } else { widest.max(self.head[column].chars().count()) }
    }
}

impl<const COLUMNS: usize> fmt::Display for Table<COLUMNS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..COLUMNS).map(|column| self.width(column)).collect();
        let mut write = |line: [&str; COLUMNS]| {
            let mut text = String::new();
            for (cell, width) in line.into_iter().zip(&widths).filter(|(_, width)| **width > 0) {
                text += &if text.is_empty() {
                    format!("{cell:<width$}")
                } else if cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
                    format!("{GAP}{cell:>width$}")
                } else {
                    format!("{GAP}{cell:<width$}")
                };
            }
            writeln!(f, "{}", text.trim_end())
        };
        write(self.head)?;
        self.lines.iter().try_for_each(|line| write(line.each_ref().map(String::as_str)))
    }
}
