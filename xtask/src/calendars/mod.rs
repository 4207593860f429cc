//! The session tables of `tradewatch-calendar`, from the published data sets.
//!
//! `cargo xtask calendars` installs the pinned packages from PyPI into an environment of its own, exports the
//! sessions of every venue, applies `data/corrections.txt`, and writes two files a venue: `data/MIC.txt`, which says
//! regular hours in local time and names the exceptions, and `tests/data/MIC.txt`, which lists every session in UTC
//! without any logic, for the tests to compare with. Neither is edited by hand. `--check` compares them instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use jiff::civil::{Date, Time, Weekday};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// The data sets, in the versions that the tables come from. A later pandas drops two of Bombay's Saturdays.
const PACKAGES: &[&str] =
    &["exchange_calendars==4.13.2", "pandas_market_calendars==5.5.0", "pandas==2.3.3", "numpy==2.2.6"];

/// Hours that hold for at least this many sessions in a row are regular; half days never do.
const REGULAR_RUN_MIN: usize = 5;

/// MIC, time zone, name, and the last date that its source knows.
const VENUES: &[(&str, &str, &str, &str)] = &[
    ("BVMF", "America/Sao_Paulo", "B3, São Paulo", "2027-12-31"),
    ("CMES", "America/Chicago", "CME equity futures", "2027-12-31"),
    ("XAMS", "Europe/Amsterdam", "Euronext Amsterdam", "2027-12-31"),
    ("XASX", "Australia/Sydney", "Australian Securities Exchange", "2027-12-31"),
    ("XBOM", "Asia/Kolkata", "BSE, Bombay", "2026-12-31"),
    ("XETR", "Europe/Berlin", "Xetra", "2027-12-31"),
    ("XFRA", "Europe/Berlin", "Frankfurt Stock Exchange", "2027-12-31"),
    ("XHKG", "Asia/Hong_Kong", "Hong Kong Stock Exchange", "2027-12-31"),
    ("XKRX", "Asia/Seoul", "Korea Exchange", "2027-12-31"),
    ("XLON", "Europe/London", "London Stock Exchange", "2027-12-31"),
    ("XNYS", "America/New_York", "New York Stock Exchange", "2027-12-31"),
    ("XPAR", "Europe/Paris", "Euronext Paris", "2027-12-31"),
    ("XSES", "Asia/Singapore", "Singapore Exchange", "2026-12-31"),
    ("XSWX", "Europe/Zurich", "SIX Swiss Exchange", "2027-12-31"),
    ("XTKS", "Asia/Tokyo", "Tokyo Stock Exchange", "2027-12-31"),
    ("XTSE", "America/Toronto", "Toronto Stock Exchange", "2027-12-31"),
];

/// One session of a source.
#[derive(Clone)]
struct Row {
    date: Date,
    open: Timestamp,
    close: Timestamp,
    recess: Option<(Timestamp, Timestamp)>,
    /// Begin of the session before the regular one, and end of the one behind it.
    extended: Option<(Timestamp, Timestamp)>,
}

/// Writes the tables below `root`, or compares them with what is committed there.
///
/// # Errors
/// If a package cannot be installed, a source or a correction is not as expected, or (with `check`) a file differs.
pub fn run(root: &Path, check: bool) -> Result<()> {
    let exported = export(root)?;
    let crate_dir = root.join("crates/tradewatch-calendar");
    let corrections = std::fs::read_to_string(crate_dir.join("data/corrections.txt"))?;
    let mut stale = Vec::new();
    for (mic, zone_name, name, last) in VENUES {
        let zone = TimeZone::get(zone_name)?;
        let text = std::fs::read_to_string(exported.join(format!("{mic}.csv")))?;
        let rows = read(&text).with_context(|| format!("{mic}.csv"))?;
        let rows = correct(rows, mic, &zone, &corrections)?;
        let last: Date = last.parse()?;
        let files = [
            (format!("data/{mic}.txt"), condense(mic, zone_name, name, &zone, &rows, last)?),
            (format!("tests/data/{mic}.txt"), list(&rows)?),
        ];
        for (file, text) in files {
            let path = crate_dir.join(&file);
            if !check {
                std::fs::write(&path, text).with_context(|| format!("write {file}"))?;
            } else if std::fs::read_to_string(&path).ok().as_deref() != Some(text.as_str()) {
                stale.push(file);
            }
        }
        println!("{mic}: {} sessions to {last}", rows.len());
    }
    if !stale.is_empty() {
        bail!("not what the sources give, run `cargo xtask calendars`: {}", stale.join(", "));
    }
    Ok(())
}

