//! What is known of a value without computing it: meaning, labels, unit, range.

use std::collections::{BTreeMap, BTreeSet};

/// What the values of a label can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Anything.
    Any,
    /// These were seen; others may come.
    Seen(BTreeSet<String>),
    /// These and no others.
    Closed(BTreeSet<String>),
}

/// A label that a series can have.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// Its values.
    pub values: Values,
    /// Every series has it.
    pub always: bool,
}

/// The labels that the series of a value can have.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LabelSet {
    /// Those known.
    pub known: BTreeMap<String, Label>,
    /// There may be others.
    pub open: bool,
}

impl Label {
    /// A label that every series has, with exactly these values.
    pub fn closed(values: impl IntoIterator<Item = String>) -> Label {
        Label { values: Values::Closed(values.into_iter().collect()), always: true }
    }

    /// A label of which only some values are known.
    pub fn seen(values: impl IntoIterator<Item = String>) -> Label {
        Label { values: Values::Seen(values.into_iter().collect()), always: true }
    }

    /// A label of any value that every series has.
    pub fn any() -> Label {
        Label { values: Values::Any, always: true }
    }

    /// The values that are known.
    pub fn listed(&self) -> Option<&BTreeSet<String>> {
        match &self.values {
            Values::Any => None,
            Values::Seen(values) | Values::Closed(values) => Some(values),
        }
    }
}

impl LabelSet {
    /// Nothing is known.
    pub fn unknown() -> LabelSet {
        LabelSet { known: BTreeMap::new(), open: true }
    }

    /// Whether a series can have the label.
    pub fn can_have(&self, name: &str) -> bool {
        self.open || self.known.contains_key(name)
    }

    /// Whether every series has it.
    pub fn must_have(&self, name: &str) -> bool {
        self.known.get(name).is_some_and(|label| label.always)
    }

    /// Series of either.
    pub fn union(&self, other: &LabelSet) -> LabelSet {
        let mut known = BTreeMap::new();
        for name in self.known.keys().chain(other.known.keys()) {
            let label = match (self.known.get(name), other.known.get(name)) {
                (Some(a), Some(b)) => {
                    Label { values: join(&a.values, &b.values), always: a.always && b.always }
                }
                (Some(one), None) | (None, Some(one)) => Label { values: one.values.clone(), always: false },
                (None, None) => continue,
            };
            known.insert(name.clone(), label);
        }
        LabelSet { known, open: self.open || other.open }
    }

    /// What `by (names)` leaves.
    pub fn keep(&self, names: &[String]) -> LabelSet {
        let mut known = BTreeMap::new();
        for name in names {
            if let Some(label) = self.known.get(name) {
                known.insert(name.clone(), label.clone());
            } else if self.open {
                known.insert(name.clone(), Label { values: Values::Any, always: false });
            }
        }
        LabelSet { known, open: false }
    }

    /// What `without (names)` leaves.
    pub fn drop(&self, names: &[String]) -> LabelSet {
        let mut set = self.clone();
        set.known.retain(|name, _| !names.contains(name));
        set
    }

    /// Names, for messages.
    pub fn names(&self) -> Vec<&str> {
        self.known.keys().map(String::as_str).collect()
    }
}

fn join(a: &Values, b: &Values) -> Values {
    match (a, b) {
        (Values::Any, _) | (_, Values::Any) => Values::Any,
        (Values::Closed(a), Values::Closed(b)) => Values::Closed(a.union(b).cloned().collect()),
        (Values::Seen(a) | Values::Closed(a), Values::Seen(b) | Values::Closed(b)) => {
            Values::Seen(a.union(b).cloned().collect())
        }
    }
}

/// What a number counts or measures.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub enum Unit {
    /// Not known.
    #[default]
    Unknown,
    /// A time in seconds.
    Seconds,
    /// A time in milliseconds.
    Milliseconds,
    /// A share of 1.
    Ratio,
    /// A share of 100.
    Percent,
    /// Bytes.
    Bytes,
    /// 0 or 1.
    Bool,
    /// Events each second.
    PerSecond,
    /// Whole things.
    Count,
    /// Anything else that has a name: money, basis points.
    Other,
}

impl Unit {
    /// For messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Unknown | Unit::Other => "a number",
            Unit::Seconds => "seconds",
            Unit::Milliseconds => "milliseconds",
            Unit::Ratio => "a ratio (0 to 1)",
            Unit::Percent => "percent (0 to 100)",
            Unit::Bytes => "bytes",
            Unit::Bool => "0 or 1",
            Unit::PerSecond => "events per second",
            Unit::Count => "a count",
        }
    }
}

/// What kind of thing the values are.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub enum Meaning {
    /// Not known.
    #[default]
    Unknown,
    /// A counter as exposed: all since the process started.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Facts as labels of a constant 1.
    Info,
    /// Cumulative buckets as exposed.
    Bucket,
    /// A classic histogram by its bare name, which no series has.
    RawHistogram,
    /// A quantile that the service computed itself.
    SummaryQuantile,
    /// Growth of a counter, per second.
    Rate,
    /// Growth of a counter over a window.
    Increase,
    /// Growth of buckets.
    BucketRate,
    /// Estimated from buckets.
    Quantile,
    /// One thing divided by another of its kind.
    Ratio,
    /// Sum divided by count.
    Mean,
    /// How many series there are.
    Tally,
    /// A point in time, in Unix seconds.
    Timestamp,
    /// Time since then.
    Age,
    /// A number in the text.
    Constant,
}

