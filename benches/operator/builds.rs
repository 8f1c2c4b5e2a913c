//! Time of a rule's change with this build and with an earlier one, each in a cluster of its own, in turn.

use std::path::Path;

use crate::Scale;
use crate::pollers::Untouched;
use crate::report::{self, Row, Target};
use crate::sandbox::Sandbox;
use crate::writes::{self, Change, Others};

/// Turns of each build, an even number.
const ROUNDS: usize = 10;

/// Measures both with the largest number of policies.
pub(crate) fn measure(before: &Path, scale: &Scale) {
    let policies = scale.policies[scale.policies.len() - 1];
    let mut untouched = Untouched::default();
    let mut builds = [before, &testkit::vaultwall()].map(|program| {
        let mut sandbox = Sandbox::start(program, scale.vaults);
        sandbox.grow_policies(policies, &mut untouched);
        (sandbox, Vec::new())
    });
    // Neither always follows the other: the order is reversed after each turn, and in the end as at the beginning.
    for _ in 0..ROUNDS {
        for (sandbox, times) in &mut builds {
            let samples = scale.samples.div_ceil(ROUNDS);
            let taken = writes::series(sandbox, Change::Rule, &Others::policies(0), samples);
            times.extend(taken.times);
        }
        builds.reverse();
    }
    let (_, wrong) = untouched.stop();
    assert!(wrong.is_empty(), "{wrong:?}");
    report::heading("From the API server's answer to a write until Envoy enforces it");
    let [(_, of_before), (_, of_this)] = &builds;
    let limit = (11.0 * report::percentile(of_before, 50)).round() / 10.0;
    let target = Target {
        p50: limit,
        p99: f64::INFINITY,
    };
    for (change, times, target) in [
        ("rule, before", of_before, None),
        ("rule, this build", of_this, Some(target)),
    ] {
        report::row(&Row {
            change,
            policies,
            pods: 0,
            others: 0.0,
            times,
            target,
        });
    }
}
