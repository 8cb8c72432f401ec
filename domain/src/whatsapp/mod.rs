//! The WhatsApp Cloud API as bytes and values: what Meta's webhooks say, what the Graph API wants to hear, and what
//! its errors mean to an agent. Nothing here calls anything.
//!
//! - [`inbound`]: a webhook body → changes → messages, delivery statuses, template verdicts.
//! - [`outbound`]: a [`MessageContent`](crate::message_content::MessageContent) → the body of
//!   `POST /{phone_number_id}/messages`, and the answer to it.
//! - [`template`]: which values an approved template asks for, and how they are passed.
//! - [`template_list`]: the templates of a business account, as Meta lists them.
//! - [`errors`]: Meta's error codes in plain English, and whether another attempt can help.

pub mod errors;
pub mod inbound;
pub mod outbound;
pub mod template;
pub mod template_list;

mod error_codes;
mod repair;
#[cfg(test)]
mod tests;

pub use errors::{ProviderError, Retry, SendFailure};
pub use inbound::{
    Change, DeliveryStatus, Echo, InboundMessage, Item, NotAWebhook, Pricing, StatusUpdate, TemplateChange,
    TemplateUpdate, interpret, parse,
};
pub use outbound::{NotSendable, OutgoingMessage, parse_send_response, read_receipt_body};
pub use template::TemplateRef;
