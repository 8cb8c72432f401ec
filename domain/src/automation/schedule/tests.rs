use proptest::prelude::*;
use serde_json::json;

use super::*;

/// Windows of the given local hours on the given days, in UTC+offset.
fn schedule(days: &[u8], start: u8, end: u8, offset: i16) -> Schedule {
    Schedule {
        enabled: true,
        active_weekdays: days.to_vec(),
        start_hour_utc: start,
        end_hour_utc: end,
        timezone_offset_minutes: offset,
        invert: false,
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn window(start: &str, end: &str) -> TimeWindow {
    TimeWindow { start: at(start), end: at(end) }
}

fn wrong(days: &[u8], start: u8, end: u8, invert: bool) -> String {
    let value = serde_json::to_value(Schedule { invert, ..schedule(days, start, end, 0) }).unwrap();
    Schedule::parse(&value).unwrap_err()[0].field.clone()
}

#[test]
fn a_disabled_schedule_is_always_open() {
    let closed = Schedule { enabled: false, ..schedule(&[], 9, 17, 0) };
    assert!(closed.open_at(at("2026-11-22T03:00:00Z")));
    let now = at("2026-11-22T03:10:00Z");
    assert_eq!(closed.preview(now, 2), [TimeWindow { start: now, end: now + TimeDelta::hours(2) }]);
    assert_eq!(closed.next_open(now), Some(now));
}

/// 2026-11-22 is a Sunday.
#[test]
fn start_is_inclusive_end_exclusive_and_sunday_is_zero() {
    let sunday = schedule(&[0], 9, 17, 0);
    assert!(!sunday.open_at(at("2026-11-22T08:59:59.999Z")));
    assert!(sunday.open_at(at("2026-11-22T09:00:00Z")));
    assert!(sunday.open_at(at("2026-11-22T16:59:59.999Z")));
    assert!(!sunday.open_at(at("2026-11-22T17:00:00Z")));
    assert!(!sunday.open_at(at("2026-11-23T12:00:00Z")));
    assert!(!sunday.open_at(at("2026-11-21T12:00:00Z")));
}

#[test]
fn hours_are_local_to_the_offset() {
    // Jakarta: Monday 08:00 is 01:00 UTC; Monday 00:30 there is still Sunday in UTC.
    let monday = schedule(&[1], 0, 9, 420);
    assert!(monday.open_at(at("2026-11-22T17:30:00Z")));
    assert!(!monday.open_at(at("2026-11-22T16:59:59Z")));
    assert!(monday.open_at(at("2026-11-23T01:59:59Z")));
    assert!(!monday.open_at(at("2026-11-23T02:00:00Z")));
    // India: half an hour off the full hour.
    let india = schedule(&[1], 9, 10, 330);
    assert!(!india.open_at(at("2026-11-23T03:29:59Z")));
    assert!(india.open_at(at("2026-11-23T03:30:00Z")));
    assert!(!india.open_at(at("2026-11-23T04:30:00Z")));
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_on_which_it_starts() {
    let saturday_night = schedule(&[6], 22, 6, 0);
    assert!(saturday_night.open_at(at("2026-11-21T22:00:00Z")));
    assert!(saturday_night.open_at(at("2026-11-22T05:59:59Z")));
    assert!(!saturday_night.open_at(at("2026-11-22T06:00:00Z")));
    assert!(!saturday_night.open_at(at("2026-11-21T05:00:00Z")), "that is Friday night's");
    assert!(!saturday_night.open_at(at("2026-11-22T23:00:00Z")));
}

#[test]
fn an_end_of_0_is_midnight_as_24_is() {
    let (zero, full) = (schedule(&[2], 18, 0, 60), schedule(&[2], 18, 24, 60));
    let from = at("2026-11-21T12:00:00Z");
    assert_eq!(zero.preview(from, 168), full.preview(from, 168));
}

#[test]
fn invert_negates() {
    let weekend_only_not = Schedule { invert: true, ..schedule(&[0, 6], 0, 24, 0) };
    assert!(!weekend_only_not.open_at(at("2026-11-22T12:00:00Z")));
    assert!(weekend_only_not.open_at(at("2026-11-23T00:00:00Z")));
}

#[test]
fn the_preview_joins_hours_and_is_clipped() {
    let nights = schedule(&[0, 1, 2, 3, 4, 5, 6], 22, 6, 0);
    let preview = nights.preview(at("2026-11-21T23:30:00Z"), 48);
    assert_eq!(
        preview,
        [
            window("2026-11-21T23:30:00Z", "2026-11-22T06:00:00Z"),
            window("2026-11-22T22:00:00Z", "2026-11-23T06:00:00Z"),
            window("2026-11-23T22:00:00Z", "2026-11-23T23:30:00Z"),
        ]
    );
}

#[test]
fn the_preview_is_limited() {
    let always = Schedule::default();
    let from = at("2026-11-21T00:00:00Z");
    let end = from + TimeDelta::hours(MAX_PREVIEW_HOURS);
    assert_eq!(always.preview(from, i64::MAX), [TimeWindow { start: from, end }]);
    assert_eq!(always.preview(from, -1), []);
}

#[test]
fn the_next_opening_may_be_almost_a_week_away() {
    let sunday = schedule(&[0], 9, 10, 0);
    assert_eq!(sunday.next_open(at("2026-11-22T10:00:00Z")), Some(at("2026-11-29T09:00:00Z")));
    assert_eq!(sunday.next_open(at("2026-11-22T09:59:30Z")), Some(at("2026-11-22T09:59:30Z")));
    let never = schedule(&[], 9, 10, 0);
    assert_eq!(never.next_open(at("2026-11-22T10:00:00Z")), None);
}

#[test]
fn contradictions_are_refused() {
    assert_eq!(wrong(&[1], 9, 9, false), "schedule_settings.end_hour_utc");
    assert_eq!(wrong(&[], 9, 17, false), "schedule_settings.active_weekdays");
    assert_eq!(wrong(&[1, 2, 1], 9, 17, false), "schedule_settings.active_weekdays");
    assert_eq!(wrong(&[0, 1, 2, 3, 4, 5, 6], 0, 24, true), "schedule_settings.active_weekdays");
    assert_eq!(wrong(&[7], 9, 17, false), "schedule_settings.active_weekdays[0]");
    assert_eq!(wrong(&[1], 24, 9, false), "schedule_settings.start_hour_utc");
    assert_eq!(wrong(&[1], 9, 25, false), "schedule_settings.end_hour_utc");
    let disabled = Schedule { enabled: false, ..schedule(&[], 9, 9, 0) };
    assert!(Schedule::parse(&serde_json::to_value(disabled).unwrap()).is_err(), "start = end, even disabled");
    let off_duty = Schedule { enabled: false, ..schedule(&[], 9, 17, 0) };
    assert!(Schedule::parse(&serde_json::to_value(off_duty).unwrap()).is_ok());
}

#[test]
fn all_fields_are_required_and_no_others_known() {
    let fields =
        |value| Schedule::parse(&value).unwrap_err().into_iter().map(|p| p.field).collect::<Vec<_>>();
    assert_eq!(fields(json!({})).len(), 6);
    let mut value = serde_json::to_value(Schedule::default()).unwrap();
    value["timezone"] = json!("Asia/Jakarta");
    assert_eq!(fields(value.clone()), ["schedule_settings.timezone"]);
    value["timezone_offset_minutes"] = json!(841);
    assert!(fields(value).contains(&"schedule_settings.timezone_offset_minutes".to_owned()));
}

fn any_schedule() -> impl Strategy<Value = Schedule> {
    let days = prop::sample::subsequence((0_u8..7).collect::<Vec<_>>(), 0..=7);
    (any::<bool>(), days, 0_u8..24, 0_u8..=24, -720_i16..=840, any::<bool>()).prop_map(
        |(enabled, active_weekdays, start_hour_utc, end_hour_utc, timezone_offset_minutes, invert)| {
            Schedule {
                enabled,
                active_weekdays,
                start_hour_utc,
                end_hour_utc,
                timezone_offset_minutes,
                invert,
            }
        },
    )
}

/// The definition read literally, minute by minute of the local week and without the gate's shortcuts.
fn open_by_definition(schedule: &Schedule, now: DateTime<Utc>) -> bool {
    let local = now.timestamp().div_euclid(60) + i64::from(schedule.timezone_offset_minutes);
    // 1970-01-01 was a Thursday, day 4 counted from Sunday.
    let (day, minute) = ((local.div_euclid(1440) + 4).rem_euclid(7), local.rem_euclid(1440));
    let (start, end) = (i64::from(schedule.start_hour_utc) * 60, i64::from(schedule.end_hour_utc) * 60);
    let length = if end > start { end - start } else { end + 1440 - start };
    let inside = schedule.active_weekdays.iter().any(|active| {
        let since = (day - i64::from(*active)) * 1440 + minute - start;
        (0..length).contains(&since.rem_euclid(7 * 1440))
    });
    !schedule.enabled || inside != schedule.invert
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_preview_is_the_gate_at_each_minute(
        schedule in any_schedule(), from in 1_700_000_000_i64..1_900_000_000, hours in 1_i64..=60,
    ) {
        let from = DateTime::from_timestamp(from, 0).unwrap();
        let windows = schedule.preview(from, hours);
        for minute in 0..hours * 60 {
            let now = from + TimeDelta::minutes(minute);
            let shown = windows.iter().any(|window| window.start <= now && now < window.end);
            prop_assert_eq!(shown, schedule.open_at(now), "at {}", now);
        }
        for pair in windows.windows(2) {
            prop_assert!(pair[0].end < pair[1].start, "windows that touch are one");
        }
    }

    #[test]
    fn the_gate_is_the_definition(
        schedule in any_schedule().prop_filter("refused when written", |s| s.start_hour_utc != s.end_hour_utc),
        now in 1_700_000_000_i64..1_900_000_000,
    ) {
        let now = DateTime::from_timestamp(now, 0).unwrap();
        prop_assert_eq!(schedule.open_at(now), open_by_definition(&schedule, now));
    }

    #[test]
    fn the_next_opening_is_the_first(schedule in any_schedule(), from in 1_700_000_000_i64..1_900_000_000) {
        let from = DateTime::from_timestamp(from, 0).unwrap();
        let first = schedule.preview(from, 24 * 8).first().map(|window| window.start);
        prop_assert_eq!(schedule.next_open(from), first);
    }

    #[test]
    fn a_schedule_is_written_as_it_was_read(schedule in any_schedule()) {
        let value = serde_json::to_value(&schedule).unwrap();
        if let Ok(read) = Schedule::parse(&value) {
            prop_assert_eq!(serde_json::to_value(&read).unwrap(), value);
            prop_assert!(read.next_open(DateTime::UNIX_EPOCH).is_some());
        }
    }
}
