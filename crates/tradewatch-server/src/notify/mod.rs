//! Delivery: what the notifier of the alert crate decides is written down, then sent.
//!
//! Nothing here is ever waited for by rules. A notification is in the ledger before it leaves; how it
//! went is added when the receiver has answered. After a `kill -9` what was under way is sent once more,
//! under the same key and with the next attempt number.

mod discord;
mod email;
mod outside;
mod pagerduty;
mod peer;
mod routes;
mod secret;
mod send;
mod slack;
mod telegram;
mod twilio;
mod words;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, watch};
use tradewatch_alert::notify::{self as machine, Change, Delivery, Failure};
use tradewatch_alert::{Alert, Fingerprint};
use tradewatch_tsdb::Timestamp;

use crate::clock;
use crate::error::Error;
use crate::hub::{Event, Hub};
use crate::jsonl::JsonLines;
use crate::markets::Live;
use crate::options::Options;
use crate::rules::{AFTER_PANIC, Told};
use crate::telemetry::{DeliveryStatus, Own, ReceiverName};
use send::Senders;

pub use outside::Outside;
pub use routes::{Routes, Trial, parse_routes, try_receiver};

/// The ledger is written anew when it has this many lines and four times what it holds.
const LEDGER_LINES_MIN: usize = 20_000;
/// Time that deliveries under way get when the monitor stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Delivers notifications.
pub struct Notifier {
    state: Mutex<State>,
    wake: Notify,
    own: Arc<Own>,
    hub: Arc<Hub>,
    senders: Mutex<Arc<Senders>>,
    outside: Mutex<outside::Running>,
    context: words::Context,
    held_back: Mutex<Option<(Instant, HeldBack)>>,
    /// Turns of the loop that delivers.
    turns: AtomicU64,
}

/// Names of alerts that an alert holds back.
type HeldBack = Arc<HashMap<Fingerprint, Vec<String>>>;

struct State {
    machine: machine::Notifier,
    ledger: JsonLines,
    /// Lines that the last rewrite left.
    base_lines: usize,
    /// Whether the ledger took the last write.
    writable: bool,
}

