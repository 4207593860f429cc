//! Configuration: `prometheus.yml` read, checked and resolved against its own folder.
//!
//! Whatever is wrong is one line with file, line, column and what was found there.

pub mod file;
pub mod scalar;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::error::Error;
use file::{Authorization, BasicAuth, HttpSd, PrometheusFile, RelabelConfig, ScrapeConfig, TlsConfig};
use scalar::{PromDuration, Secret};

use crate::net::proxy::Proxy;

/// Biggest configuration file that is read.
const CONFIG_BYTES_MAX: u64 = 16 << 20;
const SCRAPE_INTERVAL: Duration = Duration::from_secs(60);
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
const EVALUATION_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest interval; below it a scrape would overlap its own bookkeeping.
const SCRAPE_INTERVAL_MIN: Duration = Duration::from_millis(10);
/// Shortest time between two questions to a service that names targets.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Body limit where the file gives none: a target that never ends costs no more than this.
pub const BODY_BYTES_MAX: u64 = 256 << 20;

/// The configuration that is in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it was read, if it came from a file.
    pub path: Option<PathBuf>,
    /// What it says.
    pub file: PrometheusFile,
    /// Rule files that its patterns name, in order.
    pub rule_files: Vec<PathBuf>,
    /// What is known and not acted upon, one line each.
    pub warnings: Vec<String>,
}

impl Config {
    /// A configuration that scrapes nothing.
    pub fn empty() -> Config {
        Config { path: None, file: PrometheusFile::default(), rule_files: Vec::new(), warnings: Vec::new() }
    }

    /// Reads and checks `path`.
    ///
    /// # Errors
    /// One line with file, line and column.
    pub fn load(path: &Path) -> Result<Config, Error> {
        let text = read_limited(path)?;
        Config::parse(&text, path)
    }

    /// Checks `text`; relative paths in it are resolved against the folder of `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Error> {
        let mut file: PrometheusFile = from_yaml(text, path)?;
        let place = |line: u64, column: u64| format!("{}:{line}:{column}", path.display());
        let mut warnings = Vec::new();
        let mut warn = |keys: Vec<(&'static str, u64, u64)>| {
            for (key, line, column) in keys {
                warnings.push(format!("{}: {key} is not supported and has no effect", place(line, column)));
            }
        };
        warn(file.unsupported());
        warn(file.global.unsupported());
        for job in &file.scrape_configs {
            warn(job.unsupported());
            job.http_sd_configs.iter().for_each(|sd| warn(sd.unsupported()));
        }
        for manager in &file.alerting.alertmanagers {
            warn(manager.unsupported());
        }
        resolve_jobs(&mut file, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut rule_files = Vec::new();
        for pattern in &file.rule_files {
            let at = place(pattern.referenced.line(), pattern.referenced.column());
            expand_glob(folder, &pattern.value, &mut rule_files)
                .map_err(|why| Error::config(format!("{at}: {why}")))?;
        }
        Ok(Config { path: Some(path.to_owned()), file, rule_files, warnings })
    }

    /// Folder against which relative paths in the configuration are meant.
    pub fn folder(&self) -> &Path {
        self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new("."))
    }

    /// Upper bound between two evaluations of a rule group.
    pub fn evaluation_interval(&self) -> Duration {
        self.file.global.evaluation_interval.map_or(EVALUATION_INTERVAL, |d| d.0)
    }

    /// How far back rules look where their group does not say.
    pub fn rule_query_offset(&self) -> Duration {
        self.file.global.rule_query_offset.map_or(Duration::ZERO, |d| d.0)
    }

    /// The configuration as YAML with defaults filled in and secrets hidden, for `/api/v1/status/config`.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(&self.file).unwrap_or_else(|error| format!("# not printable: {error}\n"))
    }
}

/// Reads a whole file that must not be absurdly big.
pub fn read_limited(path: &Path) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::config(format!("{}: {error}", path.display()));
    let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
    if size > CONFIG_BYTES_MAX {
        return Err(failed(&format!("{size} bytes are more than the {CONFIG_BYTES_MAX} that are read")));
    }
    std::fs::read_to_string(path).map_err(|e| failed(&e))
}

