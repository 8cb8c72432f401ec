//! Who works on the items of one log in this process: so many at once, with the next few at hand.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use commands::CommandError;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use uuid::Uuid;

use super::queue::{Claimed, Queue};
use super::{Engine, POLL};

/// Items worked on at once: most of the time they wait, for a commit or for somebody else's server.
const CONCURRENCY: usize = 32;
/// Items claimed ahead, so that not every one that is finished asks the database for the next.
const AT_HAND: usize = 8;
/// How long a finished item stays claimed until the read model knows that it is finished.
const SETTLE: Duration = Duration::from_secs(2);
/// The shortest rest, so that an item about to be due does not make the loop spin.
const SHORTEST_REST: Duration = Duration::from_millis(2);

/// A finished item, still claimed: the read model must know first, or it would be claimed as still due.
struct Settling {
    item_id: Uuid,
    /// What was written about it ends here.
    position: i64,
    since: Instant,
}

pub(super) struct Crew {
    engine: Engine,
    queue: Queue,
    at_hand: VecDeque<Claimed>,
    /// Each ends with the last position that it wrote.
    running: JoinSet<Result<i64, CommandError>>,
    items: HashMap<Id, Uuid>,
    settling: Vec<Settling>,
    renewed: Instant,
    /// Something may be due that is not claimed yet.
    more: bool,
}

impl Crew {
    pub fn new(engine: Engine, log_id: i16) -> Self {
        let queue = Queue { store: engine.store.clone(), log_id, owner: commands::ids::new_id() };
        Self {
            engine,
            queue,
            at_hand: VecDeque::new(),
            running: JoinSet::new(),
            items: HashMap::new(),
            settling: Vec::new(),
            renewed: Instant::now(),
            more: false,
        }
    }

    /// Claims and starts what is due as far as there is room; answers how long to rest. `seen` is how far the read model
    /// is; it is asked only if that or the time may have made something due (`look`).
    pub async fn turn(&mut self, seen: i64, look: bool) -> Result<Duration, CommandError> {
        self.renew().await?;
        self.start();
        self.more |= look;
        let wanted = (CONCURRENCY + AT_HAND).saturating_sub(self.running.len() + self.at_hand.len());
        if !self.more || wanted < AT_HAND / 2 {
            return Ok(POLL);
        }
        let finished = self.settled(seen);
        let claimed = self.queue.claim(wanted, &finished).await;
        self.settling.retain(|settling| claimed.is_err() || !finished.contains(&settling.item_id));
        let claimed = claimed?;
        self.more = claimed.len() == wanted || !finished.is_empty();
        let idle = claimed.is_empty();
        self.at_hand.extend(claimed);
        self.start();
        if self.more {
            return Ok(SHORTEST_REST);
        }
        let next = if idle { self.queue.next_due().await? } else { None };
        Ok(next.map_or(POLL, |wait| wait.clamp(SHORTEST_REST, POLL)))
    }

    /// Waits until an item is finished, for ever if none is being worked on; takes all that are.
    pub async fn finished(&mut self) {
        match self.running.join_next_with_id().await {
            Some(ended) => self.note(ended).await,
            None => std::future::pending().await,
        }
        while let Some(ended) = self.running.try_join_next_with_id() {
            self.note(ended).await;
        }
    }

    /// Finishes what has begun and gives everything back.
    pub async fn disband(mut self) {
        self.at_hand.clear();
        while !self.running.is_empty() {
            let _ = tokio::time::timeout(POLL, self.finished()).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(log_id = self.queue.log_id, %error, "claims on automation items were not renewed");
            }
        }
        if let Err(error) = self.queue.leave().await {
            tracing::debug!(%error, "claims were not given back; they will expire");
        }
    }

    fn start(&mut self) {
        while self.running.len() < CONCURRENCY {
            let Some(Claimed { tenant_id, item_id }) = self.at_hand.pop_front() else { return };
            let engine = self.engine.clone();
            let task = self.running.spawn(async move { engine.work(tenant_id, item_id).await });
            self.items.insert(task.id(), item_id);
        }
    }

    async fn note(&mut self, ended: Result<(Id, Result<i64, CommandError>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(panicked) => (panicked.id(), Err(CommandError::failed(panicked))),
        };
        let Some(item_id) = self.items.remove(&id) else { return };
        match outcome {
            Ok(position) => self.settling.push(Settling { item_id, position, since: Instant::now() }),
            Err(error) => {
                tracing::error!(%item_id, %error, "an automation item could not be worked on; it stays due");
                if let Err(error) = self.queue.put_off(item_id).await {
                    tracing::warn!(%item_id, %error, "an automation item could not be put off; its claim will expire");
                }
            }
        }
    }

    /// Finished items whose end the read model knows, or should know by now.
    fn settled(&self, seen: i64) -> Vec<Uuid> {
        let known = |settling: &&Settling| settling.position <= seen || settling.since.elapsed() > SETTLE;
        self.settling.iter().filter(known).map(|settling| settling.item_id).collect()
    }

    async fn renew(&mut self) -> Result<(), CommandError> {
        if self.renewed.elapsed() < POLL {
            return Ok(());
        }
        self.renewed = Instant::now();
        let at_hand = self.at_hand.iter().map(|claimed| claimed.item_id);
        let settling = self.settling.iter().map(|settling| settling.item_id);
        let held: Vec<Uuid> = self.items.values().copied().chain(at_hand).chain(settling).collect();
        if !held.is_empty() {
            self.queue.renew(&held).await?;
        }
        Ok(())
    }
}
