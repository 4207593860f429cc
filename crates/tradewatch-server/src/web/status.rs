//! Targets, rules, alerts and status of the Prometheus HTTP API v1.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use serde_json::{Value as Json, json};
use tradewatch_alert::State as AlertState;
use tradewatch_alert::budget::{self, Budget};
use tradewatch_alert::rules::{ActiveAlert, Group, RuleSpec, RuleStatus};
use tradewatch_tsdb::{Labels, Timestamp};

use super::alerts::holds;
use super::params::Params;
use super::respond::{ApiError, ApiResult, Success};
use crate::config::scalar::PromDuration;
use crate::monitor::Monitor;
use crate::scrape::target::Target;

/// The routes.
pub fn routes() -> Router<Arc<Monitor>> {
    Router::new()
        .route("/api/v1/targets", get(targets))
        .route("/api/v1/targets/metadata", get(targets_metadata))
        .route("/api/v1/scrape_pools", get(scrape_pools))
        .route("/api/v1/rules", get(rules))
        .route("/api/v1/alerts", get(alerts))
        .route("/api/v1/alertmanagers", get(alertmanagers))
        .route("/api/v1/status/config", get(config))
        .route("/api/v1/status/flags", get(flags))
        .route("/api/v1/status/runtimeinfo", get(runtime_info))
        .route("/api/v1/status/buildinfo", get(build_info))
        .route("/api/v1/status/tsdb", get(tsdb))
        .route("/api/v1/status/walreplay", get(wal_replay))
}

fn answer(data: &Json) -> ApiResult {
    Ok(Success::from(data.to_string()))
}

/// A label set as a JSON object.
pub fn labels_json(labels: &Labels) -> Json {
    Json::Object(labels.iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect())
}

/// A time as RFC 3339; the API's zero time where there is none.
pub fn time_json(ts: Option<Timestamp>) -> Json {
    match ts {
        Some(ts) => Json::from(ts.to_string()),
        None => Json::from("0001-01-01T00:00:00Z"),
    }
}

fn target_json(monitor: &Monitor, target: &Target) -> Json {
    let status = target.status();
    let spec = &target.spec;
    json!({
        "discoveredLabels": labels_json(&spec.discovered),
        "labels": labels_json(spec.labels()),
        "scrapePool": spec.pool,
        "scrapeUrl": spec.url,
        "globalUrl": global_url(&spec.url, &monitor.external_url),
        "lastError": status.last_error,
        "lastWarning": status.last_warning,
        "lastScrape": time_json(status.last_scrape),
        "lastScrapeDuration": status.last_duration.as_secs_f64(),
        "lastScrapeSamples": status.last_samples,
        "health": status.health.as_str(),
        "scrapeInterval": PromDuration(spec.interval).to_string(),
        "scrapeTimeout": PromDuration(spec.timeout).to_string(),
    })
}

/// The URL by which others reach a target that we reach over the loopback address.
fn global_url(url: &str, external_url: &str) -> String {
    let host = external_url.split("://").nth(1).unwrap_or("").split(['/', ':']).next().unwrap_or("");
    let local = ["://localhost", "://127.0.0.1", "://[::1]"].iter().find(|local| url.contains(*local));
    match local {
        Some(local) if !host.is_empty() => url.replacen(local, &format!("://{host}"), 1),
        _ => url.to_owned(),
    }
}

