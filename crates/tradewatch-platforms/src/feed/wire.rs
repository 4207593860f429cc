//! Alpaca's market data messages, as JSON or MessagePack.
//!
//! Every frame from the feed is an array of messages; control messages come alone. In MessagePack a stamp is
//! the Timestamp extension (type −1), in JSON it is RFC 3339 text, as Alpaca has it.
//!
//! One field is ours: `seq`, a number per symbol and message type that counts every message the feed produced,
//! so that a subscriber can count exactly what it missed. It goes on across the loop of the recording and begins
//! again at 1 when the feed restarts.

use crate::runtime::Nanos;
use crate::runtime::clock::{SECOND, parse_rfc3339, rfc3339};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;

/// Text that is a constant when sent and owned when received.
pub type Text = Cow<'static, str>;

/// One message from the feed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "T")]
pub enum Message {
    /// Best bid and offer.
    #[serde(rename = "q")]
    Quote(Quote),
    /// A trade.
    #[serde(rename = "t")]
    Trade(Trade),
    /// A minute bar.
    #[serde(rename = "b")]
    Bar(Bar),
    /// `connected`, `authenticated`.
    #[serde(rename = "success")]
    Success {
        /// Which.
        msg: Text,
    },
    /// A refusal; see [`ErrorCode`].
    #[serde(rename = "error")]
    Error {
        /// Alpaca's number.
        code: u16,
        /// Alpaca's words.
        msg: Text,
    },
    /// Everything the connection is subscribed to, after each change.
    #[serde(rename = "subscription")]
    Subscription(Subscription),
}

/// Best bid and offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quote {
    /// Symbol.
    #[serde(rename = "S")]
    pub symbol: Text,
    /// Exchange of the bid; stocks only.
    #[serde(rename = "bx", default, skip_serializing_if = "Option::is_none")]
    pub bid_exchange: Option<Text>,
    /// Bid price.
    #[serde(rename = "bp")]
    pub bid: f64,
    /// Bid size: shares, or units of the coin.
    #[serde(rename = "bs")]
    pub bid_size: f64,
    /// Exchange of the offer; stocks only.
    #[serde(rename = "ax", default, skip_serializing_if = "Option::is_none")]
    pub ask_exchange: Option<Text>,
    /// Offer price.
    #[serde(rename = "ap")]
    pub ask: f64,
    /// Offer size.
    #[serde(rename = "as")]
    pub ask_size: f64,
    /// Time at the venue.
    #[serde(rename = "t")]
    pub at: Stamp,
    /// Conditions; stocks only.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Text>>,
    /// Tape; stocks only.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub tape: Option<Text>,
    /// Number of this quote among the symbol's quotes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// A trade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// Symbol.
    #[serde(rename = "S")]
    pub symbol: Text,
    /// The venue's id.
    #[serde(rename = "i")]
    pub id: i64,
    /// Exchange; stocks only.
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Text>,
    /// Price.
    #[serde(rename = "p")]
    pub price: f64,
    /// Size.
    #[serde(rename = "s")]
    pub size: f64,
    /// Time at the venue.
    #[serde(rename = "t")]
    pub at: Stamp,
    /// Side of the taker, `B` or `S`; crypto only.
    #[serde(rename = "tks", default, skip_serializing_if = "Option::is_none")]
    pub taker: Option<Text>,
    /// Conditions; stocks only.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Vec<Text>>,
    /// Tape; stocks only.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub tape: Option<Text>,
    /// Number of this trade among the symbol's trades.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// What happened in one minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bar {
    /// Symbol.
    #[serde(rename = "S")]
    pub symbol: Text,
    /// First price.
    #[serde(rename = "o")]
    pub open: f64,
    /// Highest price.
    #[serde(rename = "h")]
    pub high: f64,
    /// Lowest price.
    #[serde(rename = "l")]
    pub low: f64,
    /// Last price.
    #[serde(rename = "c")]
    pub close: f64,
    /// Traded quantity.
    #[serde(rename = "v")]
    pub volume: f64,
    /// Beginning of the minute.
    #[serde(rename = "t")]
    pub at: Stamp,
    /// Trades.
    #[serde(rename = "n")]
    pub trades: u64,
    /// Average price, weighted by size.
    #[serde(rename = "vw")]
    pub vwap: f64,
    /// Number of this bar among the symbol's bars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// The full state of a connection's subscriptions. Channels that are not served stay empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subscription {
    /// Symbols whose trades are sent.
    pub trades: Vec<Text>,
    /// Symbols whose quotes are sent.
    pub quotes: Vec<Text>,
    /// Symbols whose minute bars are sent.
    pub bars: Vec<Text>,
    /// Not served.
    pub updated_bars: Vec<Text>,
    /// Not served.
    pub daily_bars: Vec<Text>,
    /// Not served; stocks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses: Option<Vec<Text>>,
    /// Not served; stocks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lulds: Option<Vec<Text>>,
    /// Not served; stocks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub corrections: Option<Vec<Text>>,
    /// Not served; stocks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_errors: Option<Vec<Text>>,
    /// Not served; crypto only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orderbooks: Option<Vec<Text>>,
}

