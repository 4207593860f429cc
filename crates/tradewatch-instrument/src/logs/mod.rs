//! Logs as JSON lines: one object for each event of `tracing`.
//!
//! Who logs never waits. A line is made on the caller's thread and handed to a writer thread through a bounded queue;
//! what does not fit is dropped, counted in `log_lines_dropped_total` and announced by a line of its own as soon as
//! there is room. A line:
//!
//! ```json
//! {"timestamp":"2026-11-20T09:26:09.123456Z","level":"info","service":"gateway","event":"order_filled",
//!  "target":"gateway::orders","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7",
//!  "symbol":"AAPL","quantity":100}
//! ```
//!
//! `event` is the message; the fields of the event, and those of the spans around it, stand beside it. A span that has
//! a field `traceparent` (W3C) or `trace_id` continues that trace; any other span belongs to the trace around it, or
//! begins one.

#![allow(clippy::disallowed_methods)] // An edge module: it owns a clock and a thread.

mod line;
mod trace;
mod writer;

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;
use tradewatch_metrics::{Counter, Gauge, Label, Metrics, RegisterError, Registry};

pub use trace::TraceContext;
pub use writer::LogGuard;

use line::Fields;
use writer::Queue;

/// How much a log may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes of lines that wait to be written; what comes when they are used up is dropped.
    pub queue_bytes: usize,
    /// The longest line. A longer one loses its fields and says so.
    pub line_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits { queue_bytes: 8 << 20, line_bytes: 64 << 10 }
    }
}

#[derive(Label, Clone, Copy)]
#[label(name = "level")]
enum LevelLabel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Metrics, Clone)]
pub(crate) struct LogMetrics {
    /// Lines logged, by level.
    log_lines_total: Counter<(LevelLabel,)>,
    /// Lines dropped since the queue was full.
    pub(crate) log_lines_dropped_total: Counter,
    /// Lines that could not be written, to a full disk or a closed pipe.
    pub(crate) log_write_errors_total: Counter,
    /// Bytes that wait to be written.
    pub(crate) log_queue_bytes: Gauge,
}

/// A layer of `tracing` that writes JSON lines; see the module.
///
/// ```
/// use tracing_subscriber::prelude::*;
/// # use tradewatch_metrics::Registry;
/// use tradewatch_instrument::logs::{JsonLines, LogLimits};
/// # let registry = Registry::new();
/// let (layer, _guard) = JsonLines::new("gateway", std::io::stderr(), LogLimits::default(), &registry)?;
/// let subscriber = tracing_subscriber::registry().with(layer);    // .init() in a service
/// tracing::subscriber::with_default(subscriber, || tracing::info!(symbol = "AAPL", "order_filled"));
/// # Ok::<(), tradewatch_metrics::RegisterError>(())
/// ```
pub struct JsonLines {
    service: String,
    queue: Arc<Queue>,
    metrics: LogMetrics,
    line_bytes: usize,
}

impl JsonLines {
    /// A log of `service` to `out`, written by a thread of its own until the guard is dropped, which waits for what is
    /// queued.
    ///
    /// # Errors
    /// If a log of this registry exists.
    /// # Panics
    /// If the system has no thread to spare.
    pub fn new(
        service: &str,
        out: impl Write + Send + 'static,
        limits: LogLimits,
        registry: &Registry,
    ) -> Result<(JsonLines, LogGuard), RegisterError> {
        let metrics = LogMetrics::register(registry)?;
        let (queue, guard) = writer::start(service, out, limits, metrics.clone());
        let layer = JsonLines { service: service.to_owned(), queue, metrics, line_bytes: limits.line_bytes };
        Ok((layer, guard))
    }
}

/// What a span adds to the lines within it.
struct SpanData {
    trace: TraceContext,
    fields: Fields,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for JsonLines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let around =
            span.parent().and_then(|parent| parent.extensions().get::<SpanData>().map(|data| data.trace));
        let given = fields.take_trace();
        let trace = match (given, around) {
            (Some(given), _) => given,
            (None, Some(around)) => around.child(),
            (None, None) => TraceContext::new(),
        };
        span.extensions_mut().insert(SpanData { trace, fields });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(data) = span.extensions_mut().get_mut::<SpanData>()
        {
            values.record(&mut data.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let (label, level) = match *event.metadata().level() {
            Level::ERROR => (LevelLabel::Error, "error"),
            Level::WARN => (LevelLabel::Warn, "warn"),
            Level::INFO => (LevelLabel::Info, "info"),
            Level::DEBUG => (LevelLabel::Debug, "debug"),
            Level::TRACE => (LevelLabel::Trace, "trace"),
        };
        self.metrics.log_lines_total.at((label,)).inc();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut trace = None;
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(data) = span.extensions().get::<SpanData>() {
                trace.get_or_insert(data.trace);
                fields.add_missing(&data.fields);
            }
        }
        let mut line = line::Head {
            timestamp: SystemTime::now(),
            level,
            service: &self.service,
            event: fields.message(event.metadata().name()),
            target: event.metadata().target(),
            trace,
        }
        .begin();
        let head_len = line.len();
        fields.write(&mut line);
        if line.len() >= self.line_bytes {
            let bytes = line.len();
            line.truncate(head_len.min(self.line_bytes));
            line::Head::end_shortened(&mut line, head_len, bytes);
        } else {
            line.extend_from_slice(b"}\n");
        }
        self.queue.push(line);
    }
}

impl fmt::Debug for JsonLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("service", &self.service).finish_non_exhaustive()
    }
}

/// Time since 1970, as a log tells it.
fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}
