//! Test scripts of Prometheus, from text to commands.

use tradewatch_promql::duration::parse_duration_ms;
use tradewatch_promql::series::{Point, parse_series};
use tradewatch_tsdb::{Labels, Regex, Value};

/// One command and the line it begins at, from 1.
#[derive(Debug)]
pub struct Command {
    pub line: usize,
    pub kind: CommandKind,
}

#[derive(Debug)]
pub enum CommandKind {
    Clear,
    Load(Load),
    Eval(Box<Eval>),
    /// Not understood: the query or command, and why.
    Bad {
        text: String,
        why: String,
    },
}

/// `load 1m` and its series.
#[derive(Debug, Default)]
pub struct Load {
    pub step_ms: i64,
    pub with_nhcb: bool,
    pub series: Vec<LoadSeries>,
}

/// A series, and the start timestamps of its points relative to them, in milliseconds.
#[derive(Debug)]
pub struct LoadSeries {
    pub labels: Labels,
    pub points: Vec<Point>,
    pub starts: Vec<Option<i64>>,
}

/// A query and what it has to give.
#[derive(Debug, Default)]
pub struct Eval {
    pub query: String,
    pub start_ms: i64,
    pub end_ms: i64,
    /// `None` for an instant query.
    pub step_ms: Option<i64>,
    /// The time of an instant query.
    pub at_ms: i64,
    /// `expect range vector`: the step of the samples of an instant query.
    pub samples_step_ms: Option<i64>,
    pub text: Option<String>,
    pub scalar: Option<f64>,
    /// In the order of the file.
    pub series: Vec<(Labels, Vec<Point>)>,
    pub fail: Option<Match>,
    pub ordered: bool,
    pub warn: Vec<Match>,
    pub info: Vec<Match>,
    pub no_warn: bool,
    pub no_info: bool,
}

/// An expected message.
#[derive(Debug)]
pub enum Match {
    Any,
    Exact(String),
    Pattern(Regex, String),
}

impl Match {
    pub fn fits(&self, text: &str) -> bool {
        match self {
            Match::Any => true,
            Match::Exact(exact) => exact == text,
            Match::Pattern(regex, _) => regex.is_match(text),
        }
    }

    fn pattern(text: &str) -> Result<Match, String> {
        // The pattern may match anywhere.
        let regex = Regex::new(&format!(".*(?:{text}).*")).map_err(|error| error.to_string())?;
        Ok(Match::Pattern(regex, text.to_string()))
    }
}

impl std::fmt::Display for Match {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Match::Any => f.write_str("any message"),
            Match::Exact(text) => write!(f, "message {text:?}"),
            Match::Pattern(_, text) => write!(f, "pattern {text:?}"),
        }
    }
}

/// Reads a script. What is not understood becomes a command of its own, so that the rest still runs.
pub fn parse(text: &str) -> Vec<Command> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let first = lines[at];
        if first.is_empty() {
            at += 1;
            continue;
        }
        let line = at + 1;
        // A command goes on to the next empty line; comments count as empty.
        let word = first.split([' ', '\t']).next().unwrap_or("");
        let end = match word {
            "clear" => at + 1,
            _ => (at + 1..lines.len()).find(|&i| lines[i].is_empty()).unwrap_or(lines.len()),
        };
        let body = &lines[at + 1..end];
        let kind = match word {
            "clear" => Ok(CommandKind::Clear),
            _ if word.starts_with("load") => load(first, body).map(CommandKind::Load),
            _ if word.starts_with("eval") => {
                let used = eval(first, body);
                at = end;
                match used {
                    Ok((eval, used)) => {
                        // What follows a scalar is the next command.
                        at = line + used;
                        commands.push(Command { line, kind: CommandKind::Eval(Box::new(eval)) });
                    }
                    Err(why) => {
                        let kind = CommandKind::Bad { text: first.to_string(), why };
                        commands.push(Command { line, kind });
                    }
                }
                continue;
            }
            _ => Err("invalid command".to_string()),
        };
        let kind = kind.unwrap_or_else(|why| CommandKind::Bad { text: first.to_string(), why });
        commands.push(Command { line, kind });
        at = end;
    }
    commands
}

