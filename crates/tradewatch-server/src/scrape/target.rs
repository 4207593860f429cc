//! Targets: from groups of addresses through relabelling to what is scraped, and what is known of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tradewatch_alert::budget::Feed;
use tradewatch_tsdb::{Labels, Metadata, Timestamp};

use super::discovery::{Source, Told};
use super::ingest::IngestOptions;
use crate::config::file::{ScrapeConfig, TargetGroup};
use crate::config::scalar::PromDuration;
use crate::config::{self, BODY_BYTES_MAX, Config, HttpClientConfig};
use crate::relabel::{self, LabelMap};

/// Everything that decides how one target is scraped; two equal specs are the same target.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetSpec {
    /// Labels before relabelling.
    pub discovered: Labels,
    /// The job as configured, whatever `job` label the target carries.
    pub pool: String,
    /// The whole URL.
    pub url: String,
    /// Time between two scrapes.
    pub interval: Duration,
    /// Time after which a scrape has failed.
    pub timeout: Duration,
    /// Biggest body.
    pub body_bytes_max: u64,
    /// Whether gzip is asked for.
    pub compression: bool,
    /// Credentials and trust.
    pub client: HttpClientConfig,
    /// What happens to its samples; holds the target's labels.
    pub ingest: IngestOptions,
}

impl TargetSpec {
    /// Labels after relabelling.
    pub fn labels(&self) -> &Labels {
        &self.ingest.target
    }
}

/// How a target is.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// The last scrape was taken.
    Up,
    /// The last scrape failed.
    Down,
}

impl Health {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// What the last scrape of a target brought.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Up or down.
    pub health: Health,
    /// Why it is down, or empty.
    pub last_error: String,
    /// What was odd although the scrape was taken, or empty.
    pub last_warning: String,
    /// When it was scraped last.
    pub last_scrape: Option<Timestamp>,
    /// How long that took.
    pub last_duration: Duration,
    /// Samples in its body.
    pub last_samples: u64,
    /// Kind, unit and help of its families.
    pub metadata: Arc<BTreeMap<String, Metadata>>,
}

/// A target with what is known of it.
#[derive(Debug)]
pub struct Target {
    /// How it is scraped.
    pub spec: TargetSpec,
    status: Mutex<Status>,
}

impl Target {
    /// A target that was not scraped yet.
    pub fn new(spec: TargetSpec) -> Target {
        Target { spec, status: Mutex::default() }
    }

    /// What the last scrape brought.
    pub fn status(&self) -> Status {
        self.status.lock().expect("no panic while the status is locked").clone()
    }

    /// Changes what is known.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().expect("no panic while the status is locked"));
    }
}

/// What discovery found.
#[derive(Clone, Debug, Default)]
pub struct Discovered {
    /// To be scraped.
    pub targets: Vec<TargetSpec>,
    /// Dropped by relabelling: job and labels before it.
    pub dropped: Vec<(String, Labels)>,
    /// What was wrong with single targets or files; the others are found all the same.
    pub errors: Vec<String>,
}

/// Finds the targets of all jobs. Reads the files of `file_sd_configs`; what services and name servers named is in
/// `told`.
pub fn discover(config: &Config, told: &Told) -> Discovered {
    let mut found = Discovered::default();
    for job in &config.file.scrape_configs {
        let mut groups: Vec<(TargetGroup, Option<PathBuf>)> =
            job.static_configs.iter().map(|group| (group.clone(), None)).collect();
        for source in Source::of(job, config.folder()) {
            groups.extend(told.groups(&source).iter().map(|group| (group.clone(), None)));
        }
        for sd in &job.file_sd_configs {
            for path in config::file_sd_paths(config.folder(), &sd.files) {
                match read_groups(&path) {
                    Ok(read) => groups.extend(read.into_iter().map(|group| (group, Some(path.clone())))),
                    Err(error) => found.errors.push(error.to_string()),
                }
            }
        }
        for (group, path) in &groups {
            for address in &group.targets {
                add_target(job, config.folder(), group, address, path.as_deref(), &mut found);
            }
        }
    }
    // The same labels twice would be the same series twice.
    let mut seen = std::collections::HashSet::new();
    found.targets.retain(|spec| seen.insert((spec.url.clone(), spec.labels().clone())));
    found
}

/// What the jobs are known to scrape, for latency budgets; a job whose targets are not known yet counts by its name.
pub fn feeds(config: &Config) -> Vec<Feed> {
    let found = discover(config, &Told::default()).targets;
    let mut feeds: Vec<Feed> =
        found.iter().map(|spec| Feed { labels: spec.labels().clone(), every: spec.interval }).collect();
    for job in &config.file.scrape_configs {
        if !found.iter().any(|spec| spec.pool == job.name())
            && let Some(interval) = &job.scrape_interval
        {
            feeds.push(Feed { labels: Labels::from_pairs([("job", job.name())]), every: interval.value.0 });
        }
    }
    feeds
}

fn read_groups(path: &Path) -> Result<Vec<TargetGroup>, crate::Error> {
    let text = config::read_limited(path)?;
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    config::from_yaml(&text, path) // JSON is YAML.
}

