//! Reading Prometheus protobuf: `io.prometheus.client.MetricFamily`, each with its length in front.
//!
//! ```
//! use tradewatch_metrics::parse::{self, Value};
//! # use tradewatch_metrics::*;
//! # #[derive(Metrics)] struct M {
//! #   /// Ticks.
//! #   ticks_total: Counter }
//! # let registry = Registry::new();
//! # M::register(&registry)?.ticks_total.inc();
//! # let mut body = Vec::new();
//! # registry.encode(Format::Protobuf, &mut body);
//! for family in parse::protobuf(&body) {
//!     let family = family?;
//!     for metric in family.metrics() {
//!         if let Value::Counter { value, .. } = metric?.value {
//!             assert_eq!((family.name, value), ("ticks_total", 1.0));
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use super::{FamilyKind, Limits, ParseError};

/// Reads a protobuf body, family by family. After an error it ends.
pub fn protobuf(body: &[u8]) -> Families<'_> {
    Families { reader: Reader { bytes: body, at: 0 }, limits: Limits::default(), ended: false }
}

/// The families of a protobuf body; see [`protobuf`].
pub struct Families<'a> {
    reader: Reader<'a>,
    limits: Limits,
    ended: bool,
}

/// A metric family.
#[derive(Clone, Debug)]
pub struct Family<'a> {
    /// Its name; a counter's as in text 0.0.4, mostly with `_total`.
    pub name: &'a str,
    /// What it tells.
    pub help: &'a str,
    /// Its kind.
    pub kind: FamilyKind,
    /// Its unit; empty if none is said.
    pub unit: &'a str,
    body: Reader<'a>,
    limits: Limits,
}

/// One series, or one histogram or summary.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric<'a> {
    /// Its labels, as they are written.
    pub labels: Vec<(&'a str, &'a str)>,
    /// What it holds.
    pub value: Value<'a>,
    /// The explicit timestamp, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// When counting began, in milliseconds since the Unix epoch.
    pub created: Option<i64>,
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Of a counter.
    Counter {
        /// The total.
        value: f64,
        /// An example of what was counted.
        exemplar: Option<ProtoExemplar<'a>>,
    },
    /// Of a gauge.
    Gauge(f64),
    /// Of nobody knows what.
    Untyped(f64),
    /// Of a summary.
    Summary {
        /// How many values there were.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Quantile and value.
        quantiles: Vec<(f64, f64)>,
    },
    /// Of a histogram, classic or native or both.
    Histogram(Box<HistogramValue<'a>>),
}

/// What a histogram holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramValue<'a> {
    /// How many values there were. Whole numbers are exact up to 2^53.
    pub count: f64,
    /// Their sum.
    pub sum: f64,
    /// Upper edge, count at or below it, and an example, of each classic bucket; ascending, `+Inf` perhaps left out.
    pub classic: Vec<(f64, f64, Option<ProtoExemplar<'a>>)>,
    /// The native buckets, if it has such.
    pub native: Option<NativeValue<'a>>,
}

/// Native buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NativeValue<'a> {
    /// Edges grow by 2^(2^-schema).
    pub schema: i32,
    /// Sizes up to this are in `zero_count`.
    pub zero_threshold: f64,
    /// How many values were zero, or as good as.
    pub zero_count: f64,
    /// Where the buckets above zero lie.
    pub positive_spans: Vec<BucketSpan>,
    /// The count of each of them.
    pub positive: Vec<f64>,
    /// Where the buckets below zero lie.
    pub negative_spans: Vec<BucketSpan>,
    /// The count of each of them.
    pub negative: Vec<f64>,
    /// Examples of what was observed.
    pub exemplars: Vec<ProtoExemplar<'a>>,
}

/// A run of native buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketSpan {
    /// The first bucket's index, or how many are left out since the run before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// An exemplar in protobuf.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProtoExemplar<'a> {
    /// Its labels.
    pub labels: Vec<(&'a str, &'a str)>,
    /// The value observed.
    pub value: f64,
    /// When, in milliseconds since the Unix epoch.
    pub timestamp: Option<i64>,
}

/// A position in the bytes of a message. `at` counts from the beginning of the body.
#[derive(Clone, Copy, Debug)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One field of a message.
enum Field<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(Reader<'a>),
}

