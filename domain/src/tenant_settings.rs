//! What a tenant sets once for everyone: its time zone and its working hours.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};
use crate::working_hours::DaySchedule;

/// Where the first customers are.
pub const DEFAULT_TIME_ZONE: &str = "Asia/Jakarta";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum TenantSettingsEvent {
    /// An IANA name.
    #[serde(rename = "tenant_settings.time_zone_set")]
    TimeZoneSet { time_zone: String },
    #[serde(rename = "tenant_settings.working_hours_set")]
    WorkingHoursSet { schedule: Vec<DaySchedule> },
}

impl EventBody for TenantSettingsEvent {}

/// The stream of a tenant's settings. The tenant's own id is the stream of its organization.
#[must_use]
pub fn stream_id(tenant_id: Uuid) -> Uuid {
    Uuid::new_v5(&tenant_id, b"tenant_settings")
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TenantSettings {
    pub time_zone: String,
    /// Empty: always open.
    pub working_hours: Vec<DaySchedule>,
    pub working_hours_changed_at: Option<DateTime<Utc>>,
}

impl Default for TenantSettings {
    fn default() -> Self {
        Self {
            time_zone: DEFAULT_TIME_ZONE.to_owned(),
            working_hours: Vec::new(),
            working_hours_changed_at: None,
        }
    }
}

impl Aggregate for TenantSettings {
    const STREAM: &'static str = "tenant_settings";
    type Event = TenantSettingsEvent;

    fn evolve(&mut self, event: &TenantSettingsEvent, context: Context) {
        match event.clone() {
            TenantSettingsEvent::TimeZoneSet { time_zone } => self.time_zone = time_zone,
            TenantSettingsEvent::WorkingHoursSet { schedule } => {
                self.working_hours = schedule;
                self.working_hours_changed_at = Some(context.at);
            }
        }
    }

    /// Every tenant has settings, if only the defaults.
    fn exists(&self) -> bool {
        true
    }
}
