//! A namespace that is busy all the time does not keep the operator from the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::operator::enforcement::policy;
use crate::operator::sandbox::{OPERATOR, Sandbox};
use testkit::AuditRecord;
use testkit::wait::{wait_for, wait_until};

/// Namespace of the busy tenant, alphabetically before `vault`.
const BUSY: &str = "aaa";
/// Its vaults, each with one policy, and the threads that edit them.
const VAULTS: usize = 8;
const EDITORS: usize = 4;
/// Writes of the operator for the busy namespace while a `NetworkPolicy` of another one is away: a few are in progress
/// or begin at the same time.
const MOST: usize = 20;

fn busy(number: usize) -> [Value; 2] {
    let name = format!("openbao-{number}");
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": BUSY},
        "spec": {"selector": {"app": name}, "ports": [{"port": 8200}]},
    });
    let policy = json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {"name": name, "namespace": BUSY},
        "spec": {"targetRef": {"name": name, "port": 8200}, "ipRules": [{"value": "203.0.113.1"}]},
    });
    [service, policy]
}

/// Edits every [`EDITORS`]th policy, beginning with this one, until it is stopped.
fn edit(sandbox: &Sandbox, first: usize, stop: &AtomicBool) {
    for round in 0_usize.. {
        for number in (first..VAULTS).step_by(EDITORS) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let rules: Vec<Value> = (0..=(round % 2))
                .map(|rule| json!({"value": format!("203.0.113.{rule}")}))
                .collect();
            let path = format!(
                "/apis/vaultwall.dev/v1alpha1/namespaces/{BUSY}/vaultnetworkpolicies/openbao-{number}"
            );
            let edited = json!({"spec": {"ipRules": rules}}).to_string();
            let answer = sandbox.server.request("PATCH", &path, &edited).unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
}

/// Stops the editors when it is dropped, also after a failure.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_busy(record: &AuditRecord) -> bool {
    record.namespace == BUSY
}

#[test]
fn a_busy_namespace_does_not_keep_a_networkpolicy_of_another_away() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    sandbox.server.apply(
        &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": BUSY}}).to_string(),
    );
    let items: Vec<Value> = (0..VAULTS).flat_map(busy).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    sandbox.server.apply(&list.to_string());
    sandbox.condition("web", "Programmed", "Unknown", "NoProxies");
    let statuses = || {
        let all = sandbox.server.writes(OPERATOR).into_iter();
        all.filter(|record| is_busy(record) && record.resource.ends_with("/status"))
            .count()
    };
    wait_until("every policy has a status", || statuses() >= VAULTS);
    let stop = AtomicBool::new(false);
    let meanwhile = thread::scope(|threads| {
        let _stopping = Stopping(&stop);
        for first in 0..EDITORS {
            let (sandbox, stop) = (&sandbox, &stop);
            threads.spawn(move || edit(sandbox, first, stop));
        }
        let before = statuses();
        wait_until("the operator is busy", || statuses() >= before + VAULTS);
        let deleted = "networkpolicy/openbao-vault";
        let known = sandbox.server.writes("").len();
        sandbox.kubectl(&["delete", deleted, "-n", "vault"]);
        wait_for("the NetworkPolicy is written again", || {
            until_written(&sandbox.server.writes("")[known..])
        })
    });
    assert!(
        meanwhile <= MOST,
        "{meanwhile} writes for {BUSY} came first"
    );
}

/// Counts the writes of the operator for the busy namespace between the deletion of the vault's `NetworkPolicy` and the
/// operator's next write of it, if both are there.
fn until_written(writes: &[AuditRecord]) -> Option<usize> {
    let find = |verb: &str, records: &[AuditRecord]| {
        records.iter().position(|record| {
            record.resource == "networkpolicies"
                && record.name == "openbao-vault"
                && record.verb == verb
        })
    };
    let after = &writes[find("delete", writes)?..];
    let before = &after[..find("patch", after)?];
    let of_operator = before.iter().filter(|record| record.user == OPERATOR);
    Some(of_operator.filter(|record| is_busy(record)).count())
}
