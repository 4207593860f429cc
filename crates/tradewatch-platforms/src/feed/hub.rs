//! Who is connected, what they want, and what reaches them.

use super::fault::Fault;
use super::tick::{Channel, Tick};
use super::wire::{Message, Subscription, Text};
use crate::faults::{Active, Board, board};
use crate::market::{AssetClass, Instrument, instrument};
use crate::runtime::Nanos;
use crate::runtime::clock::MILLISECOND;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Messages that wait for one client; a slower one is told so (407) and disconnected.
pub const CLIENT_QUEUE_MAX: usize = 8_192;
/// Messages held back by a delay; beyond it they are lost (and so counted as gaps).
pub const DELAYED_MAX: usize = 65_536;

/// Everything that the connections of the feed share. Locked by its owner.
#[derive(Debug, Default)]
pub struct Hub {
    clients: BTreeMap<u64, Client>,
    clients_seen: u64,
    board: Board<Fault>,
    /// Number of the last message, by symbol and channel.
    seqs: BTreeMap<(&'static str, Channel), u64>,
    delayed: VecDeque<(Nanos, Arc<Message>, &'static Instrument, Channel)>,
    messages_sent: u64,
}

#[derive(Debug)]
struct Client {
    class: AssetClass,
    exempt: bool,
    wants: Wants,
    queue: mpsc::Sender<Arc<Message>>,
    slow: Arc<AtomicBool>,
}

/// A connection as its own task sees it.
#[derive(Debug)]
pub struct Seat {
    /// Number of the connection.
    pub id: u64,
    /// Messages to send; its end means: disconnect.
    pub queue: mpsc::Receiver<Arc<Message>>,
    /// Whether it was disconnected for reading too slowly.
    pub slow: Arc<AtomicBool>,
}

/// What a connection is subscribed to.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    channels: BTreeMap<Channel, BTreeSet<String>>,
}

impl Wants {
    /// Adds symbols (or `*`) of one channel.
    pub fn add(&mut self, channel: Channel, symbols: &[String]) {
        if !symbols.is_empty() {
            self.channels.entry(channel).or_default().extend(symbols.iter().cloned());
        }
    }

    /// Removes symbols of one channel.
    pub fn remove(&mut self, channel: Channel, symbols: &[String]) {
        if let Some(wanted) = self.channels.get_mut(&channel) {
            wanted.retain(|symbol| !symbols.contains(symbol));
        }
    }

    /// Subscribed symbols over all channels.
    pub fn symbols(&self) -> usize {
        self.channels.values().map(BTreeSet::len).sum()
    }

    fn wants(&self, symbol: &str, channel: Channel) -> bool {
        let wanted = self.channels.get(&channel);
        wanted.is_some_and(|wanted| wanted.contains(symbol) || wanted.contains("*"))
    }

    /// The message that confirms the subscriptions of a connection of `class`.
    pub fn confirm(&self, class: AssetClass) -> Message {
        let list = |channel: Channel| -> Vec<Text> {
            let wanted = self.channels.get(&channel);
            wanted
                .map(|wanted| wanted.iter().map(|symbol| symbol.clone().into()).collect())
                .unwrap_or_default()
        };
        let only = |wanted: AssetClass| (class == wanted).then(Vec::new);
        Message::Subscription(Subscription {
            trades: list(Channel::Trades),
            quotes: list(Channel::Quotes),
            bars: list(Channel::Bars),
            updated_bars: Vec::new(),
            daily_bars: Vec::new(),
            statuses: only(AssetClass::UsEquity),
            lulds: only(AssetClass::UsEquity),
            corrections: only(AssetClass::UsEquity),
            cancel_errors: only(AssetClass::UsEquity),
            orderbooks: only(AssetClass::Crypto),
        })
    }
}

impl Hub {
    /// Seats a connection that has authenticated.
    pub fn join(&mut self, class: AssetClass, exempt: bool) -> Seat {
        let (sender, queue) = mpsc::channel(CLIENT_QUEUE_MAX);
        let slow = Arc::new(AtomicBool::new(false));
        self.clients_seen += 1;
        let id = self.clients_seen;
        let client = Client { class, exempt, wants: Wants::default(), queue: sender, slow: slow.clone() };
        self.clients.insert(id, client);
        Seat { id, queue, slow }
    }

    /// Forgets a connection.
    pub fn leave(&mut self, id: u64) {
        self.clients.remove(&id);
    }

    /// Connections now.
    pub fn connections(&self) -> usize {
        self.clients.len()
    }

    /// Messages given to connections so far.
    pub fn messages_sent(&self) -> u64 {
        self.messages_sent
    }

