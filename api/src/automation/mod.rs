//! Automation: a tenant's rules, the switch that pauses them, what they did, and the queue of what sets them off.

mod control;
mod events;
mod exports;
mod lists;
mod rules;
mod runs;
mod stats;
mod tuning;
mod wire;

use crate::App;
use crate::http::{Access, Group, Permission, group};

/// Who may look at rules and write them.
const LEADS: Access = Access::Supervisor(Permission::AutomationManage);

pub fn routes() -> Group<App> {
    let rows =
        rules::routes().into_iter().chain(tuning::routes()).chain(stats::routes()).chain(control::routes());
    group("Automation", rows.chain(runs::routes()).chain(events::routes()).chain(exports::routes()))
}
