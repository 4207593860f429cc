//! Alertmanager's own `amtool` as the judge of routes: generated trees and label sets must end at the same receivers.

use std::collections::BTreeMap;
use std::process::Command;

use tradewatch_alert::route::Config;
use tradewatch_tsdb::Labels;

/// Trees, each asked about several label sets.
const TREES: u64 = 50;
const ASKED: u64 = 4;

/// splitmix64: the same trees in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % sides
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len() as u64) as usize]
    }
}

const NAMES: [&str; 4] = ["severity", "team", "mic", "job"];
const VALUES: [&str; 5] = ["a", "b", "critical", "XNYS", "a b"];
const EXPRESSIONS: [&str; 7] = ["a|b", "crit.*", ".+", ".*", "[a-z]+", "X(NYS|LON)", "^a$"];

fn matcher(dice: &mut Dice) -> String {
    let name = dice.pick(&NAMES);
    match dice.roll(6) {
        0 => format!("{name}={}", dice.pick(&["a", "b", "critical"])),
        1 => format!("{name} = \"{}\"", dice.pick(&VALUES)),
        2 => format!("{name}!=\"{}\"", dice.pick(&VALUES)),
        3 => format!("{name}=~\"{}\"", dice.pick(&EXPRESSIONS)),
        4 => format!("{name} !~ \"{}\"", dice.pick(&EXPRESSIONS)),
        _ => format!("{{{name}=\"\", team!=\"{}\"}}", dice.pick(&VALUES)),
    }
}

/// Routes below one, as YAML, each with a receiver of its own number.
fn routes(dice: &mut Dice, depth: usize, number: &mut usize) -> String {
    let pad = "  ".repeat(depth * 2);
    let mut out = String::new();
    for _ in 0..1 + dice.roll(3) {
        *number += 1;
        out += &format!("{pad}- continue: {}\n", dice.roll(3) == 0);
        // One that names no receiver takes its parent's.
        if dice.roll(5) > 0 {
            out += &format!("{pad}  receiver: r{number}\n");
        }
        match dice.roll(5) {
            0 => out += &format!("{pad}  match: {{{}: {}}}\n", dice.pick(&NAMES), dice.pick(&VALUES)),
            1 => {
                out += &format!("{pad}  match_re: {{{}: '{}'}}\n", dice.pick(&NAMES), dice.pick(&EXPRESSIONS))
            }
            2 => {}
            more => {
                let all: Vec<String> = (2..more).map(|_| format!("'{}'", matcher(dice))).collect();
                out += &format!("{pad}  matchers: [{}]\n", all.join(", "));
            }
        }
        if depth < 3 && dice.roll(2) == 0 {
            out += &format!("{pad}  routes:\n{}", routes(dice, depth + 1, number));
        }
    }
    out
}

#[test]
fn routes_end_where_alertmanager_ends_them() {
    let folder = std::env::temp_dir().join(format!("tradewatch-routes-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut met = BTreeMap::new();
    for seed in 0..TREES {
        let dice = &mut Dice(seed * 7919);
        let mut number = 0;
        let below = routes(dice, 1, &mut number);
        let mut text = format!("route:\n  receiver: r0\n  routes:\n{below}receivers:\n");
        (0..=number).for_each(|n| text += &format!("- name: r{n}\n"));
        let file = folder.join(format!("{seed}.yml"));
        std::fs::write(&file, &text).expect("writes");
        let (config, _) = Config::parse("a.yml", &text).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"));
        for _ in 0..ASKED {
            let mut labels = BTreeMap::new();
            for _ in 0..dice.roll(4) {
                labels.insert(dice.pick(&NAMES).to_owned(), dice.pick(&VALUES).to_owned());
            }
            let asked = Command::new("amtool")
                .args(["config", "routes", "test", "--config.file"])
                .arg(&file)
                .args(labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")))
                .output()
                .expect("amtool of Debian's prometheus-alertmanager");
            let said = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
            assert!(asked.status.success(), "{}\n{text}", String::from_utf8_lossy(&asked.stderr));
            let ours: Vec<&str> = config
                .matching(&Labels::from_pairs(labels.clone()))
                .into_iter()
                .map(|at| config.routes[at].receiver.as_str())
                .collect();
            assert_eq!(ours.join(","), said, "seed {seed}, {labels:?}\n{text}");
            *met.entry(ours.len()).or_insert(0u64) += 1;
        }
    }
    std::fs::remove_dir_all(&folder).expect("removes");
    // The trees say something: alerts with one and with several receivers were among them.
    assert_eq!(met.values().sum::<u64>(), TREES * ASKED);
    assert!(met.len() > 2, "{met:?}");
}
