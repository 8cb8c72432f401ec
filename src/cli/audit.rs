//! `omnistream audit`: proof that nobody touched history.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use commands::Store;
use commands::audit::{self, Report, Scope};
use projections::shadow::heads;
use serde_json::json;
use uuid::Uuid;

use super::{events, progress};
use crate::server::System;
use crate::settings::Settings;

#[derive(Subcommand)]
pub enum Audit {
    /// Verify every event's hashes, and that none is missing; ends with 1 if anything is not as it was written
    Verify {
        /// Only this tenant's events; whether positions are missing shows in the whole log only
        #[arg(long)]
        tenant: Option<Uuid>,
        #[arg(long)]
        json: bool,
    },
}

/// # Errors
/// When the database can't be had, or there is no such tenant.
pub async fn run(settings: &Settings, command: Audit) -> Result<ExitCode> {
    let Audit::Verify { tenant, json } = command;
    let system = System::open(settings).await?;
    let verified = verify(&system.store, tenant).await;
    system.database.close().await;
    let (report, cut_off) = verified?;
    let ok = report.ok() && cut_off.is_empty();
    if json {
        let cut_off: Vec<_> =
            cut_off.iter().map(|(log, from, to)| json!({ "log_id": log, "from": from, "to": to })).collect();
        let report = json!({ "ok": ok, "report": report, "cut_off": cut_off });
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report, &cut_off, ok);
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A log whose last positions are gone, as read models remember: log, first, last.
type CutOff = (i16, i64, i64);

async fn verify(store: &Store, tenant: Option<Uuid>) -> Result<(Report, Vec<CutOff>)> {
    let only = match tenant {
        Some(tenant) => Some(events::log_of(store, tenant).await?),
        None => None,
    };
    let logs: Vec<(i16, i64)> = store.logs().iter().copied().zip(heads(store).await?).collect();
    let (mut whole, mut cut_off) = (Report { complete: true, ..Report::default() }, Vec::new());
    for (log_id, head) in logs.into_iter().filter(|(log_id, _)| only.is_none_or(|only| only == *log_id)) {
        let mut db = store.pool().acquire().await?;
        let scope = Scope { log_id, tenant_id: tenant, from: 1, to: head, limit: i64::MAX };
        let bar = progress::bar(&format!("Log {log_id}"), head);
        let report = audit::verify(&mut db, scope, |position| progress::show(&bar, position, head)).await?;
        bar.finish_and_clear();
        whole.absorb(report);
        if tenant.is_none()
            && let Some((from, to)) = audit::missing_end(&mut db, log_id).await?
        {
            cut_off.push((log_id, from, to));
        }
    }
    Ok((whole, cut_off))
}

fn print(report: &Report, cut_off: &[CutOff], ok: bool) {
    for found in &report.violations {
        println!(
            "event {} (log {}, position {}, {}/{} version {}): {}",
            found.event_id,
            found.log_id,
            found.position,
            found.stream_type,
            found.stream_id,
            found.version,
            found.detail
        );
    }
    for (log_id, from, to) in cut_off {
        println!("log {log_id}: positions {from} to {to} were read by read models and are gone");
    }
    let hidden = report.violations_found - i64::try_from(report.violations.len()).unwrap_or(0);
    if hidden > 0 {
        println!("… and {hidden} more");
    }
    let verdict = if ok { "All as written" } else { "NOT as written" };
    println!("{verdict}: {} events of {} streams checked.", report.events_checked, report.streams_checked);
}
