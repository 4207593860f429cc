//! What the monitor tells about itself: counted by the libraries, named here.

use std::sync::Mutex;
use std::time::Duration;

use tradewatch_metrics::{
    Counter, Format, Gauge, Histogram, Info, Label, Metrics, RegisterError, Registry, open_label,
};
use tradewatch_tsdb::{Stats, Timestamp};

use crate::markets::{Live, MarketSeries};

open_label!(
    /// A job of `prometheus.yml`.
    pub struct Job("job"), budget = 256
);
open_label!(
    /// A rule group, `file;group`.
    pub struct RuleGroup("rule_group"), budget = 512
);
open_label!(
    /// A rule, by the name of its alert or its series.
    pub struct RuleName("rule"), budget = 1_024
);
open_label!(
    /// A receiver of `alertmanager.yml`.
    pub struct ReceiverName("receiver"), budget = 256
);
open_label!(
    /// A route of the API.
    pub struct Handler("handler"), budget = 128
);

/// How a scrape ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Label)]
#[label(name = "status")]
pub enum ScrapeStatus {
    /// Taken.
    Success,
    /// The target did not answer as it should.
    Error,
}

/// How a delivery ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Label)]
#[label(name = "status")]
pub enum DeliveryStatus {
    /// The receiver took it.
    Success,
    /// It failed and is tried again.
    Retry,
    /// It failed for good.
    Error,
}

/// What became of a heartbeat.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Label)]
#[label(name = "status")]
pub enum BeatStatus {
    /// It arrived.
    Success,
    /// It did not.
    Error,
    /// It was not sent, since this monitor is sick.
    Withheld,
}

/// How samples were pushed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Label)]
#[label(name = "protocol")]
pub enum PushProtocol {
    /// Remote write 1.0.
    #[label(value = "remote_write_1")]
    RemoteWrite1,
    /// Remote write 2.0.
    #[label(value = "remote_write_2")]
    RemoteWrite2,
    /// OpenTelemetry over HTTP.
    #[label(value = "otlp")]
    Otlp,
    /// Exposition text, from the SDK.
    #[label(value = "text")]
    Text,
}

/// The hundreds of an HTTP status.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Label)]
#[label(name = "code")]
pub enum StatusClass {
    /// Informational: a socket was opened.
    #[label(value = "1xx")]
    Informational,
    /// Success.
    #[label(value = "2xx")]
    Success,
    /// Redirection, not modified.
    #[label(value = "3xx")]
    Redirection,
    /// The client's fault.
    #[label(value = "4xx")]
    Client,
    /// Ours.
    #[label(value = "5xx")]
    Server,
}

impl StatusClass {
    /// The class of a status.
    pub fn of(status: http::StatusCode) -> StatusClass {
        match status.as_u16() / 100 {
            1 => StatusClass::Informational,
            2 => StatusClass::Success,
            3 => StatusClass::Redirection,
            4 => StatusClass::Client,
            _ => StatusClass::Server,
        }
    }
}

