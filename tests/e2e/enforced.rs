//! The cluster's network enforces `NetworkPolicy`, by cyclonus' own cases: the other tests rely on it when they expect
//! dropped packets.

use testkit::cluster::run;

/// Tags of the cases with changes, and of those whose policies contradict each other. All 230 cases take 15 minutes;
/// `dev/enforcer/tests/policies` runs each of them without a cluster.
const CASES: &str = "action,conflict";

#[test]
fn the_network_enforces_policies_by_the_cases_of_cyclonus() {
    let _labels = crate::pod_labels();
    let output = run("cyclonus-live", &["-include", CASES]);
    let count = output.stdout.lines().last().unwrap_or_default();
    println!("{count}");
    assert!(output.succeeded, "{}{}", output.stdout, output.stderr);
    assert!(count.starts_with("cyclonus, live: "), "{}", output.stdout);
}
