//! End to end: the real program, a real PostgreSQL, real HTTP.

// A test may panic, and needs no clock or ids that can be repeated.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

mod activity_logs;
mod agents;
mod api_keys;
mod audit;
mod auth;
mod authorization;
mod automation;
mod bench;
mod billing;
mod catalog;
mod chat_expiration;
mod contacts;
mod conversations;
mod csat;
mod demo;
mod divisions;
mod events;
mod integration_accounts;
mod live_stream;
mod long_lists;
mod messages;
mod openapi;
mod operations;
mod outages;
mod outgoing_webhooks;
mod payments;
mod projections;
mod roles;
mod sending;
mod sla;
mod start_up;
mod store;
mod super_admin;
mod tenant_walls;
mod torture;
mod transfers;
mod wa_templates;
mod webhook;
mod working_hours;