/// The monitor's own metrics.
#[derive(Metrics)]
#[metrics(prefix = "tradewatch")]
pub struct Telemetry {
    /// Version of this monitor.
    #[labels("version")]
    pub build_info: Info<1>,
    /// Unix time at which the monitor started.
    pub start_time_seconds: Gauge,
    /// 1 if the last reload of the configuration succeeded.
    pub config_last_reload_successful: Gauge,
    /// Unix time of the last successful reload.
    pub config_last_reload_success_timestamp_seconds: Gauge,
    /// Scrapes, by job and outcome.
    pub scrapes_total: Counter<(Job, ScrapeStatus)>,
    /// Samples in scraped bodies.
    pub scraped_samples_total: Counter<(Job,)>,
    /// Samples of scrapes that the store refused: out of order, duplicate, too far in the future.
    pub scraped_samples_refused_total: Counter<(Job,)>,
    /// Time from asking a target to having its whole body.
    #[buckets(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)]
    pub scrape_duration_seconds: Histogram<(Job,)>,
    /// Targets that are scraped.
    pub targets_current: Gauge,
    /// Targets whose last scrape succeeded.
    pub targets_up_current: Gauge,
    /// Samples that were pushed and stored, by protocol.
    pub pushed_samples_total: Counter<(PushProtocol,)>,
    /// Samples that were pushed and refused, by protocol.
    pub pushed_samples_refused_total: Counter<(PushProtocol,)>,
    /// Pushes that failed as a whole: not readable, or the store did not write.
    pub pushes_failed_total: Counter<(PushProtocol,)>,
    /// Rules evaluated.
    pub rule_evaluations_total: Counter<(RuleGroup,)>,
    /// Rules whose evaluation failed.
    pub rule_evaluation_failures_total: Counter<(RuleGroup,)>,
    /// Time that the last evaluation of the group took.
    pub rule_group_last_duration_seconds: Gauge<(RuleGroup,)>,
    /// Rules in the group.
    pub rule_group_rules_current: Gauge<(RuleGroup,)>,
    /// Upper bound between two evaluations of the group.
    pub rule_group_interval_seconds: Gauge<(RuleGroup,)>,
    /// Unix time of the last evaluation of the group.
    pub rule_group_last_evaluation_timestamp_seconds: Gauge<(RuleGroup,)>,
    /// Metric names that the rule reads and nothing has.
    pub rule_inputs_missing_current: Gauge<(RuleGroup, RuleName)>,
    /// Time from the commit of a scrape to the end of the evaluation of the groups it feeds.
    #[buckets(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)]
    pub rule_evaluation_lag_seconds: Histogram,
    /// Time from the samples that make an alert fire, or from the end of its `for`, until the notifier is told.
    #[buckets(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)]
    pub alert_generation_seconds: Histogram,
    /// Alerts that are pending.
    pub alerts_pending_current: Gauge,
    /// Alerts that fire.
    pub alerts_firing_current: Gauge,
    /// Attempts to deliver a notification, by receiver and outcome.
    pub notifications_total: Counter<(ReceiverName, DeliveryStatus)>,
    /// Time from the start of the newest alert of a notification, or its end, to the receiver's answer.
    #[buckets(0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)]
    pub notification_latency_seconds: Histogram,
    /// Time from a notification being due, waits of its route behind it, to the receiver's answer; retries included.
    #[buckets(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)]
    pub notification_delivery_seconds: Histogram,
    /// Alerts refused because too many are held.
    pub alerts_refused_total: Counter,
    /// Notifications that are not delivered yet.
    pub notifications_queued_current: Gauge,
    /// Time since the oldest undelivered notification was due.
    pub notification_oldest_age_seconds: Gauge,
    /// Heartbeats to a dead man's switch, by what became of them.
    pub heartbeats_total: Counter<(BeatStatus,)>,
    /// Series in the head.
    pub tsdb_head_series: Gauge,
    /// Samples stored.
    pub tsdb_samples_appended_total: Counter,
    /// Bytes of the write-ahead log on disk.
    pub tsdb_wal_bytes: Gauge,
    /// Places where the write-ahead log was found broken.
    pub tsdb_wal_corruptions_total: Counter,
    /// 1 while the disk takes no writes.
    pub tsdb_read_only: Gauge,
    /// HTTP requests, by handler and class of status.
    pub http_requests_total: Counter<(Handler, StatusClass)>,
    /// Time to answer an HTTP request.
    #[buckets(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)]
    pub http_request_duration_seconds: Histogram<(Handler,)>,
    /// Queries that are being evaluated.
    pub queries_running_current: Gauge,
    /// Open live connections of pages.
    pub live_connections_current: Gauge,
    /// Frames pushed to pages.
    pub live_frames_total: Counter,
    /// Time from the commit of a scrape to the frame that shows it being handed to the connection.
    #[buckets(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)]
    pub live_frame_lag_seconds: Histogram,
}

