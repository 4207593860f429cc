//! From what a registry exposes to an `ExportMetricsServiceRequest`.
//!
//! The source is the registry's own protobuf exposition, so that what is pushed and what is scraped can never differ.
//! Everything is cumulative, from the start of the process or, where the series tells it, from its own beginning.

use tradewatch_metrics::parse::{
    self, BucketSpan, HistogramValue, Metric, NativeValue, ProtoExemplar, Value,
};
use tradewatch_metrics::{Format, Registry};

use super::names;
use super::resource::{Resource, TARGET_INFO};
use super::wire::Message;

/// OTLP's number for "since the start".
const CUMULATIVE: u64 = 2;

/// When the process started and when the values were read, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy)]
pub(super) struct Times {
    pub(super) start: u64,
    pub(super) now: u64,
}

/// The request's body, and how many data points it has.
pub(super) fn request(
    registry: &Registry,
    resource: &Resource,
    times: Times,
    exposition: &mut Vec<u8>,
) -> (Vec<u8>, u64) {
    exposition.clear();
    registry.encode(Format::Protobuf, exposition);
    let mut points = 0;
    let mut out = Message::default();
    out.message(1, |resource_metrics| {
        resource_metrics.message(1, |out| resource.attributes().for_each(|(k, v)| attribute(out, 1, k, v)));
        resource_metrics.message(2, |scope_metrics| {
            scope_metrics.message(1, |scope| {
                scope.text(1, "tradewatch");
                scope.text(2, env!("CARGO_PKG_VERSION"));
            });
            // The registry wrote the body; a family that could not be read would end it.
            for family in parse::protobuf(exposition).map_while(Result::ok) {
                if family.name != TARGET_INFO {
                    scope_metrics.message(2, |out| points += metric(out, &family, times));
                }
            }
        });
    });
    (out.into_bytes(), points)
}

fn attribute(out: &mut Message, field: u32, name: &str, value: &str) {
    out.message(field, |pair| {
        pair.text(1, name);
        pair.message(2, |any| any.text(1, value));
    });
}

fn metric(out: &mut Message, family: &parse::Family<'_>, times: Times) -> u64 {
    let known = names::of(family.name);
    match known {
        Some(known) => out.text(1, known.name),
        // OTLP has no `_total`: who makes a Prometheus counter of a sum adds it.
        None => out.text(1, family.name.strip_suffix("_total").unwrap_or(family.name)),
    }
    out.text(2, family.help);
    out.text(3, known.map_or_else(|| names::unit(family.unit), |known| known.unit));
    let attributes = |out: &mut Message, field: u32, metric: &Metric<'_>| {
        for (name, value) in metric.labels.iter().filter(|(_, value)| !value.is_empty()) {
            attribute(out, field, if known.is_some() { names::attribute(name) } else { name }, value);
        }
    };
    let metrics: Vec<Metric<'_>> = family.metrics().map_while(Result::ok).collect();
    let since = |metric: &Metric<'_>| {
        let created = metric.created.and_then(|millis| u64::try_from(millis).ok());
        created.map_or(times.start, |millis| millis * 1_000_000)
    };
    let number = |out: &mut Message,
                  metric: &Metric<'_>,
                  value: f64,
                  since: u64,
                  exemplar: Option<&ProtoExemplar<'_>>| {
        out.message(1, |point| {
            point.fixed(2, since);
            point.fixed(3, times.now);
            point.double(4, value);
            if let Some(exemplar) = exemplar {
                write_exemplar(point, 5, exemplar, times);
            }
            attributes(point, 7, metric);
        });
    };
    let Some(first) = metrics.first() else { return 0 };
    // A family's metrics are of one kind.
    match &first.value {
        Value::Counter { .. } => out.message(7, |sum| {
            for metric in &metrics {
                if let Value::Counter { value, exemplar } = &metric.value {
                    number(sum, metric, *value, since(metric), exemplar.as_ref());
                }
            }
            sum.uint(2, CUMULATIVE);
            sum.uint(3, 1);
        }),
        Value::Gauge(_) | Value::Untyped(_) => out.message(5, |gauge| {
            for metric in &metrics {
                if let Value::Gauge(value) | Value::Untyped(value) = metric.value {
                    number(gauge, metric, value, 0, None);
                }
            }
        }),
        Value::Summary { .. } => out.message(11, |summary| {
            for metric in &metrics {
                if let Value::Summary { count, sum, quantiles } = &metric.value {
                    summary.message(1, |point| {
                        point.fixed(2, since(metric));
                        point.fixed(3, times.now);
                        point.fixed(4, *count);
                        point.double(5, *sum);
                        for (quantile, value) in quantiles {
                            point.message(6, |out| {
                                out.double(1, *quantile);
                                out.double(2, *value);
                            });
                        }
                        attributes(point, 7, metric);
                    });
                }
            }
        }),
        Value::Histogram(first) => {
            let is_native = first.native.is_some();
            out.message(if is_native { 10 } else { 9 }, |histogram| {
                for metric in &metrics {
                    let Value::Histogram(value) = &metric.value else { continue };
                    histogram.message(1, |point| match &value.native {
                        Some(native) if is_native => {
                            attributes(point, 1, metric);
                            point.fixed(2, since(metric));
                            exponential(point, value, native, times);
                        }
                        _ => {
                            point.fixed(2, since(metric));
                            classic(point, value, times);
                            attributes(point, 9, metric);
                        }
                    });
                }
                histogram.uint(2, CUMULATIVE);
            });
        }
    }
    metrics.len() as u64
}

