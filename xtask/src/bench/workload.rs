//! The series of a trading platform that every system of the benchmark gets: 100 for each symbol, counters, gauges and
//! histograms of 12 buckets, nearly all of which move at each step. The same seed gives the same values.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex};

use anyhow::Result;

/// Series for each symbol.
pub const PER_SYMBOL: usize = 100;
/// Different steps; they take turns by chance.
const STEPS: usize = 16;

const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, f64::INFINITY];
const VENUES: [&str; 2] = ["XNAS", "ARCX"];
const SIDES: [&str; 2] = ["buy", "sell"];

/// How a series moves.
#[derive(Copy, Clone, PartialEq)]
enum Kind {
    /// Up by 1 to this.
    Counter(i64),
    /// Up by one, three times in ten.
    Rare,
    /// One bucket of a histogram.
    Bucket(usize),
    /// Microseconds.
    Sum,
    Count,
    /// Hundredths, walking to and fro.
    Gauge,
    Position,
    /// Milliseconds, the time of the step.
    Now,
    One,
}

impl Kind {
    fn decimals(self) -> usize {
        match self {
            Kind::Sum => 6,
            Kind::Now => 3,
            Kind::Gauge => 2,
            _ => 0,
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as i64
    }
}

/// The series of one target.
pub struct Model {
    /// Name and labels as they are written, a blank behind.
    lines: Vec<(String, Kind)>,
    /// What a family is, before the line of this number.
    types: HashMap<usize, String>,
    values: Vec<i64>,
    steps: Vec<Vec<i64>>,
    random: Random,
}

impl Model {
    /// `symbols` from number `first` on; `labels` stand on every line.
    pub fn new(first: usize, symbols: usize, labels: &str, seed: u64) -> Model {
        let mut model = Model {
            lines: Vec::new(),
            types: HashMap::new(),
            values: Vec::new(),
            steps: Vec::new(),
            random: Random(seed),
        };
        let symbols: Vec<String> = (first..first + symbols).map(|n| format!("S{n:05}")).collect();
        model.add_families(&symbols, labels);
        let kinds: Vec<Kind> = model.lines.iter().map(|(_, kind)| *kind).collect();
        let start = |kind: &Kind, random: &mut Random| match kind {
            Kind::Gauge => 100 + random.below(9_900),
            Kind::Position => random.below(1_001) - 500,
            Kind::One => 1,
            _ => 0,
        };
        model.values = kinds.iter().map(|kind| start(kind, &mut model.random)).collect();
        for at in 0..STEPS {
            // Every second step takes the gauges back, so that they stay where they are.
            let before = (at % 2 == 1).then(|| model.steps[at - 1].clone());
            model.steps.push(step(&kinds, before.as_deref(), &mut model.random));
        }
        model
    }

