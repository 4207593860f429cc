//! What a monitor is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tradewatch_calendar::Calendar;

use crate::dashboards::Folder;

/// Takes the text of each notification that goes to the terminal.
pub type TerminalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// Everything that a monitor is told at its start. The defaults are safe: loopback only, nothing can be
/// changed from outside, all in memory.
#[derive(Clone)]
pub struct Options {
    /// `prometheus.yml`; without one nothing is scraped.
    pub config_file: Option<PathBuf>,
    /// `alertmanager.yml`; without one every notification goes to the terminal.
    pub alertmanager_file: Option<PathBuf>,
    /// Rule files beside those that `prometheus.yml` names.
    pub rule_files: Vec<PathBuf>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Name servers for `dns_sd_configs`; those of the machine if there are none.
    pub name_servers: Vec<SocketAddr>,
    /// Where samples, alert states and deliveries are kept; without it all is forgotten at the end.
    pub data_dir: Option<PathBuf>,
    /// How long samples are kept.
    pub retention: Duration,
    /// The most bytes that blocks may take before the oldest go.
    pub retention_bytes: Option<u64>,
    /// How late a sample may come behind newer ones of its series.
    pub out_of_order_window: Duration,
    /// How long a written sample may wait until it also survives a loss of power.
    pub sync_interval: Duration,
    /// Folders of dashboard files.
    pub dashboards: Vec<Folder>,
    /// Folders of runbooks.
    pub runbooks: Vec<PathBuf>,
    /// Who may come in, and what is switched on.
    pub web: WebOptions,
    /// What queries may cost.
    pub query: QueryOptions,
    /// Trading sessions.
    pub calendar: Calendar,
    /// Venues that the market's series tell about, beside those that rules and routes name; the first one gives
    /// notifications their time zone.
    pub mics: Vec<String>,
    /// Closures, other hours and halts that became known after the tables were made; read again at a reload.
    pub calendar_overlay: Option<PathBuf>,
    /// Takes what the terminal receiver writes; standard output where there is none.
    pub terminal: Option<TerminalHook>,
    /// Lets every receiver write to the terminal as well.
    pub terminal_always: bool,
    /// Whether SIGHUP reloads the configuration instead of ending the process.
    pub reload_on_hangup: bool,
    /// Where this monitor's beats go: a dead man's switch elsewhere; nowhere without it.
    pub heartbeat: Option<crate::heartbeat::Options>,
    /// A firing alert is told to outside Alertmanagers again after this time.
    pub resend_delay: Duration,
    /// Wait before the second attempt of a notification; it doubles each time.
    pub notify_retry_min: Duration,
    /// The longest wait between two attempts.
    pub notify_retry_max: Duration,
}

/// Who may come in, and what is switched on.
#[derive(Clone, Debug, Default)]
pub struct WebOptions {
    /// `--web.config.file`: TLS and users.
    pub config_file: Option<PathBuf>,
    /// Lets everybody in from everywhere; without it only the loopback address is open to all.
    pub insecure: bool,
    /// `--web.enable-lifecycle`: reload and quit over HTTP.
    pub enable_lifecycle: bool,
    /// `--web.enable-admin-api`.
    pub enable_admin_api: bool,
    /// `--web.enable-remote-write-receiver`: others may write samples.
    pub enable_remote_write_receiver: bool,
    /// `--web.enable-otlp-receiver`: OpenTelemetry exporters may write samples.
    pub enable_otlp_receiver: bool,
    /// `--web.enable-push-receiver`: services may push what their alerts hang on.
    pub enable_push_receiver: bool,
    /// `--web.external-url`: where people reach the monitor; begins the links in notifications.
    pub external_url: Option<String>,
}

/// What queries may cost.
#[derive(Clone, Debug)]
pub struct QueryOptions {
    /// `--query.lookback-delta`.
    pub lookback: Duration,
    /// `--query.timeout`.
    pub timeout: Duration,
    /// `--query.max-concurrency`.
    pub concurrency: usize,
    /// `--query.max-samples`.
    pub samples_max: usize,
    /// `--query.log-slower-than`: a query that takes longer is logged and listed; none where it is absent.
    pub log_slower_than: Option<Duration>,
}

impl Default for QueryOptions {
    fn default() -> QueryOptions {
        QueryOptions {
            lookback: Duration::from_secs(300),
            timeout: Duration::from_secs(120),
            concurrency: 20,
            samples_max: 50_000_000,
            log_slower_than: Some(Duration::from_secs(5)),
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            config_file: None,
            alertmanager_file: None,
            rule_files: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9090)),
            name_servers: Vec::new(),
            data_dir: None,
            retention: Duration::from_secs(30 * 24 * 3600),
            retention_bytes: None,
            out_of_order_window: Duration::ZERO,
            sync_interval: Duration::from_secs(1),
            dashboards: Vec::new(),
            runbooks: Vec::new(),
            web: WebOptions::default(),
            query: QueryOptions::default(),
            calendar: Calendar::new(),
            mics: vec!["XNYS".into(), tradewatch_calendar::CRYPTO.into()],
            calendar_overlay: None,
            terminal: None,
            terminal_always: false,
            reload_on_hangup: false,
            heartbeat: None,
            resend_delay: Duration::from_secs(60),
            notify_retry_min: Duration::from_secs(1),
            notify_retry_max: Duration::from_secs(60),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("config_file", &self.config_file)
            .field("alertmanager_file", &self.alertmanager_file)
            .field("listen", &self.listen)
            .field("data_dir", &self.data_dir)
            .field("web", &self.web)
            .finish_non_exhaustive()
    }
}
