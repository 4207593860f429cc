//! Mail against a real relay: Debian's aiosmtpd, which refuses, delays and falls silent by the receiver's name.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;

use crate::receivers::{SECRET, World};

/// A running relay.
struct Relay {
    port: u16,
    mails: Arc<Mutex<Vec<Json>>>,
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Relay {
    fn start(mode: &str, name: &str) -> Relay {
        let folder = tempfile::tempdir().expect("a folder");
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate");
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&cert, pair.cert.pem()).expect("writes");
        std::fs::write(&key, pair.signing_key.serialize_pem()).expect("writes");
        // Debian's Python has the package; another one first in PATH may not.
        let mut child = Command::new("/usr/bin/python3")
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/relay.py"))
            .args([&cert, &key])
            .arg(mode)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // It tells of every connection that breaks off.
            .spawn()
            .expect("/usr/bin/python3 with python3-aiosmtpd");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = lines.next().expect("python3-aiosmtpd is installed").expect("text");
        let mails: Arc<Mutex<Vec<Json>>> = Arc::default();
        let kept = mails.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mail = serde_json::from_str(&line).expect("JSON");
                kept.lock().expect("not poisoned").push(mail);
            }
        });
        Relay { port: port.parse().expect("a port"), mails, child, folder }
    }

    fn entry(&self, to: &str, more: &str) -> (&'static str, String) {
        let ca = self.folder.path().join("cert.pem");
        let entry = format!(
            "{{to: '{to}', from: 'Monitor <monitor@desk.example>', smarthost: 'localhost:{}', hello: desk.example, timeout: 1s, tls_config: {{ca_file: {}}}, send_resolved: true, {more}}}",
            self.port,
            ca.display()
        );
        ("email", entry)
    }

    fn mails(&self) -> Vec<Json> {
        self.mails.lock().expect("not poisoned").clone()
    }

    fn to(&self, address: &str) -> Vec<Json> {
        let told = |mail: &Json| mail["to"].as_array().is_some_and(|to| to.iter().any(|one| one == address));
        self.mails().into_iter().filter(told).collect()
    }
}

