//! The torturer: kills processes and the database at random and at named places, and stops workers beyond their leases.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use commands::failpoint::Failpoint;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::Serialize;

use super::database::{Blow, Database};
use super::fleet::Member;

const TICK: Duration = Duration::from_millis(4);
/// Between two blows.
const PAUSE_MS: std::ops::Range<u64> = 100..700;
/// The chance, at each tick, that something is hit although nothing works.
const HIT_WHILE_DOWN: f64 = 0.002;
/// Until what was killed is started again.
const RESTART_MS: std::ops::Range<u64> = 0..700;
/// Beyond every lease: read models 5 s, effects and items 10 s, queues 15 s.
const STOP_MS: std::ops::Range<u64> = 5_500..17_000;
/// A place that nobody came to is left again.
const ARMED: Duration = Duration::from_secs(4);
/// How much longer it may go on where a loaded machine has let too little happen.
const EXTRA: Duration = Duration::from_secs(60);
const REBUILD_EVERY: Duration = Duration::from_secs(4);

/// What happens to whoever comes to an armed place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Intent {
    KillProcess,
    KillDatabase,
    Stop,
}

/// What was done.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deeds {
    pub processes_killed: u32,
    pub database_killed: u32,
    pub workers_stopped: u32,
    pub rebuilds_begun: u32,
    /// By place and intent: how often somebody came there and it happened.
    pub at_failpoints: BTreeMap<String, BTreeMap<Intent, u32>>,
}

impl Deeds {
    fn fired(&self, point: Failpoint) -> u32 {
        self.at_failpoints.get(&point.name()).map_or(0, |by_intent| by_intent.values().sum())
    }
}

pub struct Chaos {
    pub rng: StdRng,
    pub database: Database,
    /// Those that are always kept running.
    pub members: Vec<Member>,
    /// Rebuilds, which may be killed at any time and are not started again.
    pub rebuilds: Vec<Member>,
    /// What [`Failpoint`] calls its folder.
    pub folder: PathBuf,
    pub armed: HashMap<String, (Intent, Instant)>,
    pub deeds: Deeds,
    pub start_rebuild: Box<dyn Fn(&mut StdRng) -> Member + Send>,
}

impl Chaos {
    /// Until so many processes and so many databases were killed, or time is up and there was something of each kind.
    pub async fn run(&mut self, kills: u32, database_kills: u32, until: Instant) {
        let (mut next, mut next_rebuild) = (Instant::now(), Instant::now() + REBUILD_EVERY);
        let enough =
            |deeds: &Deeds| deeds.processes_killed >= kills && deeds.database_killed >= database_kills;
        let some = |deeds: &Deeds| {
            deeds.processes_killed > 0 && deeds.database_killed > 0 && !deeds.at_failpoints.is_empty()
        };
        while !(enough(&self.deeds)
            || Instant::now() >= until + EXTRA
            || Instant::now() >= until && (some(&self.deeds) || !cfg!(debug_assertions)))
        {
            self.tend();
            let now = Instant::now();
            // Mostly what works is hit, now and then what is just coming up.
            if now >= next && (self.works() || self.rng.random_bool(HIT_WHILE_DOWN)) {
                let databases_left = self.deeds.database_killed < database_kills;
                self.strike(databases_left);
                next = now + self.millis(PAUSE_MS);
            }
            if now >= next_rebuild {
                next_rebuild = now + REBUILD_EVERY;
                self.rebuilds.retain(|rebuild| rebuild.pid().is_some());
                if self.rebuilds.is_empty() {
                    let rebuild = (self.start_rebuild)(&mut self.rng);
                    self.rebuilds.push(rebuild);
                    self.deeds.rebuilds_begun += 1;
                }
            }
            tokio::time::sleep(TICK).await;
        }
    }

    /// Lets everything go on and waits until all is up.
    pub async fn end(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        for point in std::mem::take(&mut self.armed).into_keys() {
            let _ = fs::remove_file(self.folder.join("armed").join(point));
        }
        self.members.iter_mut().chain(&mut self.rebuilds).for_each(Member::go_on);
        self.rebuilds.clear();
        while !(self.database.is_up() && self.members.iter().all(Member::is_up)) {
            assert!(Instant::now() < deadline, "the system does not come up:\n{}", self.last_words());
            self.tend();
            tokio::time::sleep(TICK).await;
        }
    }

    /// One round of looking after everything.
    pub fn tend(&mut self) {
        let now = Instant::now();
        self.database.tend(now);
        let pause = self.millis(RESTART_MS);
        self.members.iter_mut().for_each(|member| member.tend(now, pause));
        // Not started again for a long time: the list is cleared first.
        self.rebuilds.iter_mut().for_each(|rebuild| rebuild.tend(now, Duration::from_secs(3600)));
        for mark in names(&self.folder.join("held")) {
            self.come_to(&mark);
            // The holder is dead, stopped, or goes on without a database.
            let _ = fs::remove_file(self.folder.join("held").join(&mark));
        }
        let late: Vec<String> = self
            .armed
            .iter()
            .filter(|(_, (_, since))| now - *since > ARMED)
            .map(|(p, _)| p.clone())
            .collect();
        for point in late {
            // Gone already if somebody came in this moment; the mark is found in the next round.
            if fs::remove_file(self.folder.join("armed").join(&point)).is_ok() {
                self.armed.remove(&point);
            }
        }
    }

