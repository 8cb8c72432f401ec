//! A WhatsApp Business Account belongs to one tenant: what Meta tells about its templates must not reach another one.
//!
//! The first to name it has it, with as many of its numbers as it connects. Nobody gives it back: whoever finds it with
//! a tenant that has no account in it any more takes it over.

use commands::channel_address::{self, is_settled};
use commands::store::Origin;
use commands::{CommandError, Refusal};
use domain::channel::Channel;
use domain::channel_address::{ChannelAddress, ChannelAddressEvent, Holder};
use domain::event::PLATFORM_TENANT;
use domain::integration_account::{Config, IntegrationAccount};
use projections::documents;
use uuid::Uuid;

use crate::Ctx;
use crate::http::{Answer, FieldError, Problem};

const FIELD: &str = "config.waba_id";

/// Takes the business account that the settings name, unless it is the tenant's already.
///
/// # Errors
/// 409 naming the field when another tenant has it.
pub(super) async fn reserve(ctx: &Ctx, config: &Config, account_id: Uuid) -> Answer<()> {
    let Some(waba_id) = config.text("waba_id") else { return Ok(()) };
    let (channel, account_key) = (Channel::Whatsapp, format!("waba-{waba_id}"));
    let (store, tenant_id) = (ctx.app.store(), ctx.tenant_id());
    let id = channel_address::id_of(channel, &account_key);
    let before: ChannelAddress = store.load(PLATFORM_TENANT, id).await?;
    let abandoned = match before.holder {
        Some(holder) if holder.tenant_id == tenant_id => return Ok(()),
        Some(holder) if is_in_use(ctx, holder, waba_id).await? => return Err(taken()),
        holder => holder,
    };
    let origin: Origin = ctx.origin_in(PLATFORM_TENANT).part(&format!("reserve {account_key}"));
    let wanted = ChannelAddressEvent::Reserved { channel, account_key, tenant_id, account_id };
    let reserve = |state: &ChannelAddress| {
        channel_address::reserve(state, &wanted, |holder| abandoned == Some(*holder))
    };
    match store.execute(&origin, id, reserve).await {
        Err(CommandError::Refused(Refusal { code: "already_taken", .. })) => Err(taken()),
        settled => Ok(settled.map(drop)?),
    }
}

/// Whether an account of the holder names it, or may be about to.
async fn is_in_use(ctx: &Ctx, holder: Holder, waba_id: &str) -> Answer<bool> {
    let store = ctx.app.store();
    if !is_settled(&holder, store.clock().now()) {
        return Ok(true);
    }
    let mut db = projections::tenant::begin(store.pool(), holder.tenant_id).await?;
    let accounts = documents::list::<IntegrationAccount>(&mut db, holder.tenant_id).await?;
    Ok(accounts.iter().any(|account| account.state.config.text("waba_id") == Some(waba_id)))
}

fn taken() -> Problem {
    let detail = "Another organization has connected this WhatsApp Business Account.";
    let errors = vec![FieldError::new(FIELD, "belongs to another organization")];
    Problem { errors, ..Problem::conflict("already_taken", detail) }
}
