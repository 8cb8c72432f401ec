//! Process manager: which event is news to which webhook, as the webhooks were at that place in the log.

use domain::aggregate::Aggregate;
use domain::event::Recorded;
use domain::outgoing_webhook::{OutgoingWebhook, OutgoingWebhookEvent, Topic};
use projections::event::{Event, FoldError, decode};
use projections::projection::Projection;
use projections::table::{ApplyError, Changes, Rows, Table, run};
use serde_json::{Value, json};
use sqlx::PgConnection;

/// The name of the process manager, and of its checkpoint.
pub(super) const NAME: &str = "webhook_triggers";

#[must_use]
pub fn manager() -> Projection {
    Projection::process_manager(NAME, vec![Box::new(Triggers)])
}

/// Not a fold of single rows: an event touches as many as its tenant has webhooks for it. Subscriptions and triggers
/// move in the order of the log, so a webhook hears of nothing from before it was made.
struct Triggers;

#[async_trait::async_trait]
impl Table for Triggers {
    fn name(&self) -> &'static str {
        "webhook_triggers"
    }

    fn key(&self) -> &'static [&'static str] {
        &["log_id", "position", "webhook_id"]
    }

    fn columns(&self) -> &'static [&'static str] {
        &["log_id", "position", "webhook_id", "tenant_id"]
    }

    fn concerns(&self, event: &Event) -> bool {
        is_subscription(event) || Topic::of(&event.event_type, &event.body).is_some()
    }

    async fn apply(&self, tx: &mut PgConnection, schema: &str, events: &[Event]) -> Result<(), ApplyError> {
        for stretch in events.chunk_by(|one, next| is_subscription(one) == is_subscription(next)) {
            if stretch.first().is_some_and(is_subscription) {
                for event in stretch {
                    subscribe(tx, event).await?;
                }
            } else {
                run(tx, self.store_sql(schema, "$1", "true"), news_in(stretch)).await?;
            }
        }
        Ok(())
    }

    fn as_rows(&self) -> Option<&dyn Rows> {
        Some(self)
    }
}

/// What is stored depends on who has subscribed, which the statement itself finds out.
impl Rows for Triggers {
    fn touched(&self, events: &[Event]) -> Option<Vec<Value>> {
        (!events.iter().any(is_subscription)).then(Vec::new)
    }

    fn fold(&self, events: &[Event], _stored: Vec<Value>) -> Result<Changes, FoldError> {
        Ok(Changes { upserts: news_in(events), deletes: Vec::new() })
    }

    fn store_sql(&self, schema: &str, news: &str, condition: &str) -> String {
        format!(
            "INSERT INTO {schema}.webhook_triggers (log_id, position, webhook_id, tenant_id)
             SELECT s.log_id, news.position, s.webhook_id, s.tenant_id
             FROM jsonb_to_recordset({news}) AS news (log_id smallint, position bigint, tenant_id uuid, topic text)
             JOIN webhook_subscriptions s ON s.log_id = news.log_id AND s.tenant_id = news.tenant_id AND s.is_active
             WHERE news.topic = ANY (s.topics) AND {condition}
             ON CONFLICT DO NOTHING"
        )
    }
}

fn is_subscription(event: &Event) -> bool {
    event.stream_type == OutgoingWebhook::STREAM
}

async fn subscribe(tx: &mut PgConnection, event: &Event) -> Result<(), ApplyError> {
    let names = |topics: Vec<Topic>| topics.into_iter().map(Topic::as_str).collect::<Vec<_>>();
    // What the event does not say stays as it is.
    let (topics, is_active) = match decode(event)? {
        OutgoingWebhookEvent::Created { topics, .. } => (Some(names(topics)), Some(true)),
        OutgoingWebhookEvent::Updated { topics, .. } => (Some(names(topics)), None),
        OutgoingWebhookEvent::SwitchedOn => (None, Some(true)),
        OutgoingWebhookEvent::SwitchedOff { .. } | OutgoingWebhookEvent::Deleted => (None, Some(false)),
        OutgoingWebhookEvent::SecretReplaced { .. } | OutgoingWebhookEvent::LogTrimmed { .. } => {
            return Ok(());
        }
    };
    sqlx::query(
        "INSERT INTO webhook_subscriptions AS s (log_id, webhook_id, tenant_id, topics, is_active)
         VALUES ($1, $2, $3, coalesce($4, '{}'), coalesce($5, false))
         ON CONFLICT (log_id, webhook_id)
             DO UPDATE SET topics = coalesce($4, s.topics), is_active = coalesce($5, s.is_active)",
    )
    .bind(event.log_id)
    .bind(event.stream_id)
    .bind(event.tenant_id)
    .bind(topics)
    .bind(is_active)
    .execute(tx)
    .await?;
    Ok(())
}

/// The events that some webhook may want to hear of.
fn news_in(events: &[Event]) -> Vec<Value> {
    let news = |event: &Event| {
        let topic = Topic::of(&event.event_type, &event.body)?.as_str();
        let Recorded { log_id, position, tenant_id, .. } = event.as_ref();
        Some(json!({ "log_id": log_id, "position": position, "tenant_id": tenant_id, "topic": topic }))
    };
    events.iter().filter_map(news).collect()
}
