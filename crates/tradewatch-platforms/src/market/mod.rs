//! What is traded and when: instruments, exact decimals, sessions.

pub mod decimal;
pub mod instrument;
pub mod session;

pub use decimal::Decimal;
pub use instrument::{AssetClass, Instrument};
pub use session::{MarketClock, MarketClockConfig, Session};
