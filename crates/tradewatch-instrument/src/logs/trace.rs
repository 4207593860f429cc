//! Which trace and which span: W3C trace context, as far as logs and exemplars need it.

use std::cell::Cell;
use std::fmt;

/// A trace and a span in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
}

impl TraceContext {
    /// A new trace and its first span.
    pub fn new() -> TraceContext {
        let trace_id = u128::from(random()) << 64 | u128::from(random());
        TraceContext { trace_id: trace_id.max(1), span_id: random().max(1) }
    }

    /// A span of the same trace.
    pub fn child(self) -> TraceContext {
        TraceContext { span_id: random().max(1), ..self }
    }

    /// What a caller sent as `traceparent`: `00-<32 hexadecimal digits>-<16>-<2>`. The span is the caller's.
    pub fn parse(traceparent: &str) -> Option<TraceContext> {
        let mut parts = traceparent.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower = |text: &str, len: usize| {
            text.len() == len && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let fits =
            lower(version, 2) && version != "ff" && lower(trace, 32) && lower(span, 16) && lower(flags, 2);
        let context = TraceContext {
            trace_id: u128::from_str_radix(trace, 16).ok()?,
            span_id: u64::from_str_radix(span, 16).ok()?,
        };
        // Version 00 has these four parts and no more; later ones may.
        let ended = version != "00" || parts.next().is_none();
        (fits && ended && context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// What to send as `traceparent`, sampled.
    pub fn traceparent(self) -> String {
        format!("00-{:032x}-{:016x}-01", self.trace_id, self.span_id)
    }

    /// A trace that is known by its id only, and a new span of it.
    pub(super) fn of_trace(trace_id: &str) -> Option<TraceContext> {
        let trace_id = u128::from_str_radix(trace_id, 16).ok().filter(|id| *id != 0)?;
        Some(TraceContext { trace_id, span_id: random().max(1) })
    }

    /// The trace's id: 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span's id: 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span_id)
    }
}

impl Default for TraceContext {
    fn default() -> TraceContext {
        TraceContext::new()
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

/// Not for secrets: xorshift, seeded for each thread by the standard library's hash maps.
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = {
            use std::hash::{BuildHasher, RandomState};
            Cell::new(RandomState::new().hash_one(std::thread::current().id()) | 1)
        };
    }
    STATE.with(|state| {
        let mut x = state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparents_read_back_and_bad_ones_are_none() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).expect("the specification's example");
        assert_eq!(context.traceparent(), text);
        assert_eq!(context.child().trace_id(), context.trace_id());
        assert_ne!(context.child(), context);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
        assert!(
            TraceContext::parse(&format!("01{}-more", &text[2..])).is_some(),
            "a later version may say more"
        );
    }
}
