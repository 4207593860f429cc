//! The newest price of each symbol, shared through Redis (or the platform's own cache, which speaks its protocol).
//!
//! One key per symbol, `price:SYMBOL`, that expires, and one channel, `price.updated.SYMBOL`. The `redis`
//! client runs over the platform's own network type, so that it works on virtual time as well. A lost
//! connection is opened again with the next call; nothing is queued.

use super::money::{Money, Qty};
use crate::runtime::{Nanos, Net, Tasks};
use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

/// How long a price outlives its last update.
pub const TTL: Duration = Duration::from_secs(300);

/// The best bid and ask of a symbol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// `AAPL`, `BTC/USD`.
    pub symbol: String,
    /// Best bid.
    pub bid: Money,
    /// Size there.
    pub bid_size: Qty,
    /// Best ask.
    pub ask: Money,
    /// Size there.
    pub ask_size: Qty,
    /// The venue's stamp, in nanoseconds since the epoch, by the venue's clock.
    pub venue_at: Nanos,
    /// The same moment by our clock: the venue's stamp corrected by its clock's offset.
    pub at: Nanos,
    /// Whether it comes from a model and not from a recording or a market.
    pub synthetic: bool,
}

impl Price {
    /// The price between bid and ask.
    pub fn mid(&self) -> Money {
        Money::mid(self.bid, self.ask)
    }

    /// How old it is at `now`; zero if its stamp is ahead of us.
    pub fn age(&self, now: Nanos) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.at).max(0) as u64)
    }
}

/// Why the cache could not be used.
#[derive(Clone, Debug, thiserror::Error)]
#[error("price cache {address}: {why}")]
pub struct Error {
    address: String,
    why: String,
}

/// A connection to the cache that comes back by itself. One per service.
pub struct PriceCache {
    address: String,
    settings: RedisConnectionInfo,
    timeout: Duration,
    net: Net,
    connection: Mutex<Option<MultiplexedConnection>>,
    tasks: Tasks,
}

impl std::fmt::Debug for PriceCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PriceCache").field("address", &self.address).finish_non_exhaustive()
    }
}

impl PriceCache {
    /// Prepares a connection to `url` (`redis://[:password@]host:port[/db]`); every call ends within `timeout`.
    ///
    /// # Errors
    /// If the URL has another form.
    pub fn new(url: &str, timeout: Duration, net: Net) -> Result<PriceCache, Error> {
        let told = |why: String| Error { address: url.rsplit('@').next().unwrap_or(url).to_owned(), why };
        let info = url.into_connection_info().map_err(|error| told(error.to_string()))?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(told("only redis://HOST:PORT is supported".into()));
        };
        Ok(PriceCache {
            address: format!("{host}:{port}"),
            settings: info.redis_settings().clone().set_skip_set_lib_name(),
            timeout,
            net,
            connection: Mutex::new(None),
            tasks: Tasks::new(),
        })
    }

    /// Stores and announces `prices`, all in one round trip.
    ///
    /// # Errors
    /// If the cache does not answer in time.
    pub async fn put(&self, prices: &[Price]) -> Result<(), Error> {
        let mut pipe = redis::pipe();
        for price in prices {
            let text = serde_json::to_string(price).expect("plain data");
            pipe.cmd("SET").arg(key(&price.symbol)).arg(&text).arg("EX").arg(TTL.as_secs()).ignore();
            pipe.cmd("PUBLISH").arg(format!("price.updated.{}", price.symbol)).arg(text).ignore();
        }
        self.call(async |connection: &mut MultiplexedConnection| pipe.query_async::<()>(connection).await)
            .await
    }

    /// The prices of `symbols` that are there.
    ///
    /// # Errors
    /// If the cache does not answer in time, or answers something that is not a price.
    pub async fn get(&self, symbols: &[String]) -> Result<BTreeMap<String, Price>, Error> {
        if symbols.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut command = redis::cmd("MGET");
        for symbol in symbols {
            command.arg(key(symbol));
        }
        let texts = self
            .call(async |connection: &mut MultiplexedConnection| {
                command.query_async::<Vec<Option<String>>>(connection).await
            })
            .await?;
        let mut prices = BTreeMap::new();
        for (symbol, text) in symbols.iter().zip(texts) {
            let Some(text) = text else { continue };
            let price: Price = serde_json::from_str(&text)
                .map_err(|error| self.told(format!("{} holds no price: {error}", key(symbol))))?;
            prices.insert(symbol.clone(), price);
        }
        Ok(prices)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// If the cache does not answer in time.
    pub async fn ping(&self) -> Result<(), Error> {
        let command = redis::cmd("PING");
        self.call(async |connection: &mut MultiplexedConnection| command.query_async::<()>(connection).await)
            .await
    }

    async fn call<T>(
        &self,
        work: impl AsyncFnOnce(&mut MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, Error> {
        let call = async {
            let mut connection = self.connected().await?;
            work(&mut connection).await.map_err(|error| self.told(error.to_string()))
        };
        let answer = match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer,
            Err(_) => Err(self.told(format!("no answer within {:?}", self.timeout))),
        };
        if answer.is_err() {
            *self.slot() = None; // Whatever it was, the next call begins anew.
        }
        answer
    }

    async fn connected(&self) -> Result<MultiplexedConnection, Error> {
        if let Some(connection) = self.slot().clone() {
            return Ok(connection);
        }
        let stream = self.net.connect(&self.address).await.map_err(|error| self.told(error.to_string()))?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&self.settings, stream, config())
            .await
            .map_err(|error| self.told(error.to_string()))?;
        self.tasks.spawn(driver);
        *self.slot() = Some(connection.clone());
        Ok(connection)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<MultiplexedConnection>> {
        self.connection.lock().expect("nobody panics while holding the connection")
    }

    fn told(&self, why: String) -> Error {
        Error { address: self.address.clone(), why }
    }
}

/// Time-outs are ours, on tokio's clock.
fn config() -> redis::AsyncConnectionConfig {
    redis::AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None)
}

fn key(symbol: &str) -> String {
    format!("price:{symbol}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_ahead_of_us_is_not_old() {
        let price = Price {
            symbol: "BTC/USD".into(),
            bid: Money::whole(10),
            bid_size: Qty::whole(1),
            ask: Money::whole(12),
            ask_size: Qty::whole(1),
            venue_at: 0,
            at: 5_000_000_000,
            synthetic: false,
        };
        assert_eq!(price.mid(), Money::whole(11));
        assert_eq!(price.age(1_000_000_000), Duration::ZERO);
        assert_eq!(price.age(6_500_000_000), Duration::from_millis(1_500));
        let text = serde_json::to_string(&price).expect("plain data");
        assert_eq!(serde_json::from_str::<Price>(&text).expect(&text), price);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_there_is_an_error_that_names_the_address() {
        let cache = PriceCache::new("redis://127.0.0.1:8012", Duration::from_millis(500), Net::new_virtual())
            .expect("a good URL");
        let error = cache.ping().await.expect_err("nobody listens");
        assert!(error.to_string().contains("127.0.0.1:8012"), "{error}");
        assert!(PriceCache::new("http://x", Duration::ZERO, Net::Tcp).is_err());
    }
}
