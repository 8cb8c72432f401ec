//! The activity log: who did what, from the events that a person or a program of the tenant caused.

use chrono::{DateTime, Utc};
use domain::event::ActorKind;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::event::{Event, FoldError};
use crate::projection::Projection;
use crate::row;
use crate::table::{Fold, Key, table};

row! {
    ActivityRow in "activity" key (tenant_id, position) {
        tenant_id: Uuid,
        position: i64,
        event_id: Uuid,
        agent_id: Option<Uuid>,
        action: String,
        target_type: String,
        target_id: Uuid,
        metadata: Value,
        ip_address: Option<String>,
        created_at: DateTime<Utc>,
    }
}

#[must_use]
pub fn projection() -> Projection {
    Projection::read_model("activity", vec![table::<Activity>()])
}

struct Activity;

impl Fold for Activity {
    type Row = ActivityRow;

    fn keys(event: &Event) -> Vec<Key> {
        match event.metadata.actor.kind {
            ActorKind::Agent | ActorKind::ApiKey | ActorKind::SuperAdmin => {
                vec![vec![json!(event.tenant_id), json!(event.position)]]
            }
            ActorKind::AutomationRule | ActorKind::AiAgent | ActorKind::Contact | ActorKind::System => {
                Vec::new()
            }
        }
    }

    fn begins(_: &Event) -> bool {
        true
    }

    fn apply(_: &Key, _: Option<ActivityRow>, event: &Event) -> Result<Option<ActivityRow>, FoldError> {
        let actor = &event.metadata.actor;
        Ok(Some(ActivityRow {
            tenant_id: event.tenant_id,
            position: event.position,
            event_id: event.event_id,
            agent_id: (actor.kind == ActorKind::Agent).then_some(actor.id),
            action: event.event_type.clone(),
            target_type: event.stream_type.clone(),
            target_id: event.stream_id,
            // Not the payload: an activity log is read by more people than the payload is meant for.
            metadata: json!({ "actor": actor, "correlation_id": event.metadata.correlation_id, "version": event.version }),
            ip_address: event.metadata.ip.map(|ip| ip.to_string()),
            created_at: event.recorded_at,
        }))
    }
}
