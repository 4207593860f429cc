//! The market data service against the feed.

use crate::world::{START, sum, until, value, world};
use std::time::Duration;
use tradewatch_metrics::Registry;
use tradewatch_platforms::feed;
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::http::Client;
use tradewatch_platforms::runtime::{Clock, Net, Shutdown, Trigger};
use tradewatch_platforms::trading_platform::{Config, ServiceName, market_data};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> Config {
    let mut config = Config::default().demo();
    config.market_clock = MarketClockConfig::Virtual {
        opens_at: START / 1_000_000_000,
        open_seconds: 86_400,
        closed_seconds: 0,
    };
    config.feed.market_clock = config.market_clock.clone();
    config.feed.crypto_quotes_per_second_max = 5.0;
    config
}

fn start_feed(config: &Config, clock: Clock, net: &Net) -> tokio::task::JoinHandle<()> {
    let (config, net) = (config.feed.clone(), net.clone());
    tokio::spawn(async move {
        let (_trigger, shutdown) = Shutdown::new();
        feed::run(config, clock, net, shutdown).await.expect("the address is free");
    })
}

fn start(config: &Config, clock: Clock, net: &Net) -> (Registry, Trigger) {
    let registry = Registry::with_clock(move || clock.elapsed());
    let (trigger, shutdown) = Shutdown::new();
    let run = market_data::run_with(config.clone(), clock, net.clone(), shutdown, registry.clone());
    tokio::spawn(async move { run.await.expect("the address is free") });
    (registry, trigger)
}

#[tokio::test(start_paused = true)]
async fn ticks_arrive_and_a_lost_feed_is_told_within_two_seconds() {
    let (clock, net) = world();
    let config = config();
    let feed = start_feed(&config, clock, &net);
    let (registry, _trigger) = start(&config, clock, &net);
    let connected = "market_data_websocket_connection_status";
    until("connected", 3 * SECOND, || value(&registry, connected) == 1.0).await;
    until("quotes of all symbols", 5 * SECOND, || {
        config
            .market_data
            .symbols
            .iter()
            .all(|s| value(&registry, &format!("market_data_mid_price_dollars{{symbol=\"{s}\"}}")) > 0.0)
    })
    .await;
    assert_eq!(value(&registry, "market_data_subscribed_symbols_current"), 7.0);
    until("trades", 10 * SECOND, || {
        value(&registry, "market_data_websocket_messages_received_total{message_type=\"trade\"}") > 0.0
    })
    .await;
    assert_eq!(sum(&registry, "market_data_sequence_gaps_total"), 0.0);
    let offset = value(&registry, "market_data_venue_clock_offset_seconds");
    assert!((-1.4..-1.2).contains(&offset), "the recorded clock fault, {offset}");
    let age = value(&registry, "market_data_price_age_seconds{symbol=\"BTC/USD\"}");
    assert!((0.0..2.0).contains(&age), "{age}");

    feed.abort();
    let told = until("the loss is told", 2 * SECOND, || value(&registry, connected) == 0.0).await;
    assert!(told < 2 * SECOND);
    until("tries", 5 * SECOND, || value(&registry, "market_data_reconnect_attempts_total") >= 2.0).await;
    until("stale", 20 * SECOND, || value(&registry, "market_data_stale_symbols_current") == 7.0).await;
    let _feed = start_feed(&config, clock, &net);
    until("connected again", 10 * SECOND, || value(&registry, connected) == 1.0).await;
    until("fresh again", 10 * SECOND, || value(&registry, "market_data_stale_symbols_current") == 0.0).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_feed_is_told_within_two_seconds() {
    let (clock, net) = world();
    let config = config();
    let _feed = start_feed(&config, clock, &net);
    let (registry, _trigger) = start(&config, clock, &net);
    let connected = "market_data_websocket_connection_status";
    until("connected", 3 * SECOND, || value(&registry, connected) == 1.0).await;
    let Net::Virtual(wires) = &net else { panic!("a virtual world") };
    wires.freeze(8010, true);
    until("the loss is told", 2 * SECOND, || value(&registry, connected) == 0.0).await;
    wires.freeze(8010, false);
    until("connected again", 10 * SECOND, || value(&registry, connected) == 1.0).await;
}

#[tokio::test(start_paused = true)]
async fn calls_change_subscriptions_and_every_outcome_is_counted() {
    let (clock, net) = world();
    let mut config = config();
    config.market_data.symbols = vec!["BTC/USD".into()];
    let feed = start_feed(&config, clock, &net);
    let (registry, _trigger) = start(&config, clock, &net);
    let url = config.url(ServiceName::MarketDataService);
    let client = Client::new(net.clone(), 10 * SECOND);
    until("connected", 3 * SECOND, || value(&registry, "market_data_websocket_connection_status") == 1.0)
        .await;

    let subscribe = format!("{url}/api/v1/subscribe");
    let answer =
        client.post(&subscribe, &serde_json::json!({"symbols": ["AAPL", "ETH/USD"]})).await.expect("served");
    assert!(answer.is_success(), "{}", answer.text());
    assert_eq!(value(&registry, "market_data_subscribed_symbols_current"), 3.0);
    until("quotes of AAPL", 5 * SECOND, || {
        value(&registry, "market_data_mid_price_dollars{symbol=\"AAPL\"}") > 0.0
    })
    .await;
    let answer = client.delete(&format!("{url}/api/v1/subscribe/ETH%2FUSD")).await.expect("served");
    assert!(answer.is_success(), "{}", answer.text());
    let listed = client.get(&format!("{url}/api/v1/subscriptions")).await.expect("served");
    assert_eq!(
        listed.json::<serde_json::Value>().expect("JSON")["symbols"],
        serde_json::json!(["AAPL", "BTC/USD"])
    );

    for bad in [r#"{"symbols": []}"#, r#"{"symbols": ["GME"]}"#, "nonsense"] {
        let answer = client.request(http::Method::POST, &subscribe, Some(bad.into())).await.expect("served");
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
    let missing = client.delete(&format!("{url}/api/v1/subscribe/TSLA")).await.expect("served");
    assert_eq!(missing.status, 404);
    feed.abort();
    tokio::time::sleep(SECOND).await;
    let answer = client.post(&subscribe, &serde_json::json!({"symbols": ["TSLA"]})).await.expect("served");
    assert_eq!(answer.status, 503, "{}", answer.text());
    let count = |operation: &str, status: &str| {
        let name = format!(
            "market_data_subscription_requests_total{{operation=\"{operation}\",status=\"{status}\"}}"
        );
        value(&registry, &name)
    };
    assert_eq!((count("subscribe", "success"), count("subscribe", "error")), (1.0, 4.0));
    assert_eq!((count("unsubscribe", "success"), count("unsubscribe", "error")), (1.0, 1.0));
    assert_eq!(value(&registry, "market_data_subscription_duration_seconds_count"), 7.0);
    until("failed syncs", 10 * SECOND, || {
        value(&registry, "market_data_position_syncs_total{status=\"error\"}") > 0.0
    })
    .await;
}
