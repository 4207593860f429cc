//! What the model sees of a symbol: features from a short history of its quotes.
//!
//! Only the four operations and a square root are used: they give the same bits on every machine, so the
//! committed models can be compared byte for byte.

use std::collections::VecDeque;

/// Samples kept per symbol.
pub const HISTORY_LEN_MAX: usize = 64;
/// Samples needed before anything is predicted.
pub const HISTORY_LEN_MIN: usize = 6;

/// Every feature that a model may ask for, by name.
pub const FEATURES: [&str; 6] = [
    "return_1_bps",
    "return_5_bps",
    "return_20_bps",
    "book_imbalance_ratio",
    "ema_deviation_bps",
    "volatility_bps",
];

/// One look at the best bid and ask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quote {
    /// Middle of bid and ask in dollars.
    pub mid: f64,
    /// Size at the bid.
    pub bid_size: f64,
    /// Size at the ask.
    pub ask_size: f64,
}

/// The newest quotes of one symbol, at equal distances in time.
#[derive(Clone, Debug, Default)]
pub struct History {
    quotes: VecDeque<Quote>,
}

impl History {
    /// Nothing seen yet.
    pub fn new() -> History {
        History::default()
    }

    /// Adds the newest quote and forgets the oldest beyond the bound.
    pub fn push(&mut self, quote: Quote) {
        if self.quotes.len() == HISTORY_LEN_MAX {
            self.quotes.pop_front();
        }
        self.quotes.push_back(quote);
    }

    /// Samples held.
    pub fn len(&self) -> usize {
        self.quotes.len()
    }

    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.quotes.is_empty()
    }

    /// The newest quote.
    pub fn last(&self) -> Option<Quote> {
        self.quotes.back().copied()
    }

    /// The features in the order of [`FEATURES`]; `None` while the history is too short.
    ///
    /// Where the history is shorter than a feature's window, the oldest quote stands in.
    pub fn features(&self) -> Option<[f64; FEATURES.len()]> {
        if self.quotes.len() < HISTORY_LEN_MIN {
            return None;
        }
        let last = self.quotes.len() - 1;
        let mid = self.quotes[last].mid;
        let change = |steps: usize| bps(mid, self.quotes[last.saturating_sub(steps)].mid);
        Some([change(1), change(5), change(20), self.imbalance(), self.ema_deviation(mid), self.volatility()])
    }

    fn imbalance(&self) -> f64 {
        let quote = self.quotes[self.quotes.len() - 1];
        let sum = quote.bid_size + quote.ask_size;
        if sum > 0.0 { (quote.bid_size - quote.ask_size) / sum } else { 0.0 }
    }

    fn ema_deviation(&self, mid: f64) -> f64 {
        let mut ema = self.quotes[0].mid;
        for quote in &self.quotes {
            ema += (quote.mid - ema) * (2.0 / 21.0);
        }
        bps(mid, ema)
    }

    fn volatility(&self) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for i in self.quotes.len().saturating_sub(20).max(1)..self.quotes.len() {
            let change = bps(self.quotes[i].mid, self.quotes[i - 1].mid);
            sum += change * change;
            count += 1.0;
        }
        (sum / f64::max(count, 1.0)).sqrt()
    }
}

/// Change from `before` to `after` in basis points.
pub fn bps(after: f64, before: f64) -> f64 {
    if before > 0.0 { (after / before - 1.0) * 1e4 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(mids: &[f64]) -> History {
        let mut history = History::new();
        for mid in mids {
            history.push(Quote { mid: *mid, bid_size: 3.0, ask_size: 1.0 });
        }
        history
    }

    #[test]
    fn too_short_a_history_has_no_features() {
        assert_eq!(history(&[100.0; HISTORY_LEN_MIN - 1]).features(), None);
        assert!(history(&[100.0; HISTORY_LEN_MIN]).features().is_some());
    }

    #[test]
    fn features_are_what_their_names_say() {
        let mut mids = vec![100.0; 30];
        mids.push(101.0);
        let [r1, r5, r20, imbalance, deviation, volatility] = history(&mids).features().expect("long enough");
        for change in [r1, r5, r20] {
            assert!((change - 100.0).abs() < 1e-9, "{change}");
        }
        assert_eq!(imbalance, 0.5);
        assert!(deviation > 80.0 && deviation < 100.0, "{deviation}");
        assert!((volatility - 100.0 / 20_f64.sqrt()).abs() < 1e-9, "{volatility}");
    }

    #[test]
    fn the_ring_is_bounded() {
        let long = history(&vec![1.0; HISTORY_LEN_MAX * 3]);
        assert_eq!(long.len(), HISTORY_LEN_MAX);
    }
}