/// Installs the packages and exports the sessions; answers the folder with a CSV for each venue.
fn export(root: &Path) -> Result<PathBuf> {
    let venv = root.join("target/calendars-env");
    let out = root.join("target/calendars");
    std::fs::create_dir_all(&out)?;
    if !venv.join("bin/python").exists() {
        crate::ci::command(root, "python3", &["-m", "venv", &venv.to_string_lossy()], &[])?;
    }
    let python = venv.join("bin/python").to_string_lossy().into_owned();
    let mut install = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    install.extend(PACKAGES);
    crate::ci::command(root, &python, &install, &[])?;
    crate::ci::command(root, &python, &["xtask/src/calendars/export.py", &out.to_string_lossy()], &[])?;
    Ok(out)
}

fn read(text: &str) -> Result<Vec<Row>> {
    let mut lines = text.lines();
    ensure!(lines.next() == Some("date,open,close,break_start,break_end,pre,post"), "unexpected header");
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split(',').collect();
            let at = |i: usize| -> Result<Option<Timestamp>> {
                Ok(if cells[i].is_empty() { None } else { Some(cells[i].parse()?) })
            };
            Ok(Row {
                date: cells[0].parse()?,
                open: at(1)?.context("a session without open")?,
                close: at(2)?.context("a session without close")?,
                recess: at(3)?.zip(at(4)?).filter(|(from, to)| from < to),
                extended: at(5)?.zip(at(6)?),
            })
        })
        .collect()
}

/// Applies the lines of one venue: `MIC closed DATE why` and `MIC hours DATE 09:15-10:00[,11:30-12:30] why`.
fn correct(rows: Vec<Row>, mic: &str, zone: &TimeZone, corrections: &str) -> Result<Vec<Row>> {
    let mut rows: BTreeMap<Date, Row> = rows.into_iter().map(|row| (row.date, row)).collect();
    for line in corrections.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() != Some(&mic) {
            continue;
        }
        let date: Date = words.get(2).context("correction without date")?.parse()?;
        match words[1] {
            "closed" => {
                rows.remove(&date)
                    .with_context(|| format!("{line}: the source agrees by now, delete the line"))?;
            }
            "hours" => {
                let mut times = Vec::new();
                for part in words.get(3).context("correction without hours")?.split([',', '-']) {
                    let time: Time = format!("{part}:00").parse()?;
                    times.push(zone.to_zoned(date.to_datetime(time))?.timestamp());
                }
                let recess = match times.as_slice() {
                    [_, _] => None,
                    [_, from, to, _] => Some((*from, *to)),
                    _ => bail!("{line}: one or two pairs of times"),
                };
                let row = Row { date, open: times[0], close: times[times.len() - 1], recess, extended: None };
                if let Some(old) = rows.insert(date, row.clone())
                    && (old.open, old.close, old.recess) == (row.open, row.close, row.recess)
                {
                    bail!("{line}: the source agrees by now, delete the line");
                }
            }
            other => bail!("{line}: unknown word {other}"),
        }
    }
    Ok(rows.into_values().collect())
}

