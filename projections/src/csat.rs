//! Satisfaction surveys, and their statistics by day and agent.

use chrono::{DateTime, NaiveDate, Utc};
use domain::aggregate::Aggregate;
use domain::csat_survey::{CsatStatus, CsatSurvey, CsatSurveyEvent};
use domain::personal::Personal;
use serde_json::json;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::event::{Event, FoldError, decode};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, Purge, table};

row! {
    CsatSurveyRow in "csat_surveys" key (tenant_id, id) {
        tenant_id: Uuid,
        id: Uuid,
        conversation_id: Uuid,
        contact_id: Uuid,
        agent_id: Option<Uuid>,
        status: CsatStatus,
        rating: Option<i64>,
        comment: Option<String>,
        rated_at: Option<DateTime<Utc>>,
        created_at: DateTime<Utc>,
    }
}

row! {
    CsatDayRow in "csat_daily" key (tenant_id, day, agent_id) {
        tenant_id: Uuid,
        day: NaiveDate,
        agent_id: Uuid,
        sent: i64,
        ratings: [i64; 5],
    }
}

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model("csat", vec![table::<Surveys>(), table::<Days>()])
}

struct Surveys;

impl Fold for Surveys {
    type Row = CsatSurveyRow;

    fn keys(event: &Event) -> Vec<Key> {
        if event.stream_type != CsatSurvey::STREAM {
            return Vec::new();
        }
        vec![vec![json!(event.tenant_id), json!(event.stream_id)]]
    }

    fn apply(_: &Key, row: Option<CsatSurveyRow>, event: &Event) -> Result<Option<CsatSurveyRow>, FoldError> {
        let unknown = || FoldError::Inconsistent(format!("survey {} was never made", event.stream_id));
        Ok(Some(match decode(event)? {
            CsatSurveyEvent::Requested { conversation_id, contact_id, agent_id } => CsatSurveyRow {
                tenant_id: event.tenant_id,
                id: event.stream_id,
                conversation_id,
                contact_id,
                agent_id,
                status: CsatStatus::Pending,
                rating: None,
                comment: None,
                rated_at: None,
                created_at: event.recorded_at,
            },
            CsatSurveyEvent::Rated { rating, comment, .. } => CsatSurveyRow {
                status: CsatStatus::Rated,
                rating: Some(rating),
                comment: comment.as_ref().and_then(Personal::known).cloned(),
                rated_at: Some(event.recorded_at),
                ..row.ok_or_else(unknown)?
            },
            CsatSurveyEvent::Expired => {
                CsatSurveyRow { status: CsatStatus::Expired, ..row.ok_or_else(unknown)? }
            }
        }))
    }

    fn purge(event: &Event) -> Option<Purge> {
        (event.event_type == "contact.erased")
            .then_some(Purge::Update("SET comment = NULL WHERE tenant_id = $1 AND contact_id = $2"))
    }
}

struct Days;

impl Fold for Days {
    type Row = CsatDayRow;

    fn keys(event: &Event) -> Vec<Key> {
        let day = match event.event_type.as_str() {
            "csat_survey.requested" => json!(event.recorded_at.date_naive()),
            "csat_survey.rated" => event.body.get("requested_on").cloned().unwrap_or_default(),
            _ => return Vec::new(),
        };
        let agent_id = event.body.get("agent_id").filter(|id| id.is_string()).cloned();
        vec![vec![json!(event.tenant_id), day, agent_id.unwrap_or_else(|| json!(Uuid::nil()))]]
    }

    fn apply(key: &Key, row: Option<CsatDayRow>, event: &Event) -> Result<Option<CsatDayRow>, FoldError> {
        let column = |index: usize| key.get(index).cloned().unwrap_or_default();
        let mut row = match row {
            Some(row) => row,
            None => CsatDayRow {
                tenant_id: event.tenant_id,
                day: serde_json::from_value(column(1))?,
                agent_id: serde_json::from_value(column(2))?,
                sent: 0,
                ratings: [0; 5],
            },
        };
        match decode(event)? {
            CsatSurveyEvent::Rated { rating, .. } => {
                let index = usize::try_from(rating - 1).unwrap_or(usize::MAX);
                let count = row.ratings.get_mut(index);
                *count.ok_or_else(|| FoldError::Inconsistent(format!("{rating} is no rating")))? += 1;
            }
            CsatSurveyEvent::Requested { .. } => row.sent += 1,
            CsatSurveyEvent::Expired => {}
        }
        Ok(Some(row))
    }
}

/// The newest survey of a conversation.
///
/// # Errors
/// Database errors.
pub async fn of_conversation(
    db: &mut PgConnection,
    tenant_id: Uuid,
    conversation_id: Uuid,
) -> Result<Option<CsatSurveyRow>, sqlx::Error> {
    let row: Option<Json<CsatSurveyRow>> = sqlx::query_scalar(
        "SELECT to_jsonb(s) FROM read.csat_surveys s WHERE tenant_id = $1 AND conversation_id = $2
         ORDER BY created_at DESC LIMIT 1",
    )
    .bind(tenant_id)
    .bind(conversation_id)
    .fetch_optional(db)
    .await?;
    Ok(row.map(|Json(row)| row))
}

/// A survey by its id alone, which is what the customer has.
///
/// # Errors
/// Database errors.
pub async fn by_id(db: &mut PgConnection, id: Uuid) -> Result<Option<CsatSurveyRow>, sqlx::Error> {
    let row: Option<Json<CsatSurveyRow>> =
        sqlx::query_scalar("SELECT to_jsonb(s) FROM read.csat_surveys s WHERE id = $1")
            .bind(id)
            .fetch_optional(db)
            .await?;
    Ok(row.map(|Json(row)| row))
}

/// The daily counts since a day.
///
/// # Errors
/// Database errors.
pub async fn days(
    db: &mut PgConnection,
    tenant_id: Uuid,
    since: NaiveDate,
) -> Result<Vec<CsatDayRow>, sqlx::Error> {
    let rows: Vec<Json<CsatDayRow>> =
        sqlx::query_scalar("SELECT to_jsonb(d) FROM read.csat_daily d WHERE tenant_id = $1 AND day >= $2")
            .bind(tenant_id)
            .bind(since)
            .fetch_all(db)
            .await?;
    Ok(rows.into_iter().map(|Json(row)| row).collect())
}
