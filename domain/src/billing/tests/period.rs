use super::*;
use crate::billing::period::trial_end;
use chrono::Datelike;

/// The first days of the periods from the anchor on.
fn starts(anchor: &str, interval: Interval, count: usize) -> Vec<String> {
    let anchor = at(anchor);
    let first = Period::containing(anchor, anchor, interval);
    std::iter::successors(Some(first), |period| Some(period.following(anchor, interval)))
        .take(count)
        .map(|period| period.start.format("%Y-%m-%d").to_string())
        .collect()
}

#[test]
fn a_short_month_clamps_the_day_once_and_not_for_good() {
    let days = starts("2026-01-31T10:30:00", Interval::Monthly, 5);
    assert_eq!(days, ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]);
    let days = starts("2024-01-30", Interval::Monthly, 3);
    assert_eq!(days, ["2024-01-30", "2024-02-29", "2024-03-30"]);
    let days = starts("2024-02-29", Interval::Annual, 5);
    assert_eq!(days, ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]);
}

#[test]
fn a_period_is_half_open() {
    let anchor = at("2026-01-31T10:30:00");
    let in_march = |moment| Period::containing(at(moment), anchor, Interval::Monthly);
    assert_eq!(in_march("2026-03-31T10:29:59").start, at("2026-02-28T10:30:00"));
    assert_eq!(in_march("2026-03-31T10:30:00").start, at("2026-03-31T10:30:00"));
    let period = in_march("2026-03-01");
    assert!(period.contains(period.start) && !period.contains(period.end));
    assert_eq!(period.seconds(), 31 * 86_400);
    assert_eq!(period.seconds_left(at("2026-03-31T10:29:59")), 1);
    assert_eq!(period.seconds_left(at("2027-01-01")), 0);
    assert_eq!(period.seconds_left(at("2025-01-01")), period.seconds());
}

#[test]
fn a_trial_is_fourteen_days_to_the_second() {
    assert_eq!(trial_end(at("2026-02-20T08:15:30")), at("2026-03-06T08:15:30"));
}

#[test]
fn the_end_of_time_is_no_panic() {
    let end = DateTime::<Utc>::MAX_UTC;
    assert_eq!(Period::containing(end, end, Interval::Annual).seconds(), 0);
    assert_eq!(trial_end(end), end);
}

#[test]
fn months_are_written_in_one_way() {
    let november: Month = "2026-11".parse().unwrap();
    assert_eq!(november, Month::of(at("2026-11-30T23:59:59")));
    assert_eq!((november.start(), november.end()), (at("2026-11-01"), at("2026-12-01")));
    assert_eq!(serde_json::to_string(&november).unwrap(), "\"2026-11\"");
    let months: Vec<String> = november.trailing(12).iter().map(Month::to_string).collect();
    assert_eq!((months.len(), months[0].as_str(), months[11].as_str()), (12, "2025-12", "2026-11"));
    for text in ["2026-1", "2026-13", "26-11", "2026-11-01", "+2026-11", ""] {
        assert!(text.parse::<Month>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn every_moment_is_in_exactly_one_period(anchor in any_moment(), later in 0_i64..5_000 * 86_400, interval in any_interval()) {
        let moment = anchor + TimeDelta::seconds(later);
        let period = Period::containing(moment, anchor, interval);
        prop_assert!(period.contains(moment), "{:?} in {:?}", moment, period);
        let next = period.following(anchor, interval);
        prop_assert_eq!(period.end, next.start);
        prop_assert_eq!(Period::containing(period.end - TimeDelta::seconds(1), anchor, interval), period);
    }

    #[test]
    fn a_boundary_is_on_the_anchors_day_or_the_months_last(anchor in any_moment(), later in 0_i64..5_000 * 86_400, interval in any_interval()) {
        let period = Period::containing(anchor + TimeDelta::seconds(later), anchor, interval);
        prop_assert_eq!(period.end.time(), anchor.time());
        let last_day = (period.end + TimeDelta::days(1)).day() == 1;
        prop_assert!(period.end.day() == anchor.day() || (last_day && period.end.day() < anchor.day()));
    }

    #[test]
    fn a_month_holds_its_moments(moment in any_moment()) {
        let month = Month::of(moment);
        prop_assert!(month.start() <= moment && moment < month.end());
        prop_assert_eq!(month.next().previous(), month);
        prop_assert_eq!(month.to_string().parse::<Month>(), Ok(month));
    }
}
