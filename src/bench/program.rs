//! Servers as processes of their own, so that their memory and their threads are their own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::graph::GraphServer;
use super::inbox::{APP_SECRET, SUPER_ADMIN};

/// Includes the migration of an empty database.
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const KB_PER_MB: f64 = 1024.0;
/// Of Linux's accounting, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

pub struct Program {
    child: Child,
    pub base: String,
    data_dir: PathBuf,
}

impl Program {
    /// Starts it on the benchmark's database and waits until it listens.
    ///
    /// # Errors
    /// When it ends, or does not listen in time.
    pub async fn start(database_url: &str, graph: &GraphServer) -> Result<Self> {
        Self::start_with(database_url, graph, &[]).await
    }

    /// With further settings, as environment variables.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub async fn start_with(
        database_url: &str,
        graph: &GraphServer,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let data_dir = data_dir();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("serve")
            .env("DATABASE_URL", database_url)
            .env("OMNISTREAM_DATA_DIR", &data_dir)
            .env("OMNISTREAM_SECRET_KEY", hex::encode(rand::random::<[u8; 32]>()))
            .env("OMNISTREAM_LISTEN", "127.0.0.1:0")
            .env("OMNISTREAM_OPERATOR_LISTEN", "127.0.0.1:0")
            .env("OMNISTREAM_RATE_LIMIT_PER_MINUTE", "0")
            .env("OMNISTREAM_ALLOW_PRIVATE_ADDRESSES", "true")
            .env("OMNISTREAM_SUPER_ADMIN_EMAIL", SUPER_ADMIN.0)
            .env("OMNISTREAM_SUPER_ADMIN_PASSWORD", SUPER_ADMIN.1)
            .env("META_API_URL", &graph.url)
            .env("META_APP_SECRET", APP_SECRET)
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned()))
            .envs(settings.iter().copied());
        Self::launch(command, data_dir).await
    }

    /// Starts the server that the others are compared with; it ends with this value.
    ///
    /// # Errors
    /// As [`Program::start`].
    pub async fn bare() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "bare"]);
        Self::launch(command, data_dir()).await
    }

    async fn launch(mut command: Command, data_dir: PathBuf) -> Result<Self> {
        let mut child =
            command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("starting a server")?;
        let stdout = child.stdout.take().context("the program's output is piped")?;
        let mut lines = BufReader::new(stdout).lines();
        let listening = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(base) = line.strip_prefix("Listening on ") {
                    return Ok(base.to_owned());
                }
            }
            bail!("the server ended before it listened")
        };
        let base = tokio::time::timeout(START_LIMIT, listening).await.context("waiting for a server")??;
        // Keeps the pipe open and empty for as long as the process lives.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { child, base, data_dir })
    }

    /// Memory that the process has in RAM now, in MB (2^20 bytes); nothing where the system does not tell.
    pub fn resident_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / KB_PER_MB)
    }

    /// Processor time that the process has used so far; nothing where the system does not tell.
    pub fn processor_time(&self) -> Option<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()?)).ok()?;
        // The name in parentheses may hold spaces; user and system time are the 12th and 13th fields after it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        Some(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
    }

    /// Stops it as an operator would.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub async fn stop(mut self) -> Result<()> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        }
        let ended = tokio::time::timeout(STOP_LIMIT, self.child.wait())
            .await
            .context("stopping omnistream serve")??;
        if self.data_dir.exists() {
            std::fs::remove_dir_all(&self.data_dir)?;
        }
        if ended.success() { Ok(()) } else { bail!("omnistream serve ended with {ended}") }
    }
}

/// What a server keeps outside of the database for one run.
fn data_dir() -> PathBuf {
    std::env::temp_dir().join(format!("omnistream-bench-{}", std::process::id()))
}
