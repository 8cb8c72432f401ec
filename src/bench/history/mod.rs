//! Invented history: months of a shop's conversations, as the product would have written them.
//!
//! Every event is what a decision of the product says (`commands::inbound::decide`, `commands::message::queue`, …) about a
//! state that is kept as it keeps it, so there is no second idea here of what a stream looks like. What is invented is
//! who writes when: see [`talk`]. The same seed makes the same history, but for keys, seals and event ids, which are
//! random in the product too.
//!
//! Each log has a task that invents and encodes, and one that writes, so that the two work at the same time.

mod shop;
mod talk;
mod words;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use commands::Store;
use commands::store::import::{PAGE_EVENTS, Page, Recorder, Writer};
use commands::vault::Vault;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::progress;
use shop::Desk;
pub use shop::{Shop, tenant_of_each_log};
use talk::{Scene, Talk};
pub use words::{FREQUENT_TAG, FREQUENT_WORD, order_number, phone_number};

/// Pages that may wait to be written, in each log: one is written while the next ones are made.
const AHEAD: usize = 2;
const TELL_EVERY: u64 = 1_000_000;

/// How it is written.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    pub seed: u64,
    /// Whether the pages are answered, to be written once more by other means.
    pub keep_pages: bool,
}

/// What has been imported.
#[derive(Default)]
pub struct Imported {
    pub events: u64,
    pub took: Duration,
    /// Of each log, in order.
    pub pages: Vec<Vec<Page>>,
}

/// Invents the history of these shops and writes it into their logs, past the process managers.
///
/// # Errors
/// When a log holds something later already, or a page can't be written.
pub async fn import(
    store: &Store,
    managers: &[&'static str],
    shops: &[Shop],
    manner: Manner,
) -> Result<Imported> {
    let mut by_log: BTreeMap<i16, Vec<Shop>> = BTreeMap::new();
    for shop in shops {
        by_log.entry(store.log_of(shop.tenant_id).await?).or_default().push(shop.clone());
    }
    let begun = Instant::now();
    let (mut writing, mut telling) = (JoinSet::new(), JoinSet::new());
    for (log_id, shops) in by_log {
        let tenants: Vec<Uuid> = shops.iter().map(|shop| shop.tenant_id).collect();
        let (recorder, writer) = store.import(&tenants, managers).await?;
        let (told, pages) = mpsc::channel(AHEAD);
        let historian = Historian::new(recorder, store.vault().clone(), shops, manner.seed)?;
        telling.spawn_blocking(move || historian.tell(&told));
        writing.spawn(async move { anyhow::Ok((log_id, write(writer, pages, manner.keep_pages).await?)) });
    }
    let (mut imported, mut pages) = (Imported::default(), BTreeMap::new());
    while let Some(written) = writing.join_next().await {
        let (log_id, (events, kept)) = written??;
        imported.events += events;
        pages.insert(log_id, kept);
    }
    while let Some(told) = telling.join_next().await {
        told??;
    }
    imported.took = begun.elapsed();
    imported.pages = pages.into_values().collect();
    ensure!(imported.events > 0, "nothing was invented");
    Ok(imported)
}

async fn write(mut writer: Writer, mut pages: mpsc::Receiver<Page>, keep: bool) -> Result<(u64, Vec<Page>)> {
    let (mut events, mut kept) = (0, Vec::new());
    while let Some(mut page) = pages.recv().await {
        writer.write(&mut page).await?;
        let before = events / TELL_EVERY;
        events += page.len() as u64;
        if events / TELL_EVERY > before {
            progress(&format!("{events} events written"));
        }
        if keep {
            kept.push(page);
        }
    }
    Ok((events, kept))
}

/// Tells the history of the shops of one log, in the order of time.
struct Historian {
    recorder: Recorder,
    vault: Vault,
    desks: Vec<Desk>,
    rng: StdRng,
    talks: Vec<Option<Talk>>,
    /// Places in `talks` that are free again.
    free: Vec<usize>,
    agenda: BinaryHeap<Reverse<(i64, Due)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The next customer comes to this desk.
    Arrival(usize),
    /// Something happens in this conversation.
    Talk(usize),
}

impl Historian {
    fn new(recorder: Recorder, vault: Vault, shops: Vec<Shop>, seed: u64) -> Result<Self> {
        let desks: Vec<Desk> = shops.into_iter().map(|shop| Desk::new(shop, seed)).collect::<Result<_>>()?;
        let first = |(n, desk): (usize, &Desk)| Some(Reverse((desk.next_arrival()?, Due::Arrival(n))));
        let agenda = desks.iter().enumerate().filter_map(first).collect();
        let who = desks.first().map_or(0, |desk| desk.shop.tenant_id.as_u128() as u64);
        let rng = StdRng::seed_from_u64(seed ^ who);
        Ok(Self { recorder, vault, desks, rng, talks: Vec::new(), free: Vec::new(), agenda })
    }

    /// Until everything is told, or nobody listens any more, which the writer's own error explains.
    fn tell(mut self, told: &mpsc::Sender<Page>) -> Result<()> {
        while let Some(Reverse((micros, due))) = self.agenda.pop() {
            self.happen(micros, due)?;
            let is_full = self.recorder.len() >= PAGE_EVENTS || self.agenda.is_empty();
            if is_full && told.blocking_send(self.recorder.take_page()).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn happen(&mut self, micros: i64, due: Due) -> Result<()> {
        let at = DateTime::from_timestamp_micros(micros).context("a time that a calendar has")?;
        let Self { recorder, vault, desks, rng, .. } = self;
        let (place, talk, next) = match due {
            Due::Arrival(n) => {
                let mut scene = Scene { desk: &mut desks[n], at, rng, recorder, vault };
                let (talk, next) = Talk::begin(n, &mut scene)?;
                self.agenda.extend(desks[n].next_arrival().map(|at| Reverse((at, due))));
                (self.free_place(), talk, Some(next))
            }
            Due::Talk(place) => {
                let mut talk = self.talks[place].take().context("a conversation that is going on")?;
                let mut scene = Scene { desk: &mut desks[talk.desk], at, rng, recorder, vault };
                let next = talk.happen(&mut scene)?;
                (place, talk, next)
            }
        };
        match next {
            Some(next) => {
                self.agenda.push(Reverse((next, Due::Talk(place))));
                self.talks[place] = Some(talk);
            }
            None => self.free.push(place),
        }
        Ok(())
    }

    fn free_place(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.talks.push(None);
            self.talks.len() - 1
        })
    }
}
