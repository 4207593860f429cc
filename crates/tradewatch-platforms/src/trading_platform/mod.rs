//! The platform `trading-platform`.

pub mod database;
pub mod gateway;
pub mod labels;
pub mod model;
pub mod money;
pub mod orchestrator;
pub mod order;
pub mod prices;
pub mod signal;
