//! A feed and a broker in one virtual world, and clients to meet them with.

use crate::openapi;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::http::{Client, Response};
use tradewatch_platforms::runtime::{Clock, Net, Shutdown, Trigger, ws};
use tradewatch_platforms::{broker, feed};

pub const START: i64 = 1_700_000_000;
pub const SECOND: i64 = 1_000_000_000;

/// Feed and broker, running until dropped.
pub struct World {
    pub net: Net,
    pub broker: String,
    pub feed: String,
    clock: Clock,
    shutdown: Shutdown,
    broker_config: broker::Config,
    broker_task: tokio::task::JoinHandle<()>,
    _trigger: Trigger,
}

/// A broker that behaves: quick, and rejects nothing by chance.
pub fn calm() -> broker::Config {
    let behaviour =
        broker::Behaviour { reject_share: 0.0, order_latency_tail_share: 0.0, ..Default::default() };
    broker::Config { behaviour, seed: 3, rate_limit_per_minute: 0, ..Default::default() }
}

impl World {
    /// Starts both; the equity session begins now and lasts `session` seconds, as does each pause after it.
    pub async fn start(session: i64, broker_config: broker::Config) -> World {
        let net = Net::new_virtual();
        let clock = Clock::starting_at(START * SECOND);
        let (trigger, shutdown) = Shutdown::new();
        let market_clock =
            MarketClockConfig::Virtual { opens_at: START, open_seconds: session, closed_seconds: session };
        let feed_config = feed::Config {
            market_clock: market_clock.clone(),
            seed: 5,
            crypto_quotes_per_second_max: 2.0,
            stock_quotes_per_second: 1.0,
            ..Default::default()
        };
        let feed = feed::bind(feed_config, clock, &net).await.expect("free");
        let feed_addr = feed.addr();
        tokio::spawn(feed.run(shutdown.clone()));
        let config = broker::Config { market_clock, feed_url: format!("ws://{feed_addr}"), ..broker_config };
        let broker = broker::bind(config.clone(), clock, &net).await.expect("free");
        let broker_addr = broker.addr();
        let broker_config = broker::Config { listen: broker_addr.clone(), ..config };
        let broker_task = tokio::spawn(broker.run(shutdown.clone()));
        let (broker, feed) = (format!("http://{broker_addr}"), format!("http://{feed_addr}"));
        let world =
            World { net, broker, feed, clock, shutdown, broker_config, broker_task, _trigger: trigger };
        world.sleep(3.0).await; // Quotes of everything have come.
        world
    }

    /// Kills the broker and starts it again at the same address.
    pub async fn restart_broker(&mut self) {
        self.broker_task.abort();
        let _ = (&mut self.broker_task).await; // Its end is an abort, as wanted.
        let broker =
            broker::bind(self.broker_config.clone(), self.clock, &self.net).await.expect("free again");
        self.broker_task = tokio::spawn(broker.run(self.shutdown.clone()));
        self.sleep(3.0).await;
    }

    pub async fn sleep(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    pub fn trader(&self) -> Trader {
        let client = Client::new(self.net.clone(), Duration::from_secs(30))
            .with_header("APCA-API-KEY-ID", "PAPER-KEY")
            .with_header("APCA-API-SECRET-KEY", "paper-secret");
        Trader { client, url: self.broker.clone() }
    }

    pub async fn broker_fault(&self, fault: Value) -> u16 {
        let client = Client::new(self.net.clone(), Duration::from_secs(5));
        client.post(&format!("{}/control/faults", self.broker), &fault).await.expect("served").status.as_u16()
    }

    pub async fn stream(&self) -> Stream {
        let url = format!("{}/stream", self.broker.replace("http://", "ws://"));
        let mut socket = ws::connect(&self.net, &url, &[], Duration::from_secs(5)).await.expect("listens");
        let auth =
            json!({"action": "authenticate", "data": {"key_id": "PAPER-KEY", "secret_key": "paper-secret"}});
        socket.send(ws::Message::text(auth.to_string())).await.expect("open");
        let mut stream = Stream { socket };
        assert_eq!(stream.next().await.expect("open")["data"]["status"], "authorized");
        let listen = json!({"action": "listen", "data": {"streams": ["trade_updates"]}});
        stream.socket.send(ws::Message::text(listen.to_string())).await.expect("open");
        let confirmed = stream.next().await.expect("open");
        assert_eq!(confirmed, json!({"stream": "listening", "data": {"streams": ["trade_updates"]}}));
        stream
    }
}

/// The `trade_updates` stream.
pub struct Stream {
    socket: ws::Socket,
}

impl Stream {
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await?.ok()? {
                ws::Message::Binary(bytes) => return Some(serde_json::from_slice(&bytes).expect("JSON")),
                ws::Message::Close(_) => return None,
                _ => {}
            }
        }
    }

    /// Updates that come within `seconds`; also whether the stream then still stands.
    pub async fn updates(&mut self, seconds: f64) -> (Vec<Value>, bool) {
        let mut updates = Vec::new();
        let all = async {
            while let Some(message) = self.next().await {
                openapi::check_schema("Order", &message["data"]["order"]);
                updates.push(message["data"].clone());
            }
        };
        let open = tokio::time::timeout(Duration::from_secs_f64(seconds), all).await.is_err();
        (updates, open)
    }
}

/// A client of the broker that checks every answer against the published document.
#[derive(Clone)]
pub struct Trader {
    pub client: Client,
    url: String,
}

impl Trader {
    /// Calls `path`, published as `template`, and returns status and body.
    pub async fn call(&self, method: &str, path: &str, template: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}{path}", self.url);
        let response: Response = match (method, &body) {
            ("post", Some(body)) => self.client.post(&url, body).await,
            ("delete", _) => self.client.delete(&url).await,
            _ => self.client.get(&url).await,
        }
        .expect("answered");
        let body = if response.body.is_empty() { None } else { Some(response.json().expect("JSON")) };
        openapi::check(method, template, response.status.as_u16(), body.as_ref());
        (response.status.as_u16(), body.unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> Value {
        let template = path.split('?').next().expect("a path");
        let (status, body) = self.call("get", path, template, None).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Sends an order made of `symbol`, a signed `qty` and further fields.
    pub async fn order(&self, symbol: &str, qty: &str, fields: Value) -> (u16, Value) {
        let side = if qty.starts_with('-') { "sell" } else { "buy" };
        let tif = if symbol.contains('/') { "gtc" } else { "day" };
        let mut body = json!({
            "symbol": symbol, "qty": qty.trim_start_matches('-'), "side": side, "type": "market", "time_in_force": tif,
        });
        for (name, value) in fields.as_object().expect("an object") {
            body[name] = value.clone();
        }
        self.call("post", "/v2/orders", "/v2/orders", Some(body)).await
    }

    pub async fn order_state(&self, id: &str) -> Value {
        self.call("get", &format!("/v2/orders/{id}"), "/v2/orders/{order_id}", None).await.1
    }
}
