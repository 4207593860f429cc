//! Finds what can never work in rules, dashboards, scrape and routing configuration.
//!
//! Bytes in, findings out: the caller reads files, asks targets or a server, and hands over the texts.
//!
//! ```
//! use tradewatch_check::{Input, Project, World, check};
//!
//! let rules = "groups: [{name: g, rules: [{alert: Rejects, expr: 'rate(orders_total{status=\"rejected\"}[5m]) / rate(orders_total[5m]) > 0.1'}]}]";
//! let project = Project::read(vec![Input { path: "rules.yml".into(), text: rules.into() }]);
//! let report = check(&project, World::new(None), &Default::default());
//! assert!(report.findings.iter().any(|finding| finding.id == "TW012"));
//! ```
//!
//! Invariants: nothing here opens a file or a socket or reads the clock; a broken file is a finding with its place;
//! no check looks at the name of one particular metric or rule.

pub mod corpus;
mod expr;
mod finding;
mod look;
pub mod pages;
pub mod print;
mod project;
pub mod read;
mod suppress;
mod world;

pub use expr::abs;
pub use finding::{Finding, Place, Report, Severity};
pub use project::{Options, Project, check};
pub use read::{Content, Document, Input};
pub use suppress::Ignore;
pub use world::{Live, Series, World, learn};
