//! OTLP metrics over HTTP, as Prometheus takes them: cumulative points become samples under translated names.
//!
//! Source: opentelemetry-proto 1.x (`metrics/v1/metrics.proto`), OpenTelemetry's "Prometheus and OpenMetrics
//! Compatibility". Names are made by [`names`]. Points that cannot be taken (delta temporality, above all) are
//! counted and named in `partial_success`, so that the exporter logs why.

mod names;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use tradewatch_tsdb::histogram::{CounterResetHint, Span};
use tradewatch_tsdb::{Histogram, Labels, Metadata, MetricKind, STALE_NAN, Sample, Timestamp, Value};

use super::wire::{Fields, Wire};
use super::{Body, Failure, Series, UNPACKED_BYTES_MAX};
use crate::monitor::Monitor;
use crate::telemetry::PushProtocol;

/// The finest native histogram that Prometheus knows; finer ones are made coarser.
const SCALE_MAX: i32 = 8;
const SCALE_MIN: i32 = -4;
/// How deep a list within a list may go.
const DEPTH_MAX: usize = 8;
/// The bit of a point's flags that says that it has no value.
const NO_VALUE: u64 = 1;

/// `POST /api/v1/otlp/v1/metrics`.
pub async fn receive(State(monitor): State<Arc<Monitor>>, headers: HeaderMap, body: Bytes) -> Response {
    if !monitor.options.web.enable_otlp_receiver {
        let how = "otlp write receiver needs to be enabled with --web.enable-otlp-receiver\n";
        return (StatusCode::NOT_FOUND, how).into_response();
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
    let kind = text(CONTENT_TYPE).split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/x-protobuf") {
        let why = format!("content type {kind:?} is not known; send application/x-protobuf\n");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
    }
    let gzip = match text(CONTENT_ENCODING) {
        "" | "identity" => false,
        "gzip" => true,
        other => {
            let why = format!("content encoding {other:?} is not known; send gzip or none\n");
            return (StatusCode::UNSUPPORTED_MEDIA_TYPE, why).into_response();
        }
    };
    let read = move |packed: &[u8]| match gzip {
        true => unpack(packed).and_then(|unpacked| read(&unpacked)),
        false => read(packed),
    };
    match monitor.pushes.take(PushProtocol::Otlp, body, read).await {
        Ok(taken) => {
            let mut answer = Vec::new();
            if taken.refused > 0 {
                partial_success(&mut answer, taken.refused, &taken.reason());
            }
            ([(CONTENT_TYPE, "application/x-protobuf")], answer).into_response()
        }
        Err(Failure::Bad(why)) => (StatusCode::BAD_REQUEST, why + "\n").into_response(),
        Err(Failure::Store(why)) => {
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")], why + "\n").into_response()
        }
    }
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let limit = UNPACKED_BYTES_MAX as u64 + 1;
    let read = flate2::read::GzDecoder::new(packed).take(limit).read_to_end(&mut unpacked);
    read.map_err(|error| format!("gzip: {error}"))?;
    if unpacked.len() > UNPACKED_BYTES_MAX {
        return Err(format!("gzip: more than {UNPACKED_BYTES_MAX} bytes unpacked"));
    }
    Ok(unpacked)
}

