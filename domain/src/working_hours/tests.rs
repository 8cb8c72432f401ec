use chrono::{DateTime, Datelike, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

use super::offset_runs::OffsetRuns;
use super::*;

/// Zones with one-hour, half-hour and no daylight saving, both hemispheres, a change at midnight, and one
/// that suspends its offset each Ramadan.
const ZONES: [Tz; 8] = [
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::Australia__Lord_Howe,
    Tz::Asia__Jakarta,
    Tz::Africa__Casablanca,
    Tz::America__Havana,
    Tz::Asia__Kathmandu,
    Tz::UTC,
];

fn utc(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn window(day_of_week: i64, start: &str, end: &str) -> DaySchedule {
    DaySchedule { day_of_week, start_time: start.into(), end_time: end.into(), is_active: true }
}

fn every_day(start: &str, end: &str) -> Vec<DaySchedule> {
    (0..7).map(|day| window(day, start, end)).collect()
}

/// Monday to Friday, 09:00 to 17:00.
fn office(zone: Tz) -> WorkingHours {
    let days: Vec<_> = (1..=5).map(|day| window(day, "09:00", "17:00")).collect();
    WorkingHours::weekly(zone, &days).unwrap()
}

fn hours(count: i64) -> TimeDelta {
    TimeDelta::hours(count)
}

#[test]
fn windows_are_half_open() {
    let office = office(Tz::Asia__Jakarta);
    // Monday 2024-01-08, UTC+7.
    assert!(!office.is_open(utc("2024-01-08T01:59:59.999999Z")));
    assert!(office.is_open(utc("2024-01-08T02:00:00Z")));
    assert!(office.is_open(utc("2024-01-08T09:59:59.999999Z")));
    assert!(!office.is_open(utc("2024-01-08T10:00:00Z")));
}

#[test]
fn sunday_is_day_zero_in_the_local_week() {
    let sunday = WorkingHours::weekly(Tz::Asia__Jakarta, &[window(0, "00:00", "24:00")]).unwrap();
    // Sunday 2024-01-07 in Jakarta begins on Saturday 17:00 UTC.
    assert!(!sunday.is_open(utc("2024-01-06T16:59:59Z")));
    assert!(sunday.is_open(utc("2024-01-06T17:00:00Z")));
    assert!(!sunday.is_open(utc("2024-01-07T17:00:00Z")));
}

#[test]
fn nights_and_weekends_do_not_count() {
    let office = office(Tz::UTC);
    let friday_evening = utc("2024-01-12T16:00:00Z");
    let monday_morning = utc("2024-01-15T10:00:00Z");
    assert_eq!(office.elapsed(friday_evening, monday_morning), hours(2));
    assert_eq!(office.deadline(friday_evening, hours(2)), Some(monday_morning));
    assert_eq!(office.elapsed(monday_morning, friday_evening), TimeDelta::zero());
}

#[test]
fn a_deadline_used_up_at_closing_time_is_closing_time() {
    let office = office(Tz::UTC);
    let from = utc("2024-01-12T16:00:00Z");
    assert_eq!(office.deadline(from, hours(1)), Some(utc("2024-01-12T17:00:00Z")));
    let one_more = hours(1) + TimeDelta::microseconds(1);
    assert_eq!(office.deadline(from, one_more), Some(utc("2024-01-15T09:00:00.000001Z")));
    let whole_week = hours(40);
    assert_eq!(office.deadline(utc("2024-01-08T00:00:00Z"), whole_week), Some(utc("2024-01-12T17:00:00Z")));
}

#[test]
fn the_skipped_hour_of_spring_is_not_worked() {
    let night = WorkingHours::weekly(Tz::Europe__Berlin, &every_day("01:00", "04:00")).unwrap();
    // 2024-03-31 02:00 to 03:00 does not exist in Berlin: 01:00 is 00:00 UTC, 04:00 is 02:00 UTC.
    let (from, to) = (utc("2024-03-30T23:00:00Z"), utc("2024-03-31T22:00:00Z"));
    assert_eq!(night.elapsed(from, to), hours(2));
    assert_eq!(night.deadline(from, hours(2)), Some(utc("2024-03-31T02:00:00Z")));
}

#[test]
fn the_repeated_hour_of_autumn_is_worked_twice() {
    let night = WorkingHours::weekly(Tz::Europe__Berlin, &every_day("01:00", "04:00")).unwrap();
    // 2024-10-27 02:00 to 03:00 comes twice: 01:00 is 23:00 UTC, 04:00 is 03:00 UTC.
    let (from, to) = (utc("2024-10-26T22:00:00Z"), utc("2024-10-27T23:00:00Z"));
    assert_eq!(night.elapsed(from, to), hours(4));
    assert_eq!(night.deadline(from, hours(4)), Some(utc("2024-10-27T03:00:00Z")));
}

#[test]
fn a_window_that_begins_in_the_repeated_hour_opens_twice() {
    let from_half_past = WorkingHours::weekly(Tz::Europe__Berlin, &[window(0, "02:30", "05:00")]).unwrap();
    let mut at = utc("2024-10-26T22:00:00Z");
    let mut changes = Vec::new();
    for _ in 0..4 {
        at = from_half_past.next_change(at).unwrap();
        changes.push(at);
    }
    let expected =
        ["2024-10-27T00:30:00Z", "2024-10-27T01:00:00Z", "2024-10-27T01:30:00Z", "2024-10-27T04:00:00Z"];
    assert_eq!(changes, expected.map(utc));
    assert_eq!(from_half_past.elapsed(utc("2024-10-27T00:00:00Z"), at), hours(3));
}

#[test]
fn a_window_wholly_in_the_skipped_hour_waits_for_the_next_week() {
    let short = WorkingHours::weekly(Tz::Europe__Berlin, &[window(0, "02:00", "03:00")]).unwrap();
    assert_eq!(short.next_open(utc("2024-03-30T12:00:00Z")), Some(utc("2024-04-07T00:00:00Z")));
    assert_eq!(short.deadline(utc("2024-03-30T12:00:00Z"), hours(1)), Some(utc("2024-04-07T01:00:00Z")));
}

#[test]
fn a_deadline_at_the_very_moment_of_a_clock_change_is_that_moment() {
    let until_two = WorkingHours::weekly(Tz::Europe__Berlin, &[window(0, "01:00", "02:00")]).unwrap();
    let change = utc("2024-03-31T01:00:00Z");
    assert_eq!(until_two.deadline(utc("2024-03-30T12:00:00Z"), hours(1)), Some(change));
}

#[test]
fn a_half_hour_change_is_a_half_hour() {
    let all_sunday = WorkingHours::weekly(Tz::Australia__Lord_Howe, &[window(0, "00:00", "24:00")]).unwrap();
    // Lord Howe goes from +11 to +10:30 on Sunday 2024-04-07 and back on Sunday 2024-10-06.
    let april = all_sunday.elapsed(utc("2024-04-05T00:00:00Z"), utc("2024-04-09T00:00:00Z"));
    let october = all_sunday.elapsed(utc("2024-10-04T00:00:00Z"), utc("2024-10-08T00:00:00Z"));
    assert_eq!((april, october), (TimeDelta::minutes(24 * 60 + 30), TimeDelta::minutes(23 * 60 + 30)));
}

#[test]
fn a_schedule_without_an_active_window_is_never_open() {
    let closed: Vec<_> =
        every_day("09:00", "17:00").into_iter().map(|day| DaySchedule { is_active: false, ..day }).collect();
    let never = WorkingHours::weekly(Tz::UTC, &closed).unwrap();
    let now = utc("2024-01-08T12:00:00Z");
    assert!(never.is_never_open() && !never.is_open(now));
    assert_eq!(never.elapsed(now, now + hours(1000)), TimeDelta::zero());
    assert_eq!(never.deadline(now, hours(1)), None);
    assert_eq!(never.deadline(now, TimeDelta::zero()), None);
    assert_eq!((never.next_change(now), never.next_open(now)), (None, None));
}

#[test]
fn always_open_counts_every_second() {
    let now = utc("2024-03-31T00:30:00Z");
    let full = WorkingHours::weekly(Tz::Europe__Berlin, &every_day("00:00", "24:00")).unwrap();
    for always in [WorkingHours::always(Tz::Europe__Berlin), full] {
        assert!(always.is_always_open() && always.is_open(now));
        assert_eq!(always.elapsed(now, now + hours(30)), hours(30));
        assert_eq!(always.deadline(now, hours(30)), Some(now + hours(30)));
        assert_eq!(always.next_change(now), None);
    }
}

#[test]
fn the_division_goes_before_the_tenant_and_both_before_always() {
    let (division, global) = ([window(1, "08:00", "09:00")], [window(1, "09:00", "10:00")]);
    let resolve = |division: &[DaySchedule], global: &[DaySchedule]| {
        WorkingHours::resolve(Tz::UTC, division, global).unwrap()
    };
    let opens = |hours: WorkingHours| hours.next_open(utc("2024-01-08T00:00:00Z"));
    assert_eq!(opens(resolve(&division, &global)), Some(utc("2024-01-08T08:00:00Z")));
    assert_eq!(opens(resolve(&[], &global)), Some(utc("2024-01-08T09:00:00Z")));
    assert!(resolve(&[], &[]).is_always_open());
    let closed = [DaySchedule { is_active: false, ..window(1, "08:00", "09:00") }];
    assert!(resolve(&closed, &global).is_never_open());
}

#[test]
fn changes_are_found_across_windows_that_touch_at_midnight() {
    let weekend = WorkingHours::weekly(Tz::UTC, &[window(6, "12:00", "24:00"), window(0, "00:00", "06:00")]);
    let weekend = weekend.unwrap();
    let saturday = utc("2024-01-13T12:00:00Z");
    assert_eq!(weekend.next_change(utc("2024-01-08T00:00:00Z")), Some(saturday));
    assert_eq!(weekend.next_change(saturday), Some(utc("2024-01-14T06:00:00Z")));
    assert_eq!(weekend.next_open(saturday), None);
}

#[test]
fn a_deadline_beyond_the_horizon_is_none() {
    let one_minute = WorkingHours::weekly(Tz::Europe__Berlin, &[window(1, "09:00", "09:01")]).unwrap();
    assert!(one_minute.deadline(utc("2024-01-01T00:00:00Z"), TimeDelta::minutes(1040)).is_some());
    assert_eq!(one_minute.deadline(utc("2024-01-01T00:00:00Z"), TimeDelta::minutes(1060)), None);
    let always = WorkingHours::always(Tz::UTC);
    assert_eq!(always.deadline(utc("2024-01-01T00:00:00Z"), TimeDelta::days(HORIZON_DAYS + 1)), None);
    assert_eq!(always.deadline(utc("2024-01-01T00:00:00Z"), TimeDelta::MAX), None);
}

#[test]
fn bad_schedules_are_refused_by_field() {
    let refused = |schedule: &[DaySchedule]| WorkingHours::weekly(Tz::UTC, schedule).unwrap_err().field();
    let good = window(1, "09:00", "17:00");
    for (bad, field) in [
        (window(7, "09:00", "17:00"), "day_of_week"),
        (window(-1, "09:00", "17:00"), "day_of_week"),
        (window(2, "9:00", "17:00"), "start_time"),
        (window(2, "09:60", "17:00"), "start_time"),
        (window(2, "+9:00", "17:00"), "start_time"),
        (window(2, "09:00:00", "17:00"), "start_time"),
        (window(2, "09:00", "24:01"), "end_time"),
        (window(2, "09:00", "25:00"), "end_time"),
        (window(2, "09:00", "09:00"), "end_time"),
        (window(2, "22:00", "06:00"), "end_time"),
        (window(2, "24:00", "24:00"), "end_time"),
        (window(1, "16:59", "18:00"), "start_time"),
        (DaySchedule { is_active: false, ..window(2, "17:00", "09:00") }, "end_time"),
    ] {
        assert_eq!(refused(&[good.clone(), bad.clone()]), format!("schedule[1].{field}"), "{bad:?}");
    }
    assert_eq!(refused(&vec![good.clone(); MAX_WINDOWS + 1]), "schedule");
    let touching = [good.clone(), window(1, "17:00", "18:00")];
    assert!(WorkingHours::weekly(Tz::UTC, &touching).is_ok());
    let inactive_overlap = [DaySchedule { is_active: false, ..good.clone() }, good];
    assert!(WorkingHours::weekly(Tz::UTC, &inactive_overlap).is_ok());
}

#[test]
fn zones_are_iana_names() {
    assert_eq!(parse_time_zone("Asia/Jakarta"), Ok(Tz::Asia__Jakarta));
    for unknown in ["", "Jakarta", "asia/jakarta", "UTC+7", "Mars/Olympus"] {
        assert_eq!(parse_time_zone(unknown), Err(UnknownTimeZone(unknown.into())));
    }
}

#[test]
fn stored_hours_read_back_and_bad_ones_do_not() {
    for hours in [office(Tz::Europe__Berlin), WorkingHours::always(Tz::UTC)] {
        let json = serde_json::to_string(&hours).unwrap();
        assert_eq!(serde_json::from_str::<WorkingHours>(&json).unwrap(), hours);
    }
    for bad in [
        r#"{"time_zone":"Nowhere","open_minutes":null}"#,
        r#"{"time_zone":"UTC","open_minutes":[[10,10]]}"#,
        r#"{"time_zone":"UTC","open_minutes":[[10,30],[20,40]]}"#,
        r#"{"time_zone":"UTC","open_minutes":[[0,10081]]}"#,
    ] {
        assert!(serde_json::from_str::<WorkingHours>(bad).is_err(), "{bad}");
    }
}

#[test]
fn no_offset_change_hides_between_two_probes() {
    const HOUR: i64 = 3_600_000_000;
    let (from, to) = (utc("2005-01-01T00:00:00Z").timestamp_micros(), utc("2030-01-01T00:00:00Z"));
    let to = to.timestamp_micros();
    for zone in ZONES {
        let runs = OffsetRuns::new(zone, from, to).count();
        let offsets: Vec<_> =
            (from..to).step_by(HOUR as usize).map(|at| offset_runs::offset_micros(zone, at)).collect();
        let changes = offsets.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(runs, changes + 1, "{zone}");
    }
}

/// The definition, minute by minute: the oracle for the arithmetic.
fn minutes_worked(zone: Tz, schedule: &[DaySchedule], from: DateTime<Utc>, minutes: i64) -> i64 {
    let is_open = |at: DateTime<Utc>| {
        let local = at.with_timezone(&zone);
        let time = format!("{:02}:{:02}", local.hour(), local.minute());
        let day = i64::from(local.weekday().num_days_from_sunday());
        schedule.iter().any(|window| {
            window.is_active
                && window.day_of_week == day
                && window.start_time <= time
                && time < window.end_time
        })
    };
    (0..minutes).filter(|minute| is_open(from + TimeDelta::minutes(*minute))).count() as i64
}

pub(crate) fn any_zone() -> impl Strategy<Value = Tz> {
    proptest::sample::select(ZONES.to_vec())
}

/// 2010 to 2033, to the microsecond; half of them in the weeks of a clock change of the northern zones.
pub(crate) fn any_instant() -> impl Strategy<Value = DateTime<Utc>> {
    let anywhere = 1_262_304_000_000_000_i64..1_990_000_000_000_000;
    let near_change = (2010..2033_i32, prop_oneof![Just((3, 5)), Just((10, 20))], 0_i64..30 * 86_400_000_000)
        .prop_map(|(year, (month, day), micros)| {
            let start = chrono::NaiveDate::from_ymd_opt(year, month, day).unwrap();
            start.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros() + micros
        });
    prop_oneof![anywhere, near_change].prop_map(|at| DateTime::from_timestamp_micros(at).unwrap())
}

fn any_schedule() -> impl Strategy<Value = Vec<DaySchedule>> {
    let day = (any::<bool>(), proptest::collection::btree_set(0_u16..=288, 0..=6));
    proptest::collection::vec(day, 7).prop_map(|days| {
        let time = |slot: u16| format!("{:02}:{:02}", slot / 12, slot % 12 * 5);
        let mut schedule = Vec::new();
        for (day, (is_active, edges)) in (0..).zip(days) {
            let edges: Vec<_> = edges.into_iter().collect();
            schedule.extend(
                edges
                    .chunks_exact(2)
                    .map(|pair| DaySchedule { is_active, ..window(day, &time(pair[0]), &time(pair[1])) }),
            );
        }
        schedule
    })
}

pub(crate) fn any_hours() -> impl Strategy<Value = WorkingHours> {
    let weekly = (any_zone(), any_schedule())
        .prop_map(|(zone, schedule)| WorkingHours::weekly(zone, &schedule).unwrap());
    prop_oneof![9 => weekly, 1 => any_zone().prop_map(WorkingHours::always)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn elapsed_inverts_deadline(hours in any_hours(), from in any_instant(), micros in 0_i64..3_000_000_000_000) {
        let working = TimeDelta::microseconds(micros);
        match hours.deadline(from, working) {
            None => prop_assert!(hours.is_never_open() || hours.elapsed(from, from + TimeDelta::days(7300)) < working),
            Some(deadline) => {
                prop_assert_eq!(hours.elapsed(from, deadline), working);
                if micros > 0 {
                    let just_before = deadline - TimeDelta::microseconds(1);
                    prop_assert!(hours.elapsed(from, just_before) < working, "not the earliest");
                }
            }
        }
    }

    #[test]
    fn elapsed_is_additive(hours in any_hours(), from in any_instant(), first in 0_i64..90 * 86_400_000_000, second in 0_i64..90 * 86_400_000_000) {
        let middle = from + TimeDelta::microseconds(first);
        let to = middle + TimeDelta::microseconds(second);
        prop_assert_eq!(hours.elapsed(from, middle) + hours.elapsed(middle, to), hours.elapsed(from, to));
    }

    #[test]
    fn between_two_changes_it_is_all_open_or_all_closed(hours in any_hours(), at in any_instant(), part in 0.0..1.0_f64) {
        let end = hours.next_change(at).unwrap_or(at + TimeDelta::days(30));
        let length = (end - at).num_microseconds().unwrap();
        let inside = at + TimeDelta::microseconds((length as f64 * part) as i64);
        prop_assert_eq!(hours.is_open(inside.min(end - TimeDelta::microseconds(1))), hours.is_open(at));
        prop_assert_eq!(hours.elapsed(at, end), if hours.is_open(at) { end - at } else { TimeDelta::zero() });
        if let Some(change) = hours.next_change(at) {
            prop_assert_ne!(hours.is_open(change), hours.is_open(at));
        }
    }

    #[test]
    fn stored_hours_mean_the_same(hours in any_hours()) {
        let json = serde_json::to_value(&hours).unwrap();
        prop_assert_eq!(serde_json::from_value::<WorkingHours>(json).unwrap(), hours);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn elapsed_is_what_the_wall_clock_shows(zone in any_zone(), schedule in any_schedule(), from in any_instant(), minutes in 0_i64..9 * 1440) {
        let from = from - TimeDelta::microseconds(from.timestamp_micros().rem_euclid(60_000_000));
        let hours = WorkingHours::weekly(zone, &schedule).unwrap();
        let counted = minutes_worked(zone, &schedule, from, minutes);
        prop_assert_eq!(hours.elapsed(from, from + TimeDelta::minutes(minutes)), TimeDelta::minutes(counted));
    }
}
