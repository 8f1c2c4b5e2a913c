//! Time of a change on a real cluster, from the API server's response to the write until Envoy responds differently,
//! and the cost of it for the operator: the released program, a real API server, real proxies that connect over mutual
//! TLS, a real `OpenBao` behind them. Prints each figure next to its target; asserts nothing about time. A wrong
//! verdict of a client that no change concerns fails the run.
//!
//! `cargo bench --bench operator`; docs/performance.md says how each figure is taken. With `-- fairness`: only how long
//! a deleted `NetworkPolicy` is away while another tenant edits its policies. With `-- identities`: only pods of a
//! trusted service. With `BEFORE=PATH`: only changes of a rule, also with the `vaultwall` program of an earlier build.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod builds;
mod fairness;
mod identities;
mod objects;
mod pollers;
mod process;
mod report;
mod sandbox;
mod writes;

use std::path::Path;
use std::time::Duration;

use crate::pollers::Untouched;
use crate::report::{Row, Target};
use crate::sandbox::{Sandbox, UNTOUCHED};
use crate::writes::{Change, Others};

/// Wrong verdicts that are printed.
const SHOWN: usize = 20;

/// How much is measured.
struct Scale {
    /// Numbers of policies, rising.
    policies: Vec<usize>,
    vaults: usize,
    pods: usize,
    /// Changes a row.
    samples: usize,
    /// How long the steady state is watched.
    quiet: Duration,
}

impl Scale {
    /// The claims' own scale, unless the environment names another.
    fn of_environment() -> Self {
        let text = |name: &str, otherwise: &str| {
            std::env::var(format!("VAULTWALL_BENCH_{name}"))
                .unwrap_or_else(|_| otherwise.to_owned())
        };
        let number = |name: &str, otherwise: &str| -> usize {
            let text = text(name, otherwise);
            text.parse()
                .unwrap_or_else(|_| panic!("VAULTWALL_BENCH_{name} is no number: {text}"))
        };
        let policies = text("POLICIES", "1,100,1000");
        let policies: Vec<usize> = policies
            .split(',')
            .map(|count| count.parse().expect("VAULTWALL_BENCH_POLICIES: numbers"))
            .collect();
        assert!(
            policies.is_sorted() && policies[0] > 0,
            "VAULTWALL_BENCH_POLICIES has to rise from 1 or more"
        );
        Self {
            policies,
            vaults: number("VAULTS", "200").max(UNTOUCHED + 2),
            pods: number("PODS", "10000"),
            samples: number("SAMPLES", "200").max(1),
            quiet: Duration::from_secs(number("QUIET_SECONDS", "30") as u64),
        }
    }
}

fn main() {
    // `cargo test --all-targets` runs benches too, unoptimized.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("measures only when it is run by `cargo bench`");
        return;
    }
    let scale = Scale::of_environment();
    if std::env::args().any(|argument| argument == "fairness") {
        fairness::measure(scale.samples);
        return;
    }
    if let Some(before) = std::env::var_os("BEFORE").filter(|path| !path.is_empty()) {
        builds::measure(Path::new(&before), &scale);
        return;
    }
    let mut sandbox = Sandbox::start(&testkit::vaultwall(), scale.vaults);
    let mut untouched = Untouched::default();
    report::heading(
        "From the API server's answer to a write until Envoy enforces it; then the operator's CPU",
    );
    let only_identities = std::env::args().any(|argument| argument == "identities");
    for policies in &scale.policies {
        sandbox.grow_policies(*policies, &mut untouched);
        if !only_identities {
            rules(&mut sandbox, &scale);
        }
    }
    sandbox.grow_pods(scale.pods);
    if !only_identities {
        pods(&mut sandbox, &scale);
        needs(&sandbox, &scale);
    }
    let (asked, wrong) = untouched.stop();
    println!(
        "\nclients whom no change concerned: asked {asked} times, {} wrong verdicts (target 0)",
        wrong.len()
    );
    if !wrong.is_empty() {
        eprintln!("{}", wrong[..wrong.len().min(SHOWN)].join("\n"));
        drop(sandbox);
        std::process::exit(1);
    }
    // The bypass replaces the listeners, which closes the connections of earlier clients.
    sandbox.poller = None;
    identities::measure(&sandbox, scale.samples / 2);
}

/// One rule of one policy is edited: nothing else happens, then while other policies are written.
fn rules(sandbox: &mut Sandbox, scale: &Scale) {
    let policies = sandbox.policies();
    let few = policies == 1;
    let target = Target {
        p50: if few { 8.0 } else { 15.0 },
        p99: if few { 40.0 } else { 150.0 },
    };
    for others in [0, 50] {
        if others > 0 && sandbox.edited_policies().is_empty() {
            continue;
        }
        let others = Others::policies(others);
        let taken = writes::series(sandbox, Change::Rule, &others, scale.samples);
        report::row(&Row {
            change: "rule edited",
            policies,
            pods: 0,
            others: taken.others,
            times: &taken.times,
            target: Some(target),
        });
        if taken.others == 0.0 {
            report::cpu("rule edited", policies, taken.cpu, 3.0);
        }
    }
}

/// A pod joins or leaves a subnet, while other pods do as well.
fn pods(sandbox: &mut Sandbox, scale: &Scale) {
    for others in [0, 100] {
        let others = Others::pods(others);
        let taken = writes::series(sandbox, Change::Pod, &others, scale.samples);
        report::row(&Row {
            change: "pod joins, leaves",
            policies: sandbox.policies(),
            pods: scale.pods,
            others: taken.others,
            times: &taken.times,
            target: (taken.others > 0.0).then_some(Target {
                p50: 50.0,
                p99: f64::INFINITY,
            }),
        });
    }
}

/// Memory, and what is written while nothing happens.
fn needs(sandbox: &Sandbox, scale: &Scale) {
    sandbox.wait_until_quiet();
    println!(
        "\nmemory of the operator at {} policies and {} pods: {:.0} MB resident (target 100 at 1000 and 10000)",
        sandbox.policies(),
        scale.pods,
        process::resident_megabytes(sandbox.operator())
    );
    let before = (sandbox.writes(), process::cpu(sandbox.operator()));
    std::thread::sleep(scale.quiet);
    let cpu = process::cpu_since(sandbox.operator(), before.1);
    let after = sandbox.writes();
    println!(
        "writes to the API in {} s without changes: {} (target 0), and {} of the lease; CPU: {:.1} ms a second",
        scale.quiet.as_secs(),
        after.other - before.0.other,
        after.lease - before.0.lease,
        cpu.as_secs_f64() * 1e3 / scale.quiet.as_secs_f64().max(1.0)
    );
}
