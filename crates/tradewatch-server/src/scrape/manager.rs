//! Runs one loop per target: waits for its turn, fetches, takes the body in, says that it did.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use tokio::sync::{mpsc, watch};
use tradewatch_tsdb::{Db, Labels, Timestamp};

use super::ingest::{Ingest, Scraped};
use super::line::Format;
use super::target::{Discovered, Health, Target, TargetSpec};
use crate::clock;
use crate::config::HttpClientConfig;
use crate::hub::Hub;
use crate::net::HttpClient;
use crate::net::client::Ask;

/// Preferred formats, as Prometheus asks for them without native histograms.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1";
/// A body above this is taken in on a thread of its own, so that it does not hold up other targets.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// A scrape that starts this late still carries the time it was due: equal steps compress and align.
const LATENESS_MAX: Duration = Duration::from_millis(20);

/// A scrape was committed.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Which target; unique while the process lives.
    pub source: u64,
    /// The time stamp of its samples.
    pub at: Timestamp,
    /// Time between two scrapes of the target.
    pub interval: Duration,
    /// The label sets that this target stores, where they differ from the last time.
    pub series: Option<Arc<Vec<Labels>>>,
    /// Whether the target changed between up and down.
    pub turned: bool,
}

struct Running {
    target: Arc<Target>,
    stop: watch::Sender<Stop>,
    ended: mpsc::Receiver<()>,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// The target went away: its series end.
    Gone,
    /// The monitor stops: its series go on after the next start.
    Shutdown,
}

/// All targets that are scraped.
pub struct Manager {
    db: Db,
    hub: Arc<Hub>,
    next_source: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Vec<Running>,
    dropped: Vec<(String, Labels)>,
    clients: HashMap<String, (HttpClientConfig, HttpClient)>,
}

impl Manager {
    /// Nothing is scraped yet.
    pub fn new(db: Db, hub: Arc<Hub>) -> Manager {
        Manager { db, hub, next_source: AtomicU64::new(1), state: Mutex::default() }
    }

    /// Scrapes exactly what `discovered` names: goes on with what it knows, starts and ends the rest.
    ///
    /// Returns what is wrong with single targets; those are not scraped.
    pub fn sync(&self, discovered: Discovered) -> Vec<String> {
        let mut errors = discovered.errors;
        let mut state = self.state.lock().expect("no panic while targets are locked");
        // One job may hold thousands of targets: what goes on is found by its key.
        let key = |spec: &TargetSpec| (spec.pool.clone(), spec.url.clone(), spec.labels().clone());
        let before = std::mem::take(&mut state.running);
        let mut before: HashMap<_, Running> =
            before.into_iter().map(|running| (key(&running.target.spec), running)).collect();
        let mut clients = HashMap::new();
        let mut starts = Vec::new();
        for spec in discovered.targets {
            let client = match clients.get(&spec.pool) {
                Some((config, client)) if *config == spec.client => Clone::clone(client),
                _ => {
                    // An unchanged job keeps its client and so its open connections.
                    let kept = state.clients.get(&spec.pool).filter(|(config, _)| *config == spec.client);
                    let client = match kept
                        .map(|(_, client)| client.clone())
                        .map_or_else(|| HttpClient::new(spec.client.clone()), Ok)
                    {
                        Ok(client) => client,
                        Err(error) => {
                            errors.push(format!("job {:?}: {error}", spec.pool));
                            continue;
                        }
                    };
                    clients.insert(spec.pool.clone(), (spec.client.clone(), client.clone()));
                    client
                }
            };
            let known = key(&spec);
            match before.remove(&known) {
                Some(running) if running.target.spec == spec => state.running.push(running),
                Some(changed) => {
                    before.insert(known, changed);
                    starts.push((spec, client));
                }
                None => starts.push((spec, client)),
            }
        }
        state.clients = clients;
        state.dropped = discovered.dropped;
        for gone in before.into_values() {
            let _ = gone.stop.send(Stop::Gone);
        }
        for (spec, client) in starts {
            state.running.push(self.start(spec, client));
        }
        state.running.sort_by(|a, b| {
            (&a.target.spec.pool, a.target.spec.labels()).cmp(&(&b.target.spec.pool, b.target.spec.labels()))
        });
        errors
    }