impl Notifier {
    /// Opens the ledger in the data directory and goes on where it ends.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn open(
        options: &Options,
        routes: &Routes,
        external_url: &str,
        own: Arc<Own>,
        hub: Arc<Hub>,
        live: Live,
        now: Timestamp,
    ) -> Result<Arc<Notifier>, Error> {
        let (mut ledger, changes) = match &options.data_dir {
            None => (JsonLines::in_memory(), Vec::new()),
            Some(folder) => JsonLines::open::<Change>(&folder.join("notifications.jsonl"))?,
        };
        let habits = machine::Options {
            external_url: external_url.to_owned(),
            seed: now.as_millis() as u64 ^ u64::from(std::process::id()) << 32,
            retry_min: options.notify_retry_min,
            retry_max: options.notify_retry_max,
            ..machine::Options::default()
        };
        let mut machine = machine::Notifier::restore(routes.config().clone(), habits, changes, now);
        let snapshot = machine.snapshot();
        ledger.rewrite(snapshot.iter())?;
        let base_lines = ledger.lines;
        Ok(Arc::new(Notifier {
            state: Mutex::new(State { machine, ledger, base_lines, writable: true }),
            wake: Notify::new(),
            outside: Mutex::new(outside::Running::new(own.clone())),
            own,
            hub,
            senders: Mutex::default(),
            context: words::Context { terminal: options.terminal.clone(), live },
            held_back: Mutex::default(),
            turns: AtomicU64::new(0),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    /// Puts routes and outside Alertmanagers in force.
    pub fn configure(&self, routes: Routes, outside: Outside) {
        let (config, senders) = routes.into_parts();
        *self.senders.lock().expect("no panic while senders are locked") = senders;
        self.outside.lock().expect("no panic while outside is locked").replace(outside);
        self.change(|machine, now| machine.reconfigure(config, now));
    }

    /// Changes the machine, writes down what that changed, and has it looked at.
    pub fn change<T>(&self, change: impl FnOnce(&mut machine::Notifier, Timestamp) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state.machine, clock::now());
        state.write_down();
        drop(state);
        self.wake.notify_one();
        result
    }

    /// Reads the machine.
    pub fn read<T>(&self, read: impl FnOnce(&machine::Notifier, Timestamp) -> T) -> T {
        read(&self.state().machine, clock::now())
    }

    /// Takes alerts, from rules or from outside.
    pub fn update(&self, alerts: &[Alert]) {
        let refused = self.change(|machine, now| machine.update(now, alerts));
        if refused > 0 {
            self.own.metrics.alerts_refused_total.inc_by(refused as u64);
            tracing::error!("{refused} alerts refused: too many are held");
        }
        self.outside.lock().expect("no panic while outside is locked").tell(alerts);
    }

    /// Whether the loop that delivers makes another turn within `limit`.
    pub async fn is_alive(&self, limit: Duration) -> bool {
        let before = self.turns.load(Ordering::Acquire);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            self.wake.notify_one();
            tokio::time::sleep(Duration::from_millis(5)).await;
            if self.turns.load(Ordering::Acquire) != before {
                return true;
            }
        }
        false
    }

    /// Warns of silences that are about to end and hide something that fires.
    pub fn warn_of_silences(&self) {
        if self.read(|machine, now| machine.has_ending_silences(now)) {
            self.change(|machine, now| machine.warn_of_silences(now));
            self.hub.tell_pages(Event::Alerts);
        }
    }

    /// Delivers until `stop`, then gives what is under way a moment to end.
    pub async fn run(
        self: Arc<Self>,
        mut hears: mpsc::UnboundedReceiver<Told>,
        mut stop: watch::Receiver<bool>,
    ) {
        // Delivery must not fall silent by a fault of ours.
        while AssertUnwindSafe(self.run_until(&mut hears, &mut stop)).catch_unwind().await.is_err() {
            tracing::error!("delivery broke off and begins again");
            tokio::time::sleep(AFTER_PANIC).await;
        }
        let deadline = Instant::now() + DRAIN_MAX;
        while Instant::now() < deadline && self.state().machine.queued().iter().any(|queued| queued.in_flight)
        {
            let _ = tokio::time::timeout(Duration::from_millis(50), self.wake.notified()).await;
        }
        let _ = self.state().ledger.sync();
    }

    async fn run_until(
        self: &Arc<Self>,
        hears: &mut mpsc::UnboundedReceiver<Told>,
        stop: &mut watch::Receiver<bool>,
    ) {
        loop {
            self.drive();
            self.turns.fetch_add(1, Ordering::AcqRel);
            let wait = self.state().machine.next_wakeup().map_or(Duration::from_secs(60), clock::until);
            tokio::select! {
                biased;
                () = crate::stop::stopped(stop) => break,
                told = hears.recv() => match told {
                    Some(told) => self.hear(told),
                    None => break,
                },
                () = self.wake.notified() => {}
                // At least a millisecond: a time that is due at once must not spin.
                () = tokio::time::sleep(wait.max(Duration::from_millis(1))) => {}
            }
            while let Ok(told) = hears.try_recv() {
                self.hear(told);
            }
        }
    }

    fn hear(&self, told: Told) {
        if !told.alerts.is_empty() {
            self.update(&told.alerts);
        }
        if told.changed || !told.alerts.is_empty() {
            self.hub.tell_pages(Event::Alerts);
        }
    }

    /// Sends what is due.
    fn drive(self: &Arc<Self>) {
        let mut state = self.state();
        let now = clock::now();
        let deliveries = state.machine.poll(now);
        let held_back =
            if deliveries.is_empty() { Arc::default() } else { self.held_back(&state.machine, now) };
        // Before it is sent, it is written down.
        state.write_down();
        drop(state);
        for delivery in deliveries {
            let names = words::names_held_back(&delivery, &held_back);
            tokio::spawn(self.clone().deliver(delivery, names));
        }
    }

    /// Which alerts hold back which; in a storm, where that takes long, as it was a little while ago.
    fn held_back(&self, machine: &machine::Notifier, now: Timestamp) -> HeldBack {
        let mut known = self.held_back.lock().expect("no panic while held back is locked");
        if let Some((until, names)) = &*known
            && *until > Instant::now()
        {
            return names.clone();
        }
        let began = Instant::now();
        let names: HeldBack = Arc::new(words::held_back(machine, now));
        *known = Some((Instant::now() + began.elapsed() * 50, names.clone()));
        names
    }

    async fn deliver(self: Arc<Self>, delivery: Delivery, held_back: Vec<String>) {
        let senders = self.senders.lock().expect("no panic while senders are locked").clone();
        let sent = AssertUnwindSafe(senders.send(&delivery, &self.context, held_back)).catch_unwind().await;
        let result = sent.unwrap_or_else(|_| Err(passing("the attempt broke off: a fault of the monitor")));
        let receiver = ReceiverName::intern(&delivery.receiver);
        let note = |status| self.own.metrics.notifications_total.at((receiver, status)).inc();
        match result {
            Ok(_) => {
                note(DeliveryStatus::Success);
                let due = clock::now().since(delivery.created);
                self.own.metrics.notification_delivery_seconds.observe_duration(due);
                if let Some(latency) = words::latency(&delivery.message, clock::now()) {
                    self.own.metrics.notification_latency_seconds.observe_duration(latency);
                }
                self.change(|machine, now| machine.delivered(now, delivery.id));
            }
            Err(failure) => {
                note(if failure.retriable { DeliveryStatus::Retry } else { DeliveryStatus::Error });
                tracing::warn!(
                    receiver = %delivery.receiver,
                    attempt = delivery.attempt,
                    "notification not delivered{}: {}",
                    if failure.retriable { ", it is tried again" } else { "" },
                    failure.reason
                );
                self.change(|machine, now| machine.failed(now, delivery.id, &failure));
            }
        }
        self.hub.tell_pages(Event::Alerts);
    }

    /// Makes the ledger survive a loss of power.
    pub fn sync(&self) -> Result<(), Error> {
        self.state().ledger.sync()
    }

    /// URLs of the outside Alertmanagers.
    pub fn outside_urls(&self) -> Vec<String> {
        self.outside.lock().expect("no panic while outside is locked").urls()
    }

    /// Brings the figures of the queue up to date.
    pub fn refresh_own(&self, now: Timestamp) {
        let state = self.state();
        let queued = state.machine.queued();
        let oldest = queued.iter().map(|queued| now.since(queued.created)).max().unwrap_or_default();
        self.own.metrics.notifications_queued_current.set(queued.len() as f64);
        self.own.metrics.notification_oldest_age_seconds.set(oldest.as_secs_f64());
    }
}

impl State {
    fn write_down(&mut self) {
        let changes = self.machine.take_changes();
        if changes.is_empty() {
            return;
        }
        let full = self.ledger.lines > LEDGER_LINES_MIN && self.ledger.lines > self.base_lines * 4;
        let result = if full || !self.writable {
            // After a failed write the file lacks rows: the whole state goes in.
            let snapshot = self.machine.snapshot();
            let result = self.ledger.rewrite(snapshot.iter());
            self.base_lines = snapshot.len();
            result
        } else {
            self.ledger.append_all(&changes)
        };
        if let Err(error) = &result
            && self.writable
        {
            tracing::error!("the ledger cannot be written, notifications go out all the same: {error}");
        }
        self.writable = result.is_ok();
    }
}

/// A failure that may pass.
fn passing(reason: impl Into<String>) -> Failure {
    Failure { retriable: true, reason: reason.into(), retry_after: None }
}

/// An input or output error in plain words.
fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// A failure for good.
fn final_failure(reason: impl Into<String>) -> Failure {
    Failure { retriable: false, reason: reason.into(), retry_after: None }
}
