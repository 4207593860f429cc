//! What was found, for people.

use std::fmt::Write as _;

use tradewatch_promql::format_float;

use super::Tuned;
use super::baseline::Baseline;
use super::quantile::quantile;

/// Bars of a histogram, and the longest of them.
const BARS: usize = 12;
const WIDTH: usize = 40;

/// A number with four digits that count.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format_float(value);
    }
    let digits = (3.0 - value.abs().log10().floor()).clamp(0.0, 300.0) as usize;
    let rounded = format!("{value:.digits$}").parse().unwrap_or(value);
    format_float(rounded)
}

/// One rule with its phases.
pub fn rule(out: &mut String, tuned: &Tuned) {
    let side = if tuned.comparison.above { "above" } else { "below" };
    let _ = writeln!(
        out,
        "{}:{}: {} fires {side} {}",
        tuned.path.display(),
        tuned.line,
        tuned.name,
        number(tuned.comparison.threshold)
    );
    for (phase, baseline) in &tuned.phases {
        self::phase(out, phase, baseline, tuned);
    }
    match (tuned.proposed, tuned.unchanged()) {
        (Some(_), true) => out.push_str("  proposed: it is right as it is\n"),
        (Some(proposed), false) => {
            let _ = writeln!(
                out,
                "  proposed: {} instead of {}",
                number(proposed),
                number(tuned.comparison.threshold)
            );
        }
        (None, _) if tuned.phases.values().any(|baseline| baseline.threshold.is_some()) => {
            out.push_str(
                "  proposed: nothing, since a phase without enough data lies beyond what the others say\n",
            );
        }
        (None, _) => out.push_str("  proposed: nothing\n"),
    }
    if let Some((before, after)) = &tuned.alerts {
        let _ = writeln!(
            out,
            "  in this time it {}; with the proposal it {}",
            before.said("would have fired"),
            after.said("would have fired")
        );
    }
    out.push('\n');
}

fn phase(out: &mut String, name: &str, baseline: &Baseline, tuned: &Tuned) {
    let sorted = &baseline.sorted;
    let _ =
        write!(out, "  {name}: {} evaluations on {} days", sorted.len() + baseline.outliers, baseline.days);
    if baseline.outliers > 0 {
        let _ = write!(out, ", {} far outside and left out", baseline.outliers);
    }
    out.push('\n');
    if let Some(why) = &baseline.lacking {
        let _ = writeln!(out, "    not enough data: {why}");
    }
    if sorted.is_empty() {
        return;
    }
    histogram(out, sorted);
    let of = |p: f64| quantile(sorted, p).map_or_else(String::new, number);
    let _ = writeln!(
        out,
        "    1 % {}   median {}   90 % {}   99 % {}   99.9 % {}   largest {}",
        of(0.01),
        of(0.5),
        of(0.9),
        of(0.99),
        of(0.999),
        number(sorted[sorted.len() - 1])
    );
    if baseline.lacking.is_none() {
        let _ = write!(out, "    baseline {}", number(baseline.level));
        match baseline.threshold {
            Some(threshold) => {
                let _ = writeln!(out, ", threshold {}", number(threshold));
            }
            None => {
                let _ = writeln!(
                    out,
                    ": a multiple of nothing says nothing; {} stays",
                    number(tuned.comparison.threshold)
                );
            }
        }
    }
}

fn histogram(out: &mut String, sorted: &[f64]) {
    let low = sorted[0];
    let high = quantile(sorted, 0.999).unwrap_or(low);
    if high <= low {
        let _ = writeln!(out, "    always {}", number(low));
        return;
    }
    let width = (high - low) / BARS as f64;
    let mut counts = [0usize; BARS];
    for value in sorted {
        counts[(((value - low) / width) as usize).min(BARS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    for (at, count) in counts.iter().enumerate() {
        let from = number(low + width * at as f64);
        let bar = "#".repeat((count * WIDTH).div_ceil(most));
        let _ = writeln!(out, "    {from:>12} {count:>8} {bar}");
    }
}
