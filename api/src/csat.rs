//! Satisfaction surveys.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use commands::csat_survey::{self, Ask};
use commands::store::Origin;
use domain::agent::Agent;
use domain::billing::LimitName;
use domain::csat_survey::{CsatStatus, CsatSurvey as State, LIFETIME};
use domain::event::{Actor, ActorKind, Metadata};
use garde::Validate;
use projections::csat::{self, CsatDayRow, CsatSurveyRow};
use projections::inbox::query;
use projections::usage;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::http::{
    Access, Answer, Body, Created, Group, Json, Path, Permission, Problem, Query, get, group, patch, post,
};
use crate::{App, Ctx};

pub fn routes() -> Group<App> {
    let of_conversation = "/api/conversations/{id}/csat";
    group("CSAT", [
        get(of_conversation, "Get CSAT survey for a conversation", Access::Any, get_one).describe("404 when there is none"),
        post(of_conversation, "Create a CSAT survey for a conversation", Access::Any, create).describe(
            "one open survey per conversation; on WhatsApp, within the messaging window, the customer gets a list to choose from; 409 limit_reached when the month's messages are used up",
        ),
        patch("/api/csat/{id}", "Submit a CSAT rating", Access::Public, submit)
            .describe("rating 1..5, once; the id is the customer's capability"),
        get("/api/csat/analytics", "CSAT analytics", Access::Supervisor(Permission::AnalyticsView), analytics),
    ])
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CsatStatusName {
    Pending,
    Rated,
    Expired,
}

#[derive(Serialize, ToSchema)]
struct CsatSurvey {
    id: Uuid,
    conversation_id: Uuid,
    contact_id: Uuid,
    status: CsatStatusName,
    created_at: DateTime<Utc>,
    agent_id: Option<Uuid>,
    rating: Option<i64>,
    comment: Option<String>,
    rated_at: Option<DateTime<Utc>>,
    agent_name: Option<String>,
    contact_name: Option<String>,
}

#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
struct SubmitCsat {
    /// 1 to 5.
    #[garde(range(min = 1, max = 5))]
    rating: i64,
    #[garde(length(chars, max = 2000))]
    comment: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
enum Period {
    #[serde(rename = "7d")]
    Week,
    #[default]
    #[serde(rename = "30d")]
    Month,
    #[serde(rename = "90d")]
    Quarter,
}

#[derive(Deserialize, IntoParams, Validate)]
struct AnalyticsQuery {
    #[serde(default)]
    #[param(inline)]
    #[garde(skip)]
    period: Period,
}

#[derive(Serialize, ToSchema)]
struct CsatAnalytics {
    total_sent: i64,
    total_rated: i64,
    /// Per cent.
    response_rate: f64,
    distribution: Vec<RatingCount>,
    per_agent: Vec<CsatAgent>,
    /// Absent when nobody has rated.
    average_rating: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct RatingCount {
    rating: i64,
    count: i64,
}

#[derive(Serialize, ToSchema)]
struct CsatAgent {
    agent_id: Uuid,
    agent_name: String,
    rated_count: i64,
    average_rating: f64,
}

async fn get_one(ctx: Ctx, Path(id): Path<Uuid>) -> Answer<Json<CsatSurvey>> {
    let row = csat::of_conversation(&mut *ctx.reader().await?, ctx.tenant_id(), id).await?;
    let row = row.ok_or_else(|| Problem::not_found("survey"))?;
    Ok(Json(with_names(&ctx, row).await?))
}

async fn create(ctx: Ctx, Path(conversation_id): Path<Uuid>) -> Answer<Created<CsatSurvey>> {
    let _admission = usage::admit(ctx.app.store(), ctx.tenant_id(), LimitName::MaxMessagesMonth).await?;
    let ask = Ask { survey_id: ctx.new_id(1), message_id: ctx.new_id(2), conversation_id };
    let asked = csat_survey::ask(ctx.app.store(), &ctx.origin(), &ask).await?;
    ctx.settle(asked.log_id, asked.position).await;
    let row = row_of(ctx.tenant_id(), ask.survey_id, asked.state)?;
    Ok(Created(with_names(&ctx, row).await?))
}

async fn submit(ctx: Ctx, Path(id): Path<Uuid>, Body(answer): Body<SubmitCsat>) -> Answer<Json<CsatSurvey>> {
    let row = survey(&ctx, id).await?;
    let now = ctx.app.store().clock().now();
    let actor = Actor::new(ActorKind::Contact, row.contact_id);
    let metadata = Metadata { ip: ctx.ip, ..Metadata::new(actor, ctx.request_id) };
    let origin = Origin { command_id: ctx.new_id(0), ..Origin::new(row.tenant_id, metadata) };
    let rate = |state: &State| csat_survey::rate(state, id, answer.rating, answer.comment.as_deref(), now);
    let rated = ctx.execute_as::<State>(&origin, id, rate).await?;
    // The customer sees the survey, and nobody's name.
    Ok(Json(shown(row_of(row.tenant_id, id, rated.state)?, now)))
}

async fn analytics(ctx: Ctx, Query(query): Query<AnalyticsQuery>) -> Answer<Json<CsatAnalytics>> {
    let days = match query.period {
        Period::Week => 7,
        Period::Month => 30,
        Period::Quarter => 90,
    };
    let since = (ctx.app.store().clock().now() - TimeDelta::days(days - 1)).date_naive();
    let rows = csat::days(&mut *ctx.reader().await?, ctx.tenant_id(), since).await?;
    let agents: HashMap<Uuid, String> =
        ctx.documents::<Agent>().await?.into_iter().map(|agent| (agent.id, agent.state.full_name)).collect();
    let mut ratings = [0; 5];
    let mut by_agent: BTreeMap<Uuid, [i64; 5]> = BTreeMap::new();
    for CsatDayRow { agent_id, ratings: counts, .. } in &rows {
        add(&mut ratings, counts);
        add(by_agent.entry(*agent_id).or_default(), counts);
    }
    let total_sent: i64 = rows.iter().map(|row| row.sent).sum();
    let total_rated: i64 = ratings.iter().sum();
    let per_agent = by_agent.into_iter().filter_map(|(agent_id, counts)| {
        let agent_name = agents.get(&agent_id)?.clone();
        let average_rating = average(&counts)?;
        Some(CsatAgent { agent_id, agent_name, rated_count: counts.iter().sum(), average_rating })
    });
    Ok(Json(CsatAnalytics {
        total_sent,
        total_rated,
        response_rate: if total_sent == 0 { 0.0 } else { total_rated as f64 * 100.0 / total_sent as f64 },
        distribution: (1..).zip(ratings).map(|(rating, count)| RatingCount { rating, count }).collect(),
        per_agent: per_agent.collect(),
        average_rating: average(&ratings),
    }))
}

fn add(sum: &mut [i64; 5], counts: &[i64; 5]) {
    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
}

fn average(counts: &[i64; 5]) -> Option<f64> {
    let rated: i64 = counts.iter().sum();
    let points: i64 = (1..).zip(counts).map(|(rating, count): (i64, &i64)| rating * count).sum();
    (rated > 0).then(|| points as f64 / rated as f64)
}

/// What a command has made of a survey, which the read model may not have yet.
fn row_of(tenant_id: Uuid, id: Uuid, state: State) -> Answer<CsatSurveyRow> {
    let created_at = state.created_at.ok_or_else(|| Problem::not_found("survey"))?;
    Ok(CsatSurveyRow {
        tenant_id,
        id,
        conversation_id: state.conversation_id,
        contact_id: state.contact_id,
        agent_id: state.agent_id,
        status: state.status,
        rating: state.rating,
        comment: state.comment.and_then(|comment| comment.known().cloned()),
        rated_at: state.rated_at,
        created_at,
    })
}

/// By id alone: the caller may be a customer, who has no tenant.
async fn survey(ctx: &Ctx, id: Uuid) -> Answer<CsatSurveyRow> {
    let mut db = ctx.app.store().pool().acquire().await?;
    csat::by_id(&mut db, id).await?.ok_or_else(|| Problem::not_found("survey"))
}

async fn with_names(ctx: &Ctx, row: CsatSurveyRow) -> Answer<CsatSurvey> {
    let agent_name = match row.agent_id {
        Some(id) => ctx.find_document::<Agent>(id).await?.map(|agent| agent.state.full_name),
        None => None,
    };
    let contact = query::contact(&mut *ctx.reader().await?, ctx.tenant_id(), row.contact_id).await?;
    let now = ctx.app.store().clock().now();
    Ok(CsatSurvey { agent_name, contact_name: contact.and_then(|contact| contact.name), ..shown(row, now) })
}

/// A survey that can't be answered any more shows as expired, whether or not that is recorded already.
fn shown(row: CsatSurveyRow, now: DateTime<Utc>) -> CsatSurvey {
    let status = match row.status {
        CsatStatus::Pending if now < row.created_at + LIFETIME => CsatStatusName::Pending,
        CsatStatus::Pending | CsatStatus::Expired => CsatStatusName::Expired,
        CsatStatus::Rated => CsatStatusName::Rated,
    };
    CsatSurvey {
        id: row.id,
        conversation_id: row.conversation_id,
        contact_id: row.contact_id,
        status,
        created_at: row.created_at,
        agent_id: row.agent_id,
        rating: row.rating,
        comment: row.comment,
        rated_at: row.rated_at,
        agent_name: None,
        contact_name: None,
    }
}