fn load(first: &str, body: &[&str]) -> Result<Load, String> {
    let (word, step) = first.split_once([' ', '\t']).ok_or("load needs a step")?;
    let with_nhcb = match word {
        "load" => false,
        "load_with_nhcb" => true,
        _ => return Err(format!("invalid load command {word:?}")),
    };
    let mut load = Load { step_ms: parse_duration_ms(step.trim())?, with_nhcb, series: Vec::new() };
    let mut starts: Option<(Labels, Vec<Option<i64>>)> = None;
    for line in body {
        let (head, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if let Some(metric) = head.strip_suffix("@st") {
            let (labels, _) = parse_series(metric).map_err(|e| e.to_string())?;
            if starts.replace((labels, start_sequence(rest)?)).is_some() {
                return Err("@st line has no following sample line".into());
            }
            continue;
        }
        let (labels, points) = parse_series(line).map_err(|e| format!("{e:#}"))?;
        let starts = match starts.take() {
            None => Vec::new(),
            Some((metric, starts)) if metric == labels && starts.len() == points.len() => starts,
            Some((_, starts)) => {
                let (starts, points) = (starts.len(), points.len());
                return Err(format!("@st line has {starts} values for {points} points of {labels}"));
            }
        };
        load.series.push(LoadSeries { labels, points, starts });
    }
    if starts.is_some() {
        return Err("@st line has no following sample line".into());
    }
    Ok(load)
}

/// `-30s-1mx2 _x3 0`: start timestamps relative to their samples.
fn start_sequence(text: &str) -> Result<Vec<Option<i64>>, String> {
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        let bad = |why: &str| format!("invalid start timestamp {item:?}: {why}");
        let count = |digits: &str| digits.parse::<usize>().map_err(|_| bad("bad repeat count"));
        if let Some(rest) = item.strip_prefix('_') {
            let times = match rest.strip_prefix('x') {
                Some(digits) => count(digits)?,
                None => 1,
            };
            out.extend(std::iter::repeat_n(None, times));
            continue;
        }
        let (mut offset, rest) = signed_duration(item).ok_or_else(|| bad("not a duration"))?;
        let (step, rest) = match rest.starts_with(['+', '-']) {
            true => signed_duration(rest).ok_or_else(|| bad("bad step"))?,
            false => (0, rest),
        };
        let times = match rest.strip_prefix('x') {
            Some(digits) => count(digits)?,
            None if rest.is_empty() => 0,
            None => return Err(bad("unexpected text behind the duration")),
        };
        for _ in 0..=times {
            out.push(Some(offset));
            offset += step;
        }
    }
    Ok(out)
}

fn signed_duration(text: &str) -> Option<(i64, &str)> {
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = body.bytes().take_while(u8::is_ascii_digit).count();
    let unit = body[digits..].bytes().take_while(|b| b.is_ascii_alphabetic() && *b != b'x').count();
    let ms = parse_duration_ms(&body[..digits + unit]).ok()?;
    Some((if negative { -ms } else { ms }, &body[digits + unit..]))
}

/// Takes the next word off.
fn word<'a>(text: &mut &'a str) -> &'a str {
    let trimmed = text.trim_start();
    let end = trimmed.find([' ', '\t']).unwrap_or(trimmed.len());
    let (head, tail) = trimmed.split_at(end);
    *text = tail;
    head
}