/// Reads YAML; an error is one line: file, line, column, what is wrong, and the line that was met.
pub fn from_yaml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, Error> {
    serde_saphyr::from_str(text).map_err(|error| {
        let message = error.without_snippet().to_string();
        let Some(at) = error.location() else {
            return Error::config(format!("{}: {message}", path.display()));
        };
        let message = unknown_key(&message).unwrap_or(message);
        let suffix = format!(" at line {}, column {}", at.line(), at.column());
        let message = message.strip_suffix(&suffix).unwrap_or(&message).replace('\n', " ");
        let met = text.lines().nth((at.line() as usize).saturating_sub(1)).unwrap_or("").trim();
        // The line may hold a secret: it is shown only when the message does not come from one.
        let met = if met.is_empty() || looks_secret(met) { String::new() } else { format!(", in `{met}`") };
        Error::config(format!("{}:{}:{}: {message}{met}", path.display(), at.line(), at.column()))
    })
}

/// `unknown field … expected one of …` without the long list: the nearest known key instead.
fn unknown_key(message: &str) -> Option<String> {
    let rest = message.strip_prefix("unknown field `")?;
    let (name, rest) = rest.split_once('`')?;
    let known = rest.split_once("expected ")?.1;
    let known = known.strip_prefix("one of ").unwrap_or(known);
    let known = known.split(" at line ").next().unwrap_or(known).split(", ");
    let known = known.map(|key| key.trim_matches('`'));
    let near = known.map(|key| (distance(name, key), key)).min();
    Some(match near {
        Some((far, key)) if far <= 3.min(name.len() / 2) => {
            format!("unknown key {name:?}; did you mean {key:?}?")
        }
        _ => format!("unknown key {name:?}"),
    })
}

/// How many letters have to be changed, added or left out to make `a` of `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let step = (corner + usize::from(x != *y)).min(row[j] + 1).min(row[j + 1] + 1);
            corner = std::mem::replace(&mut row[j + 1], step);
        }
    }
    row[b.len()]
}

fn looks_secret(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["password", "credential", "token", "secret", "key", "auth"].iter().any(|word| line.contains(word))
}

fn expand_glob(folder: &Path, pattern: &str, into: &mut Vec<PathBuf>) -> Result<(), String> {
    let whole = folder.join(pattern);
    let whole = whole.to_str().ok_or_else(|| format!("{pattern:?} is not UTF-8"))?;
    if !pattern.contains(['*', '?', '[']) {
        into.push(PathBuf::from(whole)); // Missing is an error where it is read, as in Prometheus.
        return Ok(());
    }
    let mut found: Vec<PathBuf> =
        glob::glob(whole).map_err(|error| format!("{pattern:?}: {error}"))?.filter_map(Result::ok).collect();
    found.sort();
    into.extend(found);
    Ok(())
}

/// The target files of a `file_sd_configs` entry.
pub fn file_sd_paths(folder: &Path, patterns: &[String]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for pattern in patterns {
        if let Err(why) = expand_glob(folder, pattern, &mut paths) {
            tracing::warn!("file_sd_configs: {why}");
        }
    }
    paths
}

