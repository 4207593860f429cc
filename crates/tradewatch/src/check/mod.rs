//! `tradewatch check`: reads files, asks targets or a server what there is, and prints what can never work.

mod ask;
mod gather;

pub use ask::{body, form};

use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tradewatch_check::{Content, Input, Project, World, check, pages, print};

/// The platform whose catalogue describes the monitor itself.
const MONITOR: &str = "tradewatch";

/// Options of `check`.
#[derive(Args)]
pub struct CheckArgs {
    /// Rule files, Grafana dashboards, prometheus.yml, alertmanager.yml, or folders of them
    #[arg(required_unless_present = "explain")]
    pub paths: Vec<PathBuf>,
    /// Check against the catalogue of this platform
    #[arg(long, value_name = "NAME")]
    pub platform: Option<String>,
    /// A folder of platforms instead of ./platforms or the built-in ones
    #[arg(long, value_name = "DIR")]
    pub platforms: Option<PathBuf>,
    /// Check against what this Prometheus-compatible server knows
    #[arg(long, value_name = "URL", conflicts_with = "platform")]
    pub live: Option<String>,
    /// How the findings are printed
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// Show information and suppressed findings too
    #[arg(long)]
    pub all: bool,
    /// A file of findings to keep, with reasons: TW030 dashboards/old.json "Order rate" # why
    #[arg(long, value_name = "FILE")]
    pub ignore: Option<PathBuf>,
    /// Print the page of a check, for example TW003, and end
    #[arg(long, value_name = "ID")]
    pub explain: Option<String>,
}

/// How findings are printed.
#[derive(Copy, Clone, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `tradewatch check`; the exit code is 1 if there is an error.
pub async fn run(args: CheckArgs) -> Result<ExitCode> {
    if let Some(id) = &args.explain {
        let Some(page) = pages::find(id) else {
            bail!(
                "there is no check {id:?}; the first is TW001, the last {}",
                pages::PAGES[pages::PAGES.len() - 1].id
            );
        };
        crate::out!("{}", page.text());
        return Ok(ExitCode::SUCCESS);
    }
    let mut gathered = gather::read(&args.paths)?;
    if let Some(name) = &args.platform {
        let folder = platform_folder(args.platforms.as_deref(), name)?;
        gathered.add_platform(&folder, name)?;
    }
    let gather::Gathered { inputs, mut options, configs, context } = gathered;
    if let Some(path) = &args.ignore {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        options.ignores = tradewatch_check::Ignore::parse(&path.display().to_string(), &text)
            .map_err(anyhow::Error::msg)?;
    }
    options.context = context;
    let mut project = Project::read(inputs);
    gather::add_problems(&mut project, &configs);
    let world = know(&args, &project, &configs).await?;
    // The server that answers evaluates as the scrape commits if it is one of ours.
    options.event_driven |= args.live.is_some() && !world.find("tradewatch_build_info").is_empty();
    let report = check(&project, world, &options);
    let failed = report.count(tradewatch_check::Severity::Error) > 0;
    match args.format {
        Format::Json => crate::out!("{}", print::json(&report)),
        Format::Text => {
            let terminal = std::io::stdout().is_terminal();
            let colour = terminal && std::env::var_os("NO_COLOR").is_none();
            let width = if terminal {
                std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).unwrap_or(120)
            } else {
                0
            };
            crate::out!("{}", print::text(&report, print::Style { colour, all: args.all, width }));
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the metrics are: from the server, the catalogues, or one scrape.
async fn know(args: &CheckArgs, project: &Project, configs: &[gather::Config]) -> Result<World> {
    let scrape = project.scrape().map(|(_, file)| file);
    let mut world = World::new(scrape);
    if let Some(url) = &args.live {
        let live = ask::live(url, &project.names_used()).await?;
        world.add_live(&live);
        return Ok(world);
    }
    let catalogs: Vec<_> = project
        .documents
        .iter()
        .filter_map(|document| match &document.content {
            Content::Catalog(catalog) => Some(catalog.as_ref()),
            _ => None,
        })
        .collect();
    if !catalogs.is_empty() {
        for catalog in catalogs {
            world.add_catalog(catalog, scrape);
        }
        return Ok(world);
    }
    if let (Some(scrape), Some(config)) =
        (scrape, configs.iter().find_map(|config| config.read.as_ref().ok()))
    {
        ask::scrape(scrape, config, &mut world).await;
    }
    Ok(world)
}

/// The folder of a platform: from `chosen`, `./platforms` or the built-in ones.
fn platform_folder(chosen: Option<&Path>, name: &str) -> Result<PathBuf> {
    let data = std::env::temp_dir().join(format!("tradewatch-{}", env!("CARGO_PKG_VERSION")));
    let here = chosen.unwrap_or(Path::new("platforms")).join(name);
    if name == MONITOR && here.is_dir() {
        return Ok(here);
    }
    Ok(crate::files::platforms(chosen, name, &data)?.join(name))
}

/// `tradewatch catalog learn`: keeps one scrape as a catalogue.
pub async fn learn(url: &str, platform: &str, service: &str, out: Option<&Path>) -> Result<ExitCode> {
    let body = ask::body(url).await?;
    let port = url.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16());
    let catalog = tradewatch_check::learn(platform, &format!("Learned from {url}"), service, port, &body)
        .map_err(|error| anyhow::anyhow!("{url}: {error}"))?;
    let text = catalog.to_string();
    match out {
        None => crate::out!("{text}"),
        Some(path) => {
            std::fs::write(path, &text).with_context(|| format!("write {}", path.display()))?;
            crate::outln!("{}: {} metrics of {url}", path.display(), catalog.metrics.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Names of the files in a folder that end so, without that ending.
fn stems(folder: &Path, ending: &str) -> Option<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(ending).map(str::to_owned));
    Some(names.collect())
}

/// A file to check, as it was named.
fn input(path: &Path, text: String) -> Input {
    Input { path: path.display().to_string(), text }
}