async fn targets(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> ApiResult {
    let params = Params::new(raw.as_deref(), None);
    let state = params.get("state").unwrap_or("any").to_ascii_lowercase();
    let pool = params.get("scrapePool");
    let wanted = |name: &str| pool.is_none_or(|pool| pool == name);
    let mut data = json!({"activeTargets": [], "droppedTargets": [], "droppedTargetCounts": {}});
    if state == "any" || state == "active" {
        let targets = monitor.scrapes.targets();
        let shown = targets.iter().filter(|target| wanted(&target.spec.pool));
        data["activeTargets"] = shown.map(|target| target_json(&monitor, target)).collect();
    }
    let dropped = monitor.scrapes.dropped();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for target in monitor.scrapes.targets() {
        counts.entry(target.spec.pool.clone()).or_default();
    }
    for (pool, _) in &dropped {
        *counts.entry(pool.clone()).or_default() += 1;
    }
    data["droppedTargetCounts"] = json!(counts);
    if state == "any" || state == "dropped" {
        let shown = dropped.iter().filter(|(pool, _)| wanted(pool));
        data["droppedTargets"] = shown
            .map(|(pool, labels)| json!({"discoveredLabels": labels_json(labels), "scrapePool": pool}))
            .collect();
    }
    answer(&data)
}

async fn targets_metadata(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> ApiResult {
    let params = Params::new(raw.as_deref(), None);
    let limit = params.limit()?;
    let metric = params.get("metric");
    let matchers = match params.get("match_target") {
        None => Vec::new(),
        Some(text) => tradewatch_promql::parse_selector(text)
            .map_err(|error| ApiError::bad_data(format!("invalid parameter \"match_target\": {error}")))?,
    };
    let mut found = Vec::new();
    for target in monitor.scrapes.targets() {
        let labels = target.spec.labels();
        if !matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name()).unwrap_or(""))) {
            continue;
        }
        for (name, metadata) in target.status().metadata.iter() {
            if metric.is_some_and(|metric| metric != name) || found.len() >= limit {
                continue;
            }
            let mut one = json!({
                "target": labels_json(labels),
                "type": metadata.kind.as_str(),
                "help": metadata.help,
                "unit": metadata.unit,
            });
            if metric.is_none() {
                one["metric"] = Json::from(name.as_str());
            }
            found.push(one);
        }
    }
    answer(&Json::Array(found))
}

async fn scrape_pools(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    let mut pools: Vec<String> =
        monitor.config().file.scrape_configs.iter().map(|job| job.name().to_owned()).collect();
    pools.sort();
    answer(&json!({"scrapePools": pools}))
}

/// An active alert as `/api/v1/alerts` shows it.
fn alert_json(alert: &ActiveAlert) -> Json {
    let mut shown = json!({
        "labels": labels_json(&alert.labels),
        "annotations": alert.annotations,
        "state": alert.state.as_str(),
        "activeAt": time_json(Some(alert.active_at)),
        "value": alert.value_text(),
    });
    if let Some(since) = alert.keep_firing_since {
        shown["keepFiringSince"] = time_json(Some(since));
    }
    shown
}

/// Seconds as Prometheus writes them: without decimals where there are none.
fn seconds(duration: Duration) -> Json {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1000) { json!((millis / 1000) as u64) } else { json!(duration.as_secs_f64()) }
}

/// How long it takes at worst until somebody is told of what this rule sees.
pub fn budget_json(spec: &RuleSpec, budget: &Budget) -> Json {
    let claims = budget::claims_rts6(spec);
    json!({
        "scrape": seconds(budget.scrape),
        "records": seconds(budget.records),
        "evaluation": seconds(budget.evaluation),
        "hold": seconds(budget.hold),
        "session": budget.session,
        "grouping": seconds(budget.grouping),
        "joining": seconds(budget.joining),
        "total": seconds(budget.total()),
        "worst": seconds(budget.worst()),
        "receiver": budget.receiver,
        "rts6": claims,
        "withinLimit": !claims || budget.worst() <= budget::RTS6_LIMIT,
    })
}

fn rule_json(
    spec: &RuleSpec,
    status: &RuleStatus,
    state: AlertState,
    active: &[&ActiveAlert],
    with_alerts: bool,
) -> Json {
    let labels: BTreeMap<&str, &str> = spec.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let mut rule = json!({
        "name": spec.name,
        "query": spec.expr.to_string(),
        "health": status.health.as_str(),
        "evaluationTime": status.evaluation_time.as_secs_f64(),
        "lastEvaluation": time_json(status.last_evaluation),
        "type": if spec.is_alerting() { "alerting" } else { "recording" },
    });
    if !labels.is_empty() || spec.is_alerting() {
        rule["labels"] = json!(labels);
    }
    if let Some(error) = &status.last_error {
        rule["lastError"] = Json::from(error.as_str());
    }
    if spec.is_alerting() {
        rule["state"] = Json::from(state.as_str());
        rule["duration"] = seconds(spec.hold());
        rule["keepFiringFor"] = seconds(spec.keep_firing());
        rule["annotations"] = json!(spec.annotations());
        let shown = active.iter().filter(|alert| alert.state != AlertState::Inactive && with_alerts);
        rule["alerts"] = shown.map(|alert| alert_json(alert)).collect();
    }
    rule
}