/// Which part of its family a series is.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Default)]
pub enum Part {
    /// The metric itself.
    #[default]
    Value,
    /// `_bucket`.
    Bucket,
    /// `_sum`.
    Sum,
    /// `_count`.
    Count,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Abs {
    /// What kind of thing.
    pub meaning: Meaning,
    /// The labels of its series.
    pub labels: LabelSet,
    /// Its unit.
    pub unit: Unit,
    /// No value is below.
    pub low: f64,
    /// No value is above.
    pub high: f64,
    /// The number, if it is one in the text.
    pub constant: Option<f64>,
    /// The families behind it.
    pub families: BTreeSet<String>,
    /// Which part of its family.
    pub part: Part,
    /// Upper edges of the buckets behind it, scaled with it.
    pub edges: Vec<f64>,
    /// Several series were put together.
    pub aggregated: bool,
    /// Something is wrong inside and has been said; nothing follows from it.
    pub tainted: bool,
    /// The window of a rate, in milliseconds.
    pub window_ms: Option<i64>,
    /// A constant was subtracted from, or it was negated: what was high is low.
    pub flipped: bool,
    /// Names and help of the metrics behind it, in lower-case words.
    pub words: BTreeSet<String>,
    /// Its series come into being with their first event.
    pub lazy: bool,
    /// Its samples are numbers for sure, not native histograms.
    pub plain: bool,
    /// What a value without a known unit was multiplied by.
    pub factor: f64,
}

impl Default for Abs {
    fn default() -> Abs {
        Abs {
            meaning: Meaning::Unknown,
            labels: LabelSet::unknown(),
            unit: Unit::Unknown,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            constant: None,
            families: BTreeSet::new(),
            part: Part::Value,
            edges: Vec::new(),
            aggregated: false,
            tainted: false,
            window_ms: None,
            flipped: false,
            words: BTreeSet::new(),
            lazy: false,
            plain: false,
            factor: 1.0,
        }
    }
}

impl Abs {
    /// Something has been said about it: nothing more is concluded.
    pub fn tainted() -> Abs {
        Abs { tainted: true, ..Abs::default() }
    }

    /// A number.
    pub fn number(value: f64) -> Abs {
        Abs {
            meaning: Meaning::Constant,
            labels: LabelSet::default(),
            low: value,
            high: value,
            constant: Some(value),
            ..Abs::default()
        }
    }

    /// The same series with values that are not followed.
    pub fn blurred(&self) -> Abs {
        Abs {
            meaning: Meaning::Unknown,
            unit: Unit::Unknown,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
            constant: None,
            edges: Vec::new(),
            ..self.clone()
        }
    }

    /// Either of two.
    pub fn or(&self, other: &Abs) -> Abs {
        let same = self.meaning == other.meaning;
        // `x or vector(0)` means x.
        let main = if self.meaning == Meaning::Constant { other } else { self };
        let second = if self.meaning == Meaning::Constant { self } else { other };
        Abs {
            meaning: if same || second.meaning == Meaning::Constant {
                main.meaning
            } else {
                Meaning::Unknown
            },
            labels: self.labels.union(&other.labels),
            unit: if self.unit == other.unit || second.meaning == Meaning::Constant {
                main.unit
            } else {
                Unit::Unknown
            },
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            constant: None,
            families: self.families.union(&other.families).cloned().collect(),
            part: main.part,
            edges: if self.edges == other.edges || second.edges.is_empty() {
                main.edges.clone()
            } else {
                Vec::new()
            },
            aggregated: self.aggregated || other.aggregated,
            tainted: self.tainted || other.tainted,
            window_ms: main.window_ms,
            flipped: main.flipped,
            words: self.words.union(&other.words).cloned().collect(),
            lazy: self.lazy && other.lazy,
            plain: self.plain && other.plain,
            factor: main.factor,
        }
    }

    /// Multiplied by a positive or negative constant.
    pub fn scaled(&self, factor: f64) -> Abs {
        let close = |wanted: f64| (factor / wanted - 1.0).abs() < 1e-9;
        let unit = match self.unit {
            Unit::Seconds if close(1e3) => Unit::Milliseconds,
            Unit::Milliseconds if close(1e-3) => Unit::Seconds,
            Unit::Ratio if close(100.0) => Unit::Percent,
            Unit::Percent if close(0.01) => Unit::Ratio,
            unit if close(1.0) => unit,
            _ => Unit::Unknown,
        };
        let (a, b) = (times(self.low, factor), times(self.high, factor));
        let meaning = match (self.meaning, unit) {
            (Meaning::Ratio, Unit::Unknown) | (Meaning::Rate | Meaning::Increase, _) => Meaning::Unknown,
            (meaning, _) => meaning,
        };
        Abs {
            unit,
            meaning,
            low: a.min(b),
            high: a.max(b),
            edges: if factor > 0.0 {
                self.edges.iter().map(|edge| edge * factor).collect()
            } else {
                Vec::new()
            },
            flipped: self.flipped ^ (factor < 0.0),
            factor: self.factor * factor,
            ..self.clone()
        }
    }

    /// A constant added.
    pub fn shifted(&self, by: f64) -> Abs {
        Abs { low: self.low + by, high: self.high + by, edges: Vec::new(), ..self.clone() }
    }

    /// Its sign changed.
    pub fn negated(&self) -> Abs {
        Abs { low: -self.high, high: -self.low, edges: Vec::new(), flipped: !self.flipped, ..self.clone() }
    }
}

/// Zero times infinity is zero here: a bound stays one.
fn times(a: f64, b: f64) -> f64 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}
