//! Why the broker says no, with Alpaca's statuses, codes and words.

use crate::market::Decimal;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A refusal: HTTP status, Alpaca's code and message, and sometimes figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// HTTP status.
    pub status: StatusCode,
    /// Alpaca's code: the status, then five digits.
    pub code: u32,
    /// In words.
    pub message: String,
    /// Figures that go with it.
    pub figures: Map<String, Value>,
}

impl Refusal {
    fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Refusal {
        Refusal { status, code, message: message.into(), figures: Map::new() }
    }

    fn with(mut self, name: &str, value: impl ToString) -> Refusal {
        self.figures.insert(name.to_owned(), value.to_string().into());
        self
    }

    /// A parameter is wrong.
    pub fn invalid(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, 42_210_000, message)
    }

    /// The body is no JSON object of the expected form.
    pub fn malformed(error: &serde_json::Error) -> Refusal {
        Refusal::new(StatusCode::BAD_REQUEST, 40_010_000, format!("request body format is invalid: {error}"))
    }

    /// Wrong or missing keys.
    pub fn unauthorized() -> Refusal {
        Refusal::new(StatusCode::UNAUTHORIZED, 40_110_000, "request is not authorized")
    }

    /// The same `client_order_id` twice.
    pub fn duplicate_client_order_id() -> Refusal {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, 40_010_001, "client_order_id must be unique")
    }

    /// The account cannot carry the order.
    pub fn buying_power(available: Decimal, cost: Decimal) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, 40_310_000, "insufficient buying power")
            .with("buying_power", available.round(2))
            .with("cost_basis", cost.round(2))
    }

    /// Selling coins that are not there.
    pub fn balance(symbol: &str, requested: Decimal, available: Decimal) -> Refusal {
        let coin = symbol.split('/').next().unwrap_or(symbol);
        let message =
            format!("insufficient balance for {coin} (requested: {requested}, available: {available})");
        Refusal::new(StatusCode::FORBIDDEN, 40_310_000, message)
            .with("symbol", coin)
            .with("requested", requested)
            .with("available", available)
    }

    /// The order is denied for a reason of the broker's own.
    pub fn denied(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, 40_310_000, message)
    }

    /// No such thing.
    pub fn not_found(message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, 40_410_000, message)
    }

    /// Too many requests in this minute.
    pub fn throttled() -> Refusal {
        Refusal::new(StatusCode::TOO_MANY_REQUESTS, 42_910_000, "rate limit exceeded")
    }

    /// The broker's own failure.
    pub fn internal(status: StatusCode) -> Refusal {
        let code = u32::from(status.as_u16()) * 100_000 + 10_000;
        let message = if status == StatusCode::SERVICE_UNAVAILABLE {
            "service unavailable"
        } else {
            "internal server error occurred"
        };
        Refusal::new(status, code, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut body = json!({ "code": self.code, "message": self.message });
        if let Some(object) = body.as_object_mut() {
            object.extend(self.figures);
        }
        (self.status, Json(body)).into_response()
    }
}
