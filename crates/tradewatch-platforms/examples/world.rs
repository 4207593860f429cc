//! The world without a platform: feed, broker and cache on their usual ports, for clients to be tried against.
//!
//! ```text
//! cargo run -p tradewatch-platforms --example world
//! redis-cli -p 8012 ping
//! curl -H 'APCA-API-KEY-ID: PAPER-KEY' -H 'APCA-API-SECRET-KEY: paper-secret' 127.0.0.1:8011/v2/account
//! ```

use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::{Clock, Net, Shutdown};
use tradewatch_platforms::{broker, cache, feed};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (clock, net) = (Clock::wall(), Net::Tcp);
    let (trigger, shutdown) = Shutdown::new();
    let market_clock = MarketClockConfig::opening_now(&clock);
    let feed_config = feed::Config { market_clock: market_clock.clone(), ..Default::default() };
    let broker_config = broker::Config { market_clock, ..Default::default() };
    println!("feed   {}\nbroker {}", feed_config.listen, broker_config.listen);
    println!("cache  {}\nCtrl-C ends", cache::Config::default().listen);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await; // Without signals there is only kill.
        trigger.fire();
    });
    tokio::try_join!(
        feed::run(feed_config, clock, net.clone(), shutdown.clone()),
        broker::run(broker_config, clock, net.clone(), shutdown.clone()),
        cache::run(cache::Config::default(), clock, net, shutdown),
    )?;
    Ok(())
}
