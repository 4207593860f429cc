//! Training: seeded history in, model file out, the same bytes every time.
//!
//! The history is synthetic and says so: quotes whose returns follow the imbalance of the book and revert
//! to their short average, under noise that is larger than both. The last quarter of each symbol's rows is
//! held out; the score is the share of those rows whose direction the model gets right.

use super::features::{FEATURES, History, Quote, bps};
use super::{Holdout, Input, Model, STRATEGY};
use crate::runtime::Seed;

/// Symbols of the history.
const SYMBOLS: usize = 7;
/// Steps ahead that are predicted.
const HORIZON: usize = 5;
/// Penalty on squared coefficients, per row.
const RIDGE: f64 = 1e-3;
/// Significant decimals in the file: beyond them a coefficient says nothing.
const DECIMALS: f64 = 1e9;

/// One row: features at a moment and the return that followed, in basis points.
struct Row {
    features: [f64; FEATURES.len()],
    target: f64,
}

/// Trains version `version` of the model on the history of `seed`.
///
/// Version 1 sees 500 quotes of each symbol and the three returns; every later one 2,000 quotes and all features.
pub fn train(version: u32, seed: u64) -> Model {
    let (steps, inputs) = match version {
        0 | 1 => (500, &FEATURES[..4]),
        _ => (2_000, &FEATURES[..]),
    };
    let mut training = Vec::new();
    let mut holdout = Vec::new();
    for symbol in 0..SYMBOLS {
        let mut rows = rows_of(&history(seed, symbol, steps));
        let tail = rows.split_off(rows.len() * 3 / 4);
        training.extend(rows);
        holdout.extend(tail);
    }
    let mut model = fit(&training, inputs);
    model.version = version;
    model.seed = seed;
    model.holdout = score(&model, &holdout);
    model
}

/// Quotes of one symbol, one per step.
fn history(seed: u64, symbol: usize, steps: usize) -> Vec<Quote> {
    let mut rng = Seed(seed).stream(&format!("model/history/{symbol}"));
    // Twelve uniform numbers are normal enough, and unlike a logarithm the same on every machine.
    let mut noise = move || (0..12).map(|_| rng.unit()).sum::<f64>() - 6.0;
    let (mut mid, mut average, mut imbalance) =
        (50.0 + 40.0 * symbol as f64, 50.0 + 40.0 * symbol as f64, 0.0);
    let mut quotes = Vec::with_capacity(steps);
    for _ in 0..steps {
        quotes.push(Quote { mid, bid_size: 1.0 + imbalance, ask_size: 1.0 - imbalance });
        let change_bps = 0.9 * imbalance - 0.06 * bps(mid, average) + 1.2 * noise();
        mid *= 1.0 + change_bps / 1e4;
        average += (mid - average) * (2.0 / 21.0);
        imbalance = (0.8 * imbalance + 0.25 * noise()).clamp(-0.95, 0.95);
    }
    quotes
}

fn rows_of(quotes: &[Quote]) -> Vec<Row> {
    let mut history = History::new();
    let mut rows = Vec::new();
    for (at, quote) in quotes.iter().enumerate() {
        history.push(*quote);
        let Some(later) = quotes.get(at + HORIZON) else { break };
        if at >= 20
            && let Some(features) = history.features()
        {
            rows.push(Row { features, target: bps(later.mid, quote.mid) });
        }
    }
    rows
}

/// Ridge regression by the normal equations on standardised inputs.
fn fit(rows: &[Row], names: &[&str]) -> Model {
    let n = rows.len() as f64;
    let intercept = rows.iter().map(|row| row.target).sum::<f64>() / n;
    let columns: Vec<(f64, f64)> = (0..names.len())
        .map(|i| {
            let mean = rows.iter().map(|row| row.features[i]).sum::<f64>() / n;
            let variance =
                rows.iter().map(|row| (row.features[i] - mean) * (row.features[i] - mean)).sum::<f64>() / n;
            (mean, variance.sqrt().max(1e-12))
        })
        .collect();
    let k = names.len();
    let mut gram = vec![vec![0.0; k]; k];
    let mut moments = vec![0.0; k];
    for row in rows {
        let x: Vec<f64> = (0..k).map(|i| (row.features[i] - columns[i].0) / columns[i].1).collect();
        for i in 0..k {
            moments[i] += x[i] * (row.target - intercept);
            for j in 0..=i {
                gram[i][j] += x[i] * x[j];
            }
        }
    }
    for (i, line) in gram.iter_mut().enumerate() {
        line[i] += RIDGE * n;
    }
    let coefficients = solve(gram, moments);
    let inputs = names.iter().zip(columns).zip(coefficients);
    Model {
        strategy: STRATEGY.into(),
        version: 0,
        seed: 0,
        rows: rows.len(),
        target: format!("return_next_{HORIZON}_bps"),
        holdout: Holdout { score_ratio: 0.0, base_ratio: 0.0, rows: 0 },
        intercept: rounded(intercept),
        inputs: inputs
            .map(|((name, (mean, scale)), coefficient)| Input {
                name: (*name).to_owned(),
                mean: rounded(mean),
                scale: rounded(scale),
                coefficient: rounded(coefficient),
            })
            .collect(),
    }
}

/// Solves the positive definite system whose lower triangle is `a` (Cholesky).
fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let k = b.len();
    for i in 0..k {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|m| a[i][m] * a[j][m]).sum();
            let rest = a[i][j] - dot;
            a[i][j] = if i == j { rest.sqrt() } else { rest / a[j][j] };
        }
    }
    for i in 0..k {
        let dot: f64 = (0..i).map(|m| a[i][m] * b[m]).sum();
        b[i] = (b[i] - dot) / a[i][i];
    }
    for i in (0..k).rev() {
        let dot: f64 = (i + 1..k).map(|m| a[m][i] * b[m]).sum();
        b[i] = (b[i] - dot) / a[i][i];
    }
    b
}

fn score(model: &Model, rows: &[Row]) -> Holdout {
    let (mut right, mut up) = (0_usize, 0_usize);
    for row in rows {
        up += usize::from(row.target > 0.0);
        right += usize::from((model.predict(&row.features) > 0.0) == (row.target > 0.0));
    }
    let n = rows.len() as f64;
    Holdout {
        score_ratio: rounded(right as f64 / n),
        base_ratio: rounded(up.max(rows.len() - up) as f64 / n),
        rows: rows.len(),
    }
}

fn rounded(value: f64) -> f64 {
    (value * DECIMALS).round() / DECIMALS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_beat_the_base_rate_and_the_second_the_first() {
        let (v1, v2) = (train(1, 20_251_020), train(2, 20_251_020));
        for model in [&v1, &v2] {
            assert!(model.holdout.score_ratio > model.holdout.base_ratio + 0.03, "{:?}", model.holdout);
        }
        assert!(v2.holdout.score_ratio > v1.holdout.score_ratio, "{:?} {:?}", v1.holdout, v2.holdout);
    }

    #[test]
    fn the_solver_solves() {
        let x = solve(vec![vec![4.0, 0.0], vec![2.0, 3.0]], vec![10.0, 8.0]);
        assert!((x[0] - 1.75).abs() < 1e-12 && (x[1] - 1.5).abs() < 1e-12, "{x:?}");
    }

    #[test]
    fn the_seed_decides_and_nothing_else() {
        assert_eq!(train(1, 5).to_file(), train(1, 5).to_file());
        assert_ne!(train(1, 5).to_file(), train(1, 6).to_file());
    }
}