/// Fills in what a job inherits, and checks what only makes sense together.
fn resolve_jobs(file: &mut PrometheusFile, path: &Path) -> Result<(), Error> {
    let global = &mut file.global;
    let interval = *global.scrape_interval.get_or_insert(PromDuration(SCRAPE_INTERVAL));
    let timeout = *global.scrape_timeout.get_or_insert(PromDuration(SCRAPE_TIMEOUT.min(interval.0)));
    global.evaluation_interval.get_or_insert(PromDuration(EVALUATION_INTERVAL));
    let mut names: Vec<String> = Vec::new();
    for job in &mut file.scrape_configs {
        let Some(name) = job.job_name.clone().filter(|name| !name.value.is_empty()) else {
            return Err(Error::config(format!("{}: a scrape_configs entry has no job_name", path.display())));
        };
        let at = format!("{}:{}:{}", path.display(), name.referenced.line(), name.referenced.column());
        let wrong = |what: String| Error::config(format!("{at}: {what}"));
        let name = name.value;
        if names.contains(&name) {
            return Err(wrong(format!("job_name {name:?} is used twice")));
        }
        let own_interval = job.scrape_interval.as_ref().map_or(interval, |d| d.value);
        if own_interval.0 < SCRAPE_INTERVAL_MIN {
            return Err(wrong(format!("job {name:?}: scrape_interval {own_interval} is below 10ms")));
        }
        let own_timeout = match &job.scrape_timeout {
            Some(given) if given.value > own_interval => {
                return Err(Error::config(format!(
                    "{}:{}:{}: scrape_timeout {} is longer than scrape_interval {own_interval} of job {name:?}",
                    path.display(),
                    given.referenced.line(),
                    given.referenced.column(),
                    given.value
                )));
            }
            Some(given) => given.value,
            None => timeout.min(own_interval),
        };
        job.scrape_interval = Some(spanned(own_interval));
        job.scrape_timeout = Some(spanned(own_timeout));
        job.metrics_path.get_or_insert_with(|| "/metrics".into());
        job.scheme.get_or_insert_default();
        job.body_size_limit = job.body_size_limit.or(global.body_size_limit);
        job.sample_limit = job.sample_limit.or(global.sample_limit);
        job.label_limit = job.label_limit.or(global.label_limit);
        job.label_name_length_limit = job.label_name_length_limit.or(global.label_name_length_limit);
        job.label_value_length_limit = job.label_value_length_limit.or(global.label_value_length_limit);
        let auths = usize::from(job.basic_auth.is_some())
            + usize::from(job.authorization.is_some())
            + usize::from(job.bearer_token.is_some() || job.bearer_token_file.is_some());
        if auths > 1 {
            return Err(wrong(format!(
                "job {name:?}: give one of basic_auth, authorization and bearer_token"
            )));
        }
        for sd in &job.http_sd_configs {
            let parsed = sd.url.parse::<http::Uri>().ok();
            if !parsed.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https"))) {
                let shown = crate::net::client::without_login(&sd.url).0;
                return Err(wrong(format!(
                    "job {name:?}: http_sd_configs: {shown:?} is not a URL; write http://HOST/PATH"
                )));
            }
        }
        for sd in &job.dns_sd_configs {
            if sd.names.is_empty() {
                return Err(wrong(format!("job {name:?}: dns_sd_configs: `names` is empty")));
            }
            if sd.port.is_none() && sd.kind != file::RecordType::Srv {
                return Err(wrong(format!(
                    "job {name:?}: dns_sd_configs: a port is required for records other than SRV"
                )));
            }
        }
        let refresh = job.http_sd_configs.iter().map(|sd| sd.refresh_interval);
        let refresh = refresh.chain(job.dns_sd_configs.iter().map(|sd| sd.refresh_interval));
        if let Some(short) = refresh.flatten().find(|every| every.0 < REFRESH_INTERVAL_MIN) {
            return Err(wrong(format!("job {name:?}: refresh_interval {short} is below 1s")));
        }
        check_relabel(&job.relabel_configs, &wrong)?;
        check_relabel(&job.metric_relabel_configs, &wrong)?;
        names.push(name);
    }
    let wrong = |what: String| Error::config(format!("{}: alert_relabel_configs: {what}", path.display()));
    check_relabel(&file.alerting.alert_relabel_configs, &wrong)
}

fn spanned<T>(value: T) -> serde_saphyr::Spanned<T> {
    let nowhere = serde_saphyr::Location::UNKNOWN;
    serde_saphyr::Spanned { value, referenced: nowhere, defined: nowhere }
}

fn check_relabel(steps: &[RelabelConfig], wrong: &dyn Fn(String) -> Error) -> Result<(), Error> {
    for (number, step) in steps.iter().enumerate() {
        crate::relabel::check(step)
            .map_err(|why| wrong(format!("relabelling step {}: {why}", number + 1)))?;
    }
    Ok(())
}

/// How one HTTP peer is spoken to: credentials and certificates, files already resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpClientConfig {
    /// User and password.
    pub basic_auth: Option<BasicAuth>,
    /// Any other `Authorization`.
    pub authorization: Option<Authorization>,
    /// Trust and own certificate.
    pub tls: Option<TlsConfig>,
    /// Folder of relative file names.
    pub folder: PathBuf,
    /// Whether redirects are followed.
    pub follow_redirects: bool,
    /// The proxy, where there is one.
    pub proxy: Option<Proxy>,
}

impl HttpClientConfig {
    /// Uses a login that stood in an address, where nothing else was given.
    pub fn take_login(&mut self, login: Option<String>) {
        let Some((kind, credentials)) = login.as_deref().and_then(|login| login.split_once(' ')) else {
            return;
        };
        if self.basic_auth.is_none() && self.authorization.is_none() {
            self.authorization = Some(Authorization {
                kind: Some(kind.to_owned()),
                credentials: Some(Secret::from(credentials.to_owned())),
                credentials_file: None,
            });
        }
    }

    /// What a service that names targets asks for.
    pub fn of_http_sd(sd: &HttpSd, folder: &Path) -> HttpClientConfig {
        HttpClientConfig {
            basic_auth: sd.basic_auth.clone(),
            authorization: sd.authorization.clone(),
            tls: sd.tls_config.clone(),
            folder: folder.to_owned(),
            follow_redirects: sd.follow_redirects.unwrap_or(true),
            proxy: None,
        }
    }

