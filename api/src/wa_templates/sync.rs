//! Reading Meta's list of templates to its end, and bringing ours in line with it.

use std::collections::{HashMap, HashSet};

use commands::store::Decision;
use commands::wa_template;
use domain::wa_template::{WaTemplate as State, WaTemplateEvent, stream_id};
use domain::whatsapp::template_list::{LIST_FIELDS, listed_template, template_page};
use futures::future::join_all;
use garde::Validate;
use projections::documents::Document;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{Business, accounts, business};
use crate::http::{Answer, Json, Problem, Query};
use crate::{Ctx, meta};

const TEMPLATES_PER_PAGE: &str = "100";
/// Ten times the 6,000 templates that Meta allows a business account, each in a few languages.
const MAX_PAGES: usize = 600;
/// Reasons in one answer.
const MAX_ERRORS: usize = 100;
/// They share commits, and leave room in the append queue for others.
const COMMANDS_AT_ONCE: usize = 50;

#[derive(Deserialize, IntoParams, Validate)]
pub(super) struct SyncTemplates {
    /// Only its business account.
    #[garde(skip)]
    integration_account_id: Option<Uuid>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TemplateSyncResult {
    message: String,
    /// Templates in Meta's list.
    total_from_meta: i64,
    /// Those that are here as Meta lists them now.
    synced: i64,
    /// Templates that could not be read, and business accounts that could not be listed; at most 100.
    errors: Vec<String>,
}

/// What became of a sync so far.
#[derive(Default)]
struct Progress {
    total: usize,
    synced: usize,
    changed: usize,
    errors: Vec<String>,
    log_id: i16,
    last: i64,
}

pub(super) async fn run(ctx: Ctx, Query(wanted): Query<SyncTemplates>) -> Answer<Json<TemplateSyncResult>> {
    let businesses = businesses(&ctx, wanted.integration_account_id).await?;
    let known: HashMap<Uuid, Document<State>> =
        ctx.documents::<State>().await?.into_iter().map(|document| (document.id, document)).collect();
    let mut progress = Progress::default();
    let alone = businesses.len() == 1;
    for business in &businesses {
        match read(&ctx, business).await {
            Ok(listed) => bring_in_line(&ctx, business, &known, &listed, &mut progress).await?,
            Err(problem) if alone => return Err(problem),
            Err(problem) => progress.errors.push(format!("{}: {}", business.waba_id, problem.detail)),
        }
    }
    ctx.settle(progress.log_id, progress.last).await;
    progress.errors.truncate(MAX_ERRORS);
    let Progress { total, synced, changed, errors, .. } = progress;
    Ok(Json(TemplateSyncResult {
        message: format!("{synced} of {total} templates are in line with Meta; {changed} changed."),
        total_from_meta: i64::try_from(total).unwrap_or(i64::MAX),
        synced: i64::try_from(synced).unwrap_or(i64::MAX),
        errors,
    }))
}

/// Several numbers may share a business account.
async fn businesses(ctx: &Ctx, account_id: Option<Uuid>) -> Answer<Vec<Business>> {
    let mut businesses: Vec<Business> = Vec::new();
    let mut lacking = None;
    for account in accounts(ctx, account_id).await? {
        match business(ctx, &account).await {
            Ok(business) if businesses.iter().any(|known| known.waba_id == business.waba_id) => {}
            Ok(business) => businesses.push(business),
            Err(problem) => lacking = lacking.or(Some(problem)),
        }
    }
    match lacking {
        Some(problem) if businesses.is_empty() => Err(problem),
        _ => Ok(businesses),
    }
}

/// All of Meta's list, in Meta's form.
async fn read(ctx: &Ctx, business: &Business) -> Answer<Vec<Value>> {
    let path = format!("/{}/message_templates", business.waba_id);
    let mut templates = Vec::new();
    let mut cursors: HashSet<String> = HashSet::new();
    let mut after: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let mut query = vec![("fields", LIST_FIELDS), ("limit", TEMPLATES_PER_PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let answer = ctx.app.graph().get(&business.access, &path, &query).await;
        let answer = answer.map_err(|error| Problem::bad_gateway(meta::explained(&error), &error))?;
        let page = template_page(&answer)
            .map_err(|reason| Problem::bad_gateway("Meta's list of templates can't be read.", reason))?;
        templates.extend(page.templates);
        match page.next {
            None => return Ok(templates),
            Some(next) if !cursors.insert(next.clone()) => {
                return Err(Problem::bad_gateway("Meta's list of templates goes round in a circle.", next));
            }
            next => after = next,
        }
    }
    Err(Problem::bad_gateway("Meta's list of templates does not end.", format!("{MAX_PAGES} pages")))
}

async fn bring_in_line(
    ctx: &Ctx,
    business: &Business,
    known: &HashMap<Uuid, Document<State>>,
    raw: &[Value],
    progress: &mut Progress,
) -> Answer<()> {
    progress.total += raw.len();
    let (mut ids, mut changed, mut all_named) = (HashSet::new(), Vec::new(), true);
    for template in raw {
        match listed_template(&business.waba_id, template) {
            Ok(listing) => {
                let id = stream_id(ctx.tenant_id(), &listing.waba_id, &listing.name, &listing.language);
                progress.synced += 1;
                let is_new = known.get(&id).is_none_or(|document| document.state.listing != listing);
                if ids.insert(id) && is_new {
                    changed.push((id, listing));
                }
            }
            Err(reason) => {
                progress.errors.push(reason);
                // Not understood is not gone.
                match (template["name"].as_str(), template["language"].as_str()) {
                    (Some(name), Some(language)) => {
                        ids.insert(stream_id(ctx.tenant_id(), &business.waba_id, name, language));
                    }
                    _ => all_named = false,
                }
            }
        }
    }
    let gone = known.values().filter(|document| {
        all_named && document.state.listing.waba_id == business.waba_id && !ids.contains(&document.id)
    });
    let gone: Vec<Uuid> = gone.map(|document| document.id).collect();
    for some in changed.chunks(COMMANDS_AT_ONCE) {
        let commands = some
            .iter()
            .map(|(id, listing)| execute(ctx, *id, move |state| wa_template::synced(state, listing)));
        progress.take(join_all(commands).await)?;
    }
    for some in gone.chunks(COMMANDS_AT_ONCE) {
        let commands = some.iter().map(|id| execute(ctx, *id, wa_template::unlisted));
        progress.take(join_all(commands).await)?;
    }
    Ok(())
}

/// The log and position of what was written; position 0 when it was so already.
async fn execute(
    ctx: &Ctx,
    id: Uuid,
    decide: impl Fn(&State) -> Decision<WaTemplateEvent> + Send + Sync,
) -> Answer<(i16, i64)> {
    let origin = ctx.origin().part(&id.to_string());
    let decided = ctx.app.store().execute::<State>(&origin, id, |state| Ok(decide(state))).await?;
    Ok((decided.log_id, decided.position))
}

impl Progress {
    fn take(&mut self, outcomes: Vec<Answer<(i16, i64)>>) -> Answer<()> {
        for outcome in outcomes {
            let (log_id, position) = outcome?;
            self.log_id = log_id;
            self.last = self.last.max(position);
            self.changed += usize::from(position > 0);
        }
        Ok(())
    }
}
