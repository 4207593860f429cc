//! One request for signals: prices, features, predictions, ranks.

use super::State;
use super::metrics::{ModelName, ModelVersion};
use super::models::Active;
use super::sampler::quote;
use crate::trading_platform::api::ApiError;
use crate::trading_platform::database::Statement;
use crate::trading_platform::labels::Symbol;
use crate::trading_platform::orchestrator::sizing::Signal;
use crate::trading_platform::prices::Price;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const SAVE: &str = "INSERT INTO signals (at, symbol, model, predicted, weight, price) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (at, symbol) DO NOTHING";
/// Symbols in one request.
const SYMBOLS_MAX: usize = 64;

/// What may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// Which symbols; absent for all that are followed.
    pub symbols: Option<Vec<String>>,
    /// How many to hold long.
    pub top_n: Option<usize>,
    /// How many to hold short.
    pub bottom_n: Option<usize>,
}

/// A symbol without a signal.
#[derive(Debug, Serialize, Deserialize)]
pub struct Skipped {
    /// Which.
    pub symbol: String,
    /// Why.
    pub why: String,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// `v1`, `v2`, …
    pub model_version: String,
    /// The strategy of the model.
    pub strategy: String,
    /// When, in nanoseconds since the epoch.
    pub generated_at: i64,
    /// Best first.
    pub signals: Vec<Signal>,
    /// Symbols that have none, and why.
    pub skipped: Vec<Skipped>,
}

impl State {
    /// Answers one request for signals.
    ///
    /// # Errors
    /// 400 for a request that makes no sense, 404 without any usable price, 503 without model, cache or database.
    pub async fn generate(&self, request: &Request) -> Result<Answer, ApiError> {
        let symbols = self.symbols_of(request)?;
        let active = self.models.active();
        let active = active.ok_or_else(|| {
            ApiError::unavailable(format!(
                "no model is loaded: {}",
                self.models.ready().err().unwrap_or_default()
            ))
        })?;
        let prices =
            self.cache.get(&symbols).await.map_err(|error| ApiError::unavailable(error.to_string()))?;
        let (rows, skipped) = self.predict(&active, &symbols, &prices);
        if rows.is_empty() {
            let why: Vec<String> = skipped.iter().map(|s| format!("{}: {}", s.symbol, s.why)).collect();
            return Err(ApiError::not_found(format!("no symbol can be predicted; {}", why.join("; "))));
        }
        self.metrics
            .model_predictions_total
            .at((ModelName::intern(&active.model.strategy),))
            .inc_by(rows.len() as u64);
        let top_n = request.top_n.unwrap_or(self.options.top_n);
        let bottom_n = request.bottom_n.unwrap_or(self.options.bottom_n);
        let answer = Answer {
            model_version: active.model.version_name(),
            strategy: active.model.strategy.clone(),
            generated_at: self.clock.now(),
            signals: rank(rows, top_n, bottom_n),
            skipped,
        };
        // A signal that could not be written down must not be traded on: nobody could explain the order later.
        let saved = self.database.write(&statements(&answer)).await;
        saved.map_err(|error| ApiError::unavailable(format!("signals were not recorded: {error}")))?;
        let version = ModelVersion::intern(&answer.model_version);
        for signal in &answer.signals {
            self.metrics.signals_generated_total.at((version, Symbol::intern(&signal.symbol))).inc();
        }
        Ok(answer)
    }

    fn symbols_of(&self, request: &Request) -> Result<Vec<String>, ApiError> {
        let followed = &self.options.symbols;
        let symbols = request.symbols.clone().unwrap_or_else(|| followed.clone());
        if symbols.is_empty() || symbols.len() > SYMBOLS_MAX {
            return Err(ApiError::bad_request(format!(
                "{} symbols; ask for 1 to {SYMBOLS_MAX}",
                symbols.len()
            )));
        }
        if let Some(unknown) = symbols.iter().find(|symbol| !followed.contains(symbol)) {
            return Err(ApiError::bad_request(format!(
                "{unknown:?} is not followed; followed are {}",
                followed.join(", ")
            )));
        }
        let (top, bottom) = (request.top_n.unwrap_or(1), request.bottom_n.unwrap_or(1));
        if top + bottom == 0 {
            return Err(ApiError::bad_request("top_n and bottom_n are both 0; ask for at least one signal"));
        }
        Ok(symbols)
    }

