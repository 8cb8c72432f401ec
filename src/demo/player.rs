//! Plays the story over HTTP, once however often it is started: what a turn leads to is looked for before it is done.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use commands::clock::Clock;
use serde_json::{Value, json};

use super::PHONE_NUMBER_ID;
use super::client::{Client, id_of};
use super::counterpart::Counterpart;
use super::shop::Shop;
use super::story::{self, CUSTOMERS, Customer, Turn};

/// How long something that happens without an answer may take, such as a message being sent.
const PATIENCE: Duration = Duration::from_secs(30);
const GLANCE: Duration = Duration::from_millis(50);

#[derive(Clone)]
pub struct Player {
    anyone: Client,
    shop: Shop,
    clock: Clock,
}

/// What there is after the story.
pub struct Told {
    pub conversations: usize,
    pub messages: usize,
    /// Breaches of this policy can be looked at.
    pub live_chat: String,
    /// The run whose last action but one failed.
    pub failed_run: String,
    /// The item of the queue that this run belongs to.
    pub failed_item: String,
    /// The run of a rule that a gate kept from acting.
    pub skipped_run: String,
}

impl Player {
    /// Sets the shop up and tells the whole story.
    ///
    /// # Errors
    /// When the server refuses something, or something that must happen by itself does not.
    pub async fn play(base: &str, counterpart: Counterpart) -> Result<Told> {
        let anyone = Client::new(base);
        let player = Self { shop: Shop::furnish(&anyone).await?, anyone, clock: Clock::default() };
        tokio::spawn(player.clone().report_arrivals(counterpart));
        let mut messages = 0;
        for customer in CUSTOMERS {
            for (index, turn) in customer.turns.iter().enumerate() {
                player.take(customer, index, turn).await?;
            }
            messages += player.messages(&player.conversation(customer).await?).await?.len();
        }
        let failed = player.run_of(&player.shop.escalate).await?;
        let skipped = player.run_of(&player.shop.promote).await?;
        Ok(Told {
            conversations: CUSTOMERS.len(),
            messages,
            live_chat: player.shop.live_chat.clone(),
            failed_item: failed["event_id"].as_str().unwrap_or_default().to_owned(),
            failed_run: id_of(&failed)?,
            skipped_run: id_of(&skipped)?,
        })
    }

    async fn take(&self, customer: &Customer, index: usize, turn: &Turn) -> Result<()> {
        let external_id = format!("wamid.demo-{}-{index}", customer.phone);
        match turn {
            Turn::Says(_) | Turn::Shows(_) | Turn::At(..) => match story::message(&external_id, turn) {
                Some(message) => self.write_in(customer, &external_id, message).await,
                None => Ok(()),
            },
            Turn::AgentSays(text) => self.answer(customer, text).await,
            Turn::Tagged(tags) => {
                let conversations = [self.conversation(customer).await?];
                let add = json!({ "conversation_ids": conversations, "action": "add_tags", "tags": tags });
                self.shop.admin.post("/api/conversations/bulk", &add).await.map(|_| ())
            }
            Turn::HandedOn(note) => self.hand_on(customer, note).await,
            Turn::Resolved => {
                let path = format!("/api/conversations/{}/status", self.conversation(customer).await?);
                self.shop.admin.patch(&path, &json!({ "status": "resolved" })).await.map(|_| ())
            }
            Turn::Asked => self.ask(customer).await,
            Turn::Rates(rating) => self.rate(customer, &external_id, *rating).await,
        }
    }

    /// The customer's message arrives, and shows in the inbox.
    async fn write_in(&self, customer: &Customer, external_id: &str, message: Value) -> Result<()> {
        let now = self.clock.now().timestamp();
        let body = story::webhook(PHONE_NUMBER_ID, customer, external_id, now, message);
        self.anyone.webhook(&body).await?;
        self.until_message(customer, |message| message["external_id"] == external_id).await
    }

    /// Whoever has the conversation answers, and the customer has read it. An answer that a crash cut off in the middle
    /// of its sending has failed, and stays so.
    async fn answer(&self, customer: &Customer, text: &str) -> Result<()> {
        let conversation = self.conversation(customer).await?;
        let is_this = |message: &Value| message["content"]["text"] == text;
        match self.messages(&conversation).await?.iter().find(|message| is_this(message)) {
            // It reached the phone before, and the news of that got lost.
            Some(known) if known["status"] == "sent" || known["status"] == "delivered" => {
                self.report(known["external_id"].as_str().unwrap_or_default(), customer.phone).await?;
            }
            Some(_) => {}
            None => {
                let path = format!("/api/conversations/{conversation}/messages");
                let message = json!({ "type": "text", "content": { "text": text } });
                self.holder(customer, &conversation).await?.post(&path, &message).await?;
            }
        }
        self.until_message(customer, |m| is_this(m) && (m["status"] == "read" || m["status"] == "failed"))
            .await
    }

