//! Submitting a template: Meta first, then the log.
//!
//! Meta has no way to take a template back unseen, and our append can always be repeated from Meta's list. So nothing is
//! stored before Meta has said yes, and whatever breaks between that and our append is mended by the next sync.

use axum::http::StatusCode;
use commands::inbound::queue;
use commands::ports::GraphError;
use commands::wa_template;
use domain::wa_template::{Category, Listing, WaTemplate as State, stream_id};
use domain::whatsapp::{ProviderError, Retry, SendFailure, template_list};
use serde_json::json;

use super::{CreateWaTemplate, WaTemplate, accounts, business, shown};
use crate::http::{Answer, Body, Created, Problem};
use crate::{Ctx, meta};

const DEFAULT_LANGUAGE: &str = "id";
/// Meta's subcodes: such a template exists, or is being deleted.
const EXISTS: [i64; 2] = [2_388_024, 2_388_023];
/// Meta's code for a parameter that will not do.
const INVALID_PARAMETER: i64 = 100;

pub(super) async fn create(ctx: Ctx, Body(new): Body<CreateWaTemplate>) -> Answer<Created<WaTemplate>> {
    let account = accounts(&ctx, new.integration_account_id).await?.swap_remove(0);
    let wanted = Listing {
        name: new.name,
        language: new.language.unwrap_or_else(|| DEFAULT_LANGUAGE.to_owned()),
        category: new.category.map(Category::from).unwrap_or_default(),
        components: new.components,
        ..Listing::default()
    };
    wa_template::check(&wanted)?;
    let business = business(&ctx, &account).await?;
    let wanted = Listing { waba_id: business.waba_id.clone(), ..wanted };
    let id = stream_id(ctx.tenant_id(), &wanted.waba_id, &wanted.name, &wanted.language);
    let state: State = ctx.app.store().load(ctx.tenant_id(), id).await?;
    wa_template::check_new(&state, &wanted)?;
    if state.created_at.is_none() {
        let body = json!({
            "name": wanted.name,
            "language": wanted.language,
            "category": wanted.category.as_str(),
            "components": wanted.components,
        });
        let path = format!("/{}/message_templates", business.waba_id);
        let answer = ctx.app.graph().post(&business.access, &path, &body).await.map_err(|e| refused(&e))?;
        let listing = template_list::submitted_template(wanted, &answer);
        store(&ctx, id, &listing).await?;
    }
    Ok(Created(shown(ctx.document::<State>(id).await?)))
}

async fn store(ctx: &Ctx, id: uuid::Uuid, listing: &Listing) -> Answer<()> {
    let stored = ctx.execute::<State>(id, |state| wa_template::submitted(state, listing)).await;
    let stored = stored.map_err(|problem| Problem {
        detail: format!(
            "Meta has taken the template, but it is not stored here yet: a sync does that. {}",
            problem.detail
        ),
        ..problem
    })?;
    if let Some(meta_id) = &listing.meta_template_id {
        // Meta's verdict may have been here before us, and waits. If this fails it is looked at again soon anyway.
        let woken =
            queue::now_known(ctx.app.store(), stored.log_id, &wa_template::waiting_for(meta_id)).await;
        if let Err(error) = woken {
            tracing::warn!(%error, meta_id, "news about a new template were not woken");
        }
    }
    Ok(())
}

fn refused(error: &GraphError) -> Problem {
    let (status, body) = match error {
        GraphError::Unreachable(_) => {
            return Problem::bad_gateway("Meta could not be reached; nothing was submitted.", error);
        }
        GraphError::Unknown(_) => {
            let detail =
                "Meta did not answer, so it may or may not have taken the template. A sync will tell.";
            return Problem::bad_gateway(detail, error);
        }
        GraphError::Refused { status, body } => (*status, body),
    };
    let said = ProviderError::from_graph_body(body);
    let code = said.as_ref().map(|said| said.code);
    if said.as_ref().and_then(|said| said.subcode).is_some_and(|subcode| EXISTS.contains(&subcode)) {
        let detail = format!("{} Sync the templates to have it here.", meta::explained(error));
        return Problem::conflict("exists_at_provider", detail);
    }
    let passes = SendFailure::from_response(status, body).retry == Retry::Later;
    if status < 500 && !passes && code == Some(INVALID_PARAMETER) {
        return Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "refused_by_provider", meta::explained(error));
    }
    Problem::bad_gateway(meta::explained(error), error)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn of(status: u16, body: Value) -> Problem {
        refused(&GraphError::Refused { status, body })
    }

    #[test]
    fn what_meta_will_not_have_is_the_callers_to_mend_and_the_rest_is_not() {
        let invalid = json!({ "error": { "code": 100, "message": "Invalid parameter", "error_subcode": 2_388_293,
            "error_user_msg": "Variables can't be at the start." } });
        let problem = of(400, invalid);
        assert_eq!((problem.status.as_u16(), problem.code), (422, "refused_by_provider"));
        assert!(problem.detail.contains("Variables can't be at the start."), "{}", problem.detail);
        let exists =
            json!({ "error": { "code": 100, "error_subcode": 2_388_024, "message": "Invalid parameter" } });
        assert_eq!(of(400, exists).code, "exists_at_provider");
        for (status, body) in [
            (401, json!({ "error": { "code": 190, "message": "Invalid OAuth access token" } })),
            (400, json!({ "error": { "code": 80007, "message": "Rate limit" } })),
            (500, json!({ "error": { "code": 100, "message": "Oops" } })),
            (502, json!("<html>")),
        ] {
            assert_eq!(of(status, body).status, StatusCode::BAD_GATEWAY);
        }
        assert!(refused(&GraphError::Unknown("cut".to_owned())).detail.contains("may or may not"));
    }
}
