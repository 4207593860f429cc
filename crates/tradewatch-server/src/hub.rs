//! Who hears of what: scrapes tell rules and pages, rules tell the notifier and pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc};

use crate::push::Pushed;
use crate::rules::Message;
use crate::scrape::Scraped;
use crate::scrape::manager::Committed;
use crate::scrape::target::TargetSpec;
use crate::telemetry::Own;

/// Events that a page may be behind before it is told to start over.
const EVENTS_MAX: usize = 1_024;

/// What pages hear of.
#[derive(Clone, Debug)]
pub enum Event {
    /// Samples were committed.
    Committed(Instant),
    /// A target went up or down, came or went.
    Targets,
    /// The state of an alert changed.
    Alerts,
    /// A dashboard file changed.
    Dashboards,
}

/// Passes on what happens.
#[derive(Debug)]
pub struct Hub {
    own: Arc<Own>,
    rules: mpsc::UnboundedSender<Message>,
    pages: broadcast::Sender<Event>,
    alert_changes: AtomicU64,
}

impl Hub {
    /// A hub that tells rules through `rules`.
    pub fn new(own: Arc<Own>, rules: mpsc::UnboundedSender<Message>) -> Hub {
        Hub { own, rules, pages: broadcast::Sender::new(EVENTS_MAX), alert_changes: AtomicU64::new(0) }
    }

    /// What pages hear from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.pages.subscribe()
    }

    /// How often alerts have changed; tells whether a list that was made is still current.
    pub fn alert_changes(&self) -> u64 {
        self.alert_changes.load(Ordering::Acquire)
    }

    /// Tells pages; nobody listening is fine.
    pub fn tell_pages(&self, event: Event) {
        if matches!(event, Event::Alerts) {
            self.alert_changes.fetch_add(1, Ordering::Release);
        }
        let _ = self.pages.send(event);
    }

    /// Tells rules; after the end of the runner nobody listens, which is fine.
    pub fn tell_rules(&self, message: Message) {
        let _ = self.rules.send(message);
    }

    /// A scrape was committed.
    pub fn committed(&self, committed: Committed) {
        let turned = committed.turned;
        self.tell_rules(Message::Committed(committed));
        self.tell_pages(Event::Committed(Instant::now()));
        if turned {
            self.tell_pages(Event::Targets);
        }
    }

    /// Pushed samples were committed.
    pub fn pushed(&self, pushed: Pushed) {
        self.tell_rules(Message::Pushed(pushed));
        self.tell_pages(Event::Committed(Instant::now()));
    }

    /// A target is no longer scraped.
    pub fn gone(&self, source: u64) {
        self.tell_rules(Message::Gone { source });
        self.tell_pages(Event::Targets);
    }

    /// A scrape ended, well or badly.
    pub fn scraped(&self, spec: &TargetSpec, scraped: &Scraped, took: Duration) {
        self.own.note_scrape(&spec.pool, scraped.error.is_none(), scraped.samples, scraped.refused, took);
    }
}