    fn works(&self) -> bool {
        let up = |part: &str| self.members.iter().any(|m| m.part() == part && m.is_up() && !m.is_stopped());
        self.database.is_up() && up("api") && up("worker")
    }

    /// The end of what each process has logged.
    fn last_words(&self) -> String {
        let logs = self.folder.join("logs");
        let last = |name: String| {
            let text = fs::read_to_string(logs.join(&name)).unwrap_or_default();
            format!("{name}: {}", text.lines().last().unwrap_or_default())
        };
        names(&logs).into_iter().map(last).collect::<Vec<_>>().join("\n")
    }

    fn strike(&mut self, databases_left: bool) {
        match self.rng.random_range(0..100) {
            0..58 => self.arm(databases_left),
            58..78 => {
                let any = self.rng.random_range(0..self.members.len());
                self.kill_member(any);
            }
            78..90 if databases_left => {
                let blow = if self.rng.random_bool(0.7) { Blow::Server } else { Blow::Session };
                let pause = self.millis(RESTART_MS);
                self.deeds.database_killed += u32::from(self.database.hit(blow, pause));
            }
            _ => {
                let workers: Vec<usize> =
                    (0..self.members.len()).filter(|n| self.members[*n].part() == "worker").collect();
                let any = workers[self.rng.random_range(0..workers.len())];
                self.stop_member(any);
            }
        }
    }

    /// Those that have fired least come first, half of the time.
    fn arm(&mut self, databases_left: bool) {
        let least = Failpoint::OF_MESSAGES.iter().map(|point| self.deeds.fired(*point)).min().unwrap_or(0);
        let rare = self.rng.random_bool(0.5);
        let candidates: Vec<Failpoint> = Failpoint::OF_MESSAGES
            .into_iter()
            .filter(|point| !rare || self.deeds.fired(*point) == least)
            .collect();
        let point = candidates[self.rng.random_range(0..candidates.len())];
        let intent = match self.rng.random_range(0..100) {
            0..50 => Intent::KillProcess,
            50..82 if databases_left => Intent::KillDatabase,
            50..82 => Intent::KillProcess,
            _ => Intent::Stop,
        };
        self.arm_with(point, intent);
    }

    pub fn arm_with(&mut self, point: Failpoint, intent: Intent) {
        self.armed.insert(point.name(), (intent, Instant::now()));
        fs::write(self.folder.join("armed").join(point.name()), []).expect("a file in our folder");
    }

    /// Somebody waits at an armed place: `<name>.<process id>.<n>`.
    fn come_to(&mut self, mark: &str) {
        let mut parts = mark.split('.');
        let (Some(point), Some(pid)) = (parts.next(), parts.next().and_then(|pid| pid.parse().ok())) else {
            return;
        };
        let Some((intent, _)) = self.armed.remove(point) else { return };
        let member = self.members.iter().position(|member| member.pid() == Some(pid));
        let done = match (intent, member) {
            (Intent::KillDatabase, _) => {
                let pause = self.millis(RESTART_MS);
                let hit = self.database.hit(Blow::Server, pause);
                self.deeds.database_killed += u32::from(hit);
                hit
            }
            (Intent::Stop, Some(member)) => self.stop_member(member),
            (_, Some(member)) => self.kill_member(member),
            (_, None) => self.kill_rebuild(pid),
        };
        if done {
            let by_intent = self.deeds.at_failpoints.entry(point.to_owned()).or_default();
            *by_intent.entry(intent).or_default() += 1;
        }
    }

    fn kill_member(&mut self, number: usize) -> bool {
        let pause = self.millis(RESTART_MS);
        let alive = self.members[number].pid().is_some();
        self.members[number].kill(pause);
        self.deeds.processes_killed += u32::from(alive);
        alive
    }

    fn kill_rebuild(&mut self, pid: u32) -> bool {
        let Some(rebuild) = self.rebuilds.iter_mut().find(|rebuild| rebuild.pid() == Some(pid)) else {
            return false;
        };
        rebuild.kill(Duration::from_secs(3600));
        self.deeds.processes_killed += 1;
        true
    }

    /// One at a time: with both workers stopped nothing would happen.
    fn stop_member(&mut self, number: usize) -> bool {
        let free = self.members[number].is_up() && !self.members.iter().any(Member::is_stopped);
        if free {
            let length = self.millis(STOP_MS);
            self.members[number].stop(length);
            self.deeds.workers_stopped += u32::from(self.members[number].part() == "worker");
        }
        free
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.random_range(range))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder of ours");
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}
