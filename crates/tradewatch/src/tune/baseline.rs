//! What is normal: the values that a rule would have compared, by phase of the session.
//!
//! At each evaluation the worst value counts: the largest of all series where the rule fires above its threshold, the
//! smallest where it fires below; one series is enough for an alert. Evaluations within an incident are left out, and so
//! are values further than ten (double, scaled) median absolute deviations from the median on that side: what went
//! wrong is not what is normal. The *baseline* is the quantile (0.99 unless told otherwise) of the rest, and the proposed
//! threshold twice the baseline, or half of it below.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tradewatch_tsdb::Timestamp;

use super::quantile::{quantile, side_spread};

/// Values beyond so many spreads are not normal.
pub const OUTLIER_SPREADS: f64 = 10.0;
/// Values kept per rule and phase; further ones are left out.
const VALUES_MAX: usize = 2_000_000;
/// A quantile needs so many values beyond it.
const BEYOND_MIN: f64 = 10.0;

/// How much is asked for before anything is proposed.
#[derive(Clone, Debug)]
pub struct Demands {
    /// Days on which the phase has values.
    pub days: usize,
    /// Time from the first to the last value of any phase.
    pub span: Duration,
    /// The quantile that is the baseline.
    pub quantile: f64,
    /// The threshold is the baseline times this.
    pub factor: f64,
}

/// The values of one phase.
#[derive(Clone, Debug, Default)]
pub struct Values {
    worst: Vec<f64>,
    days: BTreeSet<i64>,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// The evaluation under way.
    current: Option<(Timestamp, f64)>,
}

impl Values {
    /// Takes one sample; those of one time follow each other.
    pub fn take(&mut self, at: Timestamp, value: f64, above: bool) {
        if !value.is_finite() {
            return;
        }
        match &mut self.current {
            Some((time, worst)) if *time == at => {
                *worst = if above { worst.max(value) } else { worst.min(value) }
            }
            _ => {
                self.close();
                self.current = Some((at, value));
            }
        }
    }

    /// Takes the evaluation under way.
    pub fn close(&mut self) {
        let Some((at, worst)) = self.current.take().filter(|_| self.worst.len() < VALUES_MAX) else { return };
        self.worst.push(worst);
        self.days.insert(at.as_millis().div_euclid(86_400_000));
        self.first.get_or_insert(at);
        self.last = Some(at);
    }

    /// When the first and the last value were seen.
    pub fn seen(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.first?, self.last?))
    }

    /// What they come to, of a history with values over `span`. They are closed.
    pub fn finish(self, above: bool, span: Duration, demands: &Demands) -> Baseline {
        let all = self.worst.len();
        let mut sorted = self.worst;
        sorted.sort_by(f64::total_cmp);
        let mut outliers = 0;
        if let Some((median, spread)) = side_spread(&sorted, above)
            && spread > 0.0
        {
            let limit = OUTLIER_SPREADS * spread;
            sorted.retain(|value| if above { value - median <= limit } else { median - value <= limit });
            outliers = all - sorted.len();
        }
        let p = if above { demands.quantile } else { 1.0 - demands.quantile };
        let level = quantile(&sorted, p).unwrap_or(f64::NAN);
        let values_min = (BEYOND_MIN / (1.0 - demands.quantile)).ceil() as usize;
        let lacking = if all == 0 {
            Some("the expression gave no value".to_owned())
        } else if span + Duration::from_secs(3600) < demands.span {
            let days = |span: Duration| span.as_secs_f64() / 86_400.0;
            Some(format!("{:.1} days of {:.0}", days(span), days(demands.span)))
        } else if self.days.len() < demands.days {
            Some(format!("values on {} days of {}", self.days.len(), demands.days))
        } else if sorted.len() < values_min {
            Some(format!("{} values of {values_min}", sorted.len()))
        } else {
            None
        };
        let threshold = if lacking.is_none() { proposal(level, above, demands.factor) } else { None };
        Baseline { sorted, outliers, days: self.days.len(), level, lacking, threshold }
    }
}

/// What is normal in one phase.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Normal values, ascending.
    pub sorted: Vec<f64>,
    /// Values that were left out since they lie far outside.
    pub outliers: usize,
    /// Days with values.
    pub days: usize,
    /// The level that normal values rarely cross.
    pub level: f64,
    /// Why there is not enough data.
    pub lacking: Option<String>,
    /// The proposed threshold, if there is enough data and a baseline to double.
    pub threshold: Option<f64>,
}

/// Twice as far from zero as the baseline, on the side where the alert fires; rounded away from the alert.
fn proposal(level: f64, above: bool, factor: f64) -> Option<f64> {
    if !level.is_finite() || level == 0.0 {
        return None;
    }
    let raw = if (level > 0.0) == above { level * factor } else { level / factor };
    // Two digits that count.
    let unit = 10f64.powf(raw.abs().log10().floor() - 1.0);
    let steps = raw / unit;
    let steps = if above { (steps - 1e-9).ceil() } else { (steps + 1e-9).floor() };
    // Through text, so that 0.3 is 0.3.
    let digits = (-(unit.log10().round())).max(0.0) as usize;
    format!("{:.digits$}", steps * unit).parse().ok()
}

/// The threshold that holds in every phase.
///
/// A phase without enough data proposes nothing; where what was seen of it lies beyond what the others propose, nothing is
/// proposed at all.
pub fn overall(phases: &BTreeMap<String, Baseline>, above: bool) -> Option<f64> {
    let thresholds = phases.values().filter_map(|baseline| baseline.threshold);
    let threshold = thresholds.reduce(|a, b| if above { a.max(b) } else { a.min(b) })?;
    let lacking = phases.values().filter(|baseline| baseline.lacking.is_some());
    let beyond = |level: f64| if above { level > threshold } else { level < threshold };
    (!lacking.into_iter().any(|baseline| beyond(baseline.level))).then_some(threshold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_are_round_and_away_from_the_alert() {
        let cases = [
            (0.0523, true, Some(0.11)),
            (5.0, true, Some(10.0)),
            (123.4, true, Some(250.0)),
            (10.0, false, Some(5.0)),
            (-3.33, true, Some(-1.6)),
            (-3.33, false, Some(-6.7)),
            (0.15, true, Some(0.3)),
            (0.0, true, None),
            (f64::NAN, true, None),
        ];
        for (level, above, expected) in cases {
            assert_eq!(proposal(level, above, 2.0), expected, "{level} {above}");
        }
    }
}
