//! Trade updates by webhook, beside the stream: whichever comes first counts, the other changes nothing.

use super::metrics::EventType;
use super::state::State;
use super::stream::TradeUpdate;
use crate::trading_platform::api::{self, ApiError};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State as Ctx;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// The header that carries the signature: the HMAC-SHA256 of the body, in hexadecimal.
pub const SIGNATURE_HEADER: &str = "x-webhook-signature";
/// Block size of SHA-256 in bytes.
const BLOCK: usize = 64;

/// Takes one webhook.
pub async fn receive(
    Ctx(state): Ctx<Arc<State>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let secret = state.options.webhook_secret.expose();
    if !secret.is_empty() {
        let given = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !is_equal(given.as_bytes(), sign(secret.as_bytes(), &body).as_bytes()) {
            let message = format!("{SIGNATURE_HEADER} is missing or does not fit the body");
            return Err(ApiError { status: StatusCode::UNAUTHORIZED, message });
        }
    }
    let event: Value = api::body(&body)?;
    let name = event["event"].as_str().unwrap_or_default().to_owned();
    state.metrics.webhook_received_total.at((EventType::of(&name),)).inc();
    // Events of a kind that has no order are received all the same.
    let known = serde_json::from_value::<TradeUpdate>(event).ok();
    if let Some(update) = &known {
        state.apply(&update.order, update.execution());
    }
    Ok(Json(json!({"event": name, "order": known.map(|update| update.order.client_order_id)})))
}

/// The signature of `body` under `secret` (RFC 2104).
pub fn sign(secret: &[u8], body: &[u8]) -> String {
    let mut key = [0_u8; BLOCK];
    if secret.len() > BLOCK {
        key[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        key[..secret.len()].copy_from_slice(secret);
    }
    let inner = Sha256::new().chain_update(key.map(|byte| byte ^ 0x36)).chain_update(body).finalize();
    let outer = Sha256::new().chain_update(key.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize();
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares in a time that tells nothing about where two texts differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_rfc_4231() {
        let jefe = sign(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(jefe, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let long = sign(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(long, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn comparison_needs_every_byte() {
        assert!(is_equal(b"abc", b"abc"));
        assert!(!is_equal(b"abc", b"abd") && !is_equal(b"abc", b"ab"));
    }
}