    /// Changes the subscriptions of a connection; they begin with the next message.
    pub fn set_wants(&mut self, id: u64, wants: Wants) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.wants = wants;
        }
    }

    /// Whether anyone wants trades, or bars, which are made of them.
    pub fn wants_trades(&self) -> bool {
        let wanted = |client: &Client| {
            [Channel::Trades, Channel::Bars]
                .iter()
                .any(|channel| client.wants.channels.get(channel).is_some_and(|symbols| !symbols.is_empty()))
        };
        self.clients.values().any(wanted)
    }

    /// Whether a new connection is refused at `now`.
    pub fn refuses(&self, now: Nanos) -> bool {
        self.board.find(now, |fault| matches!(fault, Fault::Refuse {}).then_some(())).is_some()
    }

    /// Puts a fault in force. `None` if too many are already.
    ///
    /// # Errors
    /// If it names a symbol that the feed does not have.
    pub fn post_fault(
        &mut self,
        mut request: board::Request<Fault>,
        now: Nanos,
    ) -> Result<Option<Active<Fault>>, String> {
        let symbol = match &request.fault {
            Fault::Silence { symbol } => symbol.as_deref(),
            Fault::Gap { symbol, .. } => Some(symbol.as_str()),
            _ => None,
        };
        if let Some(unknown) = symbol.filter(|symbol| !instrument::ALL.iter().any(|i| i.symbol == *symbol)) {
            return Err(format!("unknown symbol `{unknown}`"));
        }
        if matches!(request.fault, Fault::Disconnect {}) {
            self.clients.retain(|_, client| client.exempt);
            request.for_seconds = 0.0; // It happens now and is over.
        }
        Ok(self.board.post(request, now))
    }

    /// The faults in force.
    pub fn faults(&mut self, now: Nanos) -> &[Active<Fault>] {
        self.board.active(now)
    }

    /// Ends all faults; what a delay holds back is sent with the next message.
    pub fn clear_faults(&mut self) {
        self.board.clear();
        self.delayed.iter_mut().for_each(|delayed| delayed.0 = 0);
    }

    /// When the next delayed message is due.
    pub fn delayed_due(&self) -> Option<Nanos> {
        self.delayed.front().map(|delayed| delayed.0)
    }

    /// Sends one event to everyone who wants it, through the faults in force.
    pub fn publish(&mut self, tick: &Tick, now: Nanos) {
        let channel = tick.channel();
        let wanted = |hub: &Hub, exempt| {
            let mut clients = hub.clients.values().filter(|client| client.exempt == exempt);
            clients.any(|client| client.takes(tick.instrument, channel))
        };
        if wanted(self, true) {
            self.deliver(Arc::new(tick.message(None, 0)), tick.instrument, channel, true);
        }
        let symbol = tick.instrument.symbol;
        if !self.board.is_empty() && self.is_silent(symbol, now) {
            return;
        }
        let seq = self.seqs.entry((symbol, channel)).or_default();
        *seq += 1;
        let seq = Some(*seq);
        if !wanted(self, false) {
            return;
        }
        if self.board.is_empty() && self.delayed.is_empty() {
            return self.deliver(Arc::new(tick.message(seq, 0)), tick.instrument, channel, false);
        }
        if self.is_lost(symbol, channel, now) {
            return;
        }
        let message = Arc::new(tick.message(seq, self.drift(now)));
        self.send_late(message, tick.instrument, channel, now);
    }

    /// Numbers of messages that nobody will get, for events the feed is too late to send.
    pub fn skip(&mut self, tick: &Tick) {
        *self.seqs.entry((tick.instrument.symbol, tick.channel())).or_default() += 1;
    }

    /// Sends what a delay no longer holds back.
    pub fn release(&mut self, now: Nanos) {
        while self.delayed.front().is_some_and(|delayed| delayed.0 <= now) {
            if let Some((_, message, instrument, channel)) = self.delayed.pop_front() {
                self.deliver(message, instrument, channel, false);
            }
        }
    }

    fn send_late(
        &mut self,
        message: Arc<Message>,
        instrument: &'static Instrument,
        channel: Channel,
        now: Nanos,
    ) {
        let delay = self.board.find(now, |fault| match fault {
            Fault::Delay { milliseconds } => Some(Nanos::from(*milliseconds) * MILLISECOND),
            _ => None,
        });
        // A connection never reorders: nothing overtakes what is held back already.
        let due = (now + delay.unwrap_or(0)).max(self.delayed.back().map_or(0, |delayed| delayed.0));
        if due <= now {
            self.release(now);
            self.deliver(message, instrument, channel, false);
        } else if self.delayed.len() < DELAYED_MAX {
            self.delayed.push_back((due, message, instrument, channel));
        }
    }

    fn deliver(
        &mut self,
        message: Arc<Message>,
        instrument: &'static Instrument,
        channel: Channel,
        exempt: bool,
    ) {
        let mut sent = 0;
        self.clients.retain(|_, client| {
            if client.exempt != exempt || !client.takes(instrument, channel) {
                return true;
            }
            sent += 1;
            match client.queue.try_send(message.clone()) {
                Ok(()) => true,
                Err(error) => {
                    client.slow.store(matches!(error, mpsc::error::TrySendError::Full(_)), Ordering::Relaxed);
                    false
                }
            }
        });
        self.messages_sent += sent;
    }

    fn is_silent(&self, symbol: &str, now: Nanos) -> bool {
        let silences = |fault: &Fault| match fault {
            Fault::Silence { symbol: only } => {
                only.as_deref().is_none_or(|only| only == symbol).then_some(())
            }
            _ => None,
        };
        self.board.find(now, silences).is_some()
    }

    fn drift(&self, now: Nanos) -> Nanos {
        let drift = self.board.find(now, |fault| match fault {
            Fault::Drift { milliseconds } => Some(milliseconds.saturating_mul(MILLISECOND)),
            _ => None,
        });
        drift.unwrap_or(0)
    }

    fn is_lost(&mut self, lost_symbol: &str, lost_channel: Channel, now: Nanos) -> bool {
        let lose = |fault: &mut Fault| match fault {
            Fault::Gap { symbol, messages, channel } if symbol == lost_symbol && *channel == lost_channel => {
                let more = *messages > 0;
                *messages = messages.saturating_sub(1);
                more
            }
            _ => false,
        };
        self.board.take(now, lose, |fault| matches!(fault, Fault::Gap { messages: 0, .. }))
    }
}

impl Client {
    fn takes(&self, instrument: &Instrument, channel: Channel) -> bool {
        self.class == instrument.class && self.wants.wants(instrument.symbol, channel)
    }
}