fn add_target(
    job: &ScrapeConfig,
    folder: &Path,
    group: &TargetGroup,
    address: &str,
    path: Option<&Path>,
    found: &mut Discovered,
) {
    let (interval, timeout) = (job.scrape_interval.as_ref(), job.scrape_timeout.as_ref());
    let interval = interval.map_or(PromDuration(Duration::from_secs(60)), |d| d.value);
    let timeout = timeout.map_or(interval, |d| d.value);
    let mut labels: LabelMap = group.labels.iter().map(|(n, v)| (n.0.clone(), v.clone())).collect();
    labels.insert("__address__".into(), address.to_owned());
    if let Some(path) = path {
        labels.insert("__meta_filepath".into(), path.display().to_string());
    }
    let scheme = job.scheme.unwrap_or_default().as_str();
    for (name, value) in [
        ("job", job.name().to_owned()),
        ("__scheme__", scheme.to_owned()),
        ("__metrics_path__", job.metrics_path.clone().unwrap_or_else(|| "/metrics".into())),
        ("__scrape_interval__", interval.to_string()),
        ("__scrape_timeout__", timeout.to_string()),
    ] {
        labels.entry(name.to_owned()).or_insert(value);
    }
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            labels.entry(format!("__param_{name}")).or_insert_with(|| first.clone());
        }
    }
    labels.retain(|_, value| !value.is_empty());
    let discovered = Labels::from_pairs(labels.clone());
    if !relabel::apply(&job.relabel_configs, &mut labels) {
        found.dropped.push((job.name().to_owned(), discovered));
        return;
    }
    match finish_target(job, folder, labels, discovered) {
        Ok(spec) => found.targets.push(spec),
        Err(why) => found.errors.push(format!("job {:?}, target {address:?}: {why}", job.name())),
    }
}

fn finish_target(
    job: &ScrapeConfig,
    folder: &Path,
    mut labels: LabelMap,
    discovered: Labels,
) -> Result<TargetSpec, String> {
    let address = labels.get("__address__").cloned().ok_or("relabelling left no address")?;
    if address.contains('/') {
        return Err(format!("{address:?} is not host:port"));
    }
    let scheme = labels.get("__scheme__").cloned().unwrap_or_else(|| "http".into());
    let path = labels.get("__metrics_path__").cloned().unwrap_or_else(|| "/metrics".into());
    let duration = |name: &str| -> Result<Duration, String> {
        let text = labels.get(name).ok_or_else(|| format!("relabelling left no {name}"))?;
        text.parse::<PromDuration>().map(|d| d.0).map_err(|why| format!("{name}: {why}"))
    };
    let (interval, timeout) = (duration("__scrape_interval__")?, duration("__scrape_timeout__")?);
    if interval.is_zero() || timeout > interval {
        return Err(format!("timeout {timeout:?} does not fit interval {interval:?}"));
    }
    let mut params: Vec<(String, String)> = Vec::new();
    for (name, values) in &job.params {
        params.extend(values.iter().skip(1).map(|value| (name.clone(), value.clone())));
    }
    for (name, value) in &labels {
        if let Some(name) = name.strip_prefix("__param_") {
            params.insert(0, (name.to_owned(), value.clone()));
        }
    }
    let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mark = if query.is_empty() { "" } else { "?" };
    let url = format!("{scheme}://{address}{slash}{path}{mark}{query}");
    labels.retain(|name, _| !name.starts_with("__"));
    labels.entry("instance".into()).or_insert(address);
    Ok(TargetSpec {
        discovered,
        pool: job.name().to_owned(),
        url,
        interval,
        timeout,
        body_bytes_max: job
            .body_size_limit
            .map(|size| size.0)
            .filter(|size| *size > 0)
            .unwrap_or(BODY_BYTES_MAX),
        compression: job.enable_compression.unwrap_or(true),
        client: HttpClientConfig::of_job(job, folder),
        ingest: IngestOptions {
            target: Labels::from_pairs(labels),
            honor_labels: job.honor_labels.unwrap_or(false),
            honor_timestamps: job.honor_timestamps.unwrap_or(true),
            sample_limit: job.sample_limit.unwrap_or(0),
            label_limit: job.label_limit.unwrap_or(0),
            label_name_length_limit: job.label_name_length_limit.unwrap_or(0),
            label_value_length_limit: job.label_value_length_limit.unwrap_or(0),
            metric_relabel: job.metric_relabel_configs.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(yaml: &str) -> Discovered {
        discover(&Config::parse(yaml, Path::new("prometheus.yml")).expect("valid"), &Told::default())
    }

    #[test]
    fn a_target_gets_its_labels_and_url() {
        let found = found(
            "scrape_configs:\n- job_name: gw\n  scrape_interval: 1s\n  params: {module: [a, b]}\n  static_configs:\n  - targets: ['h:1']\n    labels: {tier: critical, __metrics_path__: /m}\n",
        );
        let target = &found.targets[0];
        assert_eq!(target.url, "http://h:1/m?module=a&module=b");
        assert_eq!(target.labels().to_string(), r#"{instance="h:1", job="gw", tier="critical"}"#);
        assert_eq!((target.interval, target.timeout), (Duration::from_secs(1), Duration::from_secs(1)));
        assert_eq!(target.discovered.get("__param_module"), Some("a"));
    }

    #[test]
    fn relabelling_renames_drops_and_redirects() {
        let found = found(
            "scrape_configs:\n- job_name: j\n  static_configs:\n  - targets: ['a:1', 'b:2']\n  relabel_configs:\n  - {source_labels: [__address__], regex: 'b.*', action: drop}\n  - {target_label: __address__, replacement: 'proxy:9'}\n  - {source_labels: [__param_x], target_label: y}\n",
        );
        assert_eq!((found.targets.len(), found.dropped.len()), (1, 1));
        assert_eq!(found.targets[0].url, "http://proxy:9/metrics");
        assert_eq!(found.targets[0].labels().get("instance"), Some("proxy:9"));
    }

    #[test]
    fn one_bad_target_does_not_cost_the_others() {
        let found =
            found("scrape_configs:\n- job_name: j\n  static_configs:\n  - targets: ['http://a:1', 'b:2']\n");
        assert_eq!((found.targets.len(), found.errors.len()), (1, 1));
    }
}
