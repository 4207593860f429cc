//! Commands on the files of a store: back up, restore, import, look into.

use std::collections::HashMap;
use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use tradewatch_metrics::parse::{self, Entry};
use tradewatch_tsdb::{Db, Dir as _, FsDir, Labels, Options, SeriesId, Timestamp};

use crate::DATA_DIR;

/// As much of a file is read and parsed at a time.
const PIECE_BYTES: usize = 8 << 20;
/// As many samples are gathered in memory, packed, before blocks are written.
const GATHERED_MAX: u64 = 100_000_000;

/// Options of `backup`.
#[derive(Args)]
pub struct BackupArgs {
    /// A new or empty folder for the copy
    pub target: PathBuf,
    /// The data directory of a monitor that does not run; a running one makes its own with
    /// POST /api/v1/admin/tsdb/snapshot
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
}

/// Options of `restore`.
#[derive(Args)]
pub struct RestoreArgs {
    /// What `tradewatch backup` or the snapshot call of the API has made
    pub backup: PathBuf,
    /// The data directory that gets it; it has no store yet
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
}

/// Options of `import`.
#[derive(Args)]
pub struct ImportArgs {
    /// OpenMetrics files in which every sample has a timestamp
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The data directory of a monitor that does not run
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
}

/// What `tsdb` can do.
#[derive(Subcommand)]
pub enum TsdbAction {
    /// Figures: what is stored, and which metrics and labels it comes from
    Stats(TsdbArgs),
    /// Read every chunk and tell what is damaged
    Verify(TsdbArgs),
    /// Merge blocks, and remove deleted samples for good
    Compact(TsdbArgs),
}

/// Options of `tsdb`.
#[derive(Args)]
pub struct TsdbArgs {
    /// The data directory of a monitor that does not run
    #[arg(long, default_value = DATA_DIR)]
    pub data_dir: PathBuf,
    /// Lines of each list
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
}

fn open(data_dir: &Path) -> Result<Db> {
    let folder = data_dir.join("tsdb");
    if !folder.is_dir() {
        bail!("{} holds no store; name the data directory with --data-dir", data_dir.display());
    }
    open_new(&folder)
}

fn open_new(folder: &Path) -> Result<Db> {
    let dir = FsDir::new(folder).with_context(|| format!("open {}", folder.display()))?;
    let (db, recovery) = Db::open(Arc::new(dir), Options::default())?;
    for damage in &recovery.damage {
        eprintln!("{damage}");
    }
    Ok(db)
}

/// `tradewatch backup`.
pub fn backup(args: &BackupArgs) -> Result<ExitCode> {
    let target = FsDir::new(&args.target).with_context(|| format!("create {}", args.target.display()))?;
    if !target.list()?.is_empty() {
        bail!("{} is not empty; name a new folder", args.target.display());
    }
    let db = open(&args.data_dir)?;
    let copied = db.snapshot(&target)?;
    db.close()?;
    crate::outln!("{} files, {} in {}", copied.files, bytes(copied.bytes), args.target.display());
    Ok(ExitCode::SUCCESS)
}

