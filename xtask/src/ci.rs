//! The whole test run, stage by stage, with the seconds that each took.
//!
//! A stage that fails does not stop the others, so that one run shows all that is wrong; the run as a whole then fails.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// How long the long checks run.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Size {
    /// Fits into 25 minutes on two cores.
    Small,
    /// For the night.
    Full,
}

/// What is shipped, once it is built.
const RELEASE: &str = "target/release/tradewatch";
/// `-D warnings` as `cargo clippy` hands it to its driver.
const WARNINGS_ARE_ERRORS: &str = "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__";

/// Debian packages with the real components that the tests use.
const DEBIAN_PACKAGES: &[&str] = &[
    "postgresql",
    "redis-server",
    "rabbitmq-server",
    "prometheus",
    "prometheus-alertmanager",
    "chromium",
    "fonts-dejavu-core",
    "curl",
    "python3-venv",
    "dnsmasq-base",
    "python3-aiosmtpd",
    "valgrind",
];
/// The files that show that those packages are there.
const DEBIAN_FILES: &[&str] = &[
    "/usr/bin/redis-server",
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/usr/bin/prometheus",
    "/usr/bin/promtool",
    "/usr/bin/amtool",
    "/usr/bin/chromium",
    "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    "/usr/bin/curl",
    "/usr/sbin/dnsmasq",
    "/usr/lib/python3/dist-packages/aiosmtpd/__init__.py",
    "/usr/bin/valgrind",
];
/// PyPI packages of the outside clients.
const PYPI_PACKAGES: &[&str] = &["alpaca-py==0.44.0", "prometheus-client==0.26.0"];

/// What a stage knows.
pub struct Run {
    /// The repository.
    pub root: PathBuf,
    size: Size,
    only: Option<String>,
    results: Vec<(&'static str, f64, Option<String>)>,
}

/// Runs the stages in order and prints a table of their seconds.
///
/// # Errors
/// If a stage failed; the table names it.
pub fn run(root: &Path, size: Size, only: Option<&str>) -> Result<()> {
    match size {
        Size::Small => {
            println!("long checks at their small sizes: 200 crash seeds, 3 kills, a scene of 120 s")
        }
        Size::Full => println!(
            "long checks at full size: 10,000 crash seeds, 100 kills, 200,000 fuzz rounds, a scene of 600 s"
        ),
    }
    let mut run = Run { size, only: only.map(str::to_owned), ..Run::alone(root) };
    run.stage("install", install);
    run.stage("format", |run| cargo(run, &["fmt", "--all", "--check"]));
    // Clippy's driver is the compiler here: it lints and builds in one, so that all is compiled once.
    run.stage("clippy", |run| cargo(run, &["test", "--workspace", "--locked", "--quiet", "--no-run"]));
    run.stage("tests", |run| cargo(run, &["test", "--workspace", "--locked", "--quiet", "--no-fail-fast"]));
    run.stage("budget", |run| crate::budget::run(run, false));
    run.stage("loom", |run| {
        let args = ["test", "--quiet", "--locked", "--profile", "loom", "-p", "tradewatch-loom"];
        cargo_in(run, &run.root.join("bench"), &args)
    });
    run.stage("readers", crate::readers::run);
    run.stage("dashboards", |run| crate::dashboards::run(&run.root, true));
    if size == Size::Full {
        // Fetches the published tables anew, so it belongs to the night.
        run.stage("calendars", |run| crate::calendars::run(&run.root, true));
    }
    run.stage("conformance", |run| {
        let options = crate::conformance::Options { quiet: true, ratchet: true, ..Default::default() };
        crate::conformance::run(&run.root, &options)
    });
    run.stage("release build and demo scene", release_and_scene);
    run.stage("rules", rules);
    run.stage("check", check);
    run.stage("ui", ui);
    run.stage("drills", drills);
    run.stage("quiet", quiet);
    run.stage("outside clients", crate::clients::run);
    if size == Size::Full {
        run.stage("alert latency", |run| {
            crate::bench::alerts(&run.root, &crate::bench::Options::shipped(&run.root))
        });
    }
    run.report()
}

impl Run {
    /// What a stage knows when it is run by itself.
    pub fn alone(root: &Path) -> Run {
        Run { root: root.to_path_buf(), size: Size::Small, only: None, results: Vec::new() }
    }

