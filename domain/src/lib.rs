//! What OmniStream knows about its business: facts (events), what follows from them (state), and pure rules.
//!
//! Nothing here reads a clock, a database or the network; time and ids come as arguments. One file per aggregate
//! holds its events, its state and `evolve`.

pub mod addon;
pub mod agent;
pub mod aggregate;
pub mod allocation;
pub mod api_key;
pub mod automation;
pub mod automation_control;
pub mod automation_item;
pub mod automation_rule;
pub mod billing;
pub mod canonical;
pub mod channel;
pub mod channel_address;
pub mod chat_expiration_rule;
pub mod contact;
pub mod conversation;
pub mod coupon;
pub mod csat_survey;
pub mod cursor;
pub mod division;
pub mod event;
pub mod integration_account;
pub mod invoice;
pub mod invoice_numbers;
pub mod message;
pub mod message_content;
pub mod money;
pub mod object_id;
pub mod organization;
pub mod outgoing_webhook;
pub mod payment_method;
pub mod personal;
pub mod plan;
pub mod plan_access;
pub mod refusal;
pub mod registry;
pub mod role;
pub mod session;
pub mod sla;
pub mod sla_policy;
pub mod subscription;
pub mod super_admin;
pub mod tag;
mod tagged;
pub mod tenant_settings;
pub mod upcast;
pub mod wa_template;
pub mod webhook_delivery;
pub mod whatsapp;
pub mod working_hours;
