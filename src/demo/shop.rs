//! The shop as it is before its first customer writes: who works there and when, what it promises, and what it lets
//! rules do. What is there already, by its name, stays as it is.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::{Client, id_of};
use super::{APP_SECRET, EMAIL, PASSWORD, PHONE_NUMBER_ID, VERIFY_TOKEN, WABA_ID};

pub const SALES: &str = "Sales";
pub const SUPPORT: &str = "Support";

/// Who works where.
const STAFF: [(&str, &str, &str); 3] = [
    ("Sari Dewi", "sari@demo.example.com", SALES),
    ("Budi Santoso", "budi@demo.example.com", SALES),
    ("Rina Putri", "rina@demo.example.com", SUPPORT),
];
/// The supervisor to whom broken promises are escalated, and who has left since.
const FORMER: (&str, &str) = ("Dewi Lestari", "dewi@demo.example.com");
/// Short, so that a promise can be broken while one looks on.
const LIVE_CHAT_SECS: i64 = 3;
const DAY_SECS: i64 = 86_400;
/// Until when a rule sleeps that shall never wake up in a demo.
const SNOOZED_UNTIL: &str = "2999-01-01T00:00:00Z";

/// What the story needs to know of the shop.
#[derive(Clone)]
pub struct Shop {
    pub admin: Client,
    /// Everyone who answers customers, by id.
    staff: Vec<(String, Client)>,
    pub support: String,
    /// The policy whose promise is broken.
    pub live_chat: String,
    /// Would act on every new conversation, and sleeps.
    pub promote: String,
    /// Acts on broken promises, as far as it can.
    pub escalate: String,
}

impl Shop {
    /// # Errors
    /// When the server refuses something.
    pub async fn furnish(anyone: &Client) -> Result<Self> {
        let admin = sign_in(anyone).await?;
        let (sales, support) =
            (division(&admin, SALES, "round_robin").await?, division(&admin, SUPPORT, "least_busy").await?);
        let mut staff = Vec::new();
        for (name, email, team) in STAFF {
            let division = if team == SALES { &sales } else { &support };
            staff.push(employ(&admin, name, email, division).await?);
        }
        open_hours(&admin, &sales).await?;
        connect_number(&admin, &sales).await?;
        let live_chat = promise(&admin, &sales).await?;
        named(&admin, "/api/automation-rules", greeting()).await?;
        named(&admin, "/api/automation-rules", instagram_only()).await?;
        let promote = promotion(&admin).await?;
        let escalate = escalation(&admin).await?;
        Ok(Self { admin, staff, support, live_chat, promote, escalate })
    }

    /// Whoever has a conversation, signed in.
    pub fn agent(&self, id: &Value) -> Option<&Client> {
        self.staff.iter().find(|(agent, _)| id == agent).map(|(_, client)| client)
    }
}

/// Registers the demo tenant unless it exists.
async fn sign_in(anyone: &Client) -> Result<Client> {
    if let Some(admin) = anyone.sign_in(EMAIL, PASSWORD).await? {
        return Ok(admin);
    }
    let new = json!({ "org_name": "Toko Maju", "admin_email": EMAIL, "admin_password": PASSWORD });
    anyone.with_token_of(&anyone.post("/api/auth/register", &new).await?)
}

/// The one of a list that has this name; made if there is none.
async fn named(admin: &Client, path: &str, new: Value) -> Result<String> {
    let listed = admin.get(path).await?;
    let known = listed.as_array().into_iter().flatten().find(|one| one["name"] == new["name"]);
    match known {
        Some(known) => id_of(known),
        None => id_of(&admin.post(path, &new).await?),
    }
}

async fn division(admin: &Client, name: &str, allocation_method: &str) -> Result<String> {
    named(admin, "/api/divisions", json!({ "name": name, "allocation_method": allocation_method })).await
}

async fn agent_by(admin: &Client, email: &str) -> Result<Option<String>> {
    let agents = admin.get("/api/agents").await?;
    let known = agents.as_array().into_iter().flatten().find(|agent| agent["email"] == email);
    known.map(id_of).transpose()
}

async fn agent(admin: &Client, name: &str, email: &str, role: &str) -> Result<String> {
    if let Some(known) = agent_by(admin, email).await? {
        return Ok(known);
    }
    let new = json!({ "full_name": name, "email": email, "password": PASSWORD, "role": role });
    id_of(&admin.post("/api/agents", &new).await?)
}

/// Somebody of a division, signed in and online.
async fn employ(admin: &Client, name: &str, email: &str, division: &str) -> Result<(String, Client)> {
    let id = agent(admin, name, email, "agent").await?;
    admin.post(&format!("/api/divisions/{division}/agents"), &json!({ "agent_ids": [id] })).await?;
    // Who has changed the password in the meantime is not signed in; then the admin answers.
    let client = admin.sign_in(email, PASSWORD).await?.unwrap_or_else(|| admin.clone());
    admin.patch(&format!("/api/agents/{id}/status"), &json!({ "is_online": true })).await?;
    Ok((id, client))
}

