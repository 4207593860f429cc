//! The texts of labels and annotations: Go templates with Prometheus' functions and variables.
//!
//! A text is compiled once, when its rule file is read: unknown functions and variables are found
//! there, with their place. The tree is rewritten so that `gotmpl` prints, fails and reads missing
//! labels as Go does; see [`rewrite`].

mod functions;
pub mod notice;
mod number;
mod print;
mod rewrite;
mod time;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use gotmpl::Value as Go;
use gotmpl::parse::Parser;
use tradewatch_tsdb::{Labels, Timestamp, Value};

pub(crate) use functions::escape_query;
pub use number::format_go_float;

/// What Prometheus puts before every text; error columns count it, and so do ours.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Rounds of all loops of one expansion.
const LOOP_ROUNDS_MAX: u64 = 100_000;
/// Queries that one expansion may ask.
const QUERIES_MAX: usize = 100;
/// Bytes that one expansion may print.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// A compiled text.
#[derive(Clone)]
pub struct Template {
    body: Body,
}

#[derive(Clone)]
enum Body {
    /// Nothing to expand.
    Plain(Arc<str>),
    Compiled {
        name: String,
        template: Arc<gotmpl::Template>,
    },
}

/// A text that cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Byte offset in the text.
    pub offset: usize,
    /// As Go words it.
    pub message: String,
}

/// What a text is expanded with.
#[derive(Clone)]
pub struct Context {
    /// The labels of the sample that made the alert, its metric name included.
    pub labels: Labels,
    /// Its value.
    pub value: Value,
    /// `external_labels`.
    pub external_labels: BTreeMap<String, String>,
    /// Where the monitor is reached.
    pub external_url: String,
    /// The evaluation time.
    pub at: Timestamp,
    /// Answers `query`.
    pub query: Ask,
}

/// Answers the template function `query`.
pub type Ask = Arc<dyn Fn(&str, Timestamp) -> Result<Vec<(Labels, Value)>, String> + Send + Sync>;

thread_local! {
    /// The expansion under way on this thread; template functions have no other way to see it.
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

struct Current {
    context: Context,
    /// Where the last built-in function stands, for errors that carry no place.
    mark: Option<Mark>,
    /// What failed, with its place.
    failure: Option<Failure>,
    queries: usize,
}

#[derive(Clone)]
struct Mark {
    offset: usize,
    function: String,
    node: String,
}

struct Failure {
    offset: usize,
    node: String,
    message: String,
}

impl Template {
    /// Compiles a text of the rule `rule`.
    ///
    /// # Errors
    /// The first thing wrong, with its offset in `text`.
    pub fn compile(rule: &str, text: &str) -> Result<Template, CompileError> {
        if !text.contains("{{") {
            return Ok(Template { body: Body::Plain(text.into()) });
        }
        let name = format!("__alert_{rule}");
        let source = format!("{DEFINITIONS}{text}");
        let frame = |offset: usize, message: &str| {
            let line = 1 + source[..offset.min(source.len())].matches('\n').count();
            let message = format!("error parsing template {name}: template: {name}:{line}: {message}");
            CompileError { offset: offset.saturating_sub(DEFINITIONS.len()), message }
        };
        let broken = |error: gotmpl::TemplateError| {
            let (offset, message) = match error {
                gotmpl::TemplateError::Parse { line, col, message, .. }
                | gotmpl::TemplateError::Lex { line, col, message, .. } => {
                    (offset_of(&source, line, col), message)
                }
                other => (DEFINITIONS.len(), other.to_string()),
            };
            frame(offset, &message)
        };
        if let Some((offset, message)) = rewrite::stray(&source) {
            return Err(frame(offset, &message));
        }
        let parser = Parser::with_name(Some(&name), &source, "{{", "}}").map_err(broken)?;
        let (mut tree, mut defines) = parser.parse().map_err(broken)?;
        let mut rewriter = rewrite::Rewriter::new(&source, functions::is_known);
        rewriter.body(&mut tree, &["$"]);
        for define in &mut defines {
            rewriter.body(&mut define.body, &["$"]);
        }
        if let Some((offset, message)) = rewriter.error {
            return Err(frame(offset, &message));
        }
        let mut template =
            gotmpl::Template::new(&name).max_range_iters(LOOP_ROUNDS_MAX).funcs(functions::all());
        for define in defines {
            template = template.add_parse_tree(&define.name, define.body);
        }
        let template = Arc::new(template.add_parse_tree(&name, tree));
        Ok(Template { body: Body::Compiled { name, template } })
    }

    /// Expands the text.
    ///
    /// # Errors
    /// What Prometheus would show, without its frame `<error expanding template: …>`.
    pub fn expand(&self, context: &Context) -> Result<String, String> {
        let (name, template) = match &self.body {
            Body::Plain(text) => return Ok(text.to_string()),
            Body::Compiled { name, template } => (name, template),
        };
        let root = BTreeMap::from([
            (Arc::from("Labels"), labels_value(&context.labels)),
            (Arc::from("ExternalLabels"), strings_value(&context.external_labels)),
            (Arc::from("ExternalURL"), Go::String(context.external_url.as_str().into())),
            (Arc::from("Value"), sample_value(&context.value)),
        ]);
        run(template, name, &Go::Map(Arc::new(root)), context.clone())
    }
}

/// Executes a template of the set and words its failure as Go does.
fn run(template: &gotmpl::Template, name: &str, root: &Go, context: Context) -> Result<String, String> {
    let current = Current { context, mark: None, failure: None, queries: 0 };
    CURRENT.with_borrow_mut(|slot| *slot = Some(current));
    let mut out = Bounded(String::new());
    let result = template.execute_template_fmt(&mut out, name, root);
    let current = CURRENT.with_borrow_mut(Option::take);
    let Err(error) = result else { return Ok(out.0) };
    let (place, node, message) = match current {
        Some(Current { failure: Some(f), .. }) => (Some(f.offset), f.node, f.message),
        Some(Current { mark: Some(mark), .. }) => {
            (Some(mark.offset), mark.node, describe(error, &mark.function))
        }
        _ => (None, String::new(), describe(error, "")),
    };
    // Line and column as Go counts them: the definitions included, the column from 0.
    let at = place.map(|packed| format!(":{}:{}", packed >> 32, packed & 0xffff_ffff)).unwrap_or_default();
    let node = if node.is_empty() { String::new() } else { format!(" at <{node}>") };
    Err(format!("error executing template {name}: template: {name}{at}: executing {name:?}{node}: {message}"))
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Plain(text) => write!(f, "{text:?}"),
            Body::Compiled { name, .. } => write!(f, "<compiled {name}>"),
        }
    }
}

