//! The recorded Binance session, in a compact form.
//!
//! The raw recordings stand in `market-data/` with their licence. [`compact`] keeps what the replay needs (best
//! bid and ask with sizes, trades, and the stamps of receipt and event) and leaves out the depth updates. The
//! result is committed and embedded; `cargo run -p tradewatch-platforms --example compact-recording` writes it and
//! a test compares it with the raw files.
//!
//! Format, gzip-compressed: the bytes `TWREC1`, then per symbol its name (length, bytes), the number of events
//! and the events in order of receipt. An event is a sequence of varints (zigzag where signed): kind (0 quote,
//! 1 buyer-made trade, 2 seller-made trade), receipt minus the previous receipt in ns, then the change of
//! (event − receipt) in ns against the previous event of the symbol. A quote goes on with the change of the bid in cents, ask minus
//! bid in cents, bid size and ask size in 10^−8; a trade with the change of its id, its price minus the last
//! bid in cents, and its size in 10^−8.
//!
//! Binance stamps trades and depth updates but not quotes: a quote takes the difference between event and receipt
//! of the last stamped message before it (the very first ones that of the first after them).

use crate::market::Decimal;
use crate::runtime::Nanos;
use crate::runtime::clock::MILLISECOND;
use anyhow::{Context, bail};
use serde::Deserialize;
use std::io::Read;

const MAGIC: &[u8] = b"TWREC1";
/// The committed compact form.
const EMBEDDED: &[u8] = include_bytes!("../../data/binance_20240808.twrec.gz");
/// Bytes of the decompressed form that are accepted.
const DECOMPRESSED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What was recorded of one symbol, in order of receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// Alpaca's name of the pair: `BTC/USD`.
    pub symbol: String,
    /// At least one event, the first a quote.
    pub events: Vec<Event>,
}

/// One recorded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the recorder received it, by its own clock.
    pub received: Nanos,
    /// Venue time minus time of receipt: about +1.272 s, since the recorder's clock was behind.
    pub ahead: Nanos,
    /// What it said.
    pub kind: Kind,
}

/// The content of a recorded message. Prices are in cents, sizes in 10^−8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Best bid and ask.
    Quote {
        /// Best bid.
        bid: i64,
        /// Best ask.
        ask: i64,
        /// Size at the bid.
        bid_size: i64,
        /// Size at the ask.
        ask_size: i64,
    },
    /// A trade.
    Trade {
        /// The venue's trade id, consecutive.
        id: i64,
        /// Price.
        price: i64,
        /// Size.
        size: i64,
        /// Whether the buyer took it.
        taker_buys: bool,
    },
}

/// The embedded recordings of BTC/USD and ETH/USD.
///
/// # Panics
/// Never in a built binary: a test decodes the same bytes.
pub fn embedded() -> Vec<Recording> {
    decode(EMBEDDED).expect("the embedded recording is whole")
}

/// Reads the compact form.
///
/// # Errors
/// If it is cut short or not of this format, with the offset.
pub fn decode(gz: &[u8]) -> anyhow::Result<Vec<Recording>> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(gz)
        .take(DECOMPRESSED_BYTES_MAX)
        .read_to_end(&mut bytes)
        .context("recording")?;
    let mut reader = Reader { bytes: &bytes, at: 0 };
    if reader.take(MAGIC.len())? != MAGIC {
        bail!("not a recording: it does not begin with TWREC1");
    }
    let mut recordings = Vec::new();
    while reader.at < bytes.len() {
        let name_len = reader.unsigned()? as usize;
        let symbol = String::from_utf8(reader.take(name_len)?.to_vec()).context("symbol of a recording")?;
        let count = reader.unsigned()?;
        let mut delta = Delta::default();
        let events = (0..count).map(|_| delta.read(&mut reader)).collect::<anyhow::Result<Vec<_>>>()?;
        match events.first() {
            Some(Event { kind: Kind::Quote { .. }, .. }) => recordings.push(Recording { symbol, events }),
            _ => bail!("the recording of {symbol} does not begin with a quote"),
        }
    }
    Ok(recordings)
}

/// Builds the compact form from raw recordings: pairs of Alpaca's symbol and the gzip-compressed lines.
///
/// # Errors
/// If a line is not a recorded Binance message, with its number.
pub fn compact(raw: &[(&str, &[u8])]) -> anyhow::Result<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    for (symbol, gz) in raw {
        let recording = read_raw(symbol, gz)?;
        put_unsigned(&mut bytes, symbol.len() as u64);
        bytes.extend_from_slice(symbol.as_bytes());
        put_unsigned(&mut bytes, recording.events.len() as u64);
        let mut delta = Delta::default();
        for event in &recording.events {
            delta.write(event, &mut bytes);
        }
    }
    let mut gz = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gz, &bytes)?;
    Ok(gz.finish()?)
}

