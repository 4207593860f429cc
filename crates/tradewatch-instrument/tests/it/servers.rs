//! Real servers, started by the test that needs them and ended with it.

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// A server of ours, in a process group of its own; killed when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    epmd_port: Option<u16>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(mut command: Command, port: u16, folder: tempfile::TempDir) -> Server {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        Server { child, port, epmd_port: None, _folder: folder }
    }

    /// Waits until `ready`, and no longer than the server lives.
    fn wait(mut self, ready: impl Fn(u16) -> bool) -> Server {
        let begun = Instant::now();
        while !ready(self.port) {
            let ended = self.child.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "the server ended with {ended:?}");
            assert!(begun.elapsed() < Duration::from_secs(120), "the server is not ready after 120 s");
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Stops it in its tracks: connections stay and nothing answers.
    pub fn pause(&self) {
        let group = Pid::from_child(&self.child);
        kill_process_group(group, Signal::STOP).expect("a child of ours");
        // A thread that is running stops when it next meets the kernel.
        let deadline = Instant::now() + Duration::from_secs(10);
        while runs(group) {
            assert!(Instant::now() < deadline, "the server does not stop");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        kill_process_group(Pid::from_child(&self.child), Signal::CONT).expect("a child of ours");
    }

    /// Ends it, as a crash does.
    pub fn kill(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL); // Gone already is as good.
        let _ = self.child.wait();
        if let Some(port) = self.epmd_port.take() {
            // A daemon of its own, which stays while it thinks that the node lives.
            let killed = || {
                let output =
                    Command::new("epmd").arg("-kill").env("ERL_EPMD_PORT", port.to_string()).output();
                output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("Killed"))
            };
            let begun = Instant::now();
            while TcpStream::connect(("127.0.0.1", port)).is_ok() && !killed() {
                if begun.elapsed() > Duration::from_secs(10) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound").port()
}

fn id(args: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(args).output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Runs as `user` where we are root: PostgreSQL refuses to be root, and RabbitMQ had better not be.
fn run_as(user: &str, command: &mut Command, folder: &Path) {
    if id(&["-u"]) == Some(0) {
        let uid = id(&["-u", user]).unwrap_or_else(|| panic!("there is no user {user}"));
        let gid = id(&["-g", user]).expect("a user has a group");
        std::os::unix::fs::chown(folder, Some(uid), Some(gid)).expect("root may");
        command.uid(uid).gid(gid);
    }
    command.current_dir("/");
}

/// A Redis server.
pub fn redis() -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut command = Command::new("redis-server"); // Debian package redis-server
    let listen = ["--port", &port.to_string(), "--bind", "127.0.0.1"];
    command.args(listen).args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder.path());
    Server::start(command, port, folder).wait(|port| TcpStream::connect(("127.0.0.1", port)).is_ok())
}

/// A PostgreSQL server with an empty database `postgres` of the user `postgres`.
pub fn postgres() -> Server {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Debian package postgresql").flatten();
    let bin: PathBuf = versions.map(|entry| entry.path().join("bin")).max().expect("a version of PostgreSQL");
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut initdb = Command::new(bin.join("initdb"));
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
    run_as("postgres", &mut initdb, folder.path());
    let made = initdb.output().expect("initdb runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let port = free_port();
    let mut command = Command::new(bin.join("postgres"));
    command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
    command.args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]);
    run_as("postgres", &mut command, folder.path());
    let ready = move |port: u16| {
        let mut command = Command::new(bin.join("pg_isready"));
        let status = command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).status();
        status.is_ok_and(|status| status.success())
    };
    Server::start(command, port, folder).wait(ready)
}

/// A RabbitMQ server with its usual guest.
pub fn rabbitmq() -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let (port, dist_port, epmd_port) = (free_port(), free_port(), free_port());
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("enabled_plugins"), "[].").expect("writable");
    let config = format!("listeners.tcp.1 = 127.0.0.1:{port}\nloopback_users = none\nlog.console = false\n");
    std::fs::write(at("rabbitmq.conf"), config).expect("writable");
    // The script itself: the wrapper in /usr/sbin has folders and a user of its own.
    let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server"); // Debian package rabbitmq-server
    let erlang = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 1:1";
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LANG", "C.UTF-8")
        .env("HOME", folder.path())
        .env("RABBITMQ_NODENAME", format!("t{port}@localhost"))
        .env("RABBITMQ_DIST_PORT", dist_port.to_string())
        .env("ERL_EPMD_PORT", epmd_port.to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", erlang)
        .env("RABBITMQ_MNESIA_BASE", at("mnesia"))
        .env("RABBITMQ_LOG_BASE", at("log"))
        .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("enabled_plugins"))
        .env("RABBITMQ_CONF_ENV_FILE", "/nonexistent")
        .env("RABBITMQ_PID_FILE", at("rabbit.pid"));
    run_as("rabbitmq", &mut command, folder.path());
    let mut server = Server::start(command, port, folder);
    server.epmd_port = Some(epmd_port);
    server.wait(|port| {
        use std::io::{Read, Write};
        // It listens a little before it answers.
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        stream.write_all(b"AMQP\0\0\x09\x01").is_ok() && stream.read_exact(&mut [0]).is_ok()
    })
}

/// Whether any thread of a process group still runs.
fn runs(group: Pid) -> bool {
    let group = group.as_raw_nonzero().to_string();
    let processes = std::fs::read_dir("/proc").expect("Linux").flatten();
    processes.filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok()).any(|process| {
        let threads = std::fs::read_dir(process.path().join("task")).into_iter().flatten().flatten();
        threads.into_iter().any(|thread| {
            // `pid (name) state parent group …`; the name may hold anything.
            let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            let state = fields.next().unwrap_or("Z").to_owned();
            fields.nth(1) == Some(group.as_str()) && !["T", "Z", "X"].contains(&state.as_str())
        })
    })
}