/// What a client sends: `{"action": "auth" | "subscribe" | "unsubscribe", …}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// What to do.
    pub action: String,
    /// Key id, with `auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Secret, with `auth`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Symbols, or `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trades: Vec<String>,
    /// Symbols, or `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quotes: Vec<String>,
    /// Symbols, or `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<String>,
}

/// Why the feed refuses, with Alpaca's numbers and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The message is not understood.
    InvalidSyntax,
    /// Subscribe before auth.
    NotAuthenticated,
    /// Wrong key or secret.
    AuthFailed,
    /// Auth twice.
    AlreadyAuthenticated,
    /// No auth in time.
    AuthTimeout,
    /// Too many symbols.
    SymbolLimit,
    /// Too many connections.
    ConnectionLimit,
    /// The client reads too slowly.
    SlowClient,
}

impl ErrorCode {
    /// The message to send.
    pub fn message(self) -> Message {
        let (code, msg) = match self {
            ErrorCode::InvalidSyntax => (400, "invalid syntax"),
            ErrorCode::NotAuthenticated => (401, "not authenticated"),
            ErrorCode::AuthFailed => (402, "auth failed"),
            ErrorCode::AlreadyAuthenticated => (403, "already authenticated"),
            ErrorCode::AuthTimeout => (404, "auth timeout"),
            ErrorCode::SymbolLimit => (405, "symbol limit exceeded"),
            ErrorCode::ConnectionLimit => (406, "connection limit exceeded"),
            ErrorCode::SlowClient => (407, "slow client"),
        };
        Message::Error { code, msg: msg.into() }
    }
}

/// A point in time; RFC 3339 text in JSON, the Timestamp extension in MessagePack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub Nanos);

/// serde's name for a MessagePack extension; `rmp-serde` recognises it.
#[derive(Serialize, Deserialize)]
#[serde(rename = "_ExtStruct")]
struct Ext((i8, ExtBytes));

struct ExtBytes(Vec<u8>);

impl Serialize for ExtBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for ExtBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ExtBytes, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = ExtBytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<ExtBytes, E> {
                Ok(ExtBytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&rfc3339(self.0));
        }
        let (seconds, nanos) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND) as u64);
        let bytes = match u64::try_from(seconds) {
            Ok(seconds) if seconds < 1 << 34 => ((nanos << 34) | seconds).to_be_bytes().to_vec(),
            _ => [&(nanos as u32).to_be_bytes()[..], &seconds.to_be_bytes()[..]].concat(),
        };
        Ext((-1, ExtBytes(bytes))).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Stamp, D::Error> {
        if deserializer.is_human_readable() {
            let text = Cow::<str>::deserialize(deserializer)?;
            return parse_rfc3339(&text)
                .map(Stamp)
                .ok_or_else(|| D::Error::custom(format!("`{text}` is no time")));
        }
        let Ext((kind, ExtBytes(bytes))) = Ext::deserialize(deserializer)?;
        if kind != -1 {
            return Err(D::Error::custom(format!("extension {kind} is no timestamp")));
        }
        let (seconds, nanos) = match bytes.len() {
            4 => (u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes")).into(), 0),
            8 => {
                let both = u64::from_be_bytes(bytes[..8].try_into().expect("8 bytes"));
                ((both & ((1 << 34) - 1)) as i64, (both >> 34) as i64)
            }
            12 => (
                i64::from_be_bytes(bytes[4..].try_into().expect("8 bytes")),
                i64::from(u32::from_be_bytes(bytes[..4].try_into().expect("4 bytes"))),
            ),
            other => return Err(D::Error::custom(format!("a timestamp of {other} bytes"))),
        };
        let at = seconds.checked_mul(SECOND).and_then(|at| at.checked_add(nanos));
        at.map(Stamp).ok_or_else(|| D::Error::custom(format!("{seconds} s is out of range")))
    }
}