fn classic(point: &mut Message, value: &HistogramValue<'_>, times: Times) {
    point.fixed(3, times.now);
    point.fixed(4, value.count as u64);
    point.double(5, value.sum);
    let finite: Vec<_> = value.classic.iter().filter(|(edge, ..)| edge.is_finite()).collect();
    let mut counts = Vec::with_capacity(finite.len() + 1);
    let mut below = 0.0;
    for (_, cumulative, _) in &finite {
        counts.push((cumulative - below) as u64);
        below = *cumulative;
    }
    counts.push((value.count - below) as u64);
    point.packed_fixed(6, counts.into_iter());
    point.packed_fixed(7, finite.iter().map(|(edge, ..)| edge.to_bits()));
    for exemplar in value.classic.iter().filter_map(|(.., exemplar)| exemplar.as_ref()) {
        write_exemplar(point, 8, exemplar, times);
    }
}

fn exponential(point: &mut Message, value: &HistogramValue<'_>, native: &NativeValue<'_>, times: Times) {
    point.fixed(3, times.now);
    point.fixed(4, value.count as u64);
    point.double(5, value.sum);
    point.sint(6, native.schema);
    point.fixed(7, native.zero_count as u64);
    for (field, spans, counts) in
        [(8, &native.positive_spans, &native.positive), (9, &native.negative_spans, &native.negative)]
    {
        if let Some((offset, counts)) = dense(spans, counts) {
            point.message(field, |buckets| {
                buckets.sint(1, offset);
                buckets.packed_uint(2, counts.into_iter());
            });
        }
    }
    for exemplar in &native.exemplars {
        write_exemplar(point, 11, exemplar, times);
    }
    if native.zero_threshold != 0.0 {
        point.double(14, native.zero_threshold);
    }
}

/// The buckets from the first to the last, those left out as 0, and OTLP's index of the first: its bucket `i` is what
/// Prometheus numbers `i + 1`, since it counts from the lower edge.
fn dense(spans: &[BucketSpan], counts: &[f64]) -> Option<(i32, Vec<u64>)> {
    const BUCKETS_MAX: usize = 1 << 16;
    let (first, mut values) = (spans.first()?.offset, counts.iter());
    let mut out = Vec::new();
    for (at, span) in spans.iter().enumerate() {
        if at > 0 {
            out.resize((out.len() + span.offset.max(0) as usize).min(BUCKETS_MAX), 0);
        }
        out.extend(values.by_ref().take(span.length as usize).map(|count| *count as u64));
    }
    Some((first - 1, out))
}

fn write_exemplar(out: &mut Message, field: u32, exemplar: &ProtoExemplar<'_>, times: Times) {
    out.message(field, |out| {
        let millis = exemplar.timestamp.and_then(|millis| u64::try_from(millis).ok());
        out.fixed(2, millis.map_or(times.now, |millis| millis * 1_000_000));
        out.double(3, exemplar.value);
        for (name, value) in &exemplar.labels {
            match (*name, from_hex(value)) {
                ("span_id", Some(id)) if id.len() == 8 => out.bytes(4, &id),
                ("trace_id", Some(id)) if id.len() == 16 => out.bytes(5, &id),
                _ => attribute(out, 7, name, value),
            }
        }
    });
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