fn eval(first: &str, body: &[&str]) -> Result<(Eval, usize), String> {
    let mut rest = first;
    let mut out = Eval::default();
    let command = word(&mut rest);
    let expect = |rest: &mut &str, wanted: &str| match word(rest) {
        found if found == wanted => Ok(()),
        found => Err(format!("expected {wanted:?}, got {found:?}")),
    };
    match word(&mut rest) {
        "instant" => {
            expect(&mut rest, "at")?;
            out.at_ms = parse_duration_ms(word(&mut rest))?;
            (out.start_ms, out.end_ms) = (out.at_ms, out.at_ms);
        }
        "range" => {
            expect(&mut rest, "from")?;
            out.start_ms = parse_duration_ms(word(&mut rest))?;
            expect(&mut rest, "to")?;
            out.end_ms = parse_duration_ms(word(&mut rest))?;
            expect(&mut rest, "step")?;
            out.step_ms = Some(parse_duration_ms(word(&mut rest))?);
        }
        other => return Err(format!("expected instant or range, got {other:?}")),
    }
    out.query = rest.trim().to_string();
    match command {
        "eval" => {}
        "eval_fail" => out.fail = Some(Match::Any),
        "eval_warn" => out.warn.push(Match::Any),
        "eval_info" => out.info.push(Match::Any),
        "eval_ordered" => out.ordered = true,
        other => return Err(format!("invalid evaluation command {other:?}")),
    }
    for (at, line) in body.iter().enumerate() {
        let used = at + 1;
        if let Some(message) = line.strip_prefix("expected_fail_message").filter(|_| out.fail.is_some()) {
            out.fail = Some(Match::Exact(message.trim().to_string()));
            return Ok((out, used));
        }
        if let Some(pattern) = line.strip_prefix("expected_fail_regexp").filter(|_| out.fail.is_some()) {
            out.fail = Some(Match::pattern(pattern.trim())?);
            return Ok((out, used));
        }
        if let Some(range) = line.strip_prefix("expect range vector") {
            let mut range = range;
            expect(&mut range, "from")?;
            out.start_ms = parse_duration_ms(word(&mut range))?;
            expect(&mut range, "to")?;
            out.end_ms = parse_duration_ms(word(&mut range))?;
            expect(&mut range, "step")?;
            out.samples_step_ms = Some(parse_duration_ms(word(&mut range))?);
            out.at_ms = out.end_ms;
            continue;
        }
        if let Some(text) = line.strip_prefix("expect string") {
            out.text = Some(quoted(text.trim())?);
            continue;
        }
        if line.split([' ', '\t']).next() == Some("expect") {
            expectation(&mut out, line)?;
            continue;
        }
        if let Some(number) = scalar(line) {
            out.scalar = Some(number);
            return Ok((out, used));
        }
        let (labels, points) = parse_series(line).map_err(|e| format!("{e:#}"))?;
        if points.len() > 1 && out.step_ms.is_none() && out.samples_step_ms.is_none() {
            return Err("an instant query cannot give several values per series".into());
        }
        out.series.push((labels, points));
    }
    if !out.warn.is_empty() && out.no_warn {
        return Err("warn and no_warn cannot be expected together".into());
    }
    if !out.info.is_empty() && out.no_info {
        return Err("info and no_info cannot be expected together".into());
    }
    Ok((out, body.len()))
}

/// A line that is a number and nothing else.
fn scalar(line: &str) -> Option<f64> {
    if line.starts_with(['_', '{']) {
        return None;
    }
    line.parse::<f64>().ok().or_else(|| {
        let hex = line.strip_prefix("0x")?;
        i64::from_str_radix(hex, 16).ok().map(|n| n as f64)
    })
}

fn quoted(text: &str) -> Result<String, String> {
    match tradewatch_promql::parse(text) {
        Ok(expr) => match expr.kind {
            tradewatch_promql::ExprKind::String(text) => Ok(text),
            _ => Err(format!("expected a quoted string, got {text}")),
        },
        Err(error) => Err(format!("expected a quoted string: {error}")),
    }
}

fn expectation(out: &mut Eval, line: &str) -> Result<(), String> {
    let mut rest = line;
    word(&mut rest);
    let what = word(&mut rest);
    let rest = rest.trim();
    let message = match rest {
        "" => Match::Any,
        _ => match rest.split_once(':') {
            Some(("msg", text)) => Match::Exact(text.trim().to_string()),
            Some(("regex", text)) => Match::pattern(text.trim())?,
            _ => return Err(format!("invalid expect statement {line:?}")),
        },
    };
    match what {
        "fail" if out.fail.is_some() => return Err("several expect fail lines".into()),
        "fail" => out.fail = Some(message),
        "warn" => out.warn.push(message),
        "info" => out.info.push(message),
        "no_warn" => out.no_warn = true,
        "no_info" => out.no_info = true,
        "ordered" => out.ordered = true,
        other => return Err(format!("invalid expectation {other:?}")),
    }
    Ok(())
}

/// The value of a point, for messages.
pub fn show(value: &Value) -> String {
    match value {
        Value::Float(value) => tradewatch_promql::format_float(*value),
        Value::Histogram(histogram) => tradewatch_promql::series::format_histogram(histogram),
    }
}