    fn start(&self, spec: TargetSpec, client: HttpClient) -> Running {
        let target = Arc::new(Target::new(spec));
        let (stop, stopped) = watch::channel(Stop::No);
        let (end, ended) = mpsc::channel(1);
        let source = self.next_source.fetch_add(1, Ordering::Relaxed);
        let scraper = Loop {
            source,
            db: self.db.clone(),
            target: target.clone(),
            client,
            ingest: Some(Ingest::new(self.db.clone(), target.spec.ingest.clone())),
            hub: self.hub.clone(),
            up: None,
        };
        tokio::spawn(async move {
            scraper.run(stopped).await;
            drop(end);
        });
        Running { target, stop, ended }
    }

    /// The targets, sorted by job and labels.
    pub fn targets(&self) -> Vec<Arc<Target>> {
        let state = self.state.lock().expect("no panic while targets are locked");
        state.running.iter().map(|running| running.target.clone()).collect()
    }

    /// What relabelling dropped: job and labels.
    pub fn dropped(&self) -> Vec<(String, Labels)> {
        self.state.lock().expect("no panic while targets are locked").dropped.clone()
    }

    /// Ends all loops and waits for scrapes under way to commit or be given up.
    pub async fn shutdown(&self) {
        let running =
            std::mem::take(&mut self.state.lock().expect("no panic while targets are locked").running);
        for one in &running {
            let _ = one.stop.send(Stop::Shutdown);
        }
        for mut one in running {
            let _ = one.ended.recv().await; // Closes when the loop ends.
        }
    }
}

struct Loop {
    source: u64,
    db: Db,
    target: Arc<Target>,
    client: HttpClient,
    /// Away only while a thread of its own takes a big body in.
    ingest: Option<Ingest>,
    hub: Arc<Hub>,
    up: Option<bool>,
}

