//! A protected vault whose policy a test changes: verdicts before and after.

use std::net::Ipv4Addr;

use crate::standalone::objects::{ALLOWED, DENIED, allowing};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::OpenBao;
use testkit::client::Verdict;

/// Allowed by a rule that a test adds.
pub(crate) const LATER: Ipv4Addr = Ipv4Addr::new(127, 33, 0, 1);

/// Verdicts of [`protected`].
pub(crate) const BEFORE: [(Ipv4Addr, Verdict); 3] = [
    (ALLOWED, Verdict::Allowed),
    (DENIED, Verdict::Denied),
    (LATER, Verdict::Denied),
];
/// Verdicts after the rule was added.
pub(crate) const AFTER: [(Ipv4Addr, Verdict); 3] = [
    (ALLOWED, Verdict::Allowed),
    (DENIED, Verdict::Denied),
    (LATER, Verdict::Allowed),
];

/// Starts a vault and its firewall, and waits until the firewall enforces its policy.
pub(crate) fn protected() -> (Sandbox, OpenBao, Serve) {
    let sandbox = Sandbox::new();
    let vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("main.yaml", &allowing(&[]));
    let serve = Serve::start(&sandbox);
    sandbox.wait_for_verdicts(&BEFORE);
    (sandbox, vault, serve)
}