/// `ExportMetricsServiceResponse` with a `partial_success`.
fn partial_success(out: &mut Vec<u8>, refused: u64, why: &str) {
    let mut inner = vec![0x08];
    put_varint(&mut inner, refused);
    inner.push(0x12);
    put_varint(&mut inner, why.len() as u64);
    inner.extend_from_slice(why.as_bytes());
    out.push(0x0a);
    put_varint(out, inner.len() as u64);
    out.extend(inner);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads `ExportMetricsServiceRequest`.
fn read(message: &[u8]) -> Result<Body, String> {
    let mut body = Body::default();
    for field in Fields::of(message) {
        if let (1, value) = field? {
            read_resource(&mut body, value.bytes()?)?;
        }
    }
    Ok(body)
}

/// Attributes, by name.
type Attributes = BTreeMap<String, String>;

fn read_resource(body: &mut Body, message: &[u8]) -> Result<(), String> {
    let mut resource = Attributes::new();
    for field in Fields::of(message) {
        let (1, value) = field? else { continue };
        for field in value.fields()? {
            if let (1, value) = field? {
                attribute(value, &mut resource)?;
            }
        }
    }
    let mut whose = Attributes::new();
    if let Some(name) = resource.remove("service.name") {
        let job = match resource.remove("service.namespace") {
            Some(space) => format!("{space}/{name}"),
            None => name,
        };
        whose.insert("job".to_owned(), job);
    }
    if let Some(instance) = resource.remove("service.instance.id") {
        whose.insert("instance".to_owned(), instance);
    }
    let mut newest = None;
    for field in Fields::of(message) {
        let (2, value) = field? else { continue };
        for field in value.fields()? {
            if let (2, value) = field? {
                let metric = Metric::read(value.bytes()?)?;
                metric.store(body, &whose, &mut newest)?;
            }
        }
    }
    // Without an identity of its own it could not be joined with anything.
    if let Some(ts) = newest.filter(|_| !whose.is_empty() && !resource.is_empty()) {
        let labels = labels("target_info", &resource, &whose, &[]);
        body.push(Series { labels, samples: vec![Sample::float(ts, 1.0)] })?;
        let help = "Target metadata".to_owned();
        body.metadata.push((
            "target_info".to_owned(),
            Metadata { kind: MetricKind::Gauge, help, unit: String::new() },
        ));
    }
    Ok(())
}

fn attribute(value: Wire<'_>, into: &mut Attributes) -> Result<(), String> {
    let (mut key, mut text) = (String::new(), String::new());
    for field in value.fields()? {
        match field? {
            (1, value) => key = value.text()?.to_owned(),
            (2, value) => text = any(value.bytes()?, 0)?,
            _ => {}
        }
    }
    into.insert(key, text);
    Ok(())
}

/// `AnyValue` as the text of a label: lists and maps as JSON.
fn any(message: &[u8], depth: usize) -> Result<String, String> {
    json(message, depth).map(|value| match value {
        serde_json::Value::String(text) => text,
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    })
}

fn json(message: &[u8], depth: usize) -> Result<serde_json::Value, String> {
    use serde_json::Value as Json;
    if depth > DEPTH_MAX {
        return Err(format!("an attribute is nested deeper than {DEPTH_MAX}"));
    }
    let mut out = Json::Null;
    for field in Fields::of(message) {
        out = match field? {
            (1, value) => Json::from(value.text()?),
            (2, value) => Json::from(value.unsigned()? != 0),
            (3, value) => Json::from(value.signed()?),
            (4, value) => Json::from(value.double()?),
            (5, value) => {
                let mut items = Vec::new();
                for field in value.fields()? {
                    if let (1, value) = field? {
                        items.push(json(value.bytes()?, depth + 1)?);
                    }
                }
                Json::Array(items)
            }
            (6, value) => {
                let mut map = serde_json::Map::new();
                for field in value.fields()? {
                    let (1, value) = field? else { continue };
                    let (mut key, mut item) = (String::new(), Json::Null);
                    for field in value.fields()? {
                        match field? {
                            (1, value) => key = value.text()?.to_owned(),
                            (2, value) => item = json(value.bytes()?, depth + 1)?,
                            _ => {}
                        }
                    }
                    map.insert(key, item);
                }
                Json::Object(map)
            }
            (7, value) => {
                use base64::Engine as _;
                Json::from(base64::engine::general_purpose::STANDARD.encode(value.bytes()?))
            }
            _ => continue,
        };
    }
    Ok(out)
}

/// The labels of a series: attributes under names that Prometheus takes, and whose they are.
fn labels(name: &str, attributes: &Attributes, whose: &Attributes, more: &[(&str, &str)]) -> Labels {
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    for (key, value) in attributes {
        // Two keys that become one name keep both values, in the order of the keys.
        let joined = pairs.entry(names::label(key)).or_default();
        if !joined.is_empty() {
            joined.push(';');
        }
        joined.push_str(value);
    }
    pairs.extend(whose.iter().map(|(name, value)| (name.clone(), value.clone())));
    pairs.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    pairs.insert("__name__".to_owned(), name.to_owned());
    Labels::from_pairs(pairs)
}

#[derive(Copy, Clone, PartialEq)]
enum Data {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

struct Metric<'a> {
    name: &'a str,
    help: &'a str,
    unit: &'a str,
    data: Option<(Data, &'a [u8])>,
}

impl<'a> Metric<'a> {
    fn read(message: &'a [u8]) -> Result<Metric<'a>, String> {
        let mut metric = Metric { name: "", help: "", unit: "", data: None };
        for field in Fields::of(message) {
            let (number, value) = field?;
            let kind = match number {
                1 => {
                    metric.name = value.text()?;
                    continue;
                }
                2 => {
                    metric.help = value.text()?;
                    continue;
                }
                3 => {
                    metric.unit = value.text()?;
                    continue;
                }
                5 => Data::Gauge,
                7 => Data::Sum,
                9 => Data::Histogram,
                10 => Data::Exponential,
                11 => Data::Summary,
                _ => continue,
            };
            metric.data = Some((kind, value.bytes()?));
        }
        Ok(metric)
    }

    fn store(
        &self,
        body: &mut Body,
        whose: &Attributes,
        newest: &mut Option<Timestamp>,
    ) -> Result<(), String> {
        let Some((data, message)) = self.data else { return Ok(()) };
        let (mut temporality, mut monotonic, mut points) = (0, false, Vec::new());
        for field in Fields::of(message) {
            match field? {
                (1, value) => points.push(value.bytes()?),
                (2, value) => temporality = value.unsigned()?,
                (3, value) => monotonic = value.unsigned()? != 0,
                _ => {}
            }
        }
        let aggregated = matches!(data, Data::Sum | Data::Histogram | Data::Exponential);
        if self.name.is_empty() {
            body.refuse(points.len(), "a metric without a name".to_owned());
            return Ok(());
        }
        if aggregated && temporality != 2 {
            let what = if temporality == 1 { "delta" } else { "unspecified" };
            let why = format!(
                "metric {:?} has {what} temporality; set the exporter to cumulative (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative)",
                self.name
            );
            body.refuse(points.len(), why);
            return Ok(());
        }
        let counter = data == Data::Sum && monotonic;
        let name = names::metric(self.name, self.unit, counter, data == Data::Gauge);
        let kind = match data {
            Data::Gauge => MetricKind::Gauge,
            Data::Sum if counter => MetricKind::Counter,
            Data::Sum => MetricKind::Gauge,
            Data::Histogram | Data::Exponential => MetricKind::Histogram,
            Data::Summary => MetricKind::Summary,
        };
        let metadata = Metadata { kind, help: self.help.to_owned(), unit: names::unit(self.unit) };
        body.metadata.push((name.clone(), metadata));
        for message in points {
            let point = Point::read(data, message)?;
            *newest = (*newest).max(Some(time(point.time)));
            point.store(body, data, &name, whose)?;
        }
        Ok(())
    }
}

/// A point of any kind; each uses its part.
#[derive(Default)]
struct Point {
    attributes: Attributes,
    /// Nanoseconds since the Unix epoch.
    time: u64,
    start: Option<Timestamp>,
    no_value: bool,
    value: f64,
    count: f64,
    sum: Option<f64>,
    counts: Vec<u64>,
    bounds: Vec<f64>,
    quantiles: Vec<(f64, f64)>,
    scale: i32,
    zero_count: f64,
    zero_threshold: f64,
    positive: Buckets,
    negative: Buckets,
}

/// Adjacent buckets from an index on.
#[derive(Default)]
struct Buckets {
    offset: i32,
    counts: Vec<u64>,
}

impl Point {
    fn read(data: Data, message: &[u8]) -> Result<Point, String> {
        let mut point = Point::default();
        for field in Fields::of(message) {
            let (number, value) = field?;
            match (data, number) {
                (_, 2) => point.start = Some(time(value.fixed()?)).filter(|ts| ts.as_millis() > 0),
                (_, 3) => point.time = value.fixed()?,
                (Data::Gauge | Data::Sum | Data::Summary, 7)
                | (Data::Histogram, 9)
                | (Data::Exponential, 1) => {
                    attribute(value, &mut point.attributes)?;
                }
                (Data::Gauge | Data::Sum, 4) => point.value = value.double()?,
                (Data::Gauge | Data::Sum, 6) => point.value = value.fixed()? as i64 as f64,
                (Data::Gauge | Data::Sum | Data::Summary, 8) | (Data::Histogram | Data::Exponential, 10) => {
                    point.no_value = value.unsigned()? & NO_VALUE != 0;
                }
                (Data::Histogram | Data::Exponential | Data::Summary, 4) => {
                    point.count = value.fixed()? as f64
                }
                (Data::Histogram | Data::Exponential | Data::Summary, 5) => point.sum = Some(value.double()?),
                (Data::Histogram, 6) => value.each_fixed(|count| point.counts.push(count))?,
                (Data::Histogram, 7) => value.each_fixed(|bits| point.bounds.push(f64::from_bits(bits)))?,
                (Data::Exponential, 6) => point.scale = value.zigzag32()?,
                (Data::Exponential, 7) => point.zero_count = value.fixed()? as f64,
                (Data::Exponential, 8) => point.positive = Buckets::read(value)?,
                (Data::Exponential, 9) => point.negative = Buckets::read(value)?,
                (Data::Exponential, 14) => point.zero_threshold = value.double()?,
                (Data::Summary, 6) => {
                    let (mut quantile, mut at) = (0.0, 0.0);
                    for field in value.fields()? {
                        match field? {
                            (1, value) => quantile = value.double()?,
                            (2, value) => at = value.double()?,
                            _ => {}
                        }
                    }
                    point.quantiles.push((quantile, at));
                }
                _ => {}
            }
        }
        Ok(point)
    }

    fn store(&self, body: &mut Body, data: Data, name: &str, whose: &Attributes) -> Result<(), String> {
        let add = |body: &mut Body, name: &str, more: &[(&str, &str)], value: f64| {
            let value = if self.no_value { STALE_NAN } else { value };
            let sample = Sample { start: self.start, ..Sample::float(time(self.time), value) };
            let labels = labels(name, &self.attributes, whose, more);
            body.push(Series { labels, samples: vec![sample] })
        };
        match data {
            Data::Gauge | Data::Sum => add(body, name, &[], self.value)?,
            Data::Histogram => {
                if !self.counts.is_empty() && self.counts.len() != self.bounds.len() + 1 {
                    let (counts, bounds) = (self.counts.len(), self.bounds.len());
                    body.refuse(1, format!("{name}: {counts} buckets do not fit {bounds} bounds"));
                    return Ok(());
                }
                if let Some(sum) = self.sum {
                    add(body, &format!("{name}_sum"), &[], sum)?;
                }
                add(body, &format!("{name}_count"), &[], self.count)?;
                let bucket = format!("{name}_bucket");
                let mut cumulative = 0.0;
                for (bound, count) in self.bounds.iter().zip(&self.counts) {
                    cumulative += *count as f64;
                    add(body, &bucket, &[("le", &bound_text(*bound))], cumulative)?;
                }
                add(body, &bucket, &[("le", "+Inf")], self.count)?;
            }
            Data::Summary => {
                add(body, &format!("{name}_sum"), &[], self.sum.unwrap_or(0.0))?;
                add(body, &format!("{name}_count"), &[], self.count)?;
                for (quantile, value) in &self.quantiles {
                    add(body, name, &[("quantile", &bound_text(*quantile))], *value)?;
                }
            }
            Data::Exponential => match self.native() {
                Err(why) => body.refuse(1, format!("{name}: {why}")),
                Ok(histogram) => {
                    let value = Value::Histogram(Arc::new(histogram));
                    let sample = Sample { ts: time(self.time), value, start: self.start };
                    let labels = labels(name, &self.attributes, whose, &[]);
                    body.push(Series { labels, samples: vec![sample] })?;
                }
            },
        }
        Ok(())
    }

    /// The native histogram of an exponential one.
    fn native(&self) -> Result<Histogram, String> {
        if self.scale < SCALE_MIN {
            return Err(format!(
                "an exponential histogram of scale {}; {SCALE_MIN} is the coarsest",
                self.scale
            ));
        }
        let coarser = u32::try_from(self.scale - SCALE_MAX).unwrap_or(0);
        let (positive_spans, positive_buckets) = self.positive.spans(coarser)?;
        let (negative_spans, negative_buckets) = self.negative.spans(coarser)?;
        Ok(Histogram {
            schema: self.scale.min(SCALE_MAX),
            zero_threshold: if self.zero_threshold > 0.0 { self.zero_threshold } else { 1e-128 },
            zero_count: self.zero_count,
            count: self.count,
            sum: if self.no_value { STALE_NAN } else { self.sum.unwrap_or(0.0) },
            positive_spans,
            negative_spans,
            positive_buckets,
            negative_buckets,
            custom_values: Vec::new(),
            counter_reset_hint: CounterResetHint::Unknown,
        })
    }
}

impl Buckets {
    fn read(value: Wire<'_>) -> Result<Buckets, String> {
        let mut buckets = Buckets::default();
        for field in value.fields()? {
            match field? {
                (1, value) => buckets.offset = value.zigzag32()?,
                (2, value) => value.each_varint(|count| buckets.counts.push(count))?,
                _ => {}
            }
        }
        Ok(buckets)
    }

    /// As spans: OTLP's bucket `i` begins where Prometheus' ends, and `coarser` halves the resolution so often.
    fn spans(&self, coarser: u32) -> Result<(Vec<Span>, Vec<f64>), String> {
        let mut merged: Vec<(i32, f64)> = Vec::new();
        for (at, count) in self.counts.iter().enumerate() {
            let index = i64::from(self.offset) + at as i64;
            let index = i32::try_from((index >> coarser.min(63)) + 1)
                .map_err(|_| format!("bucket {index} is beyond any number"))?;
            match merged.last_mut() {
                Some((last, sum)) if *last == index => *sum += *count as f64,
                _ => merged.push((index, *count as f64)),
            }
        }
        merged.retain(|(_, count)| *count > 0.0);
        let mut spans: Vec<Span> = Vec::new();
        let mut next = 0i32;
        for (index, _) in &merged {
            match spans.last_mut() {
                Some(span) if *index == next => span.length += 1,
                _ => spans.push(Span { offset: index.saturating_sub(next), length: 1 }),
            }
            next = index.saturating_add(1);
        }
        Ok((spans, merged.into_iter().map(|(_, count)| count).collect()))
    }
}

fn time(nanos: u64) -> Timestamp {
    Timestamp::from_millis((nanos / 1_000_000) as i64)
}

/// A bound as Prometheus writes it in a label.
fn bound_text(bound: f64) -> String {
    tradewatch_promql::format_float(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_shifted_by_one_merged_and_split_at_gaps() {
        let buckets = Buckets { offset: -3, counts: vec![1, 2, 0, 0, 4, 8] };
        let spans = |coarser| buckets.spans(coarser).expect("fits");
        let (at, counts) = spans(0);
        assert_eq!(at, [Span { offset: -2, length: 2 }, Span { offset: 2, length: 2 }]);
        assert_eq!(counts, [1.0, 2.0, 4.0, 8.0]);
        // Indices -3, -2, 1 and 2 become -2, -1, 0 and 1, one further for Prometheus.
        let (at, counts) = spans(1);
        assert_eq!(at, [Span { offset: -1, length: 4 }]);
        assert_eq!(counts, [1.0, 2.0, 4.0, 8.0]);
        let far = Buckets { offset: i32::MAX, counts: vec![0, 1] };
        assert!(far.spans(0).is_err());
    }

    #[test]
    fn a_gzip_bomb_is_refused_when_it_exceeds_the_limit() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &vec![0; UNPACKED_BYTES_MAX + 1]).expect("packs");
        let packed = packed.finish().expect("packs");
        assert!(unpack(&packed).expect_err("too big").contains("more than"));
        assert!(unpack(b"no gzip").is_err());
    }
}
