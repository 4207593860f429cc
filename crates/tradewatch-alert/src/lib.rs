//! Rules, alert states, routing and the texts people receive.
//!
//! A rule [`Group`](rules::Group) asks a store at a given time and gives alerts; the
//! [`Notifier`](notify::Notifier) groups, holds back and repeats them along the
//! [routes](route::Config) and gives deliveries. Both are state machines on `now`:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use tradewatch_alert::notify::{Notifier, Options};
//! use tradewatch_alert::route::Config;
//! use tradewatch_alert::rules::{Group, RuleFile, Surroundings, engine_query};
//! use tradewatch_promql::{Engine, EngineOptions};
//! use tradewatch_tsdb::{Db, Labels, Timestamp};
//!
//! let db = Db::in_memory();
//! let mut appender = db.appender();
//! let up = appender.series(&Labels::from_pairs([("__name__", "up"), ("job", "gateway")]));
//! let now = Timestamp::from_millis(1_000);
//! appender.append(up, now, 0.0).unwrap();
//! appender.commit().unwrap();
//!
//! let text = "groups: [{name: health, rules: [{alert: Lost, expr: up == 0}]}]";
//! let (file, errors) = RuleFile::parse("rules.yml", text);
//! assert!(errors.is_empty());
//! let mut group = Group::new(&file.path, &file.groups[0], Duration::from_secs(60), Duration::ZERO);
//! let query = engine_query(Arc::new(Engine::new(EngineOptions::default())), db.clone());
//! let evaluation = group.evaluate(now, &Surroundings::new(query, db));
//!
//! let mut notifier = Notifier::new(Arc::new(Config::terminal()), Options::default());
//! notifier.update(now, &evaluation.alerts);
//! let deliveries = notifier.poll(now);
//! // Write down `notifier.take_changes()`, send, then:
//! notifier.delivered(now, deliveries[0].id);
//! assert_eq!(deliveries[0].message.alerts[0].labels["job"], "gateway");
//! ```
//!
//! Invariants: nothing here reads the clock, opens a socket or a file, or starts a thread; one
//! broken rule, template or receiver never costs another one; what a receiver was told is known
//! row by row, so that a process killed at any moment neither loses nor silently repeats.

pub mod alert;
pub mod budget;
pub mod duration;
mod error;
pub mod notify;
pub mod replay;
pub mod route;
pub mod rules;
pub mod template;
pub mod text;
pub mod unittest;
pub mod yaml;

pub use alert::{Alert, Fingerprint, Severity, State};
pub use error::{ConfigError, Error};
