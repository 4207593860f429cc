//! The market feed over WebSocket.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;
use tradewatch_platforms::feed::wire::{self, Message};
use tradewatch_platforms::feed::{self, Config};
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::http::Client;
use tradewatch_platforms::runtime::{Clock, Net, Shutdown, Trigger, run_virtual, ws};

const START: i64 = 1_700_000_000;
const SECOND: i64 = 1_000_000_000;
const LIMIT: Duration = Duration::from_secs(5);

struct World {
    net: Net,
    clock: Clock,
    addr: String,
    _trigger: Trigger,
}

impl World {
    async fn start(config: Config) -> World {
        let net = Net::new_virtual();
        let clock = Clock::starting_at(START * SECOND);
        let (trigger, shutdown) = Shutdown::new();
        let bound = feed::bind(config, clock, &net).await.expect("free");
        let addr = bound.addr();
        tokio::spawn(bound.run(shutdown));
        World { net, clock, addr, _trigger: trigger }
    }

    async fn connect(&self, path: &str, key: &str) -> Subscriber {
        let headers = [("APCA-API-KEY-ID", key), ("APCA-API-SECRET-KEY", "paper-secret")];
        let url = format!("ws://{}{path}", self.addr);
        let mut subscriber =
            Subscriber { socket: ws::connect(&self.net, &url, &headers, LIMIT).await.expect("up") };
        assert_eq!(subscriber.control().await["msg"], "connected");
        assert_eq!(subscriber.control().await["msg"], "authenticated");
        subscriber
    }

    async fn fault(&self, fault: Value) -> u16 {
        let client = Client::new(self.net.clone(), LIMIT);
        let url = format!("http://{}/control/faults", self.addr);
        client.post(&url, &fault).await.expect("served").status.as_u16()
    }
}

struct Subscriber {
    socket: ws::Socket,
}

impl Subscriber {
    async fn send(&mut self, value: Value) {
        self.socket.send(ws::Message::text(value.to_string())).await.expect("open");
    }

