//! Real servers, started by the test that needs them and ended with it.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server of ours; killed and waited for when dropped.
pub struct Server {
    child: Child,
    port: u16,
    start: Box<dyn Fn(u16) -> Command + Send>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it, as a crash does.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }

    /// Starts it again on the same port, with the same data.
    pub fn start_again(&mut self) {
        self.child = (self.start)(self.port).spawn().expect("it started before");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

/// A base whose service ports were all free a moment ago.
pub fn free_port_base() -> u16 {
    for _ in 0..1_000 {
        let base = free_port().clamp(10_000, 60_000) / 20 * 20;
        let bound: Vec<_> =
            (1..=12).filter_map(|n| TcpListener::bind(("127.0.0.1", base + n)).ok()).collect();
        if bound.len() == 12 {
            return base;
        }
    }
    panic!("no twelve free ports in a row");
}

fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} is not ready after 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// A Redis server.
pub fn redis() -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    let start = move |port: u16| {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(&path);
        quiet(command)
    };
    let port = free_port();
    let child = start(port).spawn().expect("redis-server is installed (Debian package redis-server)");
    wait_until("redis-server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Server { child, port, start: Box::new(start), _folder: folder }
}

/// A PostgreSQL server with an empty database `postgres` of the user `postgres`.
pub fn postgres() -> Server {
    let bin = PathBuf::from("/usr/lib/postgresql/15/bin");
    assert!(bin.join("initdb").exists(), "PostgreSQL is installed (Debian package postgresql-15)");
    let folder = tempfile::tempdir().expect("a folder");
    let user = unprivileged();
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).expect("root may");
    }
    let data = folder.path().join("data");
    let mut initdb = command(&bin.join("initdb"), user);
    initdb.arg("-D").arg(&data).args([
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    assert!(quiet(initdb).status().expect("initdb runs").success(), "initdb");
    let start = move |port: u16| {
        let mut server = command(&bin.join("postgres"), user);
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=32MB"]);
        quiet(server)
    };
    let port = free_port();
    let child = start(port).spawn().expect("postgres runs");
    let isready = || {
        Command::new("/usr/lib/postgresql/15/bin/pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status()
    };
    wait_until("postgres", || isready().is_ok_and(|status| status.success()));
    Server { child, port, start: Box::new(start), _folder: folder }
}

/// Whom PostgreSQL runs as where we are root: it refuses to be root itself.
fn unprivileged() -> Option<(u32, u32)> {
    let id = |flag: &str, name: &[&str]| {
        let output = Command::new("id").arg(flag).args(name).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok()
    };
    if id("-u", &[]) != Some(0) {
        return None;
    }
    Some((id("-u", &["postgres"]).expect("user postgres"), id("-g", &["postgres"]).expect("group postgres")))
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
    command
}
