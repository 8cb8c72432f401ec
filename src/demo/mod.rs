//! `omnistream demo`: a whole installation with customers who write and agents who answer.
//!
//! Everything goes through the public webhook and API, as real traffic does. What a demo cannot have is a real WhatsApp
//! number, so the other end of the line is played by [`counterpart`]. Playing it again changes nothing: messages have
//! fixed ids, and answers are given once.

mod counterpart;
mod player;
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
    eprintln!("Playing the demo: customers write, agents answer.");
    match player::Player::new(&base).play(counterpart).await {
        Ok(told) => {
            println!(
                "The demo has played: {} conversations, {} messages.",
                told.conversations, told.messages
            );
            println!("\nSign in as {EMAIL} with the password {PASSWORD}. Or paste these:\n");
            println!("{}", how_to_go_on(&base));
        }
        Err(error) => eprintln!("The demo stopped: {error:#}. The server goes on."),
    }
}

/// Three lines for a shell.
fn how_to_go_on(base: &str) -> String {
    format!(
        r#"  TOKEN=$(curl -s {base}/api/auth/login -H 'Content-Type: application/json' -d '{{"email":"{EMAIL}","password":"{PASSWORD}"}}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
  curl -s {base}/api/conversations -H "Authorization: Bearer $TOKEN"
  curl -s "{base}/api/events?limit=5" -H "Authorization: Bearer $TOKEN"

The API is described at {base}/docs. Stop with Ctrl-C."#
    )
}
