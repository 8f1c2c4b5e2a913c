//! Effect of clients that nobody trusts on one that the rules allow: it sends 500 requests while they hold as many
//! connections and requests as they can, alternating with as many requests while they do nothing. A real `OpenBao`
//! behind `vaultwall serve` and its Envoy, each request on a new connection.
//!
//! Prints failed requests, the 99th percentile with and without the others, and the most memory of Envoy. A failed
//! request of this build, or an Envoy above its limit, ends the run with an error; times do not.
//!
//! `make faults`; with `BEFORE=PATH` also with the `vaultwall` program of an earlier build, in turn. Arguments choose
//! the loads whose names contain one of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod attacks;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use attacks::{ATTACKS, Attack};
use stage::{Build, Vault};

/// Rounds of each attack; each has as many requests with the attack as without.
const ROUNDS: usize = 5;
/// Requests of a round.
const REQUESTS: usize = 100;
/// Failures in a row after which a round ends.
const GIVEN_UP: usize = 5;
/// Memory limit of a proxy by default, in MiB.
const MEMORY: u64 = 512;

/// Results of one build under one attack.
#[derive(Default)]
struct Figures {
    quiet: Vec<Duration>,
    attacked: Vec<Duration>,
    failed: usize,
    first_failure: Option<String>,
    held: usize,
    peak: u64,
}

impl Figures {
    /// Sends a round of requests. When several in a row failed, the others are not sent, and count as failed.
    fn ask(&mut self, build: &Build) {
        let mut in_a_row = 0;
        for sent in 0..REQUESTS {
            if in_a_row == GIVEN_UP {
                self.failed += REQUESTS - sent;
                return;
            }
            let (time, outcome) = build.ask(sent);
            self.attacked.push(time);
            match outcome {
                Ok(()) => in_a_row = 0,
                Err(problem) => {
                    in_a_row += 1;
                    self.failed += 1;
                    self.first_failure.get_or_insert(problem);
                }
            }
        }
    }
}

fn main() -> ExitCode {
    // `cargo test --all-targets` runs benches too, unoptimized.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only when it is run by `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let vault = Vault::start();
    let mut builds = vec![Build::start("this build", &testkit::vaultwall(), &vault)];
    if let Some(before) = std::env::var_os("BEFORE").filter(|path| !path.is_empty()) {
        builds.insert(0, Build::start("before", &PathBuf::from(before), &vault));
    }
    println!(
        "| others | build | held | failed of {} | p99 alone | p99 with others | ratio | peak memory of Envoy |",
        ROUNDS * REQUESTS
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut broken = false;
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let attacks = ATTACKS.iter().filter(|attack| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|name| attack.name.contains(name.as_str()))
    });
    for attack in attacks {
        for (build, figures) in builds.iter().zip(measure(attack, &builds)) {
            println!("{}", row(attack.name, build.name, &figures));
            if build.name == "this build" {
                broken |= figures.failed > 0 || figures.peak > MEMORY;
            }
        }
    }
    if broken {
        eprintln!("this build failed a request, or used more than {MEMORY} MiB: see the table");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn measure(attack: &Attack, builds: &[Build]) -> Vec<Figures> {
    let mut all: Vec<Figures> = builds.iter().map(|_| Figures::default()).collect();
    for build in builds {
        build.forget_peak();
    }
    for _ in 0..ROUNDS {
        for (build, figures) in builds.iter().zip(&mut all) {
            build.rest();
            for number in 0..REQUESTS {
                let (time, outcome) = build.ask(number);
                outcome.expect("a request without an attack");
                figures.quiet.push(time);
            }
            let held = attack.begin(build);
            figures.held = figures.held.max(held.count());
            if attack.is_passive() {
                build.rest();
            }
            figures.ask(build);
            drop(held);
            figures.peak = figures.peak.max(build.peak());
            build.settle();
        }
    }
    all
}

fn row(attack: &str, build: &str, figures: &Figures) -> String {
    let (quiet, attacked) = (p99(&figures.quiet), p99(&figures.attacked));
    let failure = figures.first_failure.as_ref();
    let failure = failure.map_or_else(String::new, |text| format!(" ({text})"));
    format!(
        "| {attack} | {build} | {} | {}{failure} | {:.1} ms | {:.1} ms | {:.2} | {} MiB |",
        figures.held,
        figures.failed,
        quiet.as_secs_f64() * 1e3,
        attacked.as_secs_f64() * 1e3,
        attacked.as_secs_f64() / quiet.as_secs_f64(),
        figures.peak
    )
}

fn p99(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() * 99 / 100]
}
