//! Every aggregate by its stream type, for code that meets them all: documents, time travel, the golden corpus.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::aggregate::Aggregate;
use crate::event::{EventBody, Recorded};

/// What can be done with a stream without knowing its Rust type.
pub struct StreamKind {
    pub name: &'static str,
    fold: fn(Option<Value>, &[&Recorded<Value>]) -> Result<Folded, serde_json::Error>,
    rewrite: fn(&str, i16, Value) -> Result<(String, Value), serde_json::Error>,
    schema_version: fn(&str) -> i16,
    schema: fn() -> Schema,
}

/// What some events of a stream make of it.
#[derive(Debug, PartialEq)]
pub struct Folded {
    /// The JSON of the state; nothing once deleted.
    pub state: Option<Value>,
    /// Which of the events was the last that readers see ([`Aggregate::is_seen`]).
    pub last_seen: Option<usize>,
}

/// An event type as it is written today.
pub struct EventSchema {
    pub event_type: String,
    pub schema_version: i16,
    /// JSON schema of the payload, without prose.
    pub payload: Value,
}

impl StreamKind {
    /// What these events make of the state whose JSON is given.
    ///
    /// # Errors
    /// When the state or an event does not decode.
    pub fn fold(
        &self,
        state: Option<Value>,
        events: &[&Recorded<Value>],
    ) -> Result<Folded, serde_json::Error> {
        (self.fold)(state, events)
    }

    /// An event of any version that ever shipped, as it would be written today: its type and payload.
    ///
    /// # Errors
    /// When the event does not decode.
    pub fn rewrite(
        &self,
        event_type: &str,
        version: i16,
        payload: Value,
    ) -> Result<(String, Value), serde_json::Error> {
        (self.rewrite)(event_type, version, payload)
    }

    /// Every event type of the stream, in the order in which the code declares them.
    #[must_use]
    pub fn event_schemas(&self) -> Vec<EventSchema> {
        let schema = (self.schema)();
        let definitions = schema.get("$defs");
        let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
        let described = variants.filter_map(|variant| {
            let event_type = variant.pointer("/properties/type/const")?.as_str()?.to_owned();
            let mut payload =
                variant.pointer("/properties/data").cloned().unwrap_or_else(|| json!({ "type": "object" }));
            if let (Some(definitions), Some(object)) = (definitions, payload.as_object_mut()) {
                object.insert("$defs".to_owned(), definitions.clone());
            }
            Some(EventSchema { schema_version: (self.schema_version)(&event_type), event_type, payload })
        });
        described.collect()
    }
}

const fn stream<A: Aggregate<Event: JsonSchema>>() -> StreamKind {
    StreamKind {
        name: A::STREAM,
        fold: fold_json::<A>,
        rewrite: |event_type, version, payload| Ok(A::Event::decode(event_type, version, &payload)?.encode()),
        schema_version: A::Event::schema_version,
        schema: schema_of::<A::Event>,
    }
}

/// Without titles and descriptions: a better comment is not another schema.
fn schema_of<E: JsonSchema>() -> Schema {
    let wordless = RecursiveTransform(|schema: &mut Schema| {
        schema.remove("title");
        schema.remove("description");
    });
    let settings =
        SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).with_transform(wordless);
    settings.into_generator().into_root_schema_for::<E>()
}

fn fold_json<A: Aggregate>(
    state: Option<Value>,
    events: &[&Recorded<Value>],
) -> Result<Folded, serde_json::Error> {
    let mut state: A = state.map(serde_json::from_value).transpose()?.unwrap_or_default();
    let mut last_seen = None;
    for (index, event) in events.iter().enumerate() {
        let body = A::Event::decode(&event.event_type, event.schema_version, &event.body)?;
        state.evolve(&body, event.context());
        if A::is_seen(&body) {
            last_seen = Some(index);
        }
    }
    let state = state.exists().then(|| serde_json::to_value(&state)).transpose()?;
    Ok(Folded { state, last_seen })
}

pub const STREAMS: &[StreamKind] = &[
    stream::<crate::addon::Addon>(),
    stream::<crate::agent::Agent>(),
    stream::<crate::api_key::ApiKey>(),
    stream::<crate::automation_control::AutomationControl>(),
    stream::<crate::automation_item::AutomationItem>(),
    stream::<crate::automation_rule::AutomationRule>(),
    stream::<crate::channel_address::ChannelAddress>(),
    stream::<crate::chat_expiration_rule::ChatExpirationRule>(),
    stream::<crate::contact::Contact>(),
    stream::<crate::conversation::Conversation>(),
    stream::<crate::coupon::Coupon>(),
    stream::<crate::csat_survey::CsatSurvey>(),
    stream::<crate::division::Division>(),
    stream::<crate::integration_account::IntegrationAccount>(),
    stream::<crate::invoice::Invoice>(),
    stream::<crate::invoice_numbers::InvoiceNumbers>(),
    stream::<crate::message::Message>(),
    stream::<crate::organization::Organization>(),
    stream::<crate::outgoing_webhook::OutgoingWebhook>(),
    stream::<crate::payment_method::PaymentMethod>(),
    stream::<crate::plan::Plan>(),
    stream::<crate::plan_access::PlanAccess>(),
    stream::<crate::role::Role>(),
    stream::<crate::sla_policy::SlaPolicy>(),
    stream::<crate::subscription::Subscription>(),
    stream::<crate::super_admin::SuperAdmin>(),
    stream::<crate::tenant_settings::TenantSettings>(),
    stream::<crate::wa_template::WaTemplate>(),
    stream::<crate::webhook_delivery::WebhookDelivery>(),
];

/// The aggregate of a stream type.
#[must_use]
pub fn find(stream_type: &str) -> Option<&'static StreamKind> {
    STREAMS.iter().find(|kind| kind.name == stream_type)
}
