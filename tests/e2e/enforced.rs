//! Whether the cluster's network enforces `NetworkPolicy`, by cyclonus' own cases: what the other tests see of walls and
//! dropped packets rests on it.

use crate::cluster_fixtures::run;

/// Tags of the cases in which something changes, and of those whose policies contradict each other. All 230 take 15 minutes;
/// `tests/enforcer` has each of them without a cluster.
const CASES: &str = "action,conflict";

#[test]
fn cyclonus_finds_the_network_enforcing() {
    let said = run("cyclonus-live", &["-include", CASES]);
    let count = said.out.lines().last().unwrap_or_default();
    println!("{count}");
    assert!(said.good, "{}{}", said.out, said.err);
    assert!(count.starts_with("cyclonus, live: "), "{}", said.out);
}