/// How a connection writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Text frames.
    Json,
    /// Binary frames.
    MessagePack,
}

/// One frame: text or bytes.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// JSON.
    Text(String),
    /// MessagePack.
    Binary(Vec<u8>),
}

impl Codec {
    /// An array of messages as one frame.
    ///
    /// # Panics
    /// Never: the messages hold nothing that cannot be written.
    pub fn encode<M: std::borrow::Borrow<Message>>(self, messages: &[M]) -> Frame {
        let messages: Vec<&Message> = messages.iter().map(std::borrow::Borrow::borrow).collect();
        match self {
            Codec::Json => Frame::Text(serde_json::to_string(&messages).expect("plain data")),
            Codec::MessagePack => Frame::Binary(rmp_serde::to_vec_named(&messages).expect("plain data")),
        }
    }
}

/// Reads a JSON frame from the feed.
///
/// # Errors
/// serde's, with line and column.
pub fn decode_json(text: &str) -> Result<Vec<Message>, serde_json::Error> {
    serde_json::from_str(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn quote() -> Message {
        Message::Quote(Quote {
            symbol: "AAPL".into(),
            bid_exchange: Some("V".into()),
            bid: 229.98,
            bid_size: 300.0,
            ask_exchange: Some("V".into()),
            ask: 230.0,
            ask_size: 100.0,
            at: Stamp(1_723_161_253_940_123_456),
            conditions: Some(vec!["R".into()]),
            tape: Some("C".into()),
            seq: Some(7),
        })
    }

    #[test]
    fn json_has_alpacas_shape() {
        let Frame::Text(text) = Codec::Json.encode(&[quote(), ErrorCode::SlowClient.message()]) else {
            panic!("JSON is text")
        };
        expect![[r#"[{"T":"q","S":"AAPL","bx":"V","bp":229.98,"bs":300.0,"ax":"V","ap":230.0,"as":100.0,"t":"2024-08-08T23:54:13.940123456Z","c":["R"],"z":"C","seq":7},{"T":"error","code":407,"msg":"slow client"}]"#]]
        .assert_eq(&text);
        assert_eq!(decode_json(&text).expect("ours")[0], quote());
    }

    #[test]
    fn messagepack_has_the_timestamp_extension() {
        let Frame::Binary(bytes) = Codec::MessagePack.encode(&[quote()]) else {
            panic!("MessagePack is binary")
        };
        let at = bytes.windows(2).position(|pair| pair == [0xd7, 0xff]).expect("fixext 8 of type -1");
        let both = u64::from_be_bytes(bytes[at + 2..at + 10].try_into().expect("8 bytes"));
        assert_eq!((both & ((1 << 34) - 1), both >> 34), (1_723_161_253, 940_123_456));
    }

    #[test]
    fn stamps_of_every_width_read_back() {
        for at in [0, 1, 1_723_161_253_940_123_456, -1, -5 * SECOND, 9_000_000_000 * SECOND] {
            let bytes = rmp_serde::to_vec(&Stamp(at)).expect("writes");
            assert_eq!(rmp_serde::from_slice::<Stamp>(&bytes).expect("reads"), Stamp(at));
        }
        let four = [0xd6, 0xff, 0, 0, 0, 9];
        assert_eq!(rmp_serde::from_slice::<Stamp>(&four).expect("reads"), Stamp(9 * SECOND));
        assert!(rmp_serde::from_slice::<Stamp>(&[0xd6, 0x05, 0, 0, 0, 9]).is_err());
    }
}