    async fn text(&mut self) -> Option<String> {
        loop {
            match self.socket.next().await {
                Some(Ok(ws::Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn control(&mut self) -> Value {
        let text = self.text().await.expect("open");
        let mut messages: Vec<Value> = serde_json::from_str(&text).expect("an array");
        assert_eq!(messages.len(), 1, "control messages come alone: {text}");
        messages.remove(0)
    }

    async fn subscribe(&mut self, quotes: &[&str], trades: &[&str]) -> Value {
        self.send(json!({"action": "subscribe", "quotes": quotes, "trades": trades})).await;
        self.control().await
    }

    /// Messages that arrive within `wait`, and whether the connection then still stands.
    async fn messages(&mut self, wait: Duration) -> (Vec<Message>, bool) {
        let mut messages = Vec::new();
        let all = async {
            while let Some(text) = self.text().await {
                messages.extend(wire::decode_json(&text).expect("messages"));
            }
        };
        let open = timeout(wait, all).await.is_err();
        (messages, open)
    }
}

fn config() -> Config {
    let market_clock = MarketClockConfig::Virtual { opens_at: START, open_seconds: 600, closed_seconds: 600 };
    Config { market_clock, seed: 11, ..Config::default() }
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages
        .iter()
        .filter_map(|message| match message {
            Message::Quote(quote) => quote.seq,
            _ => None,
        })
        .collect()
}

#[test]
fn crypto_replays_with_the_recorded_clock_fault() {
    run_virtual(async {
        let world = World::start(config()).await;
        let mut client = world.connect("/v1beta3/crypto/us", "PAPER-KEY").await;
        let confirmed = client.subscribe(&["BTC/USD", "ETH/USD"], &["BTC/USD"]).await;
        assert_eq!(confirmed["quotes"], json!(["BTC/USD", "ETH/USD"]));
        assert_eq!(confirmed["orderbooks"], json!([]));
        let begun = world.clock.now();
        let (messages, open) = client.messages(Duration::from_secs(20)).await;
        assert!(open);
        let quotes = seqs(&messages).len();
        assert!(quotes > 1500, "{quotes} quotes in 20 s");
        let last = messages.iter().rev().find_map(|message| match message {
            Message::Quote(quote) => Some(quote.at.0),
            _ => None,
        });
        let ahead = last.expect("quotes") - (begun + 20 * SECOND);
        assert!((1_100_000_000..1_300_000_000).contains(&ahead), "event is ahead of receipt by {ahead} ns");
        assert!(
            messages.iter().any(|message| matches!(message, Message::Trade(trade) if trade.taker.is_some()))
        );
    });
}

#[test]
fn stocks_move_in_sessions_only_and_bars_end_each_minute() {
    run_virtual(async {
        let world = World::start(config()).await;
        let mut client = world.connect("/v2/iex", "PAPER-KEY").await;
        client.subscribe(&["*"], &[]).await;
        client.send(json!({"action": "subscribe", "bars": ["AAPL"]})).await;
        let _ = client.text().await;
        let (messages, _) = client.messages(Duration::from_secs(1190)).await;
        let quotes = seqs(&messages).len();
        assert!(
            (5 * 600..50 * 600).contains(&quotes),
            "{quotes} quotes of five symbols in one session of 600 s"
        );
        let session_end = (START + 600) * SECOND;
        for message in &messages {
            match message {
                Message::Quote(quote) => assert!(quote.at.0 < session_end),
                Message::Bar(bar) => {
                    assert_eq!(bar.at.0 % (60 * SECOND), 0);
                    assert!(bar.low <= bar.vwap && bar.vwap <= bar.high && bar.trades > 0);
                }
                _ => {}
            }
        }
        let bars = messages.iter().filter(|message| matches!(message, Message::Bar(_))).count();
        assert!((10..=11).contains(&bars), "{bars} bars");
        let (next_session, _) = client.messages(Duration::from_secs(60)).await;
        assert!(!next_session.is_empty(), "the next session opens");
    });
}

#[test]
fn refusals_are_alpacas() {
    run_virtual(async {
        let world = World::start(Config { symbols_max: 3, connections_max: 2, ..config() }).await;
        let url = format!("ws://{}/v2/iex", world.addr);
        let open = async || {
            let mut client =
                Subscriber { socket: ws::connect(&world.net, &url, &[], LIMIT).await.expect("up") };
            client.control().await;
            client
        };
        let mut client = open().await;
        client.send(json!({"action": "subscribe", "quotes": ["AAPL"]})).await;
        assert_eq!(client.control().await, json!({"T": "error", "code": 401, "msg": "not authenticated"}));
        client.send(json!("nonsense")).await;
        assert_eq!(client.control().await["code"], 400);
        client.send(json!({"action": "auth", "key": "PAPER-KEY", "secret": "paper-secret"})).await;
        assert_eq!(client.control().await["msg"], "authenticated");
        client.send(json!({"action": "auth", "key": "PAPER-KEY", "secret": "paper-secret"})).await;
        assert_eq!(client.control().await["code"], 403);
        assert_eq!(client.subscribe(&["AAPL", "MSFT", "TSLA", "AMZN"], &[]).await["code"], 405);
        assert_eq!(client.subscribe(&["not a symbol"], &[]).await["code"], 400);
        let mut wrong = open().await;
        wrong.send(json!({"action": "auth", "key": "PAPER-KEY", "secret": "wrong"})).await;
        assert_eq!(wrong.control().await, json!({"T": "error", "code": 402, "msg": "auth failed"}));
        assert_eq!(wrong.text().await, None);
        let mut silent = open().await;
        assert_eq!(silent.control().await["code"], 404);
        let _second = world.connect("/v1beta3/crypto/us", "PAPER-KEY").await;
        let mut third = open().await;
        third.send(json!({"action": "auth", "key": "PAPER-KEY", "secret": "paper-secret"})).await;
        assert_eq!(third.control().await["code"], 406);
        assert!(ws::connect(&world.net, &format!("ws://{}/v2/none", world.addr), &[], LIMIT).await.is_err());
    });
}

#[test]
fn messagepack_is_spoken_when_asked_for() {
    run_virtual(async {
        let world = World::start(config()).await;
        let headers = [
            ("APCA-API-KEY-ID", "PAPER-KEY"),
            ("APCA-API-SECRET-KEY", "paper-secret"),
            ("Content-Type", "application/msgpack"),
        ];
        let url = format!("ws://{}/v2/iex", world.addr);
        let mut socket = ws::connect(&world.net, &url, &headers, LIMIT).await.expect("up");
        let request = json!({"action": "subscribe", "quotes": ["AAPL"]});
        socket
            .send(ws::Message::binary(rmp_serde::to_vec_named(&request).expect("plain")))
            .await
            .expect("open");
        let mut frames = Vec::new();
        while frames.len() < 4 {
            if let ws::Message::Binary(bytes) = socket.next().await.expect("open").expect("frames") {
                frames.push(bytes);
            }
        }
        let confirmed: Vec<Value> = rmp_serde::from_slice(&frames[2]).expect("MessagePack");
        assert_eq!(confirmed[0]["quotes"], json!(["AAPL"]));
        assert!(frames[3].windows(2).any(|pair| pair == [0xd7, 0xff]), "the stamp is a timestamp extension");
    });
}

#[test]
fn a_gap_is_exactly_as_large_as_asked_for() {
    run_virtual(async {
        let world = World::start(config()).await;
        let mut client = world.connect("/v1beta3/crypto/us", "PAPER-KEY").await;
        client.subscribe(&["BTC/USD"], &[]).await;
        let (before, _) = client.messages(Duration::from_secs(2)).await;
        assert_eq!(
            world.fault(json!({"kind": "gap", "symbol": "BTC/USD", "messages": 7, "for_seconds": 60})).await,
            200
        );
        let (after, _) = client.messages(Duration::from_secs(2)).await;
        let all = [seqs(&before), seqs(&after)].concat();
        let missing: u64 = all.windows(2).map(|pair| pair[1] - pair[0] - 1).sum();
        assert_eq!(missing, 7);
        assert_eq!(world.fault(json!({"kind": "gap", "symbol": "GME", "messages": 7})).await, 422);
        assert_eq!(world.fault(json!({"kind": "earthquake"})).await, 422);
    });
}

#[test]
fn silence_delay_and_drift_do_what_they_say() {
    run_virtual(async {
        let world = World::start(config()).await;
        let mut client = world.connect("/v1beta3/crypto/us", "PAPER-KEY").await;
        let mut broker = world.connect("/v1beta3/crypto/us", "PAPER-BROKER").await;
        client.subscribe(&["BTC/USD", "ETH/USD"], &[]).await;
        broker.subscribe(&["BTC/USD"], &[]).await;
        world.fault(json!({"kind": "silence", "symbol": "BTC/USD", "for_seconds": 5})).await;
        let _ = client.messages(Duration::from_millis(1)).await;
        let _ = broker.messages(Duration::from_millis(1)).await;
        let of = |messages: &[Message], wanted: &str| {
            messages.iter().filter(|m| matches!(m, Message::Quote(quote) if quote.symbol == wanted)).count()
        };
        let (messages, open) = client.messages(Duration::from_millis(4900)).await;
        assert!(open && of(&messages, "BTC/USD") == 0 && of(&messages, "ETH/USD") > 100);
        let (messages, _) = broker.messages(Duration::from_millis(1)).await;
        assert!(of(&messages, "BTC/USD") > 100, "the broker is spared");
        let (messages, _) = client.messages(Duration::from_secs(2)).await;
        assert!(of(&messages, "BTC/USD") > 10, "and then it comes back");

        world.fault(json!({"kind": "delay", "milliseconds": 3000, "for_seconds": 5})).await;
        let (messages, _) = client.messages(Duration::from_millis(2900)).await;
        assert!(messages.len() <= 2, "{} messages came in spite of the delay", messages.len());
        let (messages, _) = client.messages(Duration::from_secs(6)).await;
        let numbers: Vec<u64> = messages
            .iter()
            .filter_map(|m| match m {
                Message::Quote(quote) if quote.symbol == "ETH/USD" => quote.seq,
                _ => None,
            })
            .collect();
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "late, in order, and complete");

        world.fault(json!({"kind": "drift", "milliseconds": -60000, "for_seconds": 5})).await;
        let (messages, _) = client.messages(Duration::from_secs(1)).await;
        let stamp = |message: &Message| match message {
            Message::Quote(quote) => quote.at.0,
            _ => 0,
        };
        let ahead = stamp(messages.last().expect("quotes")) - world.clock.now();
        assert_eq!(
            world.fault(json!({"kind": "drift", "milliseconds": i64::MAX, "for_seconds": 5})).await,
            200
        );
        assert!((-59 * SECOND..-58 * SECOND).contains(&ahead), "{ahead}");
    });
}

#[test]
fn disconnect_and_refuse_lose_the_feed_until_it_is_over() {
    run_virtual(async {
        let world = World::start(config()).await;
        let mut client = world.connect("/v2/iex", "PAPER-KEY").await;
        let mut broker = world.connect("/v2/iex", "PAPER-BROKER").await;
        client.subscribe(&["AAPL"], &[]).await;
        broker.subscribe(&["AAPL"], &[]).await;
        world.fault(json!({"kind": "refuse", "for_seconds": 30})).await;
        world.fault(json!({"kind": "disconnect"})).await;
        let (_, open) = client.messages(Duration::from_secs(1)).await;
        assert!(!open, "disconnected");
        let url = format!("ws://{}/v2/iex", world.addr);
        let refused = ws::connect(&world.net, &url, &[], LIMIT).await.expect_err("refused");
        assert!(refused.to_string().contains("503"), "{refused}");
        let (messages, open) = broker.messages(Duration::from_secs(30)).await;
        assert!(open && !messages.is_empty());
        assert!(ws::connect(&world.net, &url, &[], LIMIT).await.is_ok(), "over after 30 s");
        let client = Client::new(world.net.clone(), LIMIT);
        let url = format!("http://{}/control/faults", world.addr);
        assert_eq!(client.get(&url).await.expect("served").text(), "[]");
        world.fault(json!({"kind": "silence", "for_seconds": 500})).await;
        let listed: Value = client.get(&url).await.expect("served").json().expect("JSON");
        assert_eq!((&listed[0]["kind"], &listed[0]["id"]), (&json!("silence"), &json!(3)));
        assert_eq!(client.delete(&url).await.expect("served").status, 204);
        assert_eq!(client.get(&url).await.expect("served").text(), "[]");
    });
}

#[test]
fn a_slow_client_is_told_so() {
    run_virtual(async {
        let world = World::start(config()).await;
        let mut client = world.connect("/v1beta3/crypto/us", "PAPER-KEY").await;
        client.subscribe(&["*"], &["*"]).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        let (messages, open) = client.messages(Duration::from_secs(60)).await;
        assert!(!open);
        let last = messages.last().expect("messages");
        assert_eq!(*last, Message::Error { code: 407, msg: "slow client".into() });
    });
}
