//! `omnistream demo`: a whole installation with customers who write and agents who answer.
//!
//! Everything goes through the public webhook and API, as real traffic does. What a demo cannot have is a real WhatsApp
//! number, so the other end of the line is played by [`counterpart`]. Playing it again changes nothing, also when the
//! first time was cut off: messages have fixed ids, and whatever is done once is looked for before.

mod client;
mod counterpart;
mod player;
mod shop;
mod story;

use std::net::SocketAddr;

use anyhow::Result;

pub use counterpart::Counterpart;

use crate::settings::Settings;

pub const EMAIL: &str = "demo@example.com";
pub const PASSWORD: &str = "demo-password";
const APP_SECRET: &str = "demo-app-secret";
const VERIFY_TOKEN: &str = "demo-verify-token";
const PHONE_NUMBER_ID: &str = "100200300400500";
const WABA_ID: &str = "200300400500600";

/// Points the settings at the demo's own end of the line.
///
/// # Errors
/// When the counterpart can't listen.
pub async fn prepare(settings: &mut Settings) -> Result<Counterpart> {
    let counterpart = Counterpart::start().await?;
    settings.meta.meta_api_url = counterpart.url();
    Ok(counterpart)
}

/// Plays the story against the running server, then tells how to go on from there.
pub async fn play(listen: SocketAddr, counterpart: Counterpart) {
    let base = format!("http://{listen}");
    eprintln!("Playing the demo: customers write, agents answer, rules act, a promise breaks.");
    match player::Player::play(&base, counterpart).await {
        Ok(told) => println!("{}", how_to_go_on(&base, &told)),
        Err(error) => eprintln!("The demo stopped: {error:#}. The server goes on."),
    }
}

/// What to look at, as lines for a shell.
fn how_to_go_on(base: &str, told: &player::Told) -> String {
    let player::Told { conversations, messages, live_chat, failed_run, failed_item, skipped_run } = told;
    format!(
        r#"The demo has played: {conversations} conversations, {messages} messages.

Sign in as {EMAIL} with the password {PASSWORD}. Or paste these:

  TOKEN=$(curl -s {base}/api/auth/login -H 'Content-Type: application/json' -d '{{"email":"{EMAIL}","password":"{PASSWORD}"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -s {base}/api/conversations -H "Authorization: Bearer $TOKEN"
  curl -s "{base}/api/events?limit=5" -H "Authorization: Bearer $TOKEN"

One customer waited too long, and the rule for that could do only a part of what it should:

  curl -s {base}/api/sla-policies/{live_chat}/breaches -H "Authorization: Bearer $TOKEN"
  curl -s {base}/api/automation-runs/{failed_run} -H "Authorization: Bearer $TOKEN"
  omnistream automation run {failed_run}
  omnistream automation replay {failed_item} --at now

Another rule slept when it could have acted; `run` tells which ones were looked at, and why they did not:

  omnistream automation run {skipped_run}

The API is described at {base}/docs. Stop with Ctrl-C."#
    )
}