const AUTH: &str = "auth_username: monitor, auth_password: s3cr3t-t0ken";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_is_taken_at_its_word() {
    let relay = Relay::start("starttls", "localhost");
    let entries: Vec<(&str, String)> = [
        "desk@x.example, risk@x.example",
        "grey@x.example",
        "busy@x.example",
        "silent@x.example",
        "reset@x.example",
        "bad@x.example",
        "spam@x.example",
        "good@x.example, bad@x.example, grey2@x.example",
    ]
    .iter()
    .map(|to| relay.entry(to, AUTH))
    .chain([relay.entry("nobody@x.example", "auth_username: monitor, auth_password: wrong")])
    .collect();
    let world = World::start(&entries, "").await;
    for i in 0..entries.len() {
        world.tell("Lost", i, false).await;
    }
    // Taken at once, after greylisting, after 421, after silence, after a reset.
    for (receiver, address, attempts) in [
        ("r0", "desk@x.example", 1),
        ("r1", "grey@x.example", 2),
        ("r2", "busy@x.example", 2),
        ("r3", "silent@x.example", 2),
        ("r4", "reset@x.example", 2),
    ] {
        let settled = world.settled(receiver, "delivered").await;
        assert_eq!(settled["attempts"], attempts, "{settled}");
        let mails = relay.to(address);
        assert_eq!(mails.len(), 1, "{address}: {mails:?}");
        let mail = &mails[0];
        assert_eq!((&mail["tls"], &mail["authenticated"]), (&Json::from(true), &Json::from(true)));
        let content = mail["content"].as_str().expect("text").replace("\r\n", "\n");
        assert!(content.contains(&format!("X-Tradewatch-Attempt: {attempts}\n")), "{content}");
        let id = format!("Message-ID: <{}@desk.example>", settled["key"].as_str().expect("a key"));
        assert!(content.contains(&id), "{id}: {content}");
    }
    let mail = &relay.to("desk@x.example")[0];
    assert_eq!(
        (&mail["from"], &mail["hello"]),
        (&Json::from("monitor@desk.example"), &Json::from("desk.example"))
    );
    assert_eq!(mail["to"], serde_json::json!(["desk@x.example", "risk@x.example"]));
    let content = mail["content"].as_str().expect("text");
    for part in [
        "Subject: [FIRING:1] Lost (XNYS critical",
        "Content-Type: multipart/alternative",
        "CRITICAL  Lost",
        "no &lt;feed&gt;",
        "href=3D\"http://m/runbooks/Lost\"",
    ] {
        assert!(content.contains(part), "{part}: {content}");
    }
    // Refused for good.
    for (receiver, reason) in [("r5", "550 "), ("r6", "554 ")] {
        let refused = world.settled(receiver, "refused").await;
        assert!(refused["reason"].as_str().is_some_and(|r| r.contains(reason)), "{refused}");
        assert_eq!(refused["attempts"], 1);
    }
    // One bad address and one that is greylisted cost the good one nothing, and nobody gets it twice.
    world.settled("r7", "delivered").await;
    assert_eq!(relay.to("good@x.example").len(), 1);
    assert_eq!(relay.to("grey2@x.example").len(), 1);
    // A wrong password may be mended: it stays, with its reason.
    world
        .until(async || {
            let ledger = world.ledger().await;
            let queued = ledger["queued"].as_array().cloned().unwrap_or_default();
            let waits = queued.iter().any(|q| q["receiver"] == "r8" && q["attempts"].as_u64() > Some(1));
            if waits && queued[0].to_string().contains("535") { Ok(()) } else { Err(ledger.to_string()) }
        })
        .await;
    world.tell("Lost", 0, true).await;
    world
        .until(
            async || {
                if relay.to("desk@x.example").len() == 2 { Ok(()) } else { Err("no all-clear".to_owned()) }
            },
        )
        .await;
    world.shows_no_secret().await;
    assert!(!relay.mails().iter().any(|mail| mail.to_string().contains(SECRET)));
    world.server.shutdown().await;
}

#[tokio::test]
async fn tls_from_the_first_byte_and_names_that_do_not_fit() {
    let implicit = Relay::start("implicit", "localhost");
    let other = Relay::start("starttls", "other.example");
    let plain = Relay::start("plain", "localhost");
    let entries = [
        implicit.entry("a@x.example", &format!("force_implicit_tls: true, {AUTH}")),
        other.entry("b@x.example", AUTH),
        plain.entry("c@x.example", ""),
        plain.entry(
            "d@x.example",
            "require_tls: false, html: '', text: 'only {{ .Status }}', headers: {Subject: own}",
        ),
    ];
    let world = World::start(&entries, "").await;
    for i in 0..entries.len() {
        world.tell("Lost", i, false).await;
    }
    world.settled("r0", "delivered").await;
    assert_eq!(implicit.to("a@x.example")[0]["tls"], true);
    world.settled("r3", "delivered").await;
    let content = plain.to("d@x.example")[0]["content"].as_str().expect("text").to_owned();
    assert!(content.contains("Subject: own") && content.contains("only firing"), "{content}");
    // Nothing is sent to a relay that is not the one named, or that cannot speak TLS.
    let reasons = world
        .until(async || {
            let ledger = world.ledger().await;
            let queued = ledger["queued"].as_array().cloned().unwrap_or_default();
            let tried = queued.iter().filter(|q| q["attempts"].as_u64() > Some(1)).count();
            if tried == 2 { Ok(Json::Array(queued).to_string()) } else { Err(ledger.to_string()) }
        })
        .await;
    assert!(
        reasons.contains("not valid for name") && reasons.to_uppercase().contains("STARTTLS"),
        "{reasons}"
    );
    assert!(other.mails().is_empty() && plain.to("c@x.example").is_empty());
    world.server.shutdown().await;
}