/// Stands for a difference that is not known yet while reading.
const UNKNOWN: Nanos = Nanos::MIN;

/// One line of the raw recording: `<receipt in ns> {"stream": …, "data": {…}}`.
#[derive(Deserialize)]
struct RawLine<'a> {
    stream: Option<&'a str>,
    #[serde(borrow)]
    data: Option<&'a serde_json::value::RawValue>,
}

#[derive(Deserialize)]
struct RawQuote<'a> {
    #[serde(rename = "b")]
    bid: &'a str,
    #[serde(rename = "B")]
    bid_size: &'a str,
    #[serde(rename = "a")]
    ask: &'a str,
    #[serde(rename = "A")]
    ask_size: &'a str,
}

#[derive(Deserialize)]
struct RawTrade<'a> {
    #[serde(rename = "E")]
    event_ms: i64,
    t: i64,
    #[serde(rename = "p")]
    price: &'a str,
    #[serde(rename = "q")]
    size: &'a str,
    #[serde(rename = "m")]
    buyer_is_maker: bool,
}

#[derive(Deserialize)]
struct RawDepth {
    #[serde(rename = "E")]
    event_ms: i64,
}

/// Reads a raw recording: quotes and trades from the first quote on.
///
/// # Errors
/// If a line is not a recorded Binance message, with its number.
pub fn read_raw(symbol: &str, gz: &[u8]) -> anyhow::Result<Recording> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(gz).read_to_string(&mut text).context(symbol.to_owned())?;
    let mut events = Vec::new();
    let mut ahead = None;
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{symbol}, line {}", number + 1);
        let (received, json) = line.split_once(' ').with_context(place)?;
        let received: Nanos = received.parse().with_context(place)?;
        let message: RawLine = serde_json::from_str(json).with_context(place)?;
        let (Some(stream), Some(data)) = (message.stream, message.data) else { continue };
        let kind = match stream.split_once('@').with_context(place)?.1 {
            "bookTicker" => Some(raw_quote(data.get()).with_context(place)?),
            "trade" => {
                let trade: RawTrade = serde_json::from_str(data.get()).with_context(place)?;
                ahead = Some(trade.event_ms * MILLISECOND - received);
                Some(Kind::Trade {
                    id: trade.t,
                    price: scaled(trade.price, 2).with_context(place)?,
                    size: scaled(trade.size, 8).with_context(place)?,
                    taker_buys: !trade.buyer_is_maker,
                })
            }
            _ => {
                let depth: RawDepth = serde_json::from_str(data.get()).with_context(place)?;
                ahead = Some(depth.event_ms * MILLISECOND - received);
                None
            }
        };
        let begun = !events.is_empty() || matches!(kind, Some(Kind::Quote { .. }));
        if let (Some(kind), true) = (kind, begun) {
            // Quotes before the first stamped message take the difference of that one, below.
            events.push(Event { received, ahead: ahead.unwrap_or(UNKNOWN), kind });
        }
    }
    let first = events.iter().map(|event| event.ahead).find(|ahead| *ahead != UNKNOWN);
    let first = first.with_context(|| format!("{symbol}: no message has a venue stamp"))?;
    events.iter_mut().take_while(|event| event.ahead == UNKNOWN).for_each(|event| event.ahead = first);
    Ok(Recording { symbol: symbol.to_owned(), events })
}

fn raw_quote(json: &str) -> anyhow::Result<Kind> {
    let quote: RawQuote = serde_json::from_str(json)?;
    Ok(Kind::Quote {
        bid: scaled(quote.bid, 2)?,
        ask: scaled(quote.ask, 2)?,
        bid_size: scaled(quote.bid_size, 8)?,
        ask_size: scaled(quote.ask_size, 8)?,
    })
}

/// `text` in units of 10^−`digits`, exactly.
fn scaled(text: &str, digits: u32) -> anyhow::Result<i64> {
    let value: Decimal = text.parse()?;
    let step = Decimal::from_scaled(1, digits);
    if !value.is_multiple_of(step) {
        bail!("`{text}` has more than {digits} fractional digits");
    }
    let units = value * Decimal::from_int(10_i64.pow(digits));
    units.to_string().parse().context("out of range")
}

/// The last values of a symbol, against which the next event is written.
#[derive(Default)]
struct Delta {
    received: i64,
    ahead: i64,
    bid: i64,
    trade_id: i64,
}