async fn rules(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> ApiResult {
    let params = Params::new(raw.as_deref(), None);
    let kind = params.get("type").unwrap_or("").to_ascii_lowercase();
    let (alerting, recording) = match kind.as_str() {
        "" => (true, true),
        "alert" => (true, false),
        "record" => (false, true),
        other => {
            return Err(ApiError::bad_data(format!("not supported value {other:?} for parameter \"type\"")));
        }
    };
    let with_alerts = !matches!(params.get("exclude_alerts"), Some("true" | "1"));
    let list = |name: &'static str| -> Vec<String> { params.all(name).map(str::to_owned).collect() };
    let (names, groups, files) = (list("rule_name[]"), list("rule_group[]"), list("file[]"));
    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|one| one == name);
    let running = monitor.groups.lock().expect("no panic while groups are listed").clone();
    let labels = params.matchers(false)?;
    let (limit, token) = group_page(&params)?;
    let mut began = token.is_none();
    let mut next_token = None;
    let mut shown = Vec::new();
    for shown_group in running {
        let group = shown_group.lock();
        began |= token == Some(group_token(&group).as_str());
        if !began || !wanted(&groups, group.name()) || !wanted(&files, group.file()) {
            continue;
        }
        let rules: Vec<Json> = group
            .rules()
            .enumerate()
            .filter(|(_, (spec, ..))| if spec.is_alerting() { alerting } else { recording })
            .filter(|(_, (spec, ..))| wanted(&names, &spec.name))
            .filter(|(_, (spec, ..))| {
                let own = Labels::from_pairs(&spec.labels);
                labels.is_empty() || labels.iter().any(|set| holds(set, &own))
            })
            .map(|(at, (spec, status, active))| {
                let mut rule = rule_json(spec, status, group.state(at), &active, with_alerts);
                rule["missingMetrics"] = json!(monitor.inputs.missing(group.file(), group.name(), at));
                if let Some(budget) = shown_group.budget(at) {
                    rule["latencyBudget"] = budget_json(spec, budget);
                }
                if spec.is_alerting() {
                    rule["drills"] = json!(monitor.drills.of(Some(&spec.name)));
                }
                rule
            })
            .collect();
        if rules.is_empty() {
            continue;
        }
        if shown.len() == limit {
            next_token = Some(group_token(&group));
            break;
        }
        shown.push(group_json(&group, rules));
    }
    if let Some(token) = token.filter(|_| !began) {
        return Err(ApiError::bad_data(format!(
            "invalid group_next_token '{token}'. were rule groups changed?"
        )));
    }
    let mut data = json!({"groups": shown});
    if let Some(token) = next_token {
        data["groupNextToken"] = Json::from(token);
    }
    answer(&data)
}

/// `group_limit` and `group_next_token`: at most so many groups, from that one on.
fn group_page(params: &Params) -> Result<(usize, Option<&str>), ApiError> {
    let token = params.get("group_next_token");
    let limit = match params.get("group_limit") {
        None if token.is_some() => {
            return Err(ApiError::bad_data(
                "group_limit needs to be present in order to paginate over the groups",
            ));
        }
        None => usize::MAX,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 => limit,
            _ => {
                return Err(ApiError::bad_data(format!(
                    "group_limit needs to be greater than 0, not {text:?}"
                )));
            }
        },
    };
    Ok((limit, token))
}

/// Names a group in pages of groups.
fn group_token(group: &Group) -> String {
    format!("{:016x}", Labels::from_pairs([("file", group.file()), ("group", group.name())]).fingerprint())
}

fn group_json(group: &Group, rules: Vec<Json>) -> Json {
    json!({
        "name": group.name(),
        "file": group.file(),
        "rules": rules,
        "interval": seconds(group.interval()),
        "limit": group.limit(),
        "evaluationTime": group.evaluation_time().as_secs_f64(),
        "lastEvaluation": time_json(group.last_evaluation()),
    })
}

