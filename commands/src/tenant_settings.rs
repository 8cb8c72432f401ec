//! Decisions about a tenant's time zone and working hours.

use domain::refusal::Refusal;
use domain::tenant_settings::{TenantSettings, TenantSettingsEvent};
use domain::working_hours::{DaySchedule, parse_time_zone};

use crate::division::check_schedule;
use crate::store::Decision;

/// # Errors
/// When the IANA database has no such zone.
pub fn set_time_zone(state: &TenantSettings, name: &str) -> Result<Decision<TenantSettingsEvent>, Refusal> {
    let zone = parse_time_zone(name).map_err(|e| Refusal::invalid("timezone", e.to_string()))?;
    if state.time_zone == zone.name() {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(TenantSettingsEvent::TimeZoneSet { time_zone: zone.name().to_owned() }))
}

/// # Errors
/// When the schedule contradicts itself.
pub fn set_working_hours(
    state: &TenantSettings,
    schedule: &[DaySchedule],
) -> Result<Decision<TenantSettingsEvent>, Refusal> {
    check_schedule(schedule)?;
    if state.working_hours == schedule {
        return Ok(Decision::nothing());
    }
    Ok(Decision::one(TenantSettingsEvent::WorkingHoursSet { schedule: schedule.to_vec() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zones_that_exist_are_set_and_only_once() {
        let settings = TenantSettings::default();
        assert_eq!(set_time_zone(&settings, "Mars/Olympus").unwrap_err().fields[0].field, "timezone");
        assert!(set_time_zone(&settings, "Asia/Jakarta").unwrap().events.is_empty());
        assert_eq!(set_time_zone(&settings, "Europe/Berlin").unwrap().events.len(), 1);
    }
}
