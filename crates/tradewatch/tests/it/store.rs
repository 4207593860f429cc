//! The commands on the files of a store, from one file of OpenMetrics to a backup that is read back.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tradewatch")).args(args).output().expect("it runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

fn refused(args: &[&str], why: &str) {
    let output = run(args);
    let said = text(&output);
    assert!(
        !output.status.success() && said.contains(why) && said.trim().lines().count() == 1,
        "{args:?}: {said}"
    );
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn import_look_back_up_restore() {
    let place = tempfile::tempdir().expect("a directory");
    let at = |name: &str| place.path().join(name);
    let (data, again, backup, file) = (at("data"), at("again"), at("backup"), at("day.om"));
    let mut lines = String::from("# TYPE orders counter\n");
    for minute in 0..2000 {
        for symbol in ["AAPL", "MSFT"] {
            let ts = 1_760_000_400 + minute * 60;
            writeln!(lines, "orders_total{{symbol=\"{symbol}\"}} {} {ts}", minute * 3).expect("into memory");
        }
    }
    std::fs::write(&file, lines + "# EOF\n").expect("written");
    refused(&["tsdb", "stats", "--data-dir", shown(&data)], "holds no store");
    let said = ok(&["import", shown(&file), "--data-dir", shown(&data)]);
    assert!(said.contains("4000 samples of 2 series"), "{said}");
    let said = ok(&["import", shown(&file), "--data-dir", shown(&data)]);
    assert!(said.contains("4000 were there already"), "{said}");
    let said = ok(&["tsdb", "stats", "--data-dir", shown(&data)]);
    for part in ["series      2", "samples     4000", "from        2025-10-09", "orders_total", "symbol"] {
        assert!(said.contains(part), "{said}");
    }
    ok(&["backup", shown(&backup), "--data-dir", shown(&data)]);
    refused(&["backup", shown(&backup), "--data-dir", shown(&data)], "not empty");
    let said = ok(&["restore", shown(&backup), "--data-dir", shown(&again)]);
    assert!(said.contains("2 series, 4000 samples"), "{said}");
    refused(&["restore", shown(&backup), "--data-dir", shown(&again)], "holds a store already");
    assert!(ok(&["tsdb", "verify", "--data-dir", shown(&again)]).contains("0 places damaged"));
    // One bit of a chunk: found, told, and at the end without it.
    let store = again.join("tsdb");
    let block = std::fs::read_dir(&store).expect("a folder").map(|entry| entry.expect("an entry").path());
    let block = block.filter(|path| shown(path).contains("block-")).min().expect("a block");
    let mut bytes = std::fs::read(&block).expect("read");
    let len = bytes.len();
    bytes[len / 4] ^= 4;
    std::fs::write(&block, bytes).expect("written");
    let output = run(&["tsdb", "verify", "--data-dir", shown(&again)]);
    assert!(!output.status.success() && text(&output).contains("block-"), "{}", text(&output));
    ok(&["tsdb", "compact", "--data-dir", shown(&again)]);
}

#[test]
fn an_import_names_the_line_that_it_does_not_take() {
    let place = tempfile::tempdir().expect("a directory");
    let (data, file) = (place.path().join("data"), place.path().join("bad.om"));
    for (lines, why) in [
        ("a 1 1760000400\nb{x=\"y\"} 2\n# EOF\n", "bad.om:2: the sample of b{x=\"y\"} has no timestamp"),
        ("a 1 1760000400\na{ 2 5\n", "bad.om:2:"),
    ] {
        std::fs::write(&file, lines).expect("written");
        refused(&["import", shown(&file), "--data-dir", shown(&data)], why);
    }
}
