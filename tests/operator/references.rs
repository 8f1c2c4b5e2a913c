//! Objects that policies refer to are created and deleted; policies differ; and the operator answers requests for
//! health and metrics.

use std::net::SocketAddrV4;

use crate::operator::sandbox::{Operator, POD, Sandbox};
use testkit::client::Client;
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_for;

/// The subnet `network/corp`, without or with the vault's service endpoint.
fn network(subnet: &str, endpoints: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VirtualNetwork\nmetadata: {{name: corp}}\nspec:\n  subnets:\n  \
         - {{name: {subnet}, serviceEndpoints: [{endpoints}], addressPrefixes: [{POD}/32]}}\n"
    )
}

/// A policy that lets in the subnet.
fn policy(name: &str, management: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: {name}, namespace: \
            vault}}\nspec:\n  \
         targetRef: {{name: openbao, port: 8200}}\n  management: {{access: {management}}}\n  virtualNetworkRules:\n  \
         - subnet: {{virtualNetwork: corp, name: dc}}\n"
    )
}

/// Returns the response of the operator.
fn ask(operator: &Operator, path: &str) -> (u16, String) {
    let server = SocketAddrV4::new(operator.address, 8080);
    match Client::new(operator.address, server).send("GET", path, "") {
        Ok(answer) => (answer.status, answer.body),
        Err(error) => (0, error.to_string()),
    }
}

/// Waits until it counts so many policies and proxies.
fn counts(operator: &Operator, expected: &[(&str, u32)]) {
    let mut last = String::new();
    let all = expected
        .iter()
        .map(|(name, count)| format!("\nvaultwall_{name} {count}\n"));
    let all: Vec<String> = all.collect();
    wait_for(&format!("{expected:?}"), || {
        last = ask(operator, "/metrics").1;
        all.iter().all(|line| last.contains(line)).then_some(())
    });
}

#[test]
fn a_network_comes_changes_and_goes() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    wait_for("ready", || {
        (ask(&operator, "/readyz") == (200, "ok\n".into())).then_some(())
    });
    assert_eq!(ask(&operator, "/healthz"), (200, "ok\n".into()));
    counts(
        &operator,
        &[("policies{accepted=\"true\"}", 0), ("firewalls", 0)],
    );

    sandbox.server.apply(&policy("older", "Unrestricted"));
    let proxy = sandbox.proxy();
    let message = sandbox.condition("older", "ResolvedRefs", "False", "VirtualNetworkNotFound");
    assert!(
        message.contains("spec.virtualNetworkRules[0].subnet"),
        "{message}"
    );
    // A missing object opens nothing, and the existing ones are enforced.
    sandbox.condition("older", "Accepted", "True", "Accepted");
    sandbox.condition("older", "Programmed", "True", "Programmed");
    sandbox.wait_for_verdicts(&[(POD, Denied)]);
    for (subnet, endpoints, status, reason, verdict) in [
        ("dc", "", "False", "ServiceEndpointMissing", Denied),
        ("dc", "Vault", "True", "ResolvedRefs", Allowed),
        ("other", "Vault", "False", "SubnetNotFound", Denied),
        ("dc", "Vault", "True", "ResolvedRefs", Allowed),
        ("dc", "", "False", "ServiceEndpointMissing", Denied),
        ("dc", "Vault", "True", "ResolvedRefs", Allowed),
    ] {
        sandbox.server.apply(&network(subnet, endpoints));
        sandbox.condition("older", "ResolvedRefs", status, reason);
        sandbox.wait_for_verdicts(&[(POD, verdict)]);
    }

    // A younger policy has another value. Its name sorts first, and does not count.
    sandbox.server.apply(&policy("a-younger", "Disabled"));
    let message = sandbox.condition("a-younger", "Conflicted", "True", "SettingsDiffer");
    assert!(
        message.contains("spec.management.access") && message.contains("`older`"),
        "{message}"
    );
    sandbox.condition("a-younger", "Accepted", "True", "Accepted");
    sandbox.condition("a-younger", "Programmed", "True", "Programmed");
    sandbox.condition("older", "Conflicted", "False", "NoConflicts");
    counts(
        &operator,
        &[
            ("policies{accepted=\"true\"}", 2),
            ("policies{accepted=\"false\"}", 0),
            ("firewalls", 1),
            ("proxies_connected", 1),
            ("proxies_programmed", 1),
            ("leader", 1),
        ],
    );
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "older"]);
    sandbox.condition("a-younger", "Conflicted", "False", "NoConflicts");

    sandbox.kubectl(&["delete", "vnet", "corp"]);
    sandbox.condition(
        "a-younger",
        "ResolvedRefs",
        "False",
        "VirtualNetworkNotFound",
    );
    sandbox.wait_for_verdicts(&[(POD, Denied)]);
    drop(proxy);
    sandbox.condition("a-younger", "Programmed", "Unknown", "NoProxies");
    counts(
        &operator,
        &[
            ("policies{accepted=\"true\"}", 1),
            ("proxies_connected", 0),
            ("proxies_programmed", 0),
        ],
    );
}
