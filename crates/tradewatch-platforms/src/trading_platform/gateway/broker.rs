//! The broker's trading API as the gateway uses it. Every call is counted, whatever becomes of it.

use super::metrics::{BrokerEndpoint, GatewayMetrics};
use crate::runtime::http::{Client, Response};
use crate::runtime::{Error, Net};
use crate::trading_platform::labels::Status;
use crate::trading_platform::money::{Money, Qty};
use crate::trading_platform::order::OrderRequest;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the broker says of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct BrokerOrder {
    /// Its id.
    pub id: String,
    /// Ours.
    pub client_order_id: String,
    /// Alpaca's word for where it stands.
    pub status: String,
    /// Filled so far.
    pub filled_qty: Qty,
    /// Mean price of the fills.
    #[serde(default)]
    pub filled_avg_price: Option<Money>,
}

impl BrokerOrder {
    /// What its fills cost together.
    pub fn filled_cost(&self) -> Money {
        self.filled_qty.at(self.filled_avg_price.unwrap_or_default())
    }
}

/// Why the broker did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// It understood and said no.
    #[error("the broker refuses: {0}")]
    Rejected(String),
    /// There is no such order.
    #[error("the broker does not know it")]
    NotFound,
    /// It could not be reached, did not answer in time, or failed itself. Nobody knows what it did.
    #[error("the broker cannot be reached: {0}")]
    Unreachable(String),
}

/// The account.
#[derive(Clone, Debug, Deserialize)]
pub struct Account {
    /// What may still be bought.
    pub buying_power: Money,
}

#[derive(Deserialize)]
struct Position {
    symbol: String,
    qty: Qty,
}

#[derive(Deserialize)]
struct MarketClock {
    is_open: bool,
}

/// A client of the trading API.
pub struct Broker {
    url: String,
    client: Client,
    orders: Client,
    metrics: GatewayMetrics,
}

impl Broker {
    /// A client of the broker at `url`; orders may take up to `order_timeout`, everything else `timeout`.
    pub fn new(
        url: String,
        key: &str,
        secret: &str,
        net: Net,
        timeout: Duration,
        order_timeout: Duration,
        metrics: GatewayMetrics,
    ) -> Broker {
        let client = Client::new(net, timeout)
            .with_header("APCA-API-KEY-ID", key)
            .with_header("APCA-API-SECRET-KEY", secret);
        let orders = client.with_timeout(order_timeout);
        Broker { url, client, orders, metrics }
    }

    /// Submits an order once.
    ///
    /// # Errors
    /// See [`BrokerError`]. A second submission under the same id is answered with the first order.
    pub async fn submit(&self, id: &str, request: &OrderRequest) -> Result<BrokerOrder, BrokerError> {
        let crypto = super::checks::is_crypto(&request.symbol);
        let mut body = json!({
            "symbol": request.symbol,
            "qty": request.qty,
            "side": request.side.as_str(),
            "type": if request.limit_price.is_some() { "limit" } else { "market" },
            "time_in_force": if crypto { "gtc" } else { "day" },
            "client_order_id": id,
        });
        if let Some(price) = request.limit_price {
            body["limit_price"] = json!(price);
        }
        let answer = self.orders.post(&format!("{}/v2/orders", self.url), &body).await;
        match self.read(BrokerEndpoint::Orders, answer) {
            // An earlier try got through after all.
            Err(BrokerError::Rejected(why)) if why.contains("client_order_id must be unique") => {
                self.by_client_id(id).await
            }
            answer => answer,
        }
    }

    /// An order by our id.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn by_client_id(&self, id: &str) -> Result<BrokerOrder, BrokerError> {
        let url = format!("{}/v2/orders:by_client_order_id?client_order_id={id}", self.url);
        let answer = self.client.get(&url).await;
        self.read(BrokerEndpoint::Orders, answer)
    }

    /// Cancels an order by the broker's id.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn cancel(&self, broker_order_id: &str) -> Result<(), BrokerError> {
        let answer = self.client.delete(&format!("{}/v2/orders/{broker_order_id}", self.url)).await;
        self.counted(BrokerEndpoint::Cancel, answer).map(|_| ())
    }

    /// Signed quantities by symbol.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn positions(&self) -> Result<BTreeMap<String, Qty>, BrokerError> {
        let answer = self.client.get(&format!("{}/v2/positions", self.url)).await;
        let positions: Vec<Position> = self.read(BrokerEndpoint::Positions, answer)?;
        // Alpaca writes a coin without its slash here.
        let name = |position: &Position| {
            let known = crate::market::instrument::find(&position.symbol);
            known.map_or_else(|| position.symbol.clone(), |instrument| instrument.symbol.to_owned())
        };
        Ok(positions.iter().map(|position| (name(position), position.qty)).collect())
    }

    /// The account.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn account(&self) -> Result<Account, BrokerError> {
        let answer = self.client.get(&format!("{}/v2/account", self.url)).await;
        self.read(BrokerEndpoint::Account, answer)
    }

    /// Whether equities trade now.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn is_open(&self) -> Result<bool, BrokerError> {
        let answer = self.client.get(&format!("{}/v2/clock", self.url)).await;
        let clock: MarketClock = self.read(BrokerEndpoint::Clock, answer)?;
        Ok(clock.is_open)
    }

    fn read<T: serde::de::DeserializeOwned>(
        &self,
        endpoint: BrokerEndpoint,
        answer: Result<Response, Error>,
    ) -> Result<T, BrokerError> {
        let response = self.counted(endpoint, answer)?;
        response.json().map_err(|error| BrokerError::Unreachable(error.to_string()))
    }

    /// A refusal is an answer: the interface worked. No answer, or the broker's own failure, is an error.
    fn counted(
        &self,
        endpoint: BrokerEndpoint,
        answer: Result<Response, Error>,
    ) -> Result<Response, BrokerError> {
        let answer = match answer {
            Err(error) => Err(BrokerError::Unreachable(error.to_string())),
            Ok(response) => match response.status.as_u16() {
                200..=299 => Ok(response),
                404 => Err(BrokerError::NotFound),
                400 | 403 | 422 => Err(BrokerError::Rejected(message(&response))),
                status => Err(BrokerError::Unreachable(format!(
                    "{}: HTTP {status} {}",
                    response.what,
                    message(&response)
                ))),
            },
        };
        let reached = !matches!(answer, Err(BrokerError::Unreachable(_)));
        self.metrics.alpaca_api_requests_total.at((endpoint, Status::when(reached))).inc();
        answer
    }
}

fn message(response: &Response) -> String {
    let told = response.json::<serde_json::Value>().ok();
    let text = told.as_ref().and_then(|body| body["message"].as_str()).map(str::to_owned);
    text.unwrap_or_else(|| response.text().chars().take(120).collect())
}
