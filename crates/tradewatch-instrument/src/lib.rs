#![doc = include_str!("../README.md")]

#[cfg(any(feature = "postgres", feature = "rabbitmq", feature = "kafka"))]
mod call;
mod clients;
#[cfg(feature = "facade")]
mod facade;
pub mod helpers;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
mod labels;
#[cfg(feature = "logs")]
pub mod logs;
#[cfg(feature = "otlp")]
pub mod otlp;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
mod running;
#[cfg(feature = "runtime")]
mod runtime;
#[cfg(feature = "secret")]
pub mod secret;
mod service;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod statement;

#[cfg(any(feature = "postgres", feature = "rabbitmq", feature = "kafka"))]
pub use call::CallError;
pub use clients::{Broker, Cache, Clients, Database, Messaging, System};
#[cfg(feature = "facade")]
pub use facade::{FAMILIES_MAX, FAMILY_SERIES_MAX, Recorder};
pub use labels::{
    CANCELLED, ErrorKind, ErrorType, Optional, PANICKED, ServiceName, TIMEOUT, UNFINISHED, Vocabulary,
};
#[cfg(feature = "process")]
pub use process::{expose_process, start_time};
pub use running::{End, Running};
#[cfg(feature = "runtime")]
pub use runtime::expose_runtime;
#[cfg(feature = "secret")]
pub use secret::Secret;
pub use service::Service;

#[cfg(all(doctest, feature = "http", feature = "logs"))]
#[doc = include_str!("../../../docs/instrumenting.md")]
mod guide {}
