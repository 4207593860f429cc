//! Starts a monitor and stops it again.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tradewatch_promql::{Engine, QueryResult};
use tradewatch_tsdb::{Db, FsDir};

use crate::audit::Actor;
use crate::clock;
use crate::error::Error;
use crate::monitor::{Loaded, Monitor};
use crate::net::listen;
use crate::options::Options;
use crate::query::{Overrides, Queries, When};
use crate::scrape::target::Target;
use crate::web::guard::Guard;
use crate::web::router::{self, Front};
use crate::web::web_config::WebConfig;

/// Time that all tasks get to end.
const STOP_MAX: Duration = Duration::from_secs(4);

/// A running monitor.
///
/// Dropped without [`Server::shutdown`] it stops as after `kill -9`: nothing that was acknowledged is lost.
pub struct Server {
    addr: SocketAddr,
    monitor: Arc<Monitor>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts a monitor: reads the configuration, listens, reads the store, and is ready.
    ///
    /// # Errors
    /// One clear line each: a port that is taken, a data directory that is locked, a configuration that
    /// is wrong, an address that is open to all without protection.
    pub async fn start(options: Options) -> Result<Server, Error> {
        let web = match &options.web.config_file {
            Some(path) => WebConfig::load(path)?,
            None => WebConfig::default(),
        };
        refuse_open_address(&options)?;
        let loaded = Loaded::read(&options)?;
        // From here on SIGHUP ends nothing any more, however early it comes.
        let hangups = match options.reload_on_hangup {
            true => {
                Some(signal(SignalKind::hangup()).map_err(|error| Error::start(format!("SIGHUP: {error}")))?)
            }
            false => None,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(|error| {
            Error::start(format!("cannot listen on {}: {}", options.listen, plain(&error)))
        })?;
        let addr =
            listener.local_addr().map_err(|error| Error::start(format!("{}: {error}", options.listen)))?;
        let external_url = external_url(&options, addr, web.tls.is_some());
        let (stop, stopped) = watch::channel(false);
        let app = Arc::new(OnceLock::new());
        let front = Front {
            guard: Arc::new(guard(&options, &external_url, &web)),
            web: web.clone(),
            app: app.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::serve(listener, web.tls.clone(), front.router(), stopped.clone()));
        let db = open_store(&options).await?;
        let mut options = options;
        options.listen = addr;
        let monitor = Monitor::start(options, db, loaded, web, external_url, stopped.clone(), &mut tasks)?;
        let _ = app.set(router::routes(monitor.clone()));
        if let Some(hangups) = hangups {
            tasks.spawn(reload_on_hangup(hangups, monitor.clone(), stopped));
        }
        Ok(Server { addr, monitor, stop, tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Evaluates a query now.
    ///
    /// # Errors
    /// The query is wrong or too big.
    pub async fn query(&self, expr: &str) -> Result<QueryResult, Error> {
        let query = |error: crate::query::QueryError| Error::query(error.to_string());
        let expr = Queries::parse(expr).map_err(query)?;
        self.monitor.queries.run(expr, When::At(clock::now()), Overrides::default()).await.map_err(query)
    }

    /// The store.
    pub fn db(&self) -> &Db {
        &self.monitor.db
    }

    /// An engine with the limits of this monitor, whose deadline begins now.
    pub fn engine(&self) -> Engine {
        self.monitor.queries.engine(Overrides::default())
    }

    /// The targets with what is known of each.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        self.monitor.scrapes.targets()
    }

    /// The parts of the monitor.
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// Returns when somebody asks by `POST /-/quit` that the process ends.
    pub async fn quit_requested(&self) {
        self.monitor.quit.notified().await;
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    /// What is wrong with it; then the one of before stays in force.
    pub async fn reload(&self) -> Result<(), Error> {
        self.monitor.reload(Actor::said("program")).await
    }

    /// Ends scrapes, rules and deliveries in that order, and closes the store.
    pub async fn shutdown(mut self) {
        let _ = tokio::time::timeout(STOP_MAX, self.monitor.scrapes.shutdown()).await;
        let _ = self.stop.send(true);
        let ended =
            tokio::time::timeout(STOP_MAX, async { while self.tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!("some tasks did not end within {STOP_MAX:?}");
            self.tasks.abort_all();
        }
        let monitor = self.monitor.clone();
        let closed = tokio::task::spawn_blocking(move || {
            let _ = monitor.notifier.sync();
            let _ = monitor.audit.sync();
            monitor.db.close()
        });
        if let Ok(Err(error)) = closed.await {
            tracing::error!("closing the store: {error}");
        }
    }
}

/// Only the loopback address is open to all.
fn refuse_open_address(options: &Options) -> Result<(), Error> {
    let protected = options.web.config_file.is_some() || options.web.insecure;
    if options.listen.ip().is_loopback() || protected {
        return Ok(());
    }
    Err(Error::start(format!(
        "{} is open to everybody on the network: protect it with --web.config.file, or say --insecure",
        options.listen
    )))
}

fn external_url(options: &Options, addr: SocketAddr, tls: bool) -> String {
    let url = options.web.external_url.clone().unwrap_or_else(|| {
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{addr}")
    });
    url.trim_end_matches('/').to_owned()
}

fn guard(options: &Options, external_url: &str, web: &WebConfig) -> Guard {
    let authority = external_url.split("://").nth(1).unwrap_or("").split('/').next().unwrap_or("").to_owned();
    let name = authority.rsplit_once(':').map_or(authority.clone(), |(name, _)| name.to_owned());
    // Behind a password a foreign name gains nothing, and whoever says --insecure has said it.
    Guard { check_host: !web.has_users() && !options.web.insecure, hosts: vec![authority, name] }
}

async fn open_store(options: &Options) -> Result<Db, Error> {
    let habits = tradewatch_tsdb::Options {
        retention: options.retention,
        retention_bytes: options.retention_bytes,
        out_of_order_window: options.out_of_order_window,
        ..tradewatch_tsdb::Options::default()
    };
    let Some(folder) = options.data_dir.clone() else { return Ok(Db::in_memory_with(habits)) };
    let opened = tokio::task::spawn_blocking(move || {
        let failed = |error: &dyn std::fmt::Display| {
            Error::start(format!("data directory {}: {error}", folder.display()))
        };
        make_private(&folder).map_err(|error| failed(&plain(&error)))?;
        let dir = FsDir::new(folder.join("tsdb")).map_err(|error| failed(&plain(&error)))?;
        let (db, recovery) = Db::open(Arc::new(dir), habits).map_err(|error| failed(&error))?;
        for damage in &recovery.damage {
            tracing::warn!("{}: {damage}", folder.display());
        }
        tracing::info!(series = recovery.series, samples = recovery.samples, "store read");
        Ok(db)
    });
    opened.await.unwrap_or_else(|error| Err(Error::internal(format!("reading the store broke off: {error}"))))
}

/// Makes the folder, for its owner alone: it holds what the desk trades.
fn make_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// An error of the system without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

async fn reload_on_hangup(mut hangups: Signal, monitor: Arc<Monitor>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = crate::stop::stopped(&mut stop) => return,
            hangup = hangups.recv() => {
                if hangup.is_none() {
                    return;
                }
                // What went wrong is in the log and on the status page.
                let _ = monitor.reload(Actor::said("SIGHUP")).await;
            }
        }
    }
}
