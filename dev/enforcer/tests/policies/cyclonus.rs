//! The model against cyclonus' engine, on all of cyclonus' conformance cases.

use std::collections::BTreeSet;

use enforcer::policy::{Model, Packet, Protocol, resolve};
use testkit::cyclonus::{Row, Step, steps};

/// How many differences are shown.
const SHOWN: usize = 20;

#[derive(Default)]
struct Tally {
    cells: usize,
    denied: usize,
    /// Cells of a pod with itself that policies deny: cyclonus does without `--ignore-loopback`, Kubernetes does not.
    loopback: usize,
    wrong: Vec<String>,
}

#[test]
fn all_cases() {
    let steps = steps();
    let mut tally = Tally::default();
    let (mut cases, mut failed) = (BTreeSet::new(), BTreeSet::new());
    for step in &steps {
        let before = tally.wrong.len();
        let model = resolve(&step.policies, &step.pods, &step.namespaces);
        for row in &step.rows {
            compare(step, row, &model, &mut tally);
        }
        cases.insert(step.case);
        if tally.wrong.len() > before {
            failed.insert(step.case);
        }
    }
    println!(
        "cyclonus: {} of {} cases ({} steps), {} cells of which {} denied; {} more of a pod with itself, which \
            Kubernetes always allows",
        cases.len() - failed.len(),
        cases.len(),
        steps.len(),
        tally.cells,
        tally.denied,
        tally.loopback,
    );
    let shown = tally.wrong.len().min(SHOWN);
    assert!(
        tally.wrong.is_empty(),
        "{} cells differ from cyclonus:\n{}",
        tally.wrong.len(),
        tally.wrong[..shown].join("\n")
    );
    // A generator that prints nothing, or allows everything, would pass unnoticed.
    assert_eq!(cases.len(), 230);
    assert!(tally.denied > 100_000 && tally.loopback > 1000);
}

fn compare(step: &Step, row: &Row, model: &Model, tally: &mut Tally) {
    let ports = step.ports();
    assert_eq!(ports.len(), row.letters.len());
    for ((protocol, port), expected) in ports.into_iter().zip(row.letters.chars()) {
        let packet = Packet {
            source: row.from,
            destination: row.to,
            transport: Some((parse(protocol), port)),
        };
        // Each direction by itself, a pod's traffic with itself too: one may not make up for the other.
        let got = match (model.may_enter(&packet), model.may_leave(&packet)) {
            (true, true) => '.',
            (false, true) => 'i',
            (true, false) => 'e',
            (false, false) => 'X',
        };
        let allowed = model.allows(&packet);
        let should = expected == '.' || row.from == row.to;
        if got != expected || allowed != should {
            tally.wrong.push(format!(
                "{}: {} to {} {protocol}/{port}: {got}, {allowed}; cyclonus: {expected}",
                step.name(),
                row.from,
                row.to,
            ));
        }
        if row.from == row.to && expected != '.' {
            tally.loopback += 1;
        } else {
            tally.cells += 1;
            tally.denied += usize::from(!should);
        }
    }
}

fn parse(protocol: &str) -> Protocol {
    match protocol {
        "TCP" => Protocol::Tcp,
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        other => panic!("not a protocol of NetworkPolicy: {other}"),
    }
}