    fn predict(
        &self,
        active: &Active,
        symbols: &[String],
        prices: &BTreeMap<String, Price>,
    ) -> (Vec<Signal>, Vec<Skipped>) {
        let now = self.clock.now();
        let limit = Duration::from_millis(self.options.price_age_ms_max);
        let histories = self.histories.lock();
        let (mut rows, mut skipped) = (Vec::new(), Vec::new());
        for symbol in symbols {
            let mut skip = |why: String| skipped.push(Skipped { symbol: symbol.clone(), why });
            let Some(price) = prices.get(symbol) else {
                skip("there is no price".into());
                continue;
            };
            if price.age(now) > limit {
                skip(format!("the price is {:.1} s old", price.age(now).as_secs_f64()));
                continue;
            }
            // The newest price counts, also between two samples.
            let mut history = histories.get(symbol).cloned().unwrap_or_default();
            if history.last() != Some(quote(price)) {
                history.push(quote(price));
            }
            match history.features() {
                Some(features) => rows.push(Signal {
                    symbol: symbol.clone(),
                    predicted: active.model.predict(&features),
                    weight: 0.0,
                    rank: 0,
                    price: price.mid(),
                }),
                None => skip(format!("only {} samples yet", history.len())),
            }
        }
        (rows, skipped)
    }
}

/// Orders rows best first and gives the ends their weights. With few rows the long side gets the odd one.
fn rank(mut rows: Vec<Signal>, top_n: usize, bottom_n: usize) -> Vec<Signal> {
    rows.sort_by(|a, b| b.predicted.total_cmp(&a.predicted).then_with(|| a.symbol.cmp(&b.symbol)));
    let count = rows.len();
    let long = if bottom_n == 0 { top_n.min(count) } else { top_n.min(count.div_ceil(2)) };
    let short = bottom_n.min(count - long);
    for (at, row) in rows.iter_mut().enumerate() {
        row.rank = at + 1;
        row.weight = match at {
            at if at < long => 1.0,
            at if at >= count - short => -1.0,
            _ => 0.0,
        };
    }
    rows
}

fn statements(answer: &Answer) -> Vec<Statement> {
    let millionths = |value: f64| (value * 1e6).round() as i64;
    let row = |signal: &Signal| {
        let values = vec![
            answer.generated_at.into(),
            signal.symbol.as_str().into(),
            answer.model_version.as_str().into(),
            millionths(signal.predicted).into(),
            millionths(signal.weight).into(),
            signal.price.nanos().into(),
        ];
        (SAVE, values)
    };
    answer.signals.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trading_platform::money::Money;

    fn row(symbol: &str, predicted: f64) -> Signal {
        Signal { symbol: symbol.into(), predicted, weight: 0.0, rank: 0, price: Money::whole(1) }
    }

    fn weights(rows: &[(&str, f64)], top_n: usize, bottom_n: usize) -> Vec<String> {
        let rows = rows.iter().map(|(symbol, predicted)| row(symbol, *predicted)).collect();
        rank(rows, top_n, bottom_n).iter().map(|s| format!("{}{:+}", s.symbol, s.weight)).collect()
    }

    #[test]
    fn the_ends_get_weights_and_the_middle_none() {
        let rows = [("A", 1.0), ("B", 5.0), ("C", -2.0), ("D", 0.0)];
        assert_eq!(weights(&rows, 1, 2), ["B+1", "A+0", "D-1", "C-1"]);
        assert_eq!(weights(&rows, 3, 3), ["B+1", "A+1", "D-1", "C-1"]);
        assert_eq!(weights(&rows, 3, 0), ["B+1", "A+1", "D+1", "C+0"]);
        assert_eq!(weights(&rows[..1], 3, 3), ["A+1"]);
        assert_eq!(weights(&[("B", 1.0), ("A", 1.0)], 1, 1), ["A+1", "B-1"], "ties go by name");
    }
}