/// An output that ends when it grows too long.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > OUTPUT_BYTES_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Line and column of an offset, packed into one number that fits a template's integer.
fn pack_place(source: &str, offset: usize) -> usize {
    let before = &source[..offset.min(source.len())];
    let line = 1 + before.matches('\n').count();
    let column = before.rfind('\n').map_or(before.len(), |at| before.len() - at - 1);
    line << 32 | column
}

fn offset_of(source: &str, line: usize, column: usize) -> usize {
    let start: usize = source.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    (start + column.saturating_sub(1)).min(source.len())
}

/// The messages of `gotmpl` that Go words otherwise.
fn in_words_of_go(message: &str) -> String {
    if let Some(value) = message.strip_prefix("cannot take length of ") {
        let kind = match value {
            "true" | "false" => "bool",
            value if value.parse::<i64>().is_ok() => "int",
            value if value.parse::<f64>().is_ok() => "float64",
            _ => "struct",
        };
        return format!("len of type {kind}");
    }
    match message.strip_prefix("cannot index map with type ") {
        Some(kind) => format!("value has type {kind}; should be string"),
        None => message.to_owned(),
    }
}

fn describe(error: gotmpl::TemplateError, function: &str) -> String {
    use gotmpl::TemplateError as E;
    let message = match error {
        // Some of gotmpl's messages name the function once more, and the types behind a colon.
        E::Exec(message) => {
            let message = message.strip_prefix(&format!("{function}: ")).unwrap_or(&message);
            let message = &in_words_of_go(message);
            message.split(" comparison: ").next().map_or(message.to_owned(), |begin| match begin == message {
                true => message.to_owned(),
                false => format!("{begin} comparison"),
            })
        }
        E::Write => format!("the text is longer than {OUTPUT_BYTES_MAX} bytes"),
        E::RangeIterLimit => format!("more than {LOOP_ROUNDS_MAX} rounds of range"),
        E::UndefinedTemplate(name) => return format!("template {name:?} not defined"),
        other => other.to_string(),
    };
    match function {
        "" => message,
        function => format!("error calling {function}: {message}"),
    }
}

fn labels_value(labels: &Labels) -> Go {
    let map = labels.iter().map(|(name, value)| (Arc::from(name), Go::String(value.into())));
    Go::Map(Arc::new(map.collect()))
}

fn strings_value(map: &BTreeMap<String, String>) -> Go {
    let map = map.iter().map(|(name, value)| (Arc::from(name.as_str()), Go::String(value.as_str().into())));
    Go::Map(Arc::new(map.collect()))
}

/// A number stays one; a histogram is its text.
fn sample_value(value: &Value) -> Go {
    match value {
        Value::Float(value) => Go::Float(*value),
        Value::Histogram(histogram) => Go::String(histogram.to_string().into()),
    }
}

#[cfg(test)]
mod tests;
