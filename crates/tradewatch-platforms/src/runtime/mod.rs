//! What every service stands on: clock, network, HTTP, WebSocket, tasks, shutdown and randomness.
//!
//! Each of them has a real and a virtual form behind one type, chosen by whoever starts the services.
//! Sleeps, intervals and time-outs are tokio's own (`tokio::time`): under paused time they are virtual.

pub mod clock;
mod error;
pub mod http;
pub mod net;
pub mod rng;
pub mod shutdown;
pub mod tasks;
pub mod ws;

pub use clock::{Clock, Nanos};
pub use error::Error;
pub use net::{Listener, Net, Stream, VirtualNet};
pub use rng::{Rng, Seed};
pub use shutdown::{Shutdown, Trigger};
pub use tasks::{Spawner, Tasks};

/// Runs `world` in this thread on virtual time: every sleep ends as soon as nothing else can happen.
///
/// # Example
/// ```
/// use std::time::Duration;
/// let day = tradewatch_platforms::runtime::run_virtual(async {
///     tokio::time::sleep(Duration::from_secs(86_400)).await;
///     "over"
/// });
/// assert_eq!(day, "over");
/// ```
///
/// # Panics
/// If called inside another tokio runtime, or if the operating system refuses the runtime's file descriptors.
pub fn run_virtual<T>(world: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime needs only a few file descriptors")
        .block_on(world)
}
