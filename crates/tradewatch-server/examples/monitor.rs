//! A monitor in forty lines: `cargo run --example monitor -- platforms/trading-platform 127.0.0.1:9090`.
//!
//! Serves the folder of a platform: its `prometheus.yml`, `alertmanager.yml`, dashboards and runbooks.

use std::path::PathBuf;

use tradewatch_server::dashboards::Folder;
use tradewatch_server::{Options, Server};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "platforms/trading-platform".to_owned()));
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:9090".to_owned());
    let alertmanager = folder.join("alertmanager.yml");
    let options = Options {
        config_file: Some(folder.join("prometheus.yml")),
        alertmanager_file: alertmanager.is_file().then_some(alertmanager),
        listen: listen.parse().expect("an address, for example 127.0.0.1:9090"),
        dashboards: vec![Folder::of(folder.join("dashboards"))],
        runbooks: vec![folder.join("runbooks")],
        data_dir: arguments.next().map(PathBuf::from),
        ..Options::default()
    };
    let server = match Server::start(options).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    };
    println!("http://{}", server.addr());
    let _ = tokio::signal::ctrl_c().await;
    server.shutdown().await;
}