fn error(at: usize, message: &str) -> ParseError {
    ParseError::in_bytes(at, message.to_owned(), false)
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, ParseError> {
        let (mut value, start) = (0u64, self.at);
        for shift in (0..64).step_by(7) {
            let Some((byte, rest)) = self.bytes.split_first() else {
                return Err(error(self.at, "the body ends within a number; it may have been cut off"));
            };
            (self.bytes, self.at) = (rest, self.at + 1);
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(error(start, "a number of more than ten bytes"))
    }

    fn take(&mut self, len: u64) -> Result<Reader<'a>, ParseError> {
        let split = usize::try_from(len).ok().and_then(|len| self.bytes.split_at_checked(len));
        let Some((taken, rest)) = split else {
            let message = format!(
                "{len} bytes are announced and {} are left; it may have been cut off",
                self.bytes.len()
            );
            return Err(ParseError::in_bytes(self.at, message, false));
        };
        let taken = Reader { bytes: taken, at: self.at };
        (self.bytes, self.at) = (rest, self.at + taken.bytes.len());
        Ok(taken)
    }

    /// The next field with its number; `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Field<'a>)>, ParseError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let start = self.at;
        let key = self.varint()?;
        let fixed = |bytes: Reader<'a>| {
            let word = bytes.bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            Field::Fixed(word)
        };
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => fixed(self.take(8)?),
            2 => {
                let len = self.varint()?;
                Field::Bytes(self.take(len)?)
            }
            5 => fixed(self.take(4)?),
            wire => {
                return Err(ParseError::in_bytes(
                    start,
                    format!("wire type {wire} is none of 0, 1, 2 and 5"),
                    false,
                ));
            }
        };
        Ok(Some((key >> 3, field)))
    }

    fn text(&self) -> Result<&'a str, ParseError> {
        std::str::from_utf8(self.bytes)
            .map_err(|utf8| error(self.at + utf8.valid_up_to(), "a text that is not UTF-8"))
    }

    /// Calls `each` with every field of the message.
    fn fields(
        mut self,
        mut each: impl FnMut(u64, Field<'a>, usize) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        loop {
            let start = self.at;
            match self.field()? {
                Some((number, field)) => each(number, field, start)?,
                None => return Ok(()),
            }
        }
    }
}

impl<'a> Field<'a> {
    fn uint(&self, at: usize) -> Result<u64, ParseError> {
        match self {
            Field::Varint(value) => Ok(*value),
            _ => Err(error(at, "a whole number was expected here")),
        }
    }

    fn sint(&self, at: usize) -> Result<i64, ParseError> {
        self.uint(at).map(unzigzag)
    }

    fn double(&self, at: usize) -> Result<f64, ParseError> {
        match self {
            Field::Fixed(bits) => {
                let value = f64::from_bits(*bits);
                Ok(if value.is_nan() { f64::NAN } else { value })
            }
            _ => Err(error(at, "a float was expected here")),
        }
    }

    fn message(self, at: usize) -> Result<Reader<'a>, ParseError> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(error(at, "a message or text was expected here")),
        }
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

impl Families<'_> {
    /// Uses other limits than the default ones.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

impl<'a> Iterator for Families<'a> {
    type Item = Result<Family<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended || self.reader.bytes.is_empty() {
            return None;
        }
        let family = self.family();
        self.ended = family.is_err();
        Some(family)
    }
}

impl<'a> Families<'a> {
    fn family(&mut self) -> Result<Family<'a>, ParseError> {
        let len = self.reader.varint()?;
        let body = self.reader.take(len)?;
        let (name, help, unit) = ("", "", "");
        let mut family = Family { name, help, kind: FamilyKind::Counter, unit, body, limits: self.limits };
        body.fields(|number, field, at| {
            match number {
                1 => family.name = field.message(at)?.text()?,
                2 => family.help = field.message(at)?.text()?,
                3 => family.kind = kind(field.uint(at)?),
                5 => family.unit = field.message(at)?.text()?,
                _ => {}
            }
            Ok(())
        })?;
        if family.name.is_empty() {
            return Err(error(body.at, "a family without a name"));
        }
        Ok(family)
    }
}

/// An enum that is not said is its first value, a counter.
fn kind(number: u64) -> FamilyKind {
    match number {
        0 => FamilyKind::Counter,
        1 => FamilyKind::Gauge,
        2 => FamilyKind::Summary,
        4 => FamilyKind::Histogram,
        5 => FamilyKind::GaugeHistogram,
        _ => FamilyKind::Unknown,
    }
}

impl<'a> Family<'a> {
    /// The metrics of the family, in order. After an error there are none.
    pub fn metrics(&self) -> impl Iterator<Item = Result<Metric<'a>, ParseError>> + use<'a> {
        let (mut reader, limits) = (self.body, self.limits);
        std::iter::from_fn(move || {
            loop {
                let at = reader.at;
                let found = match reader.field() {
                    Ok(None) => return None,
                    Ok(Some((4, field))) => field.message(at).and_then(|body| metric(body, limits)),
                    Ok(Some(_)) => continue,
                    Err(error) => Err(error),
                };
                if found.is_err() {
                    reader.bytes = &[];
                }
                return Some(found);
            }
        })
    }
}

