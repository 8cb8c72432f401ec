//! The processes under torture: started, killed by their recorded ids, stopped and continued.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::command;

/// How processes are started.
#[derive(Clone)]
pub struct Launch {
    pub database_url: String,
    pub env: HashMap<String, String>,
    /// Where what they print is kept.
    pub logs: PathBuf,
}

/// Where an API listens; nothing while it doesn't.
pub type Address = Arc<Mutex<Option<String>>>;

/// A place that is always filled with a process, as a supervisor would.
pub struct Member {
    /// The subcommand and what follows it.
    args: Vec<String>,
    name: String,
    launch: Launch,
    child: Option<Child>,
    /// The public address, or the operators' one of a worker.
    pub address: Address,
    start_at: Instant,
    continue_at: Option<Instant>,
}

impl Member {
    pub fn new(args: &[&str], number: usize, launch: &Launch) -> Self {
        Self {
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            name: format!("{}-{number}", args[0]),
            launch: launch.clone(),
            child: None,
            address: Arc::default(),
            start_at: Instant::now(),
            continue_at: None,
        }
    }

    /// The subcommand.
    pub fn part(&self) -> &str {
        &self.args[0]
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub fn is_up(&self) -> bool {
        self.child.is_some() && self.address.lock().expect("not poisoned").is_some()
    }

    pub fn is_stopped(&self) -> bool {
        self.continue_at.is_some()
    }

    /// Starts it when it is time to, notices its end, and lets it go on when its stop is over.
    pub fn tend(&mut self, now: Instant, pause: Duration) {
        if self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some())) {
            self.ended(now + pause);
        }
        if self.continue_at.is_some_and(|at| at <= now) {
            self.go_on();
        }
        if self.child.is_none() && self.start_at <= now {
            self.start();
        }
    }

    /// SIGKILL, as a crash would; started again after the pause.
    pub fn kill(&mut self, pause: Duration) {
        if let Some(child) = &mut self.child {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
            self.ended(Instant::now() + pause);
        }
    }

    /// SIGSTOP, as a stalled machine would; it goes on after so long.
    pub fn stop(&mut self, length: Duration) {
        if let Some(pid) = self.pid() {
            kill(unix(pid), Signal::SIGSTOP).expect("it is ours");
            self.continue_at = Some(Instant::now() + length);
        }
    }

    pub fn go_on(&mut self) {
        if let (Some(_), Some(pid)) = (self.continue_at.take(), self.pid()) {
            kill(unix(pid), Signal::SIGCONT).expect("it is ours");
        }
    }

    fn ended(&mut self, start_at: Instant) {
        self.child = None;
        self.continue_at = None;
        self.start_at = start_at;
        *self.address.lock().expect("not poisoned") = None;
    }

    fn start(&mut self) {
        let log = self.launch.logs.join(format!("{}.log", self.name));
        let log = File::options().append(true).create(true).open(log).expect("a log");
        let mut child = command(&self.launch.database_url, &self.launch.env)
            // This database must keep what it has acknowledged.
            .env_remove("TEST_DATABASE_MAY_LOSE_DATA")
            .args(&self.args)
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let (address, wanted) = (Arc::clone(&self.address), self.prefix());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(url) = line.strip_prefix(wanted) {
                    *address.lock().expect("not poisoned") = Some(url.to_owned());
                }
            }
        });
        self.child = Some(child);
    }

    fn prefix(&self) -> &'static str {
        if self.part() == "api" { "Listening on " } else { "Operators: " }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill(Duration::ZERO);
    }
}

pub fn unix(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).expect("a process id"))
}