/// The monitor's metrics with their registry.
pub struct Own {
    /// The instruments.
    pub metrics: Telemetry,
    registry: Registry,
    /// What the store's counters stood at when they were last taken over.
    taken: Mutex<Taken>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

#[derive(Default)]
struct Taken {
    samples: u64,
    corruptions: u64,
}

/// What the store says about itself, as far as it is exported.
#[derive(Copy, Clone, Debug, Default)]
pub struct StoreFigures {
    /// Series in the head.
    pub series: u64,
    /// Samples stored since the start.
    pub samples: u64,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Places where the log was broken.
    pub corruptions: u64,
    /// Whether the disk takes no writes.
    pub read_only: bool,
}

impl StoreFigures {
    /// From what the store says about itself.
    pub fn of(stats: &Stats) -> StoreFigures {
        let wal = stats.wal.unwrap_or_default();
        StoreFigures {
            series: stats.series as u64,
            samples: stats.samples_appended,
            wal_bytes: wal.bytes + wal.checkpoint_bytes,
            corruptions: wal.corruptions,
            read_only: stats.read_only.is_some(),
        }
    }
}

impl Own {
    /// Registers the metrics; those of the market are of the venues in use.
    ///
    /// # Errors
    /// Never, unless the declaration above is wrong; a test would see it.
    pub fn new(started: Timestamp, live: Live) -> Result<Own, RegisterError> {
        let registry = Registry::new();
        let metrics = Telemetry::register(&registry)?;
        registry.add_collector(MarketSeries::of_used(live))?;
        metrics.build_info.set([env!("CARGO_PKG_VERSION")]);
        metrics.start_time_seconds.set(started.as_secs_f64());
        Ok(Own { metrics, registry, taken: Mutex::default() })
    }

    /// Takes over what the store counts.
    pub fn take_store(&self, figures: StoreFigures) {
        let mut taken = self.taken.lock().expect("no panic while figures are locked");
        self.metrics.tsdb_head_series.set(figures.series as f64);
        self.metrics.tsdb_wal_bytes.set(figures.wal_bytes as f64);
        self.metrics.tsdb_read_only.set_bool(figures.read_only);
        self.metrics.tsdb_samples_appended_total.inc_by(figures.samples.saturating_sub(taken.samples));
        self.metrics.tsdb_wal_corruptions_total.inc_by(figures.corruptions.saturating_sub(taken.corruptions));
        *taken = Taken { samples: figures.samples, corruptions: figures.corruptions };
    }

    /// The exposition in the format that `accept` prefers, with its content type.
    pub fn encode(&self, accept: &str) -> (&'static str, Vec<u8>) {
        let format = Format::from_accept(accept);
        let mut body = Vec::new();
        self.registry.encode(format, &mut body);
        (format.content_type(), body)
    }

    /// What is declared, for the monitor's own catalogue.
    pub fn describe(&self) -> Vec<tradewatch_metrics::Descriptor> {
        self.registry.describe()
    }

    /// Notes a scrape.
    pub fn note_scrape(&self, job: &str, ok: bool, samples: u64, refused: u64, took: Duration) {
        let job = Job::intern(job);
        let status = if ok { ScrapeStatus::Success } else { ScrapeStatus::Error };
        self.metrics.scrapes_total.at((job, status)).inc();
        self.metrics.scraped_samples_total.at((job,)).inc_by(samples);
        self.metrics.scraped_samples_refused_total.at((job,)).inc_by(refused);
        self.metrics.scrape_duration_seconds.at((job,)).observe_duration(took);
    }
}

#[cfg(test)]
mod tests {
    use tradewatch_calendar::Calendar;

    use super::*;

    #[test]
    fn the_declaration_holds_and_the_market_is_told() {
        let live = Live::new(Calendar::new(), vec!["CRYPTO".into(), "NOPE".into()]);
        let own = Own::new(Timestamp::from_millis(1_000), live).expect("the declaration is right");
        own.take_store(StoreFigures { samples: 5, ..StoreFigures::default() });
        own.take_store(StoreFigures { samples: 7, ..StoreFigures::default() });
        let (kind, body) = own.encode("text/plain");
        let body = String::from_utf8(body).expect("UTF-8");
        assert!(kind.starts_with("text/plain"));
        assert!(body.contains("tradewatch_market_open{mic=\"CRYPTO\"} 1\n"), "{body}");
        assert!(!body.contains("NOPE"));
        assert!(body.contains("tradewatch_tsdb_samples_appended_total 7\n"), "{body}");
        assert!(
            body.contains(concat!("tradewatch_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n")),
            "{body}"
        );
    }
}