fn metric(body: Reader<'_>, limits: Limits) -> Result<Metric<'_>, ParseError> {
    let mut labels = Vec::new();
    let (mut value, mut timestamp, mut created) = (None, None, None);
    body.fields(|number, field, at| {
        match number {
            1 => push_label(&mut labels, field.message(at)?, limits)?,
            2 => value = Some(Value::Gauge(single(field.message(at)?)?)),
            3 => value = Some(counter(field.message(at)?, &mut created, limits)?),
            4 => value = Some(summary(field.message(at)?, &mut created)?),
            5 => value = Some(Value::Untyped(single(field.message(at)?)?)),
            6 => timestamp = Some(field.uint(at)? as i64),
            7 => {
                value = Some(Value::Histogram(Box::new(histogram(field.message(at)?, &mut created, limits)?)))
            }
            _ => {}
        }
        Ok(())
    })?;
    match value {
        Some(value) => Ok(Metric { labels, value, timestamp, created }),
        None => Err(error(body.at, "a metric without a value")),
    }
}

fn push_label<'a>(
    labels: &mut Vec<(&'a str, &'a str)>,
    body: Reader<'a>,
    limits: Limits,
) -> Result<(), ParseError> {
    let mut pair = ("", "");
    body.fields(|number, field, at| {
        match number {
            1 => pair.0 = field.message(at)?.text()?,
            2 => pair.1 = field.message(at)?.text()?,
            _ => {}
        }
        Ok(())
    })?;
    if pair.0.is_empty() {
        return Err(error(body.at, "a label without a name"));
    }
    if labels.len() == limits.labels_max {
        let message = format!("more than {} labels", limits.labels_max);
        return Err(ParseError::in_bytes(body.at, message, true));
    }
    labels.push(pair);
    Ok(())
}

/// The first field of a gauge or an untyped value.
fn single(body: Reader<'_>) -> Result<f64, ParseError> {
    let mut value = 0.0;
    body.fields(|number, field, at| {
        if number == 1 {
            value = field.double(at)?;
        }
        Ok(())
    })?;
    Ok(value)
}

