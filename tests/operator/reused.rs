//! A pod of a trusted service is deleted, and another pod has its address.

use std::net::Ipv4Addr;

use crate::operator::sandbox::{OUTSIDER, Sandbox};
use testkit::client::Verdict::{Allowed, Denied};

/// Address of a pod whose events come after those of the others.
const LATER: Ipv4Addr = Ipv4Addr::new(127, 61, 0, 4);
/// A trusted service with the service account `agent`, and a vault that lets it in and nobody else.
const OBJECTS: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: agent, namespace: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: another, namespace: shop}
---
apiVersion: vaultwall.dev/v1alpha1
kind: TrustedService
metadata: {name: agent}
spec:
  scenarios:
  - {name: read, operations: [secrets/get]}
  identities:
  - serviceAccount: {namespace: shop, name: agent}
---
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  vault: {engines: [{path: secret, type: KvV2}]}
  bypass: TrustedServices
";

impl Sandbox {
    fn run_pod(&self, name: &str, account: &str, address: Ipv4Addr) {
        self.server.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n\
             spec: {{serviceAccountName: {account}, automountServiceAccountToken: false, \
             containers: [{{name: main, image: main}}]}}\n"
        ));
        self.server.set_running("shop", name, address);
    }

    fn delete_pod(&self, name: &str) {
        let now = ["--force", "--grace-period=0"];
        self.kubectl(&[&["delete", "pod", "-n", "shop", name][..], &now].concat());
    }
}

#[test]
fn a_pod_with_the_address_of_a_deleted_one_is_not_trusted() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(OBJECTS);
    sandbox.run_pod("first", "agent", OUTSIDER);
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(OUTSIDER, Allowed), (LATER, Denied)]);

    // As soon as a later change is enforced, this one is.
    sandbox.delete_pod("first");
    sandbox.run_pod("successor", "another", OUTSIDER);
    sandbox.run_pod("second", "agent", LATER);
    sandbox.wait_for_verdicts(&[(LATER, Allowed)]);
    assert_eq!(sandbox.client(OUTSIDER).verdict(), Denied);

    // While a pod of the account and another one have the same address, neither is trusted: the kubelet may still
    // report the earlier one.
    sandbox.run_pod("third", "agent", OUTSIDER);
    sandbox.delete_pod("second");
    sandbox.wait_for_verdicts(&[(LATER, Denied)]);
    assert_eq!(sandbox.client(OUTSIDER).verdict(), Denied);
    sandbox.delete_pod("successor");
    sandbox.wait_for_verdicts(&[(OUTSIDER, Allowed), (LATER, Denied)]);
}

#[test]
fn without_the_operator_proven_identities_stay_and_no_new_one_is_proven() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(OBJECTS);
    sandbox.run_pod("first", "agent", OUTSIDER);
    let _proxy = sandbox.proxy();
    sandbox.wait_for_verdicts(&[(OUTSIDER, Allowed), (LATER, Denied)]);
    operator.kill();
    sandbox.run_pod("second", "agent", LATER);
    for _ in 0..20 {
        let verdicts = [OUTSIDER, LATER].map(|source| sandbox.client(source).verdict());
        assert_eq!(verdicts, [Allowed, Denied]);
    }
    // The next operator proves it.
    let _operator = sandbox.operator();
    sandbox.wait_for_verdicts(&[(OUTSIDER, Allowed), (LATER, Allowed)]);
}