    /// What `job` asks for.
    pub fn of_job(job: &ScrapeConfig, folder: &Path) -> HttpClientConfig {
        let old_form =
            (job.bearer_token.is_some() || job.bearer_token_file.is_some()).then(|| Authorization {
                kind: None,
                credentials: job.bearer_token.clone(),
                credentials_file: job.bearer_token_file.clone(),
            });
        HttpClientConfig {
            basic_auth: job.basic_auth.clone(),
            authorization: job.authorization.clone().or(old_form),
            tls: job.tls_config.clone(),
            folder: folder.to_owned(),
            follow_redirects: job.follow_redirects.unwrap_or(true),
            proxy: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(text: &str, expected: Expect) {
        let shown = match Config::parse(text, Path::new("prometheus.yml")) {
            Err(error) => format!("error: {error}\n"),
            Ok(config) => format!("{}{}", config.to_yaml(), config.warnings.join("\n")),
        };
        expected.assert_eq(&shown);
    }

    #[test]
    fn rules_look_back_as_far_as_the_file_says() {
        let read = |text: &str| Config::parse(text, Path::new("p.yml")).expect("valid");
        assert_eq!(read("{}").rule_query_offset(), Duration::ZERO);
        let config = read("global: {rule_query_offset: 30s}");
        assert_eq!((config.rule_query_offset(), config.warnings.len()), (Duration::from_secs(30), 0));
    }

    #[test]
    fn defaults_are_filled_in_and_secrets_hidden() {
        check(
            "global: {scrape_interval: 5s}\nscrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: p}\n  static_configs:\n  - targets: ['h:1']\n    labels: {tier: critical}\n",
            expect![[r#"
                global:
                  scrape_interval: 5s
                  scrape_timeout: 5s
                  evaluation_interval: 1m
                scrape_configs:
                - job_name: a
                  scrape_interval: 5s
                  scrape_timeout: 5s
                  metrics_path: /metrics
                  scheme: http
                  static_configs:
                  - targets:
                    - h:1
                    labels:
                      tier: critical
                  basic_auth:
                    username: u
                    password: <secret>
            "#]],
        );
    }

    #[test]
    fn mistakes_name_their_place() {
        check(
            "global:\n  scrape_intervall: 5s\n",
            expect![[r#"
                error: prometheus.yml:2:3: unknown key "scrape_intervall"; did you mean "scrape_interval"?, in `scrape_intervall: 5s`
            "#]],
        );
        check(
            "global:\n  scrape_interval: 5 seconds\n",
            expect![[r#"
                error: prometheus.yml:2:20: not a valid duration string: "5 seconds"; write for example 15s, 1m30s or 500ms, in `scrape_interval: 5 seconds`
            "#]],
        );
        check(
            "scrape_configs:\n- job_name: a\n  scrape_interval: 1s\n  scrape_timeout: 2s\n",
            expect![[r#"
            error: prometheus.yml:4:19: scrape_timeout 2s is longer than scrape_interval 1s of job "a"
        "#]],
        );
        check(
            "scrape_configs:\n- job_name: a\n- job_name: a\n",
            expect![[r#"
            error: prometheus.yml:3:13: job_name "a" is used twice
        "#]],
        );
        check(
            "scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {action: replace, regex: '('}\n",
            expect![[r#"
                error: prometheus.yml:4:30: "(" is not a regular expression: unclosed group, in `- {action: replace, regex: '('}`
            "#]],
        );
        check(
            "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, passwort: hunter2}\n",
            expect![[r#"
                error: prometheus.yml:3:29: unknown key "passwort"; did you mean "password"?
            "#]],
        );
    }

    #[test]
    fn what_is_known_and_unsupported_is_one_warning() {
        check(
            "remote_write:\n- url: http://x\nscrape_configs:\n- job_name: a\n  kubernetes_sd_configs:\n  - role: pod\n",
            expect![[r#"
                global:
                  scrape_interval: 1m
                  scrape_timeout: 10s
                  evaluation_interval: 1m
                scrape_configs:
                - job_name: a
                  scrape_interval: 1m
                  scrape_timeout: 10s
                  metrics_path: /metrics
                  scheme: http
                prometheus.yml:2:3: remote_write is not supported and has no effect
                prometheus.yml:6:5: kubernetes_sd_configs is not supported and has no effect"#]],
        );
    }
}