fn counter<'a>(body: Reader<'a>, created: &mut Option<i64>, limits: Limits) -> Result<Value<'a>, ParseError> {
    let (mut value, mut example) = (0.0, None);
    body.fields(|number, field, at| {
        match number {
            1 => value = field.double(at)?,
            2 => example = Some(exemplar(field.message(at)?, limits)?),
            3 => *created = Some(timestamp(field.message(at)?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Value::Counter { value, exemplar: example })
}

fn summary<'a>(body: Reader<'a>, created: &mut Option<i64>) -> Result<Value<'a>, ParseError> {
    let (mut count, mut sum, mut quantiles) = (0, 0.0, Vec::new());
    body.fields(|number, field, at| {
        match number {
            1 => count = field.uint(at)?,
            2 => sum = field.double(at)?,
            3 => {
                let mut quantile = (0.0, 0.0);
                field.message(at)?.fields(|number, field, at| {
                    match number {
                        1 => quantile.0 = field.double(at)?,
                        2 => quantile.1 = field.double(at)?,
                        _ => {}
                    }
                    Ok(())
                })?;
                quantiles.push(quantile);
            }
            4 => *created = Some(timestamp(field.message(at)?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(Value::Summary { count, sum, quantiles })
}

/// The counts of one side of a native histogram: differences of whole ones, or floats.
#[derive(Default)]
struct Side {
    spans: Vec<BucketSpan>,
    last: i64,
    counts: Vec<f64>,
}

impl Side {
    fn span(&mut self, body: Reader<'_>) -> Result<(), ParseError> {
        let mut span = BucketSpan::default();
        body.fields(|number, field, at| {
            let range = |_| error(at, "a span beyond 32 bits");
            match number {
                1 => span.offset = i32::try_from(field.sint(at)?).map_err(range)?,
                2 => span.length = u32::try_from(field.uint(at)?).map_err(range)?,
                _ => {}
            }
            Ok(())
        })?;
        self.spans.push(span);
        Ok(())
    }

    /// One difference or many of them.
    fn deltas(&mut self, field: Field<'_>, at: usize) -> Result<(), ParseError> {
        let Field::Bytes(mut packed) = field else {
            let delta = field.sint(at)?;
            self.delta(delta);
            return Ok(());
        };
        while !packed.bytes.is_empty() {
            let delta = unzigzag(packed.varint()?);
            self.delta(delta);
        }
        Ok(())
    }

    fn delta(&mut self, delta: i64) {
        self.last = self.last.wrapping_add(delta);
        self.counts.push(self.last as u64 as f64);
    }

    fn floats(&mut self, field: Field<'_>, at: usize) -> Result<(), ParseError> {
        let Field::Bytes(mut packed) = field else {
            self.counts.push(field.double(at)?);
            return Ok(());
        };
        while !packed.bytes.is_empty() {
            let at = packed.at;
            let bytes = packed.take(8)?;
            let bits = bytes.bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
            self.counts.push(Field::Fixed(bits).double(at)?);
        }
        Ok(())
    }

    fn check(&self, at: usize) -> Result<(), ParseError> {
        let buckets = self.spans.iter().map(|span| u64::from(span.length)).sum::<u64>();
        if buckets == self.counts.len() as u64 {
            return Ok(());
        }
        let message = format!("spans of {buckets} buckets and {} counts", self.counts.len());
        Err(ParseError::in_bytes(at, message, false))
    }
}

fn histogram<'a>(
    body: Reader<'a>,
    created: &mut Option<i64>,
    limits: Limits,
) -> Result<HistogramValue<'a>, ParseError> {
    let mut histogram = HistogramValue::default();
    let mut native = NativeValue::default();
    let (mut positive, mut negative) = (Side::default(), Side::default());
    let mut floats = (0.0, 0.0);
    body.fields(|number, field, at| {
        match number {
            1 => histogram.count = field.uint(at)? as f64,
            2 => histogram.sum = field.double(at)?,
            3 => histogram.classic.push(bucket(field.message(at)?, limits)?),
            4 => floats.0 = field.double(at)?,
            5 => {
                let schema = i32::try_from(field.sint(at)?);
                native.schema = schema.map_err(|_| error(at, "a schema beyond 32 bits"))?;
            }
            6 => native.zero_threshold = field.double(at)?,
            7 => native.zero_count = field.uint(at)? as f64,
            8 => floats.1 = field.double(at)?,
            9 => negative.span(field.message(at)?)?,
            10 => negative.deltas(field, at)?,
            11 => negative.floats(field, at)?,
            12 => positive.span(field.message(at)?)?,
            13 => positive.deltas(field, at)?,
            14 => positive.floats(field, at)?,
            15 => *created = Some(timestamp(field.message(at)?)?),
            16 => native.exemplars.push(exemplar(field.message(at)?, limits)?),
            _ => {}
        }
        Ok(())
    })?;
    // A float histogram says so by its counts.
    if floats.0 > 0.0 {
        histogram.count = floats.0;
    }
    if floats.1 > 0.0 {
        native.zero_count = floats.1;
    }
    positive.check(body.at)?;
    negative.check(body.at)?;
    // As Prometheus tells them apart: a native one has a run of buckets, even an empty one, or a zero bucket.
    let spans = positive.spans.len() + negative.spans.len();
    if spans > 0 || native.zero_threshold > 0.0 || native.zero_count > 0.0 {
        (native.positive_spans, native.positive) = (positive.spans, positive.counts);
        (native.negative_spans, native.negative) = (negative.spans, negative.counts);
        histogram.native = Some(native);
    }
    Ok(histogram)
}

fn bucket(body: Reader<'_>, limits: Limits) -> Result<(f64, f64, Option<ProtoExemplar<'_>>), ParseError> {
    let (mut edge, mut count, mut float, mut example) = (0.0, 0.0, 0.0, None);
    body.fields(|number, field, at| {
        match number {
            1 => count = field.uint(at)? as f64,
            2 => edge = field.double(at)?,
            3 => example = Some(exemplar(field.message(at)?, limits)?),
            4 => float = field.double(at)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((edge, if float > 0.0 { float } else { count }, example))
}

fn exemplar(body: Reader<'_>, limits: Limits) -> Result<ProtoExemplar<'_>, ParseError> {
    let mut exemplar = ProtoExemplar::default();
    body.fields(|number, field, at| {
        match number {
            1 => push_label(&mut exemplar.labels, field.message(at)?, limits)?,
            2 => exemplar.value = field.double(at)?,
            3 => exemplar.timestamp = Some(timestamp(field.message(at)?)?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(exemplar)
}

/// A `google.protobuf.Timestamp` in milliseconds.
fn timestamp(body: Reader<'_>) -> Result<i64, ParseError> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    body.fields(|number, field, at| {
        match number {
            1 => seconds = field.uint(at)? as i64,
            2 => nanos = field.uint(at)? as i64,
            _ => {}
        }
        Ok(())
    })?;
    seconds
        .checked_mul(1000)
        .and_then(|millis| millis.checked_add(nanos / 1_000_000))
        .ok_or_else(|| error(body.at, "a time beyond 64 bits of milliseconds"))
}