impl Delta {
    fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let kind = match event.kind {
            Kind::Quote { .. } => 0,
            Kind::Trade { taker_buys: true, .. } => 1,
            Kind::Trade { taker_buys: false, .. } => 2,
        };
        put_unsigned(out, kind);
        put_signed(out, event.received - self.received);
        put_signed(out, event.ahead - self.ahead);
        (self.received, self.ahead) = (event.received, event.ahead);
        match event.kind {
            Kind::Quote { bid, ask, bid_size, ask_size } => {
                put_signed(out, bid - self.bid);
                put_signed(out, ask - bid);
                put_signed(out, bid_size);
                put_signed(out, ask_size);
                self.bid = bid;
            }
            Kind::Trade { id, price, size, .. } => {
                put_signed(out, id - self.trade_id);
                put_signed(out, price - self.bid);
                put_signed(out, size);
                self.trade_id = id;
            }
        }
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> anyhow::Result<Event> {
        let kind = reader.unsigned()?;
        self.received += reader.signed()?;
        self.ahead += reader.signed()?;
        let kind = match kind {
            0 => {
                self.bid += reader.signed()?;
                let ask = self.bid + reader.signed()?;
                Kind::Quote { bid: self.bid, ask, bid_size: reader.signed()?, ask_size: reader.signed()? }
            }
            1 | 2 => {
                self.trade_id += reader.signed()?;
                let price = self.bid + reader.signed()?;
                Kind::Trade { id: self.trade_id, price, size: reader.signed()?, taker_buys: kind == 1 }
            }
            other => bail!("byte {}: {other} is no kind of event", reader.at),
        };
        Ok(Event { received: self.received, ahead: self.ahead, kind })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> anyhow::Result<&'a [u8]> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
        let end = end.with_context(|| format!("byte {}: cut short", self.at))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn unsigned(&mut self) -> anyhow::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("byte {}: a number of more than 64 bits", self.at)
    }

    fn signed(&mut self) -> anyhow::Result<i64> {
        let value = self.unsigned()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, ((value << 1) ^ (value >> 63)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BTC: &[u8] = include_bytes!("../../../../market-data/hftbacktest_spot_btcusdt_20240808.jsonl.gz");
    const ETH: &[u8] = include_bytes!("../../../../market-data/hftbacktest_spot_ethusdt_20240808.jsonl.gz");

    #[test]
    fn the_embedded_form_is_the_raw_recording() {
        let embedded = embedded();
        for (symbol, gz) in [("BTC/USD", BTC), ("ETH/USD", ETH)] {
            let raw = read_raw(symbol, gz).expect("a recording");
            let ours = embedded.iter().find(|recording| recording.symbol == symbol).expect("embedded");
            assert!(*ours == raw, "{symbol} differs: run the example `compact-recording`");
        }
    }

    #[test]
    fn the_recording_has_what_its_notice_says() {
        let embedded = embedded();
        let count = |symbol: &str, trades: bool| {
            let recording = embedded.iter().find(|r| r.symbol == symbol).expect("embedded");
            recording.events.iter().filter(|e| matches!(e.kind, Kind::Trade { .. }) == trades).count()
        };
        assert_eq!((count("BTC/USD", false), count("BTC/USD", true)), (28_040, 9_757));
        assert_eq!((count("ETH/USD", false), count("ETH/USD", true)), (24_077, 6_106));
        for recording in &embedded {
            let mut ahead: Vec<Nanos> = recording.events.iter().map(|event| event.ahead).collect();
            ahead.sort_unstable();
            assert_eq!(ahead[ahead.len() / 2] / MILLISECOND, 1272, "{}", recording.symbol);
            assert!(recording.events.windows(2).all(|pair| pair[0].received <= pair[1].received));
            let ids: Vec<i64> = recording
                .events
                .iter()
                .filter_map(|event| match event.kind {
                    Kind::Trade { id, .. } => Some(id),
                    Kind::Quote { .. } => None,
                })
                .collect();
            assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]), "trade ids are consecutive");
        }
    }

    #[test]
    fn damaged_forms_are_refused_with_their_place() {
        let gz = |bytes: &[u8]| {
            let mut gz = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gz, bytes).expect("memory");
            gz.finish().expect("memory")
        };
        let error = |bytes: &[u8]| format!("{:#}", decode(&gz(bytes)).expect_err("damaged"));
        assert!(error(b"TWREC2").contains("does not begin with TWREC1"));
        assert!(error(b"TWREC1\x07BTC").contains("cut short"));
        assert!(error(b"TWREC1\x01X\x01\x09\x00\x00").contains("9 is no kind of event"));
        assert!(error(b"TWREC1\x01X\x01\x01\x00\x00\x00\x00\x00").contains("does not begin with a quote"));
        assert!(decode(b"no gzip").is_err());
    }
}
