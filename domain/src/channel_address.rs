//! Who on the whole platform holds a channel's address: one WhatsApp number belongs to one account of one tenant.
//!
//! Lives in the platform's tenant; the stream's id follows from channel and key, so that the version check alone
//! makes an address unique.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregate::Aggregate;
use crate::channel::Channel;
use crate::event::{Context, EventBody};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ChannelAddressEvent {
    #[serde(rename = "channel_address.reserved")]
    Reserved { channel: Channel, account_key: String, tenant_id: Uuid, account_id: Uuid },
    #[serde(rename = "channel_address.released")]
    Released,
}

impl EventBody for ChannelAddressEvent {}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelAddress {
    pub channel: Channel,
    pub account_key: String,
    pub holder: Option<Holder>,
}

/// The account that an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub tenant_id: Uuid,
    pub account_id: Uuid,
    pub since: DateTime<Utc>,
}

impl Aggregate for ChannelAddress {
    const STREAM: &'static str = "channel_address";
    type Event = ChannelAddressEvent;

    fn evolve(&mut self, event: &ChannelAddressEvent, context: Context) {
        match event.clone() {
            ChannelAddressEvent::Reserved { channel, account_key, tenant_id, account_id } => {
                let holder = Some(Holder { tenant_id, account_id, since: context.at });
                *self = Self { channel, account_key, holder };
            }
            ChannelAddressEvent::Released => self.holder = None,
        }
    }

    fn exists(&self) -> bool {
        self.holder.is_some()
    }
}
