//! The beats of this monitor to a dead man's switch elsewhere.
//!
//! A beat says more than "the process lives": before each one the way from scrape to delivery is looked at, and a
//! monitor that is sick keeps silent, so that the listener speaks up. The body is Alertmanager's webhook with an
//! alert `Watchdog` that always fires: `tradewatch deadman` takes it, and every service of this kind does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::sync::watch;
use tradewatch_alert::Fingerprint;
use tradewatch_tsdb::{Labels, Timestamp};

use crate::clock;
use crate::config::HttpClientConfig;
use crate::config::scalar::Secret;
use crate::error::Error;
use crate::monitor::Monitor;
use crate::net::HttpClient;
use crate::net::client::{Ask, without_login};
use crate::telemetry::BeatStatus;

/// Longest time for one beat; a shorter interval shortens it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Whatever the intervals of rules and scrapes: so much later is late.
const SLACK: Duration = Duration::from_secs(10);

/// Where beats go, and how often.
#[derive(Clone, Debug)]
pub struct Options {
    /// The address; a secret, as those of such services are.
    pub url: Secret,
    /// A file that holds it instead, read before each beat.
    pub url_file: Option<PathBuf>,
    /// The time from one beat to the next.
    pub every: Duration,
}

/// Beats until `stop`.
///
/// # Errors
/// The client cannot be made.
pub fn start(
    monitor: Arc<Monitor>,
    options: Options,
    stop: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()>, Error> {
    let client = HttpClient::new(HttpClientConfig::default())?;
    Ok(run(monitor, options, client, stop))
}

async fn run(monitor: Arc<Monitor>, options: Options, client: HttpClient, mut stop: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(options.every.max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Said when it begins and when it ends, not with every beat.
    let mut said = String::new();
    loop {
        tokio::select! {
            biased;
            () = crate::stop::stopped(&mut stop) => return,
            _ = ticks.tick() => {}
        }
        let limit = TIMEOUT.min(options.every.max(Duration::from_secs(1)));
        let ailments = look(&monitor, limit).await;
        let (status, now_said) = if !ailments.is_empty() {
            (
                BeatStatus::Withheld,
                format!("no heartbeat is sent, since this monitor is sick: {}", ailments.join("; ")),
            )
        } else {
            match beat(&monitor, &options, &client, limit).await {
                Ok(()) => (BeatStatus::Success, String::new()),
                Err(why) => (BeatStatus::Error, format!("the heartbeat does not arrive: {why}")),
            }
        };
        monitor.own.metrics.heartbeats_total.at((status,)).inc();
        if now_said != said {
            match now_said.is_empty() {
                true => tracing::info!("heartbeats arrive again"),
                false => tracing::error!("{now_said}"),
            }
            said = now_said;
        }
    }
}

/// What is wrong with the way from scrape to delivery; empty if all of it lives.
async fn look(monitor: &Arc<Monitor>, limit: Duration) -> Vec<String> {
    // A group that is evaluated is locked, and whoever hangs there must not hang us: then the time is up.
    let looked = monitor.clone();
    let parts = tokio::task::spawn_blocking(move || {
        let now = clock::now();
        let mut ailments = Vec::new();
        if let Some(why) = looked.db.stats().read_only {
            ailments.push(format!("the store takes no samples: {why}"));
        }
        ailments.extend(late_rules(&looked, now));
        ailments.extend(late_scrapes(&looked, now));
        ailments
    });
    let mut ailments = match tokio::time::timeout(limit, parts).await {
        Ok(Ok(ailments)) => ailments,
        Ok(Err(error)) => vec![format!("looking at the parts broke off: {error}")],
        Err(_) => vec![format!("the parts cannot be looked at within {limit:?}")],
    };
    if !monitor.notifier.is_alive(limit).await {
        ailments.push("delivery does not answer".to_owned());
    }
    ailments
}

fn late_rules(monitor: &Monitor, now: Timestamp) -> Vec<String> {
    let groups = monitor.groups.lock().expect("no panic while groups are listed").clone();
    let late = groups.iter().filter_map(|shown| {
        let group = shown.lock();
        let last = group.last_evaluation().unwrap_or(monitor.started).max(monitor.started);
        let late = now.since(last) > group.interval() * 3 + SLACK;
        late.then(|| format!("rule group {} was last evaluated at {last}", group.name()))
    });
    late.collect()
}

/// That no target at all was asked lately; that some do not answer is what rules are for.
fn late_scrapes(monitor: &Monitor, now: Timestamp) -> Option<String> {
    let targets = monitor.scrapes.targets();
    let slowest = targets.iter().map(|target| target.spec.interval).max()?;
    let last = targets.iter().filter_map(|target| target.status().last_scrape).max();
    let last = last.unwrap_or(monitor.started).max(monitor.started);
    (now.since(last) > slowest * 3 + SLACK).then(|| format!("nothing was scraped since {last}"))
}

async fn beat(
    monitor: &Monitor,
    options: &Options,
    client: &HttpClient,
    limit: Duration,
) -> Result<(), String> {
    let url = match &options.url_file {
        None => options.url.expose().to_owned(),
        Some(file) => {
            let text = tokio::fs::read_to_string(file).await;
            text.map_err(|error| format!("{}: {error}", file.display()))?.trim().to_owned()
        }
    };
    let (plain, login) = without_login(&url);
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(login.map(|login| ("authorization", login)));
    let asked = client.ask(Ask {
        method: Method::POST,
        url: &plain,
        headers: &headers,
        body: Bytes::from(body(monitor.started, &monitor.external_url).to_string()),
        compression: false,
        body_bytes_max: 64 << 10,
        timeout: limit,
    });
    // The address is a secret: it is cut out of what failed.
    let answer = asked.await.map_err(|why| why.replace(&plain, "<url>"))?;
    if answer.status.is_success() { Ok(()) } else { Err(format!("HTTP status {}", answer.status)) }
}

fn body(started: Timestamp, external_url: &str) -> serde_json::Value {
    let labels = json!({"alertname": "Watchdog", "platform": "tradewatch", "severity": "none"});
    let pairs = [("alertname", "Watchdog"), ("platform", "tradewatch"), ("severity", "none")];
    let annotations = json!({
        "summary": "This monitor lives, from scrape to delivery. It always fires; its absence is the alarm.",
    });
    json!({
        "version": "4",
        "groupKey": "{}:{alertname=\"Watchdog\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "heartbeat",
        "groupLabels": {"alertname": "Watchdog"},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": external_url,
        "alerts": [{
            "status": "firing",
            "labels": labels,
            "annotations": annotations,
            "startsAt": started.to_string(),
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": external_url,
            "fingerprint": Fingerprint::of(&Labels::from_pairs(pairs)).to_string(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::task::JoinSet;
    use tradewatch_tsdb::{Db, Faults, MemDir};

    use super::*;
    use crate::monitor::Loaded;
    use crate::web::web_config::WebConfig;

    const LIMIT: Duration = Duration::from_millis(500);

    /// Waits until what is wrong is `expected`, which may be nothing.
    async fn until(monitor: &Arc<Monitor>, expected: &str) {
        let deadline = std::time::Instant::now() + Duration::from_secs(15);
        loop {
            let seen = look(monitor, LIMIT).await.join("; ");
            if seen.contains(expected) && seen.is_empty() == expected.is_empty() {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{expected:?} was not seen, but {seen:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_sick_keeps_the_beat_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = folder.path().join("rules.yml");
        let text = "groups: [{name: g, interval: 1s, rules: [{record: one, expr: vector(1)}]}]";
        std::fs::write(&rules, text).expect("writes");
        let options = crate::Options { rule_files: vec![rules], ..crate::Options::default() };
        let dir = MemDir::new(7);
        let (db, _) = Db::open(Arc::new(dir.clone()), tradewatch_tsdb::Options::default()).expect("opens");
        let loaded = Loaded::read(&options).expect("valid");
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let monitor =
            Monitor::start(options, db, loaded, WebConfig::default(), String::new(), stopped, &mut tasks)
                .expect("starts");
        until(&monitor, "").await;
        // Whoever holds the notifier and does not let go keeps delivery from everybody.
        let (release, held) = mpsc::channel::<()>();
        let holder = monitor.clone();
        let thread = std::thread::spawn(move || holder.notifier.read(|_, _| held.recv()));
        until(&monitor, "delivery does not answer").await;
        release.send(()).expect("it waits");
        let _ = thread.join().expect("it ends");
        until(&monitor, "").await;
        // A group whose evaluation never ends.
        let (release, held) = mpsc::channel::<()>();
        let shown = loop {
            let groups = monitor.groups.lock().expect("not poisoned").clone();
            match groups.into_iter().next() {
                Some(group) => break group,
                None => tokio::task::yield_now().await,
            }
        };
        let thread = std::thread::spawn(move || {
            let _group = shown.lock();
            held.recv()
        });
        until(&monitor, "cannot be looked at").await;
        release.send(()).expect("it waits");
        let _ = thread.join().expect("it ends");
        until(&monitor, "").await;
        // A disk that is full.
        dir.set_faults(Faults { write_fails: true, ..Faults::default() });
        until(&monitor, "the store takes no samples").await;
        let _ = stop.send(true);
        while tasks.join_next().await.is_some() {}
    }
}
