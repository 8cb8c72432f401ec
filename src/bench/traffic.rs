//! What goes on in inboxes all day, as commands: a customer writes, an agent answers, and WhatsApp reports what became of
//! the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail};
use commands::delivery::{self, Identity, Report};
use commands::inbound::{self, Incoming, Received};
use commands::message::{self, Outbound};
use commands::organization::{self, Registration};
use commands::store::Origin;
use commands::{Store, ids};
use domain::channel::Channel;
use domain::chat_expiration_rule::ChatExpirationRule;
use domain::contact::Profile;
use domain::conversation::{Author, Conversation};
use domain::event::{Actor, ActorKind, Metadata, PLATFORM_TENANT};
use domain::message::Message;
use domain::message_content::MessageContent;
use uuid::Uuid;

#[derive(Clone)]
pub struct Traffic(Arc<Shared>);

struct Shared {
    store: Store,
    tenants: Vec<Tenant>,
    /// Of each tenant.
    customers: usize,
    exchanges: AtomicUsize,
}

struct Tenant {
    id: Uuid,
    account_id: Uuid,
    agent_id: Uuid,
}

impl Traffic {
    /// Registers the tenants.
    ///
    /// # Errors
    /// Database errors.
    pub async fn new(store: Store, tenants: usize, customers: usize) -> Result<Self> {
        let mut registered = Vec::with_capacity(tenants);
        for number in 0..tenants {
            let (organization_id, agent_id) = (ids::new_id(), ids::new_id());
            let new = Registration {
                organization_id,
                agent_id,
                name: format!("Toko {number}"),
                slug: None,
                country: None,
                limits: None,
                admin_email: format!("bench-{number}@example.com"),
                admin_password: hex::encode(rand::random::<[u8; 16]>()),
            };
            let origin = Origin::new(PLATFORM_TENANT, Metadata::new(Actor::system(), ids::new_id()));
            organization::register(&store, &origin, new).await?;
            registered.push(Tenant { id: organization_id, account_id: ids::new_id(), agent_id });
        }
        Ok(Self(Arc::new(Shared { store, tenants: registered, customers, exchanges: AtomicUsize::new(0) })))
    }

    /// A question, its answer, and the answer sent, delivered and read: five events, and two more the first time that a
    /// customer writes. Exchanges take turns over tenants and customers.
    ///
    /// # Errors
    /// Whatever keeps a command from happening.
    pub async fn exchange(&self) -> Result<()> {
        let Shared { store, tenants, customers, exchanges } = self.0.as_ref();
        let number = exchanges.fetch_add(1, Ordering::Relaxed);
        let tenant = &tenants[number % tenants.len()];
        let customer = number / tenants.len() % customers;
        let conversation_id = tenant.hear(store, customer).await?;
        let message_id = tenant.answer(store, conversation_id).await?;
        tenant.report(store, conversation_id, message_id).await
    }
}

impl Tenant {
    fn origin(&self, kind: ActorKind) -> Origin {
        Origin::new(self.id, Metadata::new(Actor::new(kind, self.agent_id), ids::new_id()))
    }

    /// Answers the conversation.
    async fn hear(&self, store: &Store, customer: usize) -> Result<Uuid> {
        let phone = format!("62811{customer:08}");
        let incoming = Incoming {
            account_id: self.account_id,
            channel: Channel::Whatsapp,
            division_id: None,
            external_id: format!("wamid.bench.in.{}", ids::new_id()),
            sender: Profile {
                phone_number: Some(format!("+{phone}")),
                address: phone,
                name: Some(format!("Customer {customer}")),
                email: None,
            },
            content: MessageContent::Text { text: "Halo, apakah barang ini masih ada?".to_owned() },
            sent_at: store.clock().now(),
            reply_to: None,
            forwarded: false,
            referral: None,
        };
        match inbound::receive(store, self.id, ids::new_id(), &incoming).await? {
            Received::New { conversation_id, .. } => Ok(conversation_id),
            Received::Known { message_id } => bail!("{message_id} was known before it came"),
        }
    }

    /// Answers the message.
    async fn answer(&self, store: &Store, conversation_id: Uuid) -> Result<Uuid> {
        let message_id = ids::new_id();
        let content = MessageContent::Text { text: "Masih ada, Kak. Silakan dipesan.".to_owned() };
        let outbound = Outbound { message_id, content, author: Author::Human, refers_to: None };
        let (rule, now) = (ChatExpirationRule::default(), store.clock().now());
        store
            .execute::<Conversation>(&self.origin(ActorKind::Agent), conversation_id, |state| {
                message::queue(state, &rule, now, &outbound)
            })
            .await?;
        Ok(message_id)
    }

    async fn report(&self, store: &Store, conversation_id: Uuid, message_id: Uuid) -> Result<()> {
        let external_id = format!("wamid.bench.out.{message_id}");
        let identity =
            Identity { message_id, conversation_id, account_id: self.account_id, external_id: &external_id };
        let at = store.clock().now();
        for report in [Report::Sent, Report::Delivered { at, pricing: None }, Report::Read { at }] {
            store
                .execute::<Message>(&self.origin(ActorKind::System), message_id, |state| {
                    Ok(delivery::report(state, identity, report.clone()))
                })
                .await?;
        }
        Ok(())
    }
}