    /// How long the long checks run.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The executable of the stages that mostly wait: that of the tests, at night the one that is shipped.
    pub fn executable(&self) -> &'static str {
        match self.size {
            Size::Small => "target/debug/tradewatch",
            Size::Full => RELEASE,
        }
    }

    fn stage(&mut self, name: &'static str, body: impl FnOnce(&Run) -> Result<()>) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            return;
        }
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = body(self);
        let seconds = start.elapsed().as_secs_f64();
        let error = outcome.err().map(|error| format!("{error:#}"));
        match &error {
            None => println!("=== {name}: passed in {seconds:.1} s"),
            Some(error) => println!("=== {name}: FAILED in {seconds:.1} s: {error}"),
        }
        self.results.push((name, seconds, error));
    }

    fn report(&self) -> Result<()> {
        println!("\n{:<24} {:>8}", "stage", "seconds");
        for (name, seconds, error) in &self.results {
            println!("{name:<24} {seconds:>8.1}{}", if error.is_some() { "  FAILED" } else { "" });
        }
        let failed = self.results.iter().filter(|(_, _, error)| error.is_some()).count();
        let total: f64 = self.results.iter().map(|(_, seconds, _)| seconds).sum();
        println!("{:<24} {total:>8.1}", "all");
        println!("\n{} passed, {failed} failed", self.results.len() - failed);
        if failed > 0 {
            bail!("{failed} of {} stages failed", self.results.len());
        }
        Ok(())
    }
}

/// Runs a command in `dir` and fails with its name if it fails.
pub fn command(dir: &Path, program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<()> {
    let status = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(dir)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", args.join(" "));
    }
    Ok(())
}

/// Runs cargo in the repository, each crate of it compiled and linted by Clippy's driver; a warning is an error.
fn cargo(run: &Run, args: &[&str]) -> Result<()> {
    let linted = [("RUSTC_WORKSPACE_WRAPPER", "clippy-driver"), ("CLIPPY_ARGS", WARNINGS_ARE_ERRORS)];
    cargo_with(run, &run.root, args, &linted)
}

/// Runs cargo in a folder of the repository, the sizes of long checks in its environment.
pub fn cargo_in(run: &Run, dir: &Path, args: &[&str]) -> Result<()> {
    cargo_with(run, dir, args, &[])
}

fn cargo_with(run: &Run, dir: &Path, args: &[&str], more: &[(&str, &str)]) -> Result<()> {
    // The long checks read their size from the environment; without it they run small.
    let env: &[(&str, &str)] = match run.size {
        Size::Small => &[("CARGO_INCREMENTAL", "0")],
        Size::Full => &[
            ("CARGO_INCREMENTAL", "0"),
            ("TRADEWATCH_SEEDS", "10000"),
            ("TRADEWATCH_KILLS", "100"),
            ("TRADEWATCH_FUZZ_ROUNDS", "200000"),
        ],
    };
    command(dir, &std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args, &[env, more].concat())
}

