//! Alerts: a rule that matches and then fails too often deserves somebody's attention.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::fields::{Fields, Problems, boolean, integer, one_of, percentage, settle};
use crate::refusal::FieldProblem;

/// The largest `min_matched_runs`.
pub const MAX_MIN_RUNS: i64 = 1_000_000;

/// When a rule's failure rate raises an alert.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlertSettings {
    pub enabled: bool,
    /// Below this many matched runs a rate says nothing.
    pub min_matched_runs: i64,
    /// Failure rates in percent, 0..=100, from which on the level is reached.
    pub medium_threshold_pct: f64,
    pub high_threshold_pct: f64,
}

/// Settings by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertPreset {
    Conservative,
    Balanced,
    Aggressive,
}

impl AlertPreset {
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("conservative", Self::Conservative),
        ("balanced", Self::Balanced),
        ("aggressive", Self::Aggressive),
    ];

    #[must_use]
    pub const fn settings(self) -> AlertSettings {
        let (min_matched_runs, medium_threshold_pct, high_threshold_pct) = match self {
            Self::Conservative => (20, 20.0, 40.0),
            Self::Balanced => (10, 10.0, 25.0),
            Self::Aggressive => (5, 5.0, 10.0),
        };
        AlertSettings { enabled: true, min_matched_runs, medium_threshold_pct, high_threshold_pct }
    }
}

impl Default for AlertSettings {
    fn default() -> Self {
        AlertPreset::Balanced.settings()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertLevel {
    Ok,
    Medium,
    High,
}

/// Matched runs that did not fully execute, in percent of the matched runs; 0 when there were none.
#[must_use]
pub fn failure_rate_pct(matched_runs: i64, executed_runs: i64) -> f64 {
    if matched_runs <= 0 {
        return 0.0;
    }
    let failed = (matched_runs - executed_runs).clamp(0, matched_runs);
    failed as f64 * 100.0 / matched_runs as f64
}

impl AlertSettings {
    /// The level that these counts reach. Without a single failure it is never more than ok, whatever the threshold.
    #[must_use]
    pub fn level(&self, matched_runs: i64, executed_runs: i64) -> AlertLevel {
        let rate = failure_rate_pct(matched_runs, executed_runs);
        if !self.enabled || matched_runs < self.min_matched_runs || rate <= 0.0 {
            AlertLevel::Ok
        } else if rate >= self.high_threshold_pct {
            AlertLevel::High
        } else if rate >= self.medium_threshold_pct {
            AlertLevel::Medium
        } else {
            AlertLevel::Ok
        }
    }

    /// Reads `AlertSettings`; all its fields are required.
    ///
    /// # Errors
    /// Wrong types and ranges, a high threshold below the medium one.
    pub fn parse(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let settings = Self::read(value, "alert_settings", &mut problems);
        settle(settings, problems)
    }

    pub(super) fn read(value: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, path, problems)?;
        let enabled = fields.required("enabled", boolean);
        let min_matched_runs = fields.required("min_matched_runs", integer(1..=MAX_MIN_RUNS));
        let medium = fields.required("medium_threshold_pct", percentage);
        let high = fields.required("high_threshold_pct", percentage);
        fields.finish();
        let (medium, high) = (medium?, high?);
        if high < medium {
            let field = format!("{path}.high_threshold_pct");
            problems.push(FieldProblem::new(field, "must not be below medium_threshold_pct"));
            return None;
        }
        Some(Self {
            enabled: enabled?,
            min_matched_runs: min_matched_runs?,
            medium_threshold_pct: medium,
            high_threshold_pct: high,
        })
    }

    /// Reads `UpdateAlertSettings`: the name of a preset, or settings of one's own.
    ///
    /// # Errors
    /// As [`AlertSettings::parse`]; both or neither.
    pub fn parse_update(value: &Value) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let settings = Self::read_update(value, &mut problems);
        settle(settings, problems)
    }

