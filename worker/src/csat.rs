//! A customer's choice from a survey's list is an answer to the survey.

use commands::csat_survey;
use commands::store::Origin;
use commands::{CommandError, Store, ids};
use domain::conversation::ConversationEvent;
use domain::csat_survey::CsatSurvey;
use domain::event::{Actor, Metadata};
use domain::personal::Personal;
use projections::event::{Event, FoldError, decode};
use projections::projection::Projection;
use projections::row;
use projections::table::{Fold, Key, table};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::put_off::{Failed, put_off};
use crate::rounds::work_off;

/// The name of the process manager, and of its checkpoint.
const NAME: &str = "csat_manager";
const BATCH: i64 = 50;

row! {
    CsatAnswerRow in "csat_answers" key (log_id, position) {
        log_id: i16,
        position: i64,
        tenant_id: Uuid,
        survey_id: Uuid,
        rating: i64,
    }
}

#[must_use]
pub fn manager() -> Projection {
    Projection::process_manager(NAME, vec![table::<Answers>()])
}

struct Answers;

impl Fold for Answers {
    type Row = CsatAnswerRow;

    fn keys(event: &Event) -> Vec<Key> {
        let concerns = event.event_type == "message.received" && event.body["kind"] == "interactive";
        if concerns { vec![vec![json!(event.log_id), json!(event.position)]] } else { Vec::new() }
    }

    fn apply(_: &Key, _: Option<CsatAnswerRow>, event: &Event) -> Result<Option<CsatAnswerRow>, FoldError> {
        let ConversationEvent::MessageReceived(message) = decode(event)? else { return Ok(None) };
        let answer = Personal::known(&message.content).and_then(csat_survey::answer);
        Ok(answer.map(|(survey_id, rating)| CsatAnswerRow {
            log_id: event.log_id,
            position: event.position,
            tenant_id: event.tenant_id,
            survey_id,
            rating,
        }))
    }
}

/// Records the answers of one log until stopped. `scale` multiplies the waits after a failure.
pub async fn run(store: Store, log_id: i16, scale: f64, stopping: CancellationToken) {
    let news = store.progress().follow_changes(NAME, log_id);
    work_off(NAME, news, &stopping, || record(&store, log_id, scale)).await;
}

/// A customer's choice that is to be recorded.
#[derive(sqlx::FromRow)]
struct Due {
    position: i64,
    tenant_id: Uuid,
    survey_id: Uuid,
    rating: i64,
    attempts: i32,
}

/// Records what is due; false when nothing is. What fails is tried again later, and holds up nothing.
async fn record(store: &Store, log_id: i16, scale: f64) -> Result<bool, CommandError> {
    let rows: Vec<Due> = sqlx::query_as(
        "SELECT position, tenant_id, survey_id, rating, attempts FROM csat_answers
         WHERE log_id = $1 AND available_at <= now() ORDER BY position LIMIT $2",
    )
    .bind(log_id)
    .bind(BATCH)
    .fetch_all(store.pool())
    .await?;
    for due in &rows {
        if let Err(error) = rate(store, log_id, due).await {
            let Due { position, attempts, .. } = *due;
            tracing::error!(log_id, position, %error, "a survey answer could not be recorded; trying again");
            put_off(store, "csat_answers", Failed { log_id, position, attempts }, scale).await?;
            continue;
        }
        sqlx::query("DELETE FROM csat_answers WHERE log_id = $1 AND position = $2")
            .bind(log_id)
            .bind(due.position)
            .execute(store.pool())
            .await?;
    }
    Ok(!rows.is_empty())
}

async fn rate(store: &Store, log_id: i16, due: &Due) -> Result<(), CommandError> {
    let Due { position, tenant_id, survey_id, rating, .. } = *due;
    let command_id = ids::named_id(tenant_id, &format!("csat answer {log_id} {position}"));
    let origin =
        Origin { command_id, ..Origin::new(tenant_id, Metadata::new(Actor::system(), ids::new_id())) };
    let now = store.clock().now();
    let rate = |state: &CsatSurvey| csat_survey::rate(state, survey_id, rating, None, now);
    match store.execute::<CsatSurvey>(&origin, survey_id, rate).await {
        Ok(_) => Ok(()),
        // Answered before, too late, or made up: the message is in the conversation, and that is all.
        Err(CommandError::Refused(refusal)) => {
            tracing::info!(%survey_id, %refusal, "a survey answer was not taken");
            Ok(())
        }
        Err(error) => Err(error),
    }
}