/// The office is open from Monday to Saturday, the web shop's sales desk always.
async fn open_hours(admin: &Client, sales: &str) -> Result<()> {
    let week = |days: std::ops::Range<u8>, start: &str, end: &str| {
        let window =
            |day| json!({ "day_of_week": day, "start_time": start, "end_time": end, "is_active": true });
        json!({ "schedule": days.map(window).collect::<Vec<_>>() })
    };
    admin.put("/api/working-hours", &week(1..7, "09:00", "18:00")).await?;
    admin.put(&format!("/api/divisions/{sales}/working-hours"), &week(0..7, "00:00", "24:00")).await?;
    Ok(())
}

/// Who writes to the number comes to the sales desk first.
async fn connect_number(admin: &Client, sales: &str) -> Result<()> {
    let accounts = admin.get("/api/integration-accounts?channel=whatsapp").await?;
    if let Some(known) = accounts.as_array().and_then(|accounts| accounts.first()) {
        if known["division_id"].is_null() {
            let path = format!("/api/integration-accounts/{}", id_of(known)?);
            admin.patch(&path, &json!({ "division_id": sales })).await?;
        }
        return Ok(());
    }
    let account = json!({
        "channel": "whatsapp",
        "display_name": "Toko Maju",
        "division_id": sales,
        "config": {
            "phone_number_id": PHONE_NUMBER_ID,
            "waba_id": WABA_ID,
            "access_token": "demo-access-token",
            "app_secret": APP_SECRET,
            "verify_token": VERIFY_TOKEN,
        },
    });
    admin.post("/api/integration-accounts", &account).await.map(|_| ())
}

/// An ordinary promise for everybody, and one for the sales desk that is easily broken.
async fn promise(admin: &Client, sales: &str) -> Result<String> {
    let standard = json!({
        "name": "Standard", "is_default": true, "first_response_time_secs": 900, "resolution_time_secs": DAY_SECS,
    });
    named(admin, "/api/sla-policies", standard).await?;
    let live_chat = json!({
        "name": "Live chat", "description": "Seconds instead of minutes, so that the demo can show a breach.",
        "channel": "whatsapp", "division_id": sales, "first_response_time_secs": LIVE_CHAT_SECS,
        "resolution_time_secs": DAY_SECS,
    });
    named(admin, "/api/sla-policies", live_chat).await
}

fn greeting() -> Value {
    json!({
        "name": "Greet new customers",
        "trigger_type": "conversation_created",
        "priority": 10,
        "actions": [
            { "type": "send_message", "content": {
                "text": "Halo {{contact.name}}, terima kasih sudah menghubungi Toko Maju. Kami segera membalas."
            } },
            { "type": "add_tags", "tags": ["new"] },
        ],
    })
}

/// Never matches here: its conditions say why.
fn instagram_only() -> Value {
    json!({
        "name": "Welcome from Instagram",
        "trigger_type": "conversation_created",
        "conditions": { "channel_in": ["instagram"] },
        "actions": [{ "type": "add_tags", "tags": ["instagram"] }],
    })
}

/// Would act on every new conversation, if it were not asleep.
async fn promotion(admin: &Client) -> Result<String> {
    let new = json!({
        "name": "Payday promotion",
        "trigger_type": "conversation_created",
        "actions": [{ "type": "send_message", "content": { "text": "Diskon 20% sampai hari Minggu!" } }],
    });
    let id = named(admin, "/api/automation-rules", new).await?;
    let path = format!("/api/automation-rules/{id}");
    if admin.get(&path).await?["snoozed_until"].is_null() {
        admin.post(&format!("{path}/snooze"), &json!({ "snoozed_until": SNOOZED_UNTIL })).await?;
    }
    Ok(id)
}

/// Tags what was promised in vain and gives it to a supervisor, who has left since: that action fails.
async fn escalation(admin: &Client) -> Result<String> {
    const NAME: &str = "Escalate broken promises";
    let path = "/api/automation-rules?trigger_type=sla_breached";
    let rules = admin.get(path).await?;
    let known = rules.as_array().into_iter().flatten().find(|rule| rule["name"] == NAME);
    let id = match known {
        Some(known) => id_of(known)?,
        None => {
            let (name, email) = FORMER;
            let supervisor = agent(admin, name, email, "supervisor").await?;
            let rule = json!({
                "name": NAME,
                "trigger_type": "sla_breached",
                "actions": [
                    { "type": "add_tags", "tags": ["late"] },
                    { "type": "assign_agent", "agent_id": supervisor },
                    { "type": "add_note", "content": "{{sla.policy_name}}: {{sla.breach_type}} was missed." },
                ],
            });
            id_of(&admin.post("/api/automation-rules", &rule).await?)?
        }
    };
    if let Some(former) = agent_by(admin, FORMER.1).await? {
        admin.delete(&format!("/api/agents/{former}")).await?;
    }
    Ok(id)
}
