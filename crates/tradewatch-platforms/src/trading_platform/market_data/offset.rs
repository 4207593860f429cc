//! How far the venue's clock is from ours.
//!
//! A message arrives later than it was stamped, by its journey and by the difference of the two clocks. The
//! shortest journeys are short, so the smallest difference ever seen is the clocks' (the recording of
//! Binance shows −1.27 s: its clock was ahead of the receiver's). The estimate falls at once and rises no
//! faster than a clock can drift: a feed that begins to deliver late is late, not a clock that went wrong.

use crate::runtime::Nanos;

/// Fastest drift of a clock that is believed: 100 parts per million.
const DRIFT_PPM: i64 = 100;

/// Estimates receipt minus event from the messages of one venue.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockOffset {
    estimate: Option<(Nanos, Nanos)>,
}

impl ClockOffset {
    /// Nothing seen yet.
    pub fn new() -> ClockOffset {
        ClockOffset::default()
    }

    /// One message stamped `event` by the venue was received at `received` by our clock.
    pub fn observe(&mut self, event: Nanos, received: Nanos) {
        let difference = received - event;
        let Some((offset, at)) = self.estimate else {
            self.estimate = Some((difference, received));
            return;
        };
        // Whole multiples only, or the rounding of many small steps would stop the drift.
        let allowed = (received - at).max(0) * DRIFT_PPM / 1_000_000;
        if difference <= offset {
            self.estimate = Some((difference, received));
        } else if allowed > 0 {
            self.estimate = Some((difference.min(offset + allowed), received));
        }
    }

    /// What our clock shows more than the venue's; 0 before the first message.
    pub fn nanos(&self) -> Nanos {
        self.estimate.map_or(0, |(offset, _)| offset)
    }

    /// The same in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanos() as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn the_shortest_journey_tells_the_offset() {
        let mut offset = ClockOffset::new();
        assert_eq!(offset.nanos(), 0);
        for (n, journey) in [30, 5, 80, 2, 40].into_iter().enumerate() {
            let event = n as Nanos * 100 * MS;
            offset.observe(event, event - 1_272 * MS + journey * MS);
        }
        assert!((offset.seconds() + 1.270).abs() < 0.001, "{}", offset.seconds());
    }

    #[test]
    fn late_delivery_is_not_taken_for_a_clock() {
        let mut offset = ClockOffset::new();
        offset.observe(0, 0);
        for second in 1..=60 {
            let event = second * 1_000 * MS;
            offset.observe(event, event + 3_000 * MS);
        }
        assert!(offset.nanos() <= 7 * MS, "{} after a minute of 3 s late", offset.nanos());
        offset.observe(61_000 * MS, 61_000 * MS);
        assert_eq!(offset.nanos(), 0, "back at once");
    }

    #[test]
    fn true_drift_is_followed() {
        let mut offset = ClockOffset::new();
        for step in 0..36_000 {
            let event = step * 100 * MS;
            offset.observe(event, event + event / 20_000); // 50 parts per million
        }
        let hour = 3_600_000 * MS / 20_000;
        assert!((offset.nanos() - hour).abs() < MS, "{} against {hour}", offset.nanos());
    }
}