    fn add_families(&mut self, symbols: &[String], labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let sides = || VENUES.iter().flat_map(|venue| SIDES.iter().map(move |side| (*venue, *side)));
        let sided: Vec<String> =
            sides().map(|(venue, side)| format!(",side=\"{side}\",venue=\"{venue}\"")).collect();
        let venues: Vec<String> = VENUES.iter().map(|venue| format!(",venue=\"{venue}\"")).collect();
        let strategies: Vec<String> = ["ofi", "mom", "ern"].map(|s| format!(",strategy=\"{s}\"")).into();
        let reasons: Vec<String> =
            ["risk", "margin", "halt", "price", "size", "dup"].map(|r| format!(",reason=\"{r}\"")).into();
        let signals: Vec<String> = strategies
            .iter()
            .flat_map(|strategy| SIDES.iter().map(move |side| format!("{strategy},side=\"{side}\"")))
            .collect();
        let mut orders: Vec<(String, Kind)> = Vec::new();
        let mut durations: Vec<(&str, String, Kind)> = Vec::new();
        for more in &sided {
            for status in ["accepted", "filled", "cancelled", "rejected"] {
                let kind = if status == "rejected" { Kind::Rare } else { Kind::Counter(9) };
                orders.push((format!("{more},status=\"{status}\""), kind));
            }
            for (at, bound) in BOUNDS.iter().enumerate() {
                let le = if bound.is_finite() { bound.to_string() } else { "+Inf".into() };
                durations.push(("_bucket", format!("{more},le=\"{le}\""), Kind::Bucket(at)));
            }
            durations.push(("_sum", more.clone(), Kind::Sum));
            durations.push(("_count", more.clone(), Kind::Count));
        }
        let mut family = |name: &str, kind: &str, rows: &[(&str, String, Kind)]| {
            let about = format!("# HELP {name} Made up.\n# TYPE {name} {kind}\n");
            self.types.insert(self.lines.len(), about);
            for symbol in symbols {
                for (suffix, more, kind) in rows {
                    let line = format!("{name}{suffix}{{symbol=\"{symbol}\"{more}{comma}{labels}}} ");
                    self.lines.push((line, *kind));
                }
            }
        };
        let rows = |list: &[String], kind: Kind| -> Vec<(&str, String, Kind)> {
            list.iter().map(|more| ("", more.clone(), kind)).collect()
        };
        let orders: Vec<_> = orders.into_iter().map(|(more, kind)| ("", more, kind)).collect();
        family("execution_gateway_orders_total", "counter", &orders);
        family("execution_gateway_order_placement_duration_seconds", "histogram", &durations);
        family("execution_gateway_rejections_total", "counter", &rows(&reasons, Kind::Rare));
        family("signal_service_signals_generated_total", "counter", &rows(&signals, Kind::Counter(9)));
        let messages = rows(&venues, Kind::Counter(350));
        family("market_data_websocket_messages_received_total", "counter", &messages);
        family("market_data_last_tick_timestamp_seconds", "gauge", &rows(&venues, Kind::Now));
        family("market_data_spread_bps", "gauge", &rows(&venues, Kind::Gauge));
        family("execution_gateway_positions_current", "gauge", &rows(&strategies, Kind::Position));
        family("strategy_pnl_total_usd", "gauge", &rows(&strategies, Kind::Gauge));
        family("execution_gateway_slippage_bps", "gauge", &rows(&sided, Kind::Gauge));
        for name in [
            "execution_gateway_database_connection_status",
            "market_data_websocket_connection_status",
            "execution_gateway_circuit_breaker_status",
            "signal_service_model_loaded_status",
        ] {
            self.types.insert(self.lines.len(), format!("# TYPE {name} gauge\n"));
            let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            self.lines.push((format!("{name}{braces} "), Kind::One));
        }
    }

    /// The number of series.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Moves on to `now`, in milliseconds.
    pub fn step(&mut self, now: i64) {
        let step = &self.steps[self.random.below(STEPS as i64) as usize];
        for ((value, step), (_, kind)) in self.values.iter_mut().zip(step).zip(&self.lines) {
            *value = if *kind == Kind::Now { now - 250 } else { *value + step };
        }
    }

