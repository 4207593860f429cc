//! `kill -9`, for real: a child process commits and says what it committed; then it is killed.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tradewatch_tsdb::{Db, FsDir, Options, Timestamp};

use crate::{Random, contents, labels, same};

/// Rounds of a usual run; `TRADEWATCH_KILLS` raises it for the night.
const ROUNDS: u64 = 3;
const SERIES: u64 = 20;
/// Where the child finds its directory; without it the test is the parent.
const CHILD_DIR: &str = "TRADEWATCH_KILL_CHILD_DIR";
/// The first time that the child commits.
const CHILD_FROM: &str = "TRADEWATCH_KILL_CHILD_FROM";

fn value(n: u64, ts: i64) -> f64 {
    (n as i64 * 1000 + ts % 1000) as f64 / 8.0
}

fn open(path: &std::path::Path) -> (Db, tradewatch_tsdb::Recovery) {
    let options = Options { segment_bytes_max: 20_000, checkpoint_bytes: 60_000, ..Options::default() };
    Db::open(Arc::new(FsDir::new(path).expect("a directory")), options).expect("the directory opens")
}

/// Commits for ever, a line of output for each commit, with syncs and checkpoints in between.
fn child(path: &str, from: i64) -> ! {
    let (db, _) = open(path.as_ref());
    let mut out = std::io::stdout().lock();
    for ts in from.. {
        let mut appender = db.appender();
        for n in 0..SERIES {
            let id = appender.series(&labels(n));
            appender.append(id, Timestamp::from_millis(ts), value(n, ts)).expect("in order");
        }
        appender.commit().expect("the disk works");
        writeln!(out, "committed {ts}").expect("the parent listens");
        out.flush().expect("the parent listens");
        if ts % 50 == 0 {
            db.sync().expect("the disk works");
            db.compact(Timestamp::from_millis(ts)).expect("the disk works");
        }
    }
    unreachable!("time does not end")
}

#[test]
fn kill_9_loses_nothing() {
    if let (Ok(path), Ok(from)) = (std::env::var(CHILD_DIR), std::env::var(CHILD_FROM)) {
        child(&path, from.parse().expect("a number"));
    }
    let rounds = std::env::var("TRADEWATCH_KILLS").map_or(ROUNDS, |n| n.parse().expect("a number"));
    let directory = tempfile::tempdir().expect("a directory");
    let mut random = Random(42);
    let mut next = 1i64;
    for round in 0..rounds {
        let acknowledged = run_and_kill(directory.path(), next, 20 + random.below(400) as usize);
        let (db, recovery) = open(directory.path());
        assert_eq!(recovery.damage, [], "round {round}");
        // The child may have committed once more before it could say so, and then everything of it is there.
        let found = contents(&db);
        let newest = *found.values().next().expect("series").last_key_value().expect("samples").0;
        assert!(
            newest == acknowledged || newest == acknowledged + 1,
            "round {round}: {acknowledged} {newest}"
        );
        let samples =
            |n: u64| (1..=newest).map(|ts| (ts, value(n, ts).to_bits())).collect::<BTreeMap<_, _>>();
        same(&found, &(0..SERIES).map(|n| (labels(n).to_string(), samples(n))).collect());
        next = newest + 1;
    }
    println!("{rounds} rounds, {} commits, none lost", next - 1);
}

/// Starts the child, kills it after as many lines, and returns the last time that it acknowledged.
fn run_and_kill(path: &std::path::Path, from: i64, lines: usize) -> i64 {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "kill::kill_9_loses_nothing", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, path)
        .env(CHILD_FROM, from.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("piped"));
    let mut newest = None;
    let mut read = |wanted: usize| {
        let (mut line, mut seen) = (String::new(), 0);
        while seen < wanted && output.read_line(&mut line).expect("text") > 0 {
            if let Some(ts) = line.trim_end_matches('\n').strip_prefix("committed ")
                && line.ends_with('\n')
            {
                newest = Some(ts.parse::<i64>().expect("a number"));
                seen += 1;
            }
            line.clear();
        }
    };
    read(lines);
    child.kill().expect("SIGKILL"); // Child::kill sends SIGKILL on Unix.
    child.wait().expect("it is dead");
    // What it had said before it died, and we had not read, was acknowledged too.
    read(usize::MAX);
    newest.expect("the child committed")
}