/// Hours in local time: `09:30-16:00`, `09:00-11:30,12:30-15:00`, `-17:00-16:00` (from the day before), and
/// ` extended 04:00-20:00` behind them.
fn hours(row: &Row, zone: &TimeZone) -> Result<String> {
    let local = |ts: Timestamp| -> Result<String> {
        let at = zone.to_datetime(ts);
        let day = match at.date().since(row.date)?.get_days() {
            0 => "",
            -1 => "-",
            other => bail!("session {} has a bound {other} days away", row.date),
        };
        Ok(format!("{day}{:02}:{:02}", at.hour(), at.minute()))
    };
    let (open, close) = (local(row.open)?, local(row.close)?);
    let mut text = match row.recess {
        None => format!("{open}-{close}"),
        Some((from, to)) => format!("{open}-{},{}-{close}", local(from)?, local(to)?),
    };
    if let Some((pre, post)) = row.extended {
        write!(text, " extended {}-{}", local(pre)?, local(post)?)?;
    }
    Ok(text)
}

fn condense(
    mic: &str,
    zone_name: &str,
    name: &str,
    zone: &TimeZone,
    rows: &[Row],
    last: Date,
) -> Result<String> {
    let hours: Vec<String> = rows.iter().map(|row| hours(row, zone)).collect::<Result<_>>()?;
    let mut regular: Vec<(Date, &str)> = Vec::new();
    let mut special: Vec<(Date, &str)> = Vec::new();
    let run = |i: usize| hours[i..].iter().take_while(|h| **h == hours[i]).count();
    // The span may begin with a special day: the first regular hours hold from its first session on.
    let first_regular = (0..rows.len()).find(|i| run(*i) >= REGULAR_RUN_MIN).context("no regular hours")?;
    regular.push((rows[0].date, &hours[first_regular]));
    for (i, row) in rows.iter().enumerate() {
        let current = regular.last().map_or("", |(_, hours)| *hours);
        let weekday = !matches!(row.date.weekday(), Weekday::Saturday | Weekday::Sunday);
        // A lone exception inside a run must not hide that the regular hours changed.
        if hours[i] != current && weekday && run(i) >= REGULAR_RUN_MIN {
            regular.push((row.date, &hours[i]));
        } else if hours[i] != current || !weekday {
            special.push((row.date, &hours[i]));
        }
    }
    let first = Date::constant(2015, 1, 1);
    let sessions: BTreeSet<Date> = rows.iter().map(|row| row.date).collect();
    let mut closed: BTreeMap<i16, Vec<Date>> = BTreeMap::new();
    let mut day = first;
    while day <= last {
        let weekday = !matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        if weekday && !sessions.contains(&day) {
            closed.entry(day.year()).or_default().push(day);
        }
        day = day.checked_add(1.day())?;
    }
    let mut out = format!("mic {mic}\nname {name}\nzone {zone_name}\nspan {first} {last}\n");
    for (date, hours) in regular {
        writeln!(out, "regular {date} {hours}")?;
    }
    for dates in closed.values() {
        let dates: Vec<String> = dates.iter().map(Date::to_string).collect();
        writeln!(out, "closed {}", dates.join(" "))?;
    }
    for (date, hours) in special {
        writeln!(out, "hours {date} {hours}")?;
    }
    Ok(out)
}

/// Every session in UTC: one line per month and hours, in minutes from midnight UTC of the session's date.
fn list(rows: &[Row]) -> Result<String> {
    let mut lines: BTreeMap<(String, String), Vec<i8>> = BTreeMap::new();
    for row in rows {
        let midnight = row.date.to_zoned(TimeZone::UTC)?.timestamp();
        let minutes = |ts: Timestamp| (ts.as_second() - midnight.as_second()) / 60;
        let (open, close) = (minutes(row.open), minutes(row.close));
        let mut hours = match row.recess {
            None => format!("{open}..{close}"),
            Some((from, to)) => format!("{open}..{},{}..{close}", minutes(from), minutes(to)),
        };
        if let Some((pre, post)) = row.extended {
            write!(hours, "({}..{})", minutes(pre), minutes(post))?;
        }
        let month = format!("{:04}-{:02}", row.date.year(), row.date.month());
        lines.entry((month, hours)).or_default().push(row.date.day());
    }
    let mut out = String::new();
    for ((month, hours), days) in lines {
        let days: Vec<String> = days.iter().map(|day| format!("{day:02}")).collect();
        writeln!(out, "{month} {hours} {}", days.join(" "))?;
    }
    Ok(out)
}
