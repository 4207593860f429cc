//! Why a declaration is refused.

use std::fmt;

/// Why metrics could not be registered. The message names the metric and says what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterError {
    metric: String,
    kind: RegisterErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum RegisterErrorKind {
    Invalid(String),
    Duplicate { name: String, owner: String },
}

impl RegisterError {
    pub(crate) fn invalid(metric: &str, message: String) -> RegisterError {
        RegisterError { metric: metric.to_owned(), kind: RegisterErrorKind::Invalid(message) }
    }

    pub(crate) fn duplicate(metric: &str, name: &str, owner: &str) -> RegisterError {
        let kind = RegisterErrorKind::Duplicate { name: name.to_owned(), owner: owner.to_owned() };
        RegisterError { metric: metric.to_owned(), kind }
    }

    /// Whether another family of the registry already exposes a series of this name.
    pub fn is_duplicate(&self) -> bool {
        matches!(self.kind, RegisterErrorKind::Duplicate { .. })
    }

    /// Whether the declaration itself is wrong.
    pub fn is_invalid(&self) -> bool {
        matches!(self.kind, RegisterErrorKind::Invalid(_))
    }

    /// The metric concerned.
    pub fn metric(&self) -> &str {
        &self.metric
    }
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            RegisterErrorKind::Invalid(message) => write!(f, "metric {}: {message}", self.metric),
            RegisterErrorKind::Duplicate { name, owner } if *owner == self.metric => {
                write!(
                    f,
                    "metric {}: is registered already ({name}); register it once and clone it",
                    self.metric
                )
            }
            RegisterErrorKind::Duplicate { name, owner } => write!(
                f,
                "metric {}: {owner} already exposes {name}; choose another name for one of the two",
                self.metric
            ),
        }
    }
}

impl std::error::Error for RegisterError {}
