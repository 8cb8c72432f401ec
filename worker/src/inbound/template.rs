//! News about our message templates.

use commands::inbound::queue::Due;
use commands::store::Origin;
use commands::wa_template::{self, News};
use commands::{CommandError, Store, ids};
use domain::event::{Actor, Metadata};
use domain::wa_template::{Category, Status, WaTemplate, stream_id};
use domain::whatsapp::{TemplateChange, TemplateUpdate};

use super::Verdict;

/// Applies news about a template of this business account. One that is not known yet may be about to be: the review of
/// a template can be faster than our writing down that we submitted it.
pub(super) async fn apply(
    store: &Store,
    row: &Due,
    waba_id: &str,
    update: &TemplateUpdate,
) -> Result<Verdict, CommandError> {
    let news = match read(&update.change) {
        Ok(news) => news,
        Err(reason) => return Ok(Verdict::Ignored(reason)),
    };
    let id = stream_id(row.tenant_id, waba_id, &update.name, &update.language);
    let template: WaTemplate = store.load(row.tenant_id, id).await?;
    if template.created_at.is_none() {
        return Ok(Verdict::Waiting(wa_template::waiting_for(&update.template_id)));
    }
    let command_id = ids::named_id(id, &format!("news {}", row.id));
    let origin = Origin { command_id, ..Origin::new(row.tenant_id, Metadata::new(Actor::system(), row.id)) };
    let received_at = row.received_at;
    store
        .execute::<WaTemplate>(&origin, id, |state| Ok(wa_template::heard(state, &news, received_at)))
        .await?;
    Ok(Verdict::Done)
}

fn read(change: &TemplateChange) -> Result<News, String> {
    match change {
        TemplateChange::Status { event, reason } => {
            let status = Status::from_meta(event);
            let status = status.ok_or_else(|| format!("the template's status {event} is not known"))?;
            Ok(News::Status { status, reason: reason.clone() })
        }
        TemplateChange::Category(word) => {
            let category = Category::from_meta(word);
            Ok(News::Category(
                category.ok_or_else(|| format!("the template's category {word} is not known"))?,
            ))
        }
        TemplateChange::Quality(quality) => Ok(News::Quality(quality.clone())),
    }
}