    /// Waits until somebody has been given the conversation.
    async fn holder(&self, customer: &Customer, conversation: &str) -> Result<Client> {
        let path = format!("/api/conversations/{conversation}");
        self.until(&format!("{} is not served", customer.name), || async {
            let shown = self.shop.admin.get(&path).await?;
            Ok(self.shop.agent(&shown["assigned_agent_id"]).cloned())
        })
        .await
    }

    /// Whoever has the conversation hands it on to the support division.
    async fn hand_on(&self, customer: &Customer, note: &str) -> Result<()> {
        let conversation = self.conversation(customer).await?;
        let path = format!("/api/conversations/{conversation}/transfers");
        if self.shop.admin.get(&path).await?.as_array().is_some_and(|made| !made.is_empty()) {
            return Ok(());
        }
        let path = format!("/api/conversations/{conversation}/transfer");
        let transfer = json!({ "to_division_id": self.shop.support, "note": note });
        self.holder(customer, &conversation).await?.post(&path, &transfer).await.map(|_| ())
    }

    async fn ask(&self, customer: &Customer) -> Result<()> {
        let path = format!("/api/conversations/{}/csat", self.conversation(customer).await?);
        if self.shop.admin.find(&path).await?.is_none() {
            self.shop.admin.post(&path, &json!({})).await?;
        }
        Ok(())
    }

    /// The customer taps on a row of the list that came with the question.
    async fn rate(&self, customer: &Customer, external_id: &str, rating: u8) -> Result<()> {
        let conversation = self.conversation(customer).await?;
        let path = format!("/api/conversations/{conversation}/csat");
        let survey = self.shop.admin.get(&path).await?;
        if survey["status"] != "pending" {
            return Ok(());
        }
        let messages = self.messages(&conversation).await?;
        let question = messages.iter().find(|message| message["type"] == "interactive");
        // Too late to be asked in the chat: a play that is taken up a day after it was cut off.
        let Some(question) = question else { return Ok(()) };
        let rows = &question["content"]["action"]["sections"][0]["rows"];
        let begins = |row: &&Value| row["title"].as_str().is_some_and(|t| t.starts_with(&rating.to_string()));
        let row = rows.as_array().into_iter().flatten().find(begins).context("no such row in the list")?;
        self.write_in(customer, external_id, story::choice(row)).await?;
        self.until("the rating got lost", || async {
            let survey = self.shop.admin.get(&path).await?;
            Ok((survey["status"] == "rated").then_some(()))
        })
        .await
    }

    /// Waits for a rule's first run.
    async fn run_of(&self, rule_id: &str) -> Result<Value> {
        let path = format!("/api/automation-runs/by-rule/{rule_id}?sort_order=asc&per_page=1");
        self.until("a rule did not run", || async {
            let page = self.shop.admin.get(&path).await?;
            Ok(page["runs"].as_array().and_then(|runs| runs.first()).cloned())
        })
        .await
    }

    /// Whatever arrives at a customer's phone is delivered, and read.
    async fn report_arrivals(self, mut counterpart: Counterpart) {
        while let Some(arrived) = counterpart.arrivals.recv().await {
            if let Err(error) = self.report(&arrived.external_id, &arrived.recipient).await {
                tracing::warn!(%error, "a delivery status of the demo was not taken");
            }
        }
    }

    async fn report(&self, external_id: &str, recipient: &str) -> Result<()> {
        for status in ["delivered", "read"] {
            let now = self.clock.now().timestamp();
            let body = story::status(PHONE_NUMBER_ID, external_id, recipient, status, now);
            self.anyone.webhook(&body).await?;
        }
        Ok(())
    }

    async fn conversation(&self, customer: &Customer) -> Result<String> {
        let found = self.find_conversation(customer).await?;
        found.with_context(|| format!("{} has no conversation", customer.name))
    }

    async fn find_conversation(&self, customer: &Customer) -> Result<Option<String>> {
        let path = format!("/api/conversations?search={}", customer.phone);
        let page = self.shop.admin.get(&path).await?;
        Ok(page["conversations"][0]["id"].as_str().map(str::to_owned))
    }

    async fn messages(&self, conversation: &str) -> Result<Vec<Value>> {
        let path = format!("/api/conversations/{conversation}/messages?limit=100");
        let page = self.shop.admin.get(&path).await?;
        Ok(page["messages"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until the customer's conversation holds such a message.
    async fn until_message(&self, customer: &Customer, holds: impl Fn(&Value) -> bool) -> Result<()> {
        self.until(&format!("a message of {} got lost", customer.name), || async {
            let Some(conversation) = self.find_conversation(customer).await? else { return Ok(None) };
            Ok(self.messages(&conversation).await?.iter().any(&holds).then_some(()))
        })
        .await
    }

    /// Waits for what happens without an answer.
    async fn until<T, F>(&self, otherwise: &str, check: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<Option<T>>>,
    {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = check().await? {
                return Ok(found);
            }
            ensure!(tokio::time::Instant::now() < deadline, "{otherwise}");
            tokio::time::sleep(GLANCE).await;
        }
    }
}
