//! Writes the compact recording that the feed embeds, from the raw files in `market-data/`.

use std::path::Path;
use tradewatch_platforms::feed::recording;

fn main() -> anyhow::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let raw = here.join("../../market-data");
    let btc = std::fs::read(raw.join("hftbacktest_spot_btcusdt_20240808.jsonl.gz"))?;
    let eth = std::fs::read(raw.join("hftbacktest_spot_ethusdt_20240808.jsonl.gz"))?;
    let compact = recording::compact(&[("BTC/USD", &btc), ("ETH/USD", &eth)])?;
    let to = here.join("data/binance_20240808.twrec.gz");
    std::fs::write(&to, &compact)?;
    println!("{} bytes, from {} raw", compact.len(), btc.len() + eth.len());
    Ok(())
}
