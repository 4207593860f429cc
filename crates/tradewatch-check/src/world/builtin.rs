//! What needs no catalogue: the series that a Prometheus makes by itself, and the conventions of names and units.

use crate::expr::abs::{Abs, Label, LabelSet, Meaning, Unit, Values};
use crate::read::scrape::Job;

/// Series that exist once for each target, whatever it exposes.
pub fn synthetic() -> Vec<(String, Abs)> {
    let gauge = |name: &str, unit: Unit| {
        let high = if unit == Unit::Bool { 1.0 } else { f64::INFINITY };
        let families = [name.to_owned()].into();
        let abs = Abs { meaning: Meaning::Gauge, unit, low: 0.0, high, families, ..Abs::default() };
        (name.to_owned(), abs)
    };
    vec![
        gauge("up", Unit::Bool),
        gauge("scrape_duration_seconds", Unit::Seconds),
        gauge("scrape_samples_scraped", Unit::Count),
        gauge("scrape_samples_post_metric_relabeling", Unit::Count),
        gauge("scrape_series_added", Unit::Count),
    ]
}

/// Series that rules and the calendar of the monitor make.
pub fn alerting() -> Vec<(String, Abs)> {
    let labelled = |name: &str, labels: &[&str], abs: Abs| {
        let known =
            labels.iter().map(|label| ((*label).to_owned(), Label { values: Values::Any, always: true }));
        let labels = LabelSet { known: known.collect(), open: true };
        let families = [name.to_owned()].into();
        (name.to_owned(), Abs { labels, families, ..abs })
    };
    let gauge = |low, high| Abs { meaning: Meaning::Gauge, low, high, ..Abs::default() };
    vec![
        labelled("ALERTS", &["alertname", "alertstate"], gauge(1.0, 1.0)),
        labelled("ALERTS_FOR_STATE", &["alertname"], Abs { meaning: Meaning::Timestamp, ..Abs::default() }),
    ]
}

/// Words that begin the names of what monitoring software, run-time libraries and common middleware expose.
const INFRASTRUCTURE: &[&str] = &[
    "alertmanager",
    "blackbox",
    "cadvisor",
    "container",
    "cortex",
    "coredns",
    "etcd",
    "go",
    "grafana",
    "jvm",
    "kafka",
    "kube",
    "kubelet",
    "loki",
    "mimir",
    "mysql",
    "net",
    "nginx",
    "node",
    "otelcol",
    "pg",
    "probe",
    "process",
    "prometheus",
    "promhttp",
    "promtail",
    "pushgateway",
    "python",
    "rabbitmq",
    "redis",
    "thanos",
    "traefik",
    "vm",
    "windows",
    "zookeeper",
    "erlang",
    "postgres",
    "machine",
    "apiserver",
    "rest",
    "workqueue",
    "nodejs",
    "target",
    "otel",
    "tradewatch",
];

fn first_word(name: &str) -> &str {
    name.split('_').next().unwrap_or("")
}

/// Whether a name belongs to monitoring software, run-time libraries or common middleware.
pub fn infrastructure_name(name: &str) -> bool {
    INFRASTRUCTURE.contains(&first_word(name))
}

/// Whether a job scrapes monitoring software or middleware rather than a service of the platform.
pub fn is_infrastructure(job: &Job) -> bool {
    let name = job.name.to_lowercase();
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    words.into_iter().any(|word| INFRASTRUCTURE.contains(&word) || word.ends_with("exporter"))
        || name == "tradewatch"
}

/// Whether a gauge in seconds is a point in time, by the naming convention.
pub fn is_timestamp(name: &str) -> bool {
    ["_timestamp_seconds", "_timestamp", "_time_seconds", "_created"]
        .iter()
        .any(|suffix| name.ends_with(suffix))
}

/// The unit that a catalogue or a UNIT line names, or that the name ends with by convention.
pub fn unit_of(unit: &str, name: &str) -> Unit {
    let name = name.trim_end_matches("_total");
    let by_name = || match name.rsplit('_').next().unwrap_or("") {
        "seconds" | "timestamp" => Unit::Seconds,
        "milliseconds" | "ms" | "millis" => Unit::Milliseconds,
        "ratio" => Unit::Ratio,
        "percent" | "percentage" => Unit::Percent,
        "bytes" => Unit::Bytes,
        "usd" | "dollars" | "bps" | "eur" | "celsius" | "volts" | "joules" => Unit::Other,
        _ => Unit::Unknown,
    };
    match unit {
        "" => by_name(),
        "seconds" | "s" => Unit::Seconds,
        "milliseconds" | "ms" => Unit::Milliseconds,
        "ratio" => Unit::Ratio,
        "percent" => Unit::Percent,
        "bytes" => Unit::Bytes,
        "bool" => Unit::Bool,
        "usd" | "dollars" | "bps" | "score" | "state" | "version" | "none" => Unit::Other,
        _ => Unit::Count,
    }
}
