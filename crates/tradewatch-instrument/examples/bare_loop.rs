//! A bare loop, without a server or an async runtime of its own: a collector that polls a source.
//!
//! `cargo run -p tradewatch-instrument --features full --example bare_loop`, then `curl` the address that it prints.

use std::time::Duration;

use tradewatch_instrument::helpers::Collection;
use tradewatch_instrument::{Service, expose_process};
use tradewatch_metrics::{Health, Registry, endpoint};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let _service = Service::start(&registry, "market_data_service", env!("CARGO_PKG_VERSION"))?;
    expose_process(&registry)?;
    let collector = Collection::register(&registry)?.collector("binance_collector", "binance");
    let serving = endpoint::listen("127.0.0.1:0", registry, Health::new())?;
    println!("http://{}/metrics", serving.addr());

    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    for round in 0..rounds {
        // Health, time of the last success, duration and errors all follow from how this ends.
        if let Ok(points) = collector.collect().run_sync(|| fetch(round)) {
            collector.points("klines", points);
        }
        std::thread::park_timeout(Duration::from_secs(1));
    }
    Ok(())
}

/// In place of an exchange, which fails now and then.
fn fetch(round: u64) -> Result<u64, std::io::Error> {
    if round % 5 == 4 { Err(std::io::ErrorKind::TimedOut.into()) } else { Ok(500) }
}
