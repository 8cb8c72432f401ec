//! The one statement that appends a batch (`append_batch` in `0047_append_in_turns.sql`).

use domain::canonical::Hash;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Encode, PgConnection, Postgres, Type};
use uuid::Uuid;

use super::batch::{Append, Claim, Facts, Plan, Prepared, Row};

/// What `append_batch` says.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// After this position.
    Written(i64),
    /// Not what the plan was made on.
    Facts(Facts),
}

/// `follows`: the position after which the batch is planned, if it may go after one that is still on its way.
///
/// # Errors
/// Database errors. The session may hold the log's locks then, and must be closed.
pub(super) async fn send(
    connection: &mut PgConnection,
    log_id: i16,
    follows: Option<i64>,
    facts: &Facts,
    commands: &[Prepared],
    plan: &Plan<'_>,
) -> Result<Answer, sqlx::Error> {
    fn column<'a, T>(rows: &'a [Row<'a>], get: impl Fn(&'a Row<'a>) -> T) -> Vec<T> {
        rows.iter().map(get).collect()
    }
    let (rows, asked) = (&plan.rows, Asked::of(commands));
    let known = |stream_id: &Uuid| {
        let at = facts.streams.binary_search_by_key(stream_id, |head| head.stream_id).ok()?;
        facts.streams.get(at).map(|head| (head.version, head.chain_hash))
    };
    let (known_versions, known_hashes): (Vec<Option<i64>>, Vec<Option<Hash>>) =
        asked.streams.iter().map(|id| known(id).unzip()).unzip();
    let answer: Json<Answer> = sqlx::query_scalar(
        "SELECT append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
         $19, $20, $21, $22, $23)",
    )
    .bind(log_id)
    .bind(follows)
    .bind(plan.recorded_at)
    .bind(Json(facts))
    .bind(asked.commands)
    .bind(&asked.streams)
    .bind(known_versions)
    .bind(known_hashes)
    .bind(claims(asked.claims))
    .bind(claims(plan.released.iter().map(|(tenant_id, claim)| (*tenant_id, claim))))
    .bind(claims(plan.claimed.iter().map(|(tenant_id, claim)| (*tenant_id, claim))))
    .bind(column(rows, |row| row.append.tenant_id))
    .bind(column(rows, |row| row.stream.stream_type))
    .bind(column(rows, |row| row.stream.stream_id))
    .bind(column(rows, |row| row.version))
    .bind(column(rows, |row| row.event.event_type.as_str()))
    .bind(column(rows, |row| row.event.schema_version))
    .bind(column(rows, |row| row.event_id))
    .bind(column(rows, |row| row.append.command_id))
    .bind(column(rows, |row| JsonText(row.metadata.get())))
    .bind(column(rows, |row| JsonText(&row.payload.text)))
    .bind(column(rows, |row| row.payload.hash.as_slice()))
    .bind(column(rows, |row| row.chain_hash.as_slice()))
    .fetch_one(connection)
    .await?;
    Ok(answer.0)
}

/// JSON that is written already.
struct JsonText<'a>(&'a str);

impl Type<Postgres> for JsonText<'_> {
    fn type_info() -> PgTypeInfo {
        <Json<()> as Type<Postgres>>::type_info()
    }
}

impl PgHasArrayType for JsonText<'_> {
    fn array_type_info() -> PgTypeInfo {
        <Json<()> as PgHasArrayType>::array_type_info()
    }
}

impl Encode<'_, Postgres> for JsonText<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        /// Of the binary format of jsonb, which is text (PostgreSQL, `jsonb_recv`).
        const VERSION: u8 = 1;
        buffer.push(VERSION);
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// All that a batch names.
struct Asked<'a> {
    commands: Vec<Uuid>,
    streams: Vec<Uuid>,
    claims: Vec<(Uuid, &'a Claim)>,
}

impl<'a> Asked<'a> {
    fn of(commands: &'a [Prepared]) -> Self {
        let appends = || commands.iter().map(|command| &command.append);
        let mut ids: Vec<Uuid> = appends().map(|a| a.command_id).collect();
        let mut streams: Vec<Uuid> = appends().flat_map(|a| a.streams.iter().map(|s| s.stream_id)).collect();
        let named = |a: &'a Append| a.claims.iter().chain(&a.releases).map(|claim| (a.tenant_id, claim));
        let mut claims: Vec<(Uuid, &Claim)> = appends().flat_map(named).collect();
        for ids in [&mut ids, &mut streams] {
            ids.sort_unstable();
            ids.dedup();
        }
        claims.sort_unstable_by_key(|(tenant_id, claim)| (*tenant_id, claim.scope, &claim.key));
        claims.dedup_by_key(|(tenant_id, claim)| (*tenant_id, claim.scope, &claim.key));
        Self { commands: ids, streams, claims }
    }
}

fn claims<'a>(claims: impl IntoIterator<Item = (Uuid, &'a Claim)>) -> Value {
    let row = |(tenant_id, claim): (Uuid, &Claim)| json!({ "tenant_id": tenant_id, "scope": claim.scope, "key": claim.key, "owner": claim.owner });
    claims.into_iter().map(row).collect()
}