async fn alerts(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    let running = monitor.groups.lock().expect("no panic while groups are listed").clone();
    let mut shown = Vec::new();
    for group in running {
        let group = group.lock();
        for (_, _, active) in group.rules() {
            shown.extend(
                active
                    .iter()
                    .filter(|alert| alert.state != AlertState::Inactive)
                    .map(|alert| alert_json(alert)),
            );
        }
    }
    answer(&json!({"alerts": shown}))
}

async fn alertmanagers(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    let urls: Vec<Json> =
        monitor.notifier.outside_urls().into_iter().map(|url| json!({"url": url})).collect();
    answer(&json!({"activeAlertmanagers": urls, "droppedAlertmanagers": []}))
}

async fn config(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    let status = monitor.config_status();
    let mut success = Success::from(json!({"yaml": monitor.config().to_yaml()}).to_string());
    success.warnings = status.warnings;
    if !status.ok {
        success.warnings.insert(0, format!("the last reload was refused: {}", status.error));
    }
    Ok(success)
}

async fn flags(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    let options = &monitor.options;
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|p| p.display().to_string()).unwrap_or_default()
    };
    answer(&json!({
        "config.file": path(&options.config_file),
        "storage.tsdb.path": path(&options.data_dir),
        "storage.tsdb.retention.time": PromDuration(options.retention).to_string(),
        "web.listen-address": options.listen.to_string(),
        "web.external-url": monitor.external_url,
        "web.config.file": path(&options.web.config_file),
        "web.enable-lifecycle": options.web.enable_lifecycle.to_string(),
        "web.enable-admin-api": options.web.enable_admin_api.to_string(),
        "query.lookback-delta": PromDuration(options.query.lookback).to_string(),
        "query.timeout": PromDuration(options.query.timeout).to_string(),
        "query.max-concurrency": options.query.concurrency.to_string(),
        "query.max-samples": options.query.samples_max.to_string(),
        "query.log-slower-than":
            options.query.log_slower_than.map(|bound| PromDuration(bound).to_string()).unwrap_or_default(),
        "rules.alert.resend-delay": PromDuration(options.resend_delay).to_string(),
    }))
}

async fn runtime_info(State(monitor): State<Arc<Monitor>>) -> ApiResult {
    let status = monitor.config_status();
    let stats = monitor.db.stats();
    answer(&json!({
        "startTime": time_json(Some(monitor.started)),
        "serverTime": time_json(Some(crate::clock::now())),
        "CWD": std::env::current_dir().map(|p| p.display().to_string()).unwrap_or_default(),
        "hostname": hostname(),
        "reloadConfigSuccess": status.ok,
        "lastConfigTime": time_json(Some(status.at)),
        "corruptionCount": stats.wal.unwrap_or_default().corruptions,
        "goroutineCount": 0,
        "GOMAXPROCS": std::thread::available_parallelism().map_or(1, usize::from),
        "GOMEMLIMIT": 0,
        "GOGC": "",
        "GODEBUG": "",
        "storageRetention": PromDuration(monitor.options.retention).to_string(),
    }))
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

async fn build_info() -> ApiResult {
    // `version` is the version of the API that clients look for; ours stands beside it.
    answer(&json!({
        "version": "3.5.0",
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
        "application": "tradewatch",
        "applicationVersion": env!("CARGO_PKG_VERSION"),
    }))
}

async fn wal_replay() -> ApiResult {
    answer(&json!({"min": 0, "max": 0, "current": 0})) // Answers come only after the replay.
}

async fn tsdb(State(monitor): State<Arc<Monitor>>, RawQuery(raw): RawQuery) -> ApiResult {
    let params = Params::new(raw.as_deref(), None);
    let limit = match params.get("limit") {
        None => 10,
        Some(text) => match text.parse::<usize>() {
            Ok(limit) if limit > 0 && limit <= 10_000 => limit,
            _ => return Err(ApiError::bad_data("limit must be a positive number up to 10000")),
        },
    };
    let cardinality = monitor
        .queries
        .turn(crate::query::Overrides::default(), move |queries| super::cardinality::of(queries.db(), limit));
    answer(&cardinality.await?)
}
