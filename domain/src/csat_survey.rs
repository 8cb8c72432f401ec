//! A question to the customer: how satisfied were you? One open survey per conversation.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::event::{Context, EventBody};
use crate::personal::Personal;

/// An answer is taken for this long.
pub const LIFETIME: TimeDelta = TimeDelta::days(7);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum CsatSurveyEvent {
    #[serde(rename = "csat_survey.requested")]
    Requested {
        conversation_id: Uuid,
        contact_id: Uuid,
        /// Who had the conversation when the survey was made.
        agent_id: Option<Uuid>,
    },
    #[serde(rename = "csat_survey.rated")]
    Rated {
        /// 1 to 5.
        rating: i64,
        comment: Option<Personal<String>>,
        agent_id: Option<Uuid>,
        /// The UTC day of the request: the answer counts there.
        requested_on: NaiveDate,
    },
    /// Nobody answered in time.
    #[serde(rename = "csat_survey.expired")]
    Expired,
}

impl EventBody for CsatSurveyEvent {}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CsatStatus {
    #[default]
    Pending,
    Rated,
    Expired,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CsatSurvey {
    pub conversation_id: Uuid,
    pub contact_id: Uuid,
    pub agent_id: Option<Uuid>,
    pub status: CsatStatus,
    pub rating: Option<i64>,
    pub comment: Option<Personal<String>>,
    pub rated_at: Option<DateTime<Utc>>,
    pub created_at: Option<DateTime<Utc>>,
}

impl CsatSurvey {
    /// Whether it can still be answered.
    #[must_use]
    pub fn is_open(&self, at: DateTime<Utc>) -> bool {
        self.status == CsatStatus::Pending && self.created_at.is_some_and(|asked| at < asked + LIFETIME)
    }
}

impl Aggregate for CsatSurvey {
    const STREAM: &'static str = "csat_survey";
    const HOLDS_PERSONAL_DATA: bool = true;
    type Event = CsatSurveyEvent;

    fn evolve(&mut self, event: &CsatSurveyEvent, context: Context) {
        match event.clone() {
            CsatSurveyEvent::Requested { conversation_id, contact_id, agent_id } => {
                let created_at = Some(context.at);
                *self = Self { conversation_id, contact_id, agent_id, created_at, ..Self::default() };
            }
            CsatSurveyEvent::Rated { rating, comment, .. } => {
                self.status = CsatStatus::Rated;
                self.rating = Some(rating);
                self.comment = comment;
                self.rated_at = Some(context.at);
            }
            CsatSurveyEvent::Expired => self.status = CsatStatus::Expired,
        }
    }

    fn exists(&self) -> bool {
        self.created_at.is_some()
    }
}
