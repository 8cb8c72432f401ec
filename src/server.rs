//! Starting and stopping the running program.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use api::app::{App, MetaSettings};
use api::http::{Api, HttpSettings};
use axum::Router;
use commands::Store;
use commands::billing::Billing;
use commands::clock::Clock;
use commands::outbound::Guard;
use projections::Projection;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use worker::outbound::Outbound;

use crate::database::{self, Database};
use crate::demo::Counterpart;
use crate::payments;
use crate::settings::Settings;

/// How long open requests may take after the signal to stop.
const GRACE: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    Both,
    Api,
    Worker,
}

/// The opened database and what works on it: what every subcommand starts from.
pub struct System {
    pub store: Store,
    pub projections: Vec<Arc<Projection>>,
    pub stopping: CancellationToken,
    pub database: Database,
}

impl System {
    /// # Errors
    /// When the database, the secret or the log can't be had.
    pub async fn open(settings: &Settings) -> Result<Self> {
        let data_dir = database::data_dir(settings)?;
        let secret = crate::secret::load(settings.secret_key.as_deref(), &data_dir)?;
        let database = database::open(settings, &data_dir).await?;
        let clock = Clock::default();
        if let Some(file) = &settings.clock_offset_file {
            eprintln!("WARNING: the clock follows {}: this is for tests only.", file.display());
            clock.follow_file(file.clone());
        }
        let store = Store::open(database.pool.clone(), clock, &secret).await?;
        let projections = projections::all().into_iter().chain(worker::managers()).map(Arc::new).collect();
        let stopping = CancellationToken::new();
        database.keep_statistics(&store, stopping.clone());
        Ok(Self { store, projections, stopping, database })
    }

    /// The API on this system.
    ///
    /// # Errors
    /// When the route table contradicts itself.
    pub fn api(&self, settings: &Settings) -> Result<Api<App>> {
        let graph = Arc::new(worker::graph::Graph::new(&settings.meta.meta_api_url)?);
        let public_url = settings.public_url.clone().unwrap_or_else(|| format!("http://{}", settings.listen));
        let http = HttpSettings {
            cors_origins: settings.cors_origins.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            rate_limit_per_minute: settings.rate_limit_per_minute,
            fingerprint_key: self.store.vault().derive("request fingerprints"),
        };
        let public_url = public_url.trim_end_matches('/').to_owned();
        let app_settings = api::app::Settings {
            http,
            public_url,
            meta: meta(settings),
            payment_webhooks: payments::webhooks(&settings.payments),
            seller: payments::seller(&settings.payments),
            guard: Guard::new(settings.allow_private_addresses),
        };
        let app = App::new(
            self.store.clone(),
            self.projections.clone(),
            app_settings,
            graph,
            self.billing(settings)?,
            self.stopping.clone(),
        );
        Ok(api::build(app)?)
    }

    fn billing(&self, settings: &Settings) -> Result<Billing> {
        let gateways = payments::gateways(settings, self.store.clock())?;
        let figures = Arc::new(projections::billing::ReadModels::new(self.store.pool().clone()));
        Ok(Billing::new(self.store.clone(), gateways, figures))
    }

    /// The worker on this system, running until it is told to stop.
    ///
    /// # Errors
    /// When a client can't be made from the settings.
    pub fn start_worker(&self, settings: &Settings, stop: &CancellationToken) -> Result<worker::Running> {
        let graph = Arc::new(worker::graph::Graph::new(&settings.meta.meta_api_url)?);
        let worker_settings = worker::Settings {
            fallback_token: settings.meta.meta_access_token.clone(),
            fallback_business: settings.meta.meta_waba_id.clone(),
            retry_scale: settings.retry_scale,
            outbound: Arc::new(Outbound::new(Guard::new(settings.allow_private_addresses))?),
            billing: self.billing(settings)?,
        };
        Ok(worker::start(&self.store, &self.projections, graph, worker_settings, stop))
    }
}

fn meta(settings: &Settings) -> MetaSettings {
    let meta = settings.meta.clone();
    MetaSettings {
        app_secret: meta.meta_app_secret,
        verify_token: meta.meta_verify_token,
        access_token: meta.meta_access_token,
        phone_number_id: meta.meta_phone_number_id,
        waba_id: meta.meta_waba_id,
    }
}

/// Runs until SIGTERM or Ctrl-C: stops accepting, lets open requests finish, then stops the worker.
///
/// # Errors
/// When an address can't be bound or the system can't be opened.
pub async fn run(mut settings: Settings, parts: Parts, demo: Option<Counterpart>) -> Result<ExitCode> {
    start_logging(if demo.is_some() { "warn" } else { "info" });
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    api::operations::METRICS.set(metrics).ok();
    let system = System::open(&settings).await?;
    crate::cli::admin::create_first(&system, &settings).await?;
    commands::plan::seed(&system.store).await.context("making the first plans")?;
    system.database.look_after(system.stopping.clone());
    // Stopped last: open requests wait for the read models.
    let worked = CancellationToken::new();
    let working = if parts == Parts::Api { None } else { Some(system.start_worker(&settings, &worked)?) };
    let mut servers = tokio::task::JoinSet::new();
    let operator = TcpListener::bind(settings.operator_listen).await;
    let operator = operator.with_context(|| format!("listening on {}", settings.operator_listen))?;
    let operator_address = operator.local_addr()?;
    if parts == Parts::Worker {
        servers.spawn(serve(operator, system.api(&settings)?.operator_router(), system.stopping.clone()));
    } else {
        let public = TcpListener::bind(settings.listen).await;
        let public = public.with_context(|| format!("listening on {}", settings.listen))?;
        settings.listen = public.local_addr()?;
        let api = system.api(&settings)?;
        println!("Listening on http://{}", settings.listen);
        servers.spawn(serve(public, api.router(), system.stopping.clone()));
        servers.spawn(serve(operator, api.operator_router(), system.stopping.clone()));
        if let Some(counterpart) = demo {
            tokio::spawn(crate::demo::play(settings.listen, counterpart));
        }
    }
    println!("Operators: http://{operator_address}/metrics");
    shutdown_signal().await;
    eprintln!("Stopping: open requests finish first.");
    system.stopping.cancel();
    let finish = async { while servers.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finish).await.is_err() {
        tracing::warn!("some requests were still open and are cut off");
    }
    worked.cancel();
    if let Some(working) = working {
        working.stopped().await;
    }
    system.database.close().await;
    Ok(ExitCode::SUCCESS)
}

async fn serve(listener: TcpListener, router: Router, stopping: CancellationToken) {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "a server stopped");
    }
}

async fn shutdown_signal() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::warn!(%error, "SIGTERM can't be heard");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminate => {}
    }
}

/// `RUST_LOG` wins over the default.
fn start_logging(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("OMNISTREAM_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().init();
    } else {
        builder.init();
    }
}