    fn read_update(value: &Value, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::open(value, "", problems)?;
        let preset = fields.optional("preset", one_of(AlertPreset::NAMES));
        let explicit = fields.nested("alert_settings", Self::read);
        match (fields.has("preset"), fields.has("alert_settings")) {
            (true, true) => fields.problem("preset", "cannot be given together with alert_settings"),
            (false, false) => fields.problem("alert_settings", "or preset is required"),
            _ => {}
        }
        fields.finish();
        preset.map(AlertPreset::settings).or(explicit)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn presets_are_those_of_the_contract() {
        let values = |preset: AlertPreset| {
            let settings = preset.settings();
            (settings.min_matched_runs, settings.medium_threshold_pct, settings.high_threshold_pct)
        };
        assert_eq!(values(AlertPreset::Conservative), (20, 20.0, 40.0));
        assert_eq!(values(AlertPreset::Balanced), (10, 10.0, 25.0));
        assert_eq!(values(AlertPreset::Aggressive), (5, 5.0, 10.0));
    }

    #[test]
    fn a_level_is_reached_at_its_threshold() {
        let balanced = AlertPreset::Balanced.settings();
        assert_eq!(balanced.level(100, 91), AlertLevel::Ok);
        assert_eq!(balanced.level(100, 90), AlertLevel::Medium);
        assert_eq!(balanced.level(100, 76), AlertLevel::Medium);
        assert_eq!(balanced.level(100, 75), AlertLevel::High);
    }

    #[test]
    fn few_runs_no_failures_and_disabled_settings_raise_nothing() {
        let balanced = AlertPreset::Balanced.settings();
        assert_eq!(balanced.level(9, 0), AlertLevel::Ok);
        assert_eq!(balanced.level(10, 0), AlertLevel::High);
        assert_eq!(AlertSettings { enabled: false, ..balanced }.level(10, 0), AlertLevel::Ok);
        let touchy = AlertSettings { medium_threshold_pct: 0.0, high_threshold_pct: 0.0, ..balanced };
        assert_eq!(touchy.level(10, 10), AlertLevel::Ok);
    }

    #[test]
    fn the_failure_rate_is_over_matched_runs() {
        assert_eq!(failure_rate_pct(0, 0), 0.0);
        assert_eq!(failure_rate_pct(8, 6), 25.0);
        assert_eq!(failure_rate_pct(3, 4), 0.0, "more executed than matched is no negative failure");
    }

    #[test]
    fn thresholds_in_the_wrong_order_are_refused() {
        let settings = json!({"enabled": true, "min_matched_runs": 1, "medium_threshold_pct": 30, "high_threshold_pct": 20});
        let problems = AlertSettings::parse(&settings).unwrap_err();
        assert_eq!(problems[0].field, "alert_settings.high_threshold_pct");
    }

    #[test]
    fn every_missing_field_is_named() {
        let problems = AlertSettings::parse(&json!({"enabled": "yes", "colour": 1})).unwrap_err();
        let fields: Vec<_> = problems.iter().map(|problem| problem.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "alert_settings.enabled",
                "alert_settings.min_matched_runs",
                "alert_settings.medium_threshold_pct",
                "alert_settings.high_threshold_pct",
                "alert_settings.colour"
            ]
        );
    }

    #[test]
    fn an_update_takes_a_preset_or_settings() {
        let own = json!({"enabled": false, "min_matched_runs": 3, "medium_threshold_pct": 1.5, "high_threshold_pct": 2});
        assert_eq!(
            AlertSettings::parse_update(&json!({"preset": "aggressive"})).unwrap(),
            AlertPreset::Aggressive.settings()
        );
        let parsed = AlertSettings::parse_update(&json!({ "alert_settings": own })).unwrap();
        assert_eq!((parsed.min_matched_runs, parsed.medium_threshold_pct), (3, 1.5));
        for refused in
            [json!({}), json!({"preset": "balanced", "alert_settings": own}), json!({"preset": "mad"})]
        {
            assert!(AlertSettings::parse_update(&refused).is_err(), "{refused}");
        }
    }
}