impl Loop {
    async fn run(mut self, mut stopped: watch::Receiver<Stop>) {
        let interval = self.target.spec.interval.as_millis().max(1) as i64;
        let offset = offset(&self.target.spec, interval);
        // The first scrape comes at the next full second, the others when it is the target's turn.
        let mut due = next_due(clock::now(), interval.min(1000), 0);
        loop {
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                () = tokio::time::sleep(clock::until(due)) => {}
            }
            let late = clock::now().since(due);
            let at =
                if late <= LATENESS_MAX.min(self.target.spec.interval / 50) { due } else { clock::now() };
            tokio::select! {
                biased;
                _ = stopped.changed() => break,
                () = self.scrape_once(at) => {}
            }
            due = next_due(clock::now().max(due), interval, offset);
        }
        if *stopped.borrow() == Stop::Gone
            && let Some(ingest) = &mut self.ingest
        {
            let now = clock::now();
            if let Err(error) = ingest.end(now) {
                tracing::error!(target = %self.target.spec.url, "cannot mark the end of its series: {error}");
            }
            self.hub.gone(self.source);
        }
    }

    async fn scrape_once(&mut self, at: Timestamp) {
        let spec = &self.target.spec;
        let began = Instant::now();
        let headers = [
            ("accept", ACCEPT.to_owned()),
            ("x-prometheus-scrape-timeout-seconds", spec.timeout.as_secs_f64().to_string()),
        ];
        let asked = self.client.ask(Ask {
            method: Method::GET,
            url: &spec.url,
            headers: &headers,
            body: Bytes::new(),
            compression: spec.compression,
            body_bytes_max: spec.body_bytes_max,
            timeout: spec.timeout,
        });
        let fetched = match asked.await {
            Ok(answer) if answer.status.is_success() => {
                Ok((answer.body, Format::of_content_type(&answer.content_type)))
            }
            Ok(answer) => Err(format!("server returned HTTP status {}", answer.status)),
            Err(why) => Err(why),
        };
        let took = began.elapsed();
        let Some(mut ingest) = self.ingest.take() else { return };
        let take = move || {
            let body = fetched.as_ref().map(|(body, format)| (&body[..], *format)).map_err(Clone::clone);
            let result = ingest.scrape(at, body, took);
            (ingest, result)
        };
        let taken = if self.body_is_big() {
            tokio::task::spawn_blocking(take).await.ok()
        } else {
            std::panic::catch_unwind(AssertUnwindSafe(take)).ok()
        };
        let Some((ingest, result)) = taken else {
            // A fault of ours costs this scrape; the next one begins with an empty memory.
            let why = "taking the body in broke off; a fault of the monitor, see its log";
            tracing::error!(target = %self.target.spec.url, "{why}");
            self.target.update(|status| {
                status.health = Health::Down;
                status.last_error = why.to_owned();
            });
            self.ingest = Some(Ingest::new(self.db.clone(), self.target.spec.ingest.clone()));
            return;
        };
        self.note(at, took, &ingest, result);
        self.ingest = Some(ingest);
    }

    /// Whether the last body was so big that this one is better taken in elsewhere.
    fn body_is_big(&self) -> bool {
        // A line has about a hundred bytes.
        self.target.status().last_samples.saturating_mul(100) > INLINE_BYTES_MAX as u64
    }

    fn note(
        &mut self,
        at: Timestamp,
        took: Duration,
        ingest: &Ingest,
        result: Result<Scraped, tradewatch_tsdb::Error>,
    ) {
        let spec = &self.target.spec;
        let scraped = match result {
            Ok(scraped) => scraped,
            Err(error) => {
                self.target.update(|status| {
                    status.health = Health::Down;
                    status.last_error = format!("scraped, but cannot be stored: {error}");
                    status.last_scrape = Some(at);
                });
                return;
            }
        };
        let up = scraped.error.is_none();
        let turned = self.up != Some(up);
        let changed = self.up.is_none() || scraped.added > 0 || scraped.vanished > 0;
        if turned && let Some(why) = &scraped.error {
            tracing::info!(target = %spec.url, "down: {why}");
        }
        self.up = Some(up);
        self.target.update(|status| {
            status.health = if up { Health::Up } else { Health::Down };
            status.last_error = scraped.error.clone().unwrap_or_default();
            status.last_warning = match &scraped.refusal {
                Some(first) => format!("{} samples refused, the first: {first}", scraped.refused),
                None => String::new(),
            };
            status.last_scrape = Some(at);
            status.last_duration = took;
            status.last_samples = scraped.samples;
            if status.metadata.len() != ingest.metadata().len() || scraped.added > 0 {
                status.metadata = Arc::new(ingest.metadata().clone());
            }
        });
        self.hub.scraped(spec, &scraped, took);
        self.hub.committed(Committed {
            source: self.source,
            at,
            interval: spec.interval,
            series: changed.then(|| Arc::new(ingest.series().cloned().collect())),
            turned,
        });
    }
}

/// A target's place in its interval, so that not all are asked at once; jobs of a second and less are
/// asked on the second, since rules compare what they say.
fn offset(spec: &TargetSpec, interval: i64) -> i64 {
    if interval <= 1000 {
        return 0;
    }
    let hash = spec.labels().fingerprint() % interval as u64;
    hash as i64 / 1000 * 1000
}

fn next_due(now: Timestamp, interval: i64, offset: i64) -> Timestamp {
    let since = now.as_millis() - offset;
    Timestamp::from_millis((since.div_euclid(interval) + 1) * interval + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapes_are_due_on_whole_steps() {
        let due = |now, interval, offset| next_due(Timestamp::from_millis(now), interval, offset).as_millis();
        assert_eq!(due(1_234, 1_000, 0), 2_000);
        assert_eq!(due(2_000, 1_000, 0), 3_000);
        assert_eq!(due(1_234, 15_000, 4_000), 4_000);
        assert_eq!(due(4_000, 15_000, 4_000), 19_000);
        assert_eq!(due(1_234, 100, 0), 1_300);
    }
}