/// `tradewatch restore`.
pub fn restore(args: &RestoreArgs) -> Result<ExitCode> {
    if !args.backup.is_dir() {
        bail!("{} is no folder", args.backup.display());
    }
    let folder = args.data_dir.join("tsdb");
    let (from, to) = (FsDir::new(&args.backup)?, FsDir::new(&folder)?);
    let (copied, recovery) = tradewatch_tsdb::restore(&from, Arc::new(to))?;
    for damage in &recovery.damage {
        eprintln!("{damage}");
    }
    crate::outln!(
        "{} files, {}: {} series, {} samples, every chunk read",
        copied.files,
        bytes(copied.bytes),
        recovery.series,
        recovery.samples
    );
    Ok(if recovery.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `tradewatch import`.
pub fn import(args: &ImportArgs) -> Result<ExitCode> {
    let db = open_new(&args.data_dir.join("tsdb"))?;
    let mut gathering = Gathering::new();
    let mut total = tradewatch_tsdb::Imported::default();
    for path in &args.files {
        read_file(path, &mut gathering, |gathering| {
            add(&mut total, db.import(&gathering.db)?);
            *gathering = Gathering::new();
            Ok(())
        })?;
    }
    add(&mut total, db.import(&gathering.db)?);
    let stored = db.stats().blocks;
    db.close()?;
    crate::outln!(
        "{} samples of {} series in {} blocks; {} were there already; blocks take {}",
        total.samples,
        total.series,
        total.blocks,
        total.known,
        bytes(stored.bytes)
    );
    Ok(ExitCode::SUCCESS)
}

/// The samples of one OpenMetrics file, in memory.
///
/// # Errors
/// Each with its line; also when there are more samples than memory should hold.
pub fn read_openmetrics(path: &Path) -> Result<Db> {
    let mut gathering = Gathering::new();
    read_file(path, &mut gathering, |_| {
        bail!(
            "{} holds more than {GATHERED_MAX} samples; bring it into a store with `tradewatch import` first",
            path.display()
        )
    })?;
    if gathering.samples == 0 {
        bail!("{} holds no samples", path.display());
    }
    Ok(gathering.db)
}

/// Reads a file piece by piece; `full` is called when much was gathered.
fn read_file(
    path: &Path,
    gathering: &mut Gathering,
    mut full: impl FnMut(&mut Gathering) -> Result<()>,
) -> Result<()> {
    let mut file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let length = file.metadata().map_or(0, |about| about.len());
    let (mut rest, mut line, mut done) = (Vec::new(), 0, 0u64);
    loop {
        let before = rest.len();
        rest.resize(before + PIECE_BYTES, 0);
        let count = file.read(&mut rest[before..]).with_context(|| format!("read {}", path.display()))?;
        rest.truncate(before + count);
        done += count as u64;
        let end = if count == 0 {
            rest.len()
        } else {
            rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1)
        };
        let tail = rest.split_off(end);
        let lines = rest.iter().filter(|byte| **byte == b'\n').count();
        gathering.add(rest, path, line)?;
        line += lines;
        rest = tail;
        progress(path, done, length);
        if gathering.samples > GATHERED_MAX {
            full(gathering)?;
        }
        if count == 0 {
            return Ok(());
        }
    }
}

fn add(total: &mut tradewatch_tsdb::Imported, more: tradewatch_tsdb::Imported) {
    total.series = total.series.max(more.series);
    total.samples += more.samples;
    total.known += more.known;
    total.blocks += more.blocks;
}

/// One line that is written over, for people only.
fn progress(path: &Path, done: u64, length: u64) {
    if std::io::stderr().is_terminal() {
        let end = if done >= length { "\n" } else { "" };
        eprint!("\r{}: {} of {}{end}", path.display(), bytes(done), bytes(length));
    }
}

/// Samples in memory, packed, in whatever order they come.
struct Gathering {
    db: Db,
    known: HashMap<Box<[u8]>, SeriesId>,
    samples: u64,
}

impl Gathering {
    fn new() -> Gathering {
        let options = Options {
            out_of_order_window: Duration::MAX,
            chunk_samples_max: 4096,
            series_max: usize::MAX,
            ..Options::default()
        };
        Gathering { db: Db::in_memory_with(options), known: HashMap::new(), samples: 0 }
    }

    /// Takes whole lines, the first of which is number `line` + 1 of the file.
    fn add(&mut self, mut text: Vec<u8>, path: &Path, line: usize) -> Result<()> {
        let place = |at: usize| format!("{}:{}", path.display(), line + at);
        if !text.ends_with(b"# EOF\n") {
            text.extend_from_slice(b"# EOF\n");
        }
        let mut parser = parse::openmetrics_lenient(&text);
        let mut appender = self.db.appender();
        let mut at = 0;
        while let Some(entry) = parser.next() {
            at += 1;
            let entry = entry
                .map_err(|error| anyhow::anyhow!("{}:{}: {error}", place(error.line()), error.column()))?;
            let Entry::Sample(sample) = entry else { continue };
            let Some(ts) = sample.timestamp else {
                bail!("{}: the sample of {} has no timestamp; an import needs one", place(at), sample.series);
            };
            let id = match self.known.get(sample.series.as_bytes()) {
                Some(id) => *id,
                None => {
                    let name = [("__name__", sample.name.as_ref())];
                    let rest = sample.labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
                    let id = appender.series(&Labels::from_pairs(name.into_iter().chain(rest)));
                    self.known.insert(sample.series.as_bytes().into(), id);
                    id
                }
            };
            // The first of two samples at one time stays.
            match appender.append(id, Timestamp::from_millis(ts), sample.value) {
                Err(error) if !error.is_duplicate() => bail!("{}: {}: {error}", place(at), sample.series),
                _ => {}
            }
        }
        self.samples += appender.commit()?.samples as u64;
        Ok(())
    }
}

/// `tradewatch tsdb`.
pub fn tsdb(action: &TsdbAction) -> Result<ExitCode> {
    match action {
        TsdbAction::Stats(args) => {
            let db = open(&args.data_dir)?;
            stats(&db, args.limit);
            db.close()?;
        }
        TsdbAction::Verify(args) => {
            let db = open(&args.data_dir)?;
            let damage = db.verify();
            damage.iter().for_each(|damage| crate::outln!("{damage}"));
            let stats = db.stats();
            crate::outln!(
                "{} blocks, {} samples: {} places damaged",
                stats.blocks.count,
                stats.samples,
                damage.len()
            );
            db.close()?;
            return Ok(if damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        TsdbAction::Compact(args) => {
            let db = open(&args.data_dir)?;
            let before = db.stats().blocks;
            db.checkpoint()?;
            let rewritten = db.clean_tombstones()?;
            let done = db.compact(tradewatch_server::clock::now())?;
            let after = db.stats().blocks;
            crate::outln!(
                "{} blocks merged, {rewritten} rewritten: {} in {} blocks, {} before",
                done.blocks_merged,
                bytes(after.bytes),
                after.count,
                bytes(before.bytes)
            );
            db.close()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn stats(db: &Db, limit: usize) {
    let stats = db.stats();
    let time = |ts: Option<Timestamp>| ts.map_or_else(|| "-".to_owned(), |ts| ts.to_string());
    crate::outln!("series      {}", stats.series);
    crate::outln!("samples     {}", stats.samples);
    crate::outln!("from        {}", time(stats.min_time));
    crate::outln!("to          {}", time(stats.max_time));
    crate::outln!("blocks      {}, {}", stats.blocks.count, bytes(stats.blocks.bytes));
    if let Some(wal) = stats.wal {
        crate::outln!("log         {}, checkpoint {}", bytes(wal.bytes), bytes(wal.checkpoint_bytes));
    }
    let cardinality = db.cardinality(limit);
    for (title, list) in [
        ("metrics by series", &cardinality.series_by_metric),
        ("labels by values", &cardinality.values_by_label),
        ("pairs by series", &cardinality.series_by_pair),
    ] {
        crate::outln!("\n{title}");
        list.iter().for_each(|(name, count)| crate::outln!("{count:>10}  {name}"));
    }
}

/// A size as people read it.
fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.1} MB", count as f64 / 1e6),
    }
}
