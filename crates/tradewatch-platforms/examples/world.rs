//! The world without a platform: feed, broker and cache, for clients to be tried against.
//!
//! ```text
//! cargo run -p tradewatch-platforms --example world -- [--port-base 8000] [--calm]
//! redis-cli -p 8012 ping
//! curl -H 'APCA-API-KEY-ID: PAPER-KEY' -H 'APCA-API-SECRET-KEY: paper-secret' 127.0.0.1:8011/v2/account
//! ```
//!
//! With `--calm` the broker rejects nothing by chance.

use anyhow::{Context, bail};
use tradewatch_platforms::market::MarketClockConfig;
use tradewatch_platforms::runtime::{Clock, Net, Shutdown};
use tradewatch_platforms::{broker, cache, feed};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut base, mut calm) = (8000_u16, false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--calm" => calm = true,
            "--port-base" => base = args.next().context("--port-base needs a number")?.parse()?,
            other => bail!("unknown argument `{other}`: --port-base N, --calm"),
        }
    }
    let (clock, net) = (Clock::wall(), Net::Tcp);
    let market_clock = MarketClockConfig::opening_now(&clock);
    let address = |offset: u16| format!("127.0.0.1:{}", base + offset);
    let feed_config =
        feed::Config { listen: address(10), market_clock: market_clock.clone(), ..Default::default() };
    let mut broker_config = broker::Config {
        listen: address(11),
        feed_url: format!("ws://{}", address(10)),
        market_clock,
        ..Default::default()
    };
    if calm {
        broker_config.behaviour.reject_share = 0.0;
    }
    let cache_config = cache::Config { listen: address(12), ..Default::default() };
    println!("feed   {}\nbroker {}\ncache  {}", address(10), address(11), address(12));
    let (trigger, shutdown) = Shutdown::new();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await; // Without signals there is only kill.
        trigger.fire();
    });
    tokio::try_join!(
        feed::run(feed_config, clock, net.clone(), shutdown.clone()),
        broker::run(broker_config, clock, net.clone(), shutdown.clone()),
        cache::run(cache_config, clock, net, shutdown),
    )?;
    Ok(())
}
