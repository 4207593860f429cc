//! Faults in force, each until its time is over.

use crate::runtime::Nanos;
use crate::runtime::clock::SECOND;
use serde::{Deserialize, Serialize};

/// Faults in force at once; more are refused.
pub const FAULTS_MAX: usize = 64;
/// Longest fault, in seconds; longer ones are cut to it.
pub const FOR_SECONDS_MAX: f64 = 86_400.0;

/// What is posted to `/control/faults`: `{"kind": …, …, "for_seconds": 30}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request<F> {
    /// The fault.
    #[serde(flatten)]
    pub fault: F,
    /// How long it lasts; faults that happen once ignore it.
    #[serde(default = "default_seconds")]
    pub for_seconds: f64,
}

fn default_seconds() -> f64 {
    30.0
}

/// A fault in force.
#[derive(Clone, Debug, Serialize)]
pub struct Active<F> {
    /// Number of the fault since the service started.
    pub id: u64,
    /// The fault.
    #[serde(flatten)]
    pub fault: F,
    /// When it ends, in nanoseconds since the Unix epoch.
    pub until: Nanos,
}

/// The faults in force in one service.
#[derive(Clone, Debug)]
pub struct Board<F> {
    active: Vec<Active<F>>,
    posted: u64,
}

impl<F> Default for Board<F> {
    fn default() -> Self {
        Board { active: Vec::new(), posted: 0 }
    }
}

impl<F: Clone> Board<F> {
    /// Puts a fault in force from `now`; `None` if [`FAULTS_MAX`] are already.
    pub fn post(&mut self, request: Request<F>, now: Nanos) -> Option<Active<F>> {
        self.expire(now);
        if self.active.len() >= FAULTS_MAX {
            return None;
        }
        let seconds = if request.for_seconds.is_finite() { request.for_seconds } else { 0.0 };
        let lasts = seconds.clamp(0.0, FOR_SECONDS_MAX) * SECOND as f64;
        self.posted += 1;
        let active = Active { id: self.posted, fault: request.fault, until: now + lasts as Nanos };
        self.active.push(active.clone());
        Some(active)
    }

    /// The faults in force at `now`, oldest first.
    pub fn active(&mut self, now: Nanos) -> &[Active<F>] {
        self.expire(now);
        &self.active
    }

    /// The first fault in force at `now` for which `pick` has an answer.
    pub fn find<T>(&self, now: Nanos, pick: impl FnMut(&F) -> Option<T>) -> Option<T> {
        self.active.iter().filter(|active| now < active.until).map(|active| &active.fault).find_map(pick)
    }

    /// Changes the first fault in force for which `change` returns true; `drop_if` then may end it.
    pub fn take(
        &mut self,
        now: Nanos,
        mut change: impl FnMut(&mut F) -> bool,
        drop_if: impl Fn(&F) -> bool,
    ) -> bool {
        self.expire(now);
        let Some(at) = self.active.iter_mut().position(|active| change(&mut active.fault)) else {
            return false;
        };
        if drop_if(&self.active[at].fault) {
            self.active.remove(at);
        }
        true
    }

    /// Ends all faults.
    pub fn clear(&mut self) {
        self.active.clear();
    }

    /// Whether nothing is in force, without looking at the time.
    pub fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    fn expire(&mut self, now: Nanos) {
        self.active.retain(|active| now < active.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    enum Fault {
        Silence { symbol: Option<String> },
        Gap { messages: u32 },
    }

    #[test]
    fn faults_begin_are_used_up_and_end() {
        let mut board = Board::default();
        let request: Request<Fault> =
            serde_json::from_str(r#"{"kind":"silence","symbol":"AAPL","for_seconds":2.5}"#).expect("a fault");
        let active = board.post(request, 10 * SECOND).expect("room");
        assert_eq!(active.until, 12_500_000_000);
        let silent = |board: &Board<Fault>, now| {
            board.find(now, |fault| matches!(fault, Fault::Silence { .. }).then_some(())).is_some()
        };
        assert!(silent(&board, 12 * SECOND) && !silent(&board, 13 * SECOND));
        board
            .post(Request { fault: Fault::Gap { messages: 2 }, for_seconds: 60.0 }, 13 * SECOND)
            .expect("room");
        let mut drop_one = |now| {
            board.take(
                now,
                |fault| match fault {
                    Fault::Gap { messages } => {
                        *messages -= 1;
                        true
                    }
                    Fault::Silence { .. } => false,
                },
                |fault| matches!(fault, Fault::Gap { messages: 0 }),
            )
        };
        assert!(drop_one(14 * SECOND) && drop_one(14 * SECOND) && !drop_one(14 * SECOND));
        assert!(board.active(14 * SECOND).is_empty());
    }

    #[test]
    fn the_board_is_bounded() {
        let mut board = Board::default();
        let fault = || Request { fault: Fault::Gap { messages: 1 }, for_seconds: f64::INFINITY };
        assert!(board.post(fault(), 0).is_some(), "an endless fault lasts no time");
        for _ in 0..FAULTS_MAX {
            let request = Request { fault: Fault::Gap { messages: 1 }, for_seconds: 1e12 };
            assert!(board.post(request, 0).is_some());
        }
        assert!(board.post(fault(), 0).is_none());
    }
}
