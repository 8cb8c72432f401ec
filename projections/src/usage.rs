//! What a tenant may use, and whether a little more still fits: asked wherever something that counts is made, by people
//! and by automation alike. What customers send is never refused.
//!
//! A count is one thing and making one more another, and others do the same at the same moment. Far from a limit that
//! does no harm. Close to it they take turns ([`turn`]), and whoever has the turn counts all that was made before; so a
//! limit is reached exactly, and never passed.

mod turn;

use commands::{CommandError, Refusal, Store};
use domain::agent::Agent;
use domain::aggregate::Aggregate;
use domain::billing::{LimitName, Limits};
use domain::event::PLATFORM_TENANT;
use domain::integration_account::IntegrationAccount;
use domain::organization::Organization;
use domain::plan::Plan;
use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::counters::{self, CONTACTS, MESSAGES, month_of};
use turn::Turn;

/// The stream of AI agents.
const AI_AGENTS: &str = "ai_agent";
/// This close to a limit they take turns: more than can be on their way at once.
const CLOSE: u64 = 1_000;

/// What a tenant may use: its own limits, else its plan's, else the free tier's.
#[derive(Clone, Debug)]
pub struct Allowance {
    pub limits: Limits,
    /// What a message above the limit costs; 0 where it is refused.
    pub overage_rate: Decimal,
}

/// # Errors
/// Database errors, or limits that do not decode.
pub async fn allowance(db: &mut PgConnection, tenant_id: Uuid) -> Result<Allowance, CommandError> {
    let (own, plan, rate): (Option<Value>, Option<Value>, Option<String>) = sqlx::query_as(
        "SELECT o.doc -> 'limits', p.doc #> '{terms,limits}',
             t.state #>> '{contract,items,prices,overage_message}'
         FROM (SELECT 1) one
         LEFT JOIN read.documents o ON o.tenant_id = $2 AND o.collection = $3 AND o.id = $1
         LEFT JOIN read.subscription_timers t ON t.tenant_id = $1 AND t.status <> 'canceled'
         LEFT JOIN read.documents p ON p.tenant_id = $2 AND p.collection = $4 AND p.id = t.plan_id",
    )
    .bind(tenant_id)
    .bind(PLATFORM_TENANT)
    .bind(Organization::STREAM)
    .bind(Plan::STREAM)
    .fetch_one(db)
    .await?;
    let parsed = |limits: Option<Value>| -> Result<Option<Limits>, CommandError> {
        let given = limits.filter(|limits| !limits.is_null()).map(serde_json::from_value);
        given.transpose().map_err(CommandError::failed)
    };
    let limits = Limits::effective(parsed(own)?.as_ref(), parsed(plan)?.as_ref());
    let overage_rate = rate.map_or(Ok(Decimal::ZERO), |rate| rate.parse()).map_err(CommandError::failed)?;
    Ok(Allowance { limits, overage_rate })
}

/// The limits in force for a tenant.
///
/// # Errors
/// As [`allowance`].
pub async fn limits(db: &mut PgConnection, tenant_id: Uuid) -> Result<Limits, CommandError> {
    Ok(allowance(db, tenant_id).await?.limits)
}

/// The right to make one more. To be kept until it is made.
#[must_use = "the next one may come in as soon as this is dropped"]
pub struct Admission {
    /// Given back when this is dropped.
    _turn: Option<Turn>,
}

/// Lets a tenant make one more of what is limited, if it fits.
///
/// # Errors
/// 409 `limit_reached` naming the limit; busy when others do not come to an end; database errors.
pub async fn admit(store: &Store, tenant_id: Uuid, name: LimitName) -> Result<Admission, CommandError> {
    match room(store, tenant_id, name).await? {
        None => Ok(Admission { _turn: None }),
        Some(left) if left > CLOSE => Ok(Admission { _turn: None }),
        Some(_) => {
            let turn = Turn::take(store, tenant_id, name).await?;
            room(store, tenant_id, name).await?;
            Ok(Admission { _turn: Some(turn) })
        }
    }
}

/// How many more fit; nothing where there is no limit.
async fn room(store: &Store, tenant_id: Uuid, name: LimitName) -> Result<Option<u64>, CommandError> {
    let mut db = store.pool().acquire().await?;
    let Allowance { limits, overage_rate } = allowance(&mut db, tenant_id).await?;
    let is_charged = name == LimitName::MaxMessagesMonth && overage_rate > Decimal::ZERO;
    let Some(allowed) = limits.get(name).filter(|_| !is_charged) else { return Ok(None) };
    let used = match name {
        LimitName::MaxAgents => documents(&mut db, tenant_id, Agent::STREAM).await?,
        LimitName::MaxChannels => documents(&mut db, tenant_id, IntegrationAccount::STREAM).await?,
        LimitName::MaxAiAgents => documents(&mut db, tenant_id, AI_AGENTS).await?,
        LimitName::MaxContacts => counters::read(&mut db, tenant_id, CONTACTS, "").await?,
        LimitName::MaxMessagesMonth => {
            let month = month_of(store.clock().now());
            counters::read(&mut db, tenant_id, MESSAGES, &month).await?
        }
    };
    let used = u64::try_from(used).unwrap_or(0);
    limits.check(name, used, 1).map_err(Refusal::from)?;
    Ok(Some(allowed.saturating_sub(used)))
}

async fn documents(db: &mut PgConnection, tenant_id: Uuid, collection: &str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM read.documents WHERE tenant_id = $1 AND collection = $2 AND doc IS NOT NULL",
    )
    .bind(tenant_id)
    .bind(collection)
    .fetch_one(db)
    .await
}