    /// Appends the exposition, each line ended by `end`.
    pub fn write(&self, out: &mut Vec<u8>, with_types: bool, end: &str) {
        for (at, ((prefix, kind), value)) in self.lines.iter().zip(&self.values).enumerate() {
            if let Some(about) = self.types.get(&at).filter(|_| with_types) {
                out.extend_from_slice(about.as_bytes());
            }
            out.extend_from_slice(prefix.as_bytes());
            put_decimal(out, *value, kind.decimals());
            out.extend_from_slice(end.as_bytes());
        }
    }
}

fn step(kinds: &[Kind], before: Option<&[i64]>, random: &mut Random) -> Vec<i64> {
    // What one histogram sees in a step: the same for its buckets, its sum and its count.
    let (mut buckets, mut sum, mut count) = ([0i64; 12], 0, 0);
    let mut moved = Vec::with_capacity(kinds.len());
    for (at, kind) in kinds.iter().enumerate() {
        if *kind == Kind::Bucket(0) {
            (buckets, sum, count) = ([0; 12], 0, 1 + random.below(9));
            for _ in 0..count {
                let micros = (1 + random.below(40)) * (1 + random.below(100)) * (1 + random.below(100));
                sum += micros;
                let within = |bound: &f64| (micros as f64) <= bound * 1e6;
                BOUNDS.iter().zip(&mut buckets).filter(|(b, _)| within(b)).for_each(|(_, n)| *n += 1);
            }
        }
        moved.push(match kind {
            Kind::Counter(most) => 1 + random.below(*most),
            Kind::Rare => i64::from(random.below(10) < 3),
            Kind::Bucket(at) => buckets[*at],
            Kind::Sum => sum,
            Kind::Count => count,
            Kind::Gauge | Kind::Position => match before {
                Some(before) => -before[at],
                None if *kind == Kind::Position => [-3, -2, -1, 1, 2, 3][random.below(6) as usize],
                None => random.below(401) - 200,
            },
            Kind::Now | Kind::One => 0,
        });
    }
    moved
}

/// Appends `value` with so many of its digits behind the point.
fn put_decimal(out: &mut Vec<u8>, value: i64, decimals: usize) {
    let mut digits = [0u8; 24];
    let (mut at, mut rest, mut count) = (digits.len(), value.unsigned_abs(), 0);
    while rest > 0 || count <= decimals {
        if count == decimals && decimals > 0 {
            at -= 1;
            digits[at] = b'.';
        }
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

/// Models of `targets` targets with `series` in all.
pub fn models(series: usize, targets: usize, with_labels: bool) -> Vec<Model> {
    let symbols = (series / PER_SYMBOL).max(targets);
    let mut first = 0;
    (0..targets)
        .map(|target| {
            let count = symbols / targets + usize::from(target < symbols % targets);
            let labels = format!("instance=\"gw-{target}\",job=\"trading\"");
            let model = Model::new(first, count, if with_labels { &labels } else { "" }, 7 + target as u64);
            first += count;
            model
        })
        .collect()
}

/// The body of a target: what one second shows is the same for whoever asks in it.
pub struct Frames {
    model: Mutex<(Model, i64, Arc<Vec<u8>>)>,
}

impl Frames {
    /// Frames of `model`.
    pub fn new(model: Model) -> Frames {
        Frames { model: Mutex::new((model, i64::MIN, Arc::default())) }
    }

    /// The body at `now`, in milliseconds.
    pub fn body(&self, now: i64) -> Arc<Vec<u8>> {
        let mut state = self.model.lock().expect("nobody panics with it");
        let (model, second, body) = &mut *state;
        if *second != now / 1000 {
            model.step(now);
            let mut text = Vec::with_capacity(body.len() + 1024);
            model.write(&mut text, true, "\n");
            (*second, *body) = (now / 1000, Arc::new(text));
        }
        body.clone()
    }
}

/// Writes the steps from `from` to `to` (milliseconds, the end left out) into `out`; times in seconds or milliseconds.
pub fn write_history(
    models: &mut [Model],
    from: i64,
    to: i64,
    step: i64,
    as_seconds: bool,
    out: &mut impl Write,
) -> Result<u64> {
    let (mut samples, mut text, mut ts) = (0, Vec::new(), from);
    while ts < to {
        let end = if as_seconds { format!(" {}.{:03}\n", ts / 1000, ts % 1000) } else { format!(" {ts}\n") };
        for model in models.iter_mut() {
            model.step(ts);
            text.clear();
            model.write(&mut text, false, &end);
            out.write_all(&text)?;
            samples += model.len() as u64;
        }
        ts += step;
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_written_as_they_are() {
        let text = |value, decimals| {
            let mut out = Vec::new();
            put_decimal(&mut out, value, decimals);
            String::from_utf8(out).expect("digits")
        };
        assert_eq!([text(0, 0), text(1234, 2), text(-5, 2), text(7, 6)], ["0", "12.34", "-0.05", "0.000007"]);
    }

    #[test]
    fn a_symbol_has_a_hundred_series_and_the_body_is_an_exposition() {
        let mut model = Model::new(0, 2, "", 1);
        assert_eq!(model.len(), 2 * PER_SYMBOL + 4);
        model.step(1_000_000);
        let mut body = Vec::new();
        model.write(&mut body, true, "\n");
        let text = String::from_utf8(body).expect("text");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(samples.count(), model.len());
        let mut parser = tradewatch_metrics::parse::text(text.as_bytes());
        while let Some(entry) = parser.next() {
            entry.expect("it parses");
        }
    }
}
