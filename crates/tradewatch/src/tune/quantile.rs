//! Quantiles and spread that a few wild samples do not move.
//!
//! The quantile is the trimmed Harrell-Davis estimator with a window of 1/√n: A. Akinshin, "Trimmed Harrell-Davis quantile
//! estimator based on the highest density interval of the given width", Communications in Statistics, 2022
//! (arXiv:2111.11776), after F. E. Harrell and C. E. Davis, "A new distribution-free quantile estimator", Biometrika 69,
//! 1982. It weighs the order statistics around the quantile, and those outside the window not at all.
//!
//! Spread is the double MAD: the median absolute deviation of the samples on one side of the median alone, so that a long
//! tail to one side says nothing about the other.

/// How many values of a sorted sample lie beyond so many MADs is asked on each side with its own MAD.
pub const MAD_TO_SIGMA: f64 = 1.4826;

/// The `p` quantile of `sorted`, which ascends and holds no NaN; `None` if it is empty.
pub fn quantile(sorted: &[f64], p: f64) -> Option<f64> {
    let n = sorted.len();
    match n {
        0 => return None,
        1 => return Some(sorted[0]),
        _ => {}
    }
    let p = p.clamp(0.0, 1.0);
    let (a, b) = ((n as f64 + 1.0) * p, (n as f64 + 1.0) * (1.0 - p));
    if a <= 0.0 {
        return Some(sorted[0]);
    }
    if b <= 0.0 {
        return Some(sorted[n - 1]);
    }
    let (low, high) = densest(a, b, 1.0 / (n as f64).sqrt());
    let (below, above) = (beta_share(low, a, b), beta_share(high, a, b));
    let share = |x: f64| match x {
        x if x <= low => 0.0,
        x if x >= high => 1.0,
        x => (beta_share(x, a, b) - below) / (above - below),
    };
    let first = (low * n as f64).floor() as usize;
    let last = ((high * n as f64).ceil() as usize).min(n);
    let (mut sum, mut before) = (0.0, 0.0);
    for (at, value) in sorted.iter().enumerate().take(last).skip(first) {
        let until = share((at + 1) as f64 / n as f64);
        if until > before {
            sum += (until - before) * value;
        }
        before = until;
    }
    Some(sum)
}

/// The interval of this width over which the density of Beta(a, b) is highest.
fn densest(a: f64, b: f64, width: f64) -> (f64, f64) {
    if width >= 1.0 {
        return (0.0, 1.0);
    }
    if a <= 1.0 {
        return (0.0, width);
    }
    if b <= 1.0 {
        return (1.0 - width, 1.0);
    }
    let mode = (a - 1.0) / (a + b - 2.0);
    let log_density = |x: f64| (a - 1.0) * x.ln() + (b - 1.0) * (1.0 - x).ln();
    let (mut low, mut high) = ((mode - width).max(0.0), mode.min(1.0 - width));
    // The density rises up to the mode and falls behind it: at the best place both ends are equally high.
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if log_density(middle) < log_density(middle + width) { low = middle } else { high = middle }
    }
    let low = 0.5 * (low + high);
    (low, low + width)
}

/// The share of Beta(a, b) below `x`: the regularized incomplete beta function, by its continued fraction
/// (DLMF 8.17.22), evaluated from the front after Lentz.
fn beta_share(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta_share(1.0 - x, b, a);
    }
    let front = (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let keep = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let (mut c, mut d) = (1.0, 1.0 / keep(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..100_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / keep(1.0 + term * d);
            c = keep(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-14 {
            break;
        }
    }
    (front * fraction).clamp(0.0, 1.0)
}

/// ln Γ(x) for x > 0, by Stirling's series behind a shift (DLMF 5.11.1).
fn log_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 15.0 {
        shift -= x.ln();
        x += 1.0;
    }
    let square = 1.0 / (x * x);
    let series = (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0))) / x;
    shift + (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series
}

/// How far from the median the half of the samples above (or below) it lies, scaled so that it is the standard deviation
/// of a normal distribution; zero if they are all the same.
pub fn side_spread(sorted: &[f64], above: bool) -> Option<(f64, f64)> {
    let median = quantile(sorted, 0.5)?;
    let side = sorted.iter().filter(|value| if above { **value >= median } else { **value <= median });
    let mut deviations: Vec<f64> = side.map(|value| (value - median).abs()).collect();
    deviations.sort_by(f64::total_cmp);
    Some((median, quantile(&deviations, 0.5)? * MAD_TO_SIGMA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_incomplete_beta_function_agrees_with_closed_forms() {
        for x in [0.05, 0.3, 0.5, 0.9] {
            // I_x(a, 1) = x^a, I_x(1, b) = 1 - (1 - x)^b, and I_x(2, 2) = x²(3 - 2x).
            assert!((beta_share(x, 7.0, 1.0) - x.powi(7)).abs() < 1e-12);
            assert!((beta_share(x, 1.0, 5.0) - (1.0 - (1.0 - x).powi(5))).abs() < 1e-12);
            assert!((beta_share(x, 2.0, 2.0) - x * x * (3.0 - 2.0 * x)).abs() < 1e-12);
        }
        assert!((beta_share(0.5, 250_000.0, 250_000.0) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn quantiles_of_an_even_grid() {
        for n in [2usize, 3, 10, 101, 20_000] {
            let sorted: Vec<f64> = (0..n).map(|at| (at as f64 + 0.5) / n as f64).collect();
            for p in [0.01, 0.25, 0.5, 0.99] {
                let got = quantile(&sorted, p).expect("samples");
                assert!((got - p).abs() < 0.5 / (n as f64).sqrt(), "{p} of {n}: {got}");
            }
            assert!((quantile(&sorted, 0.5).expect("samples") - 0.5).abs() < 1e-6);
        }
        assert_eq!((quantile(&[], 0.5), quantile(&[3.0], 0.9)), (None, Some(3.0)));
        assert_eq!((quantile(&[1.0, 2.0], 0.0), quantile(&[1.0, 2.0], 1.0)), (Some(1.0), Some(2.0)));
    }

    #[test]
    fn wild_samples_beyond_the_window_have_no_weight() {
        let mut sorted: Vec<f64> = (0..2000).map(f64::from).collect();
        let before = quantile(&sorted, 0.9);
        sorted.iter_mut().skip(1950).for_each(|value| *value = 1e300);
        assert_eq!(quantile(&sorted, 0.9), before);
        let (median, spread) = side_spread(&sorted, true).expect("samples");
        assert!(
            (median - 999.5).abs() < 1.0 && (spread - 500.0 * MAD_TO_SIGMA).abs() < 5.0,
            "{median} {spread}"
        );
    }
}