fn install(run: &Run) -> Result<()> {
    if !DEBIAN_FILES.iter().all(|file| Path::new(file).exists()) || !Path::new("/usr/lib/postgresql").exists()
    {
        let env = [("DEBIAN_FRONTEND", "noninteractive")];
        command(&run.root, "apt-get", &["update", "-qq"], &env)?;
        let mut args = vec!["install", "-y", "-qq", "--no-install-recommends"];
        args.extend(DEBIAN_PACKAGES);
        command(&run.root, "apt-get", &args, &env)?;
    }
    let venv = python_env(run);
    if !venv.join("bin/python").exists() {
        command(&run.root, "python3", &["-m", "venv", &venv.to_string_lossy()], &[])?;
    }
    let mut args = vec!["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    args.extend(PYPI_PACKAGES);
    command(&run.root, &venv.join("bin/python").to_string_lossy(), &args, &[])?;
    command(&run.root.join("ui"), "npm", &["ci", "--no-fund", "--no-audit"], &[])
}

/// The Python environment of the outside clients.
pub fn python_env(run: &Run) -> PathBuf {
    run.root.join("target/python")
}

/// The real promtool accepts the shipped configuration and rules, and the rules' unit tests pass there.
fn rules(run: &Run) -> Result<()> {
    for platform in std::fs::read_dir(run.root.join("platforms"))? {
        let folder = platform?.path();
        let rules: Vec<String> = std::fs::read_dir(folder.join("rules"))?
            .map(|entry| Ok(entry?.path().to_string_lossy().into_owned()))
            .collect::<Result<_>>()?;
        let (tests, rules): (Vec<_>, Vec<_>) =
            rules.iter().map(String::as_str).partition(|path| path.ends_with(".test.yml"));
        command(&folder, "promtool", &[&["check", "rules"], rules.as_slice()].concat(), &[])?;
        command(&folder, "promtool", &[&["test", "rules"], tests.as_slice()].concat(), &[])?;
        // The same files by our own runner: both must judge alike.
        let ours = ["rules", "test"];
        command(&run.root, RELEASE, &[&ours, tests.as_slice()].concat(), &[])?;
        for config in ["prometheus.yml", "prometheus.documents.yml"] {
            if folder.join(config).exists() {
                command(&folder, "promtool", &["check", "config", config], &[])?;
            }
        }
        if folder.join("alertmanager.yml").exists() {
            command(&folder, "amtool", &["check-config", "alertmanager.yml"], &[])?;
        }
    }
    Ok(())
}

/// Builds what is shipped.
fn release(run: &Run) -> Result<()> {
    cargo_in(run, &run.root, &["build", "--release", "--locked", "--quiet", "--bin", "tradewatch"])
}

/// Our own platforms have nothing that can never work; together, since the one is the monitor of the other.
fn check(run: &Run) -> Result<()> {
    let ours =
        ["check", "--platform", "trading-platform", "platforms/trading-platform", "platforms/tradewatch"];
    command(&run.root, RELEASE, &ours, &[])
}

/// The UI's types and tests, and that the committed build is what its source gives.
fn ui(run: &Run) -> Result<()> {
    let ui = run.root.join("ui");
    for script in ["check", "test", "build"] {
        command(&ui, "npm", &["run", "--silent", script], &[])?;
    }
    command(&run.root, "git", &["diff", "--exit-code", "--stat", "--", "ui/dist"], &[])
        .context("ui/dist is not what `npm run build` gives; commit the new build")?;
    command(&ui, "npm", &["run", "--silent", "test:browser"], &[])
}

/// Every alert of the platform fires by a real fault, is told and clears; with its threshold out of reach its drill fails.
fn drills(run: &Run) -> Result<()> {
    let all = ["drill", "--platform", "trading-platform"];
    command(&run.root, RELEASE, &all, &[])?;
    command(&run.root, RELEASE, &[&all[..], &["--out-of-reach"]].concat(), &[])
}

/// Normal trading pages nobody and incidents placed in it are found: around holidays, half days and changes of clocks,
/// at night in the whole year.
fn quiet(run: &Run) -> Result<()> {
    let size: &[&str] = match run.size {
        Size::Small => &["--edges", "--incidents", "6"],
        Size::Full => &["--incidents", "200"],
    };
    let year = ["quiet", "--platform", "trading-platform", "--from", "2026-01-01", "--to", "2026-12-31"];
    command(&run.root, RELEASE, &[&year[..], size].concat(), &[])
}

/// The scene mostly waits, so the release is built meanwhile; at night it is what the scene runs.
fn release_and_scene(run: &Run) -> Result<()> {
    if run.size == Size::Full {
        release(run)?;
        return demo(run);
    }
    std::thread::scope(|scope| {
        let scene = scope.spawn(|| demo(run));
        let built = release(run);
        let played = scene.join().unwrap_or_else(|_| bail!("the scene broke off"));
        built.and(played)
    })
}

/// The announced scene of faults, to its summary.
fn demo(run: &Run) -> Result<()> {
    let data = run.root.join("target/demo-scene");
    if data.exists() {
        std::fs::remove_dir_all(&data)?;
    }
    let seconds = if run.size == Size::Small { "120s" } else { "600s" };
    command(
        &run.root,
        run.executable(),
        &[
            "demo",
            "--for",
            seconds,
            "--listen",
            "127.0.0.1:19090",
            "--port-base",
            "18000",
            "--data-dir",
            &data.to_string_lossy(),
        ],
        &[],
    )
}
