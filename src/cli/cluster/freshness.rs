//! Signs that an answer from the cluster describes objects that no operator has processed: a generation that is newer
//! than the observed one, or a lease that nobody renews.

use jiff::{SignedDuration, Timestamp};
use kube::api::GetParams;
use kube::core::Request;
use serde_json::Value;

use super::list::{Cluster, RequestError};
use crate::api::LEASE;
use crate::policy::VaultId;

/// Age of a lease after which no operator renews it. A leader renews it every few seconds; a failed leader is replaced
/// within 20 s.
const LEASE_IS_OLD: SignedDuration = SignedDuration::from_secs(60);

/// Returns a warning for each policy of the vault that was edited after the operator evaluated it.
pub(super) fn of_policies(page: &Value, vault: &VaultId) -> Vec<String> {
    let items = page.pointer("/items").and_then(Value::as_array);
    let of_vault = |item: &&Value| {
        item.pointer("/spec/targetRef/name").and_then(Value::as_str) == Some(&vault.service)
    };
    items
        .into_iter()
        .flatten()
        .filter(of_vault)
        .filter_map(of_policy)
        .collect()
}

fn of_policy(policy: &Value) -> Option<String> {
    let name = policy.pointer("/metadata/name")?.as_str()?;
    let generation = policy.pointer("/metadata/generation")?.as_i64()?;
    let observed = policy
        .pointer("/status/observedGeneration")
        .and_then(Value::as_i64);
    match observed {
        Some(observed) if observed >= generation => None,
        Some(observed) => Some(format!(
            "VaultNetworkPolicy {name}: the operator has not processed generation {generation} yet. The answer is for \
             that generation; proxies may still enforce an earlier one (the last processed is {observed})"
        )),
        None => Some(format!(
            "VaultNetworkPolicy {name}: no operator has processed it yet. The answer is for the policy as it is \
             written; nothing of it may be in force"
        )),
    }
}

impl Cluster {
    /// Returns a warning if no operator runs, or if that cannot be determined.
    pub(super) async fn warning_of_operator(&self, namespace: &str) -> Option<String> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let request = Request::new(path).get(LEASE, &GetParams::default());
        let lease = format!("lease {namespace}/{LEASE}");
        match self.request(request).await {
            Ok(object) => of_lease(&object, &lease, Timestamp::now()),
            Err(RequestError::Refused { code: 404, .. }) => Some(format!(
                "there is no {lease}, so no operator has run in that namespace. If it runs in another one, name it \
                 with --operator-namespace; otherwise rules of new objects are not in force"
            )),
            Err(_) => Some(format!(
                "it is unknown whether the operator runs, because its {lease} cannot be read; if it does not, proxies \
                 may enforce earlier rules than those of this answer"
            )),
        }
    }
}

fn of_lease(object: &Value, lease: &str, now: Timestamp) -> Option<String> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let is_held = text("/spec/holderIdentity").is_some_and(|holder| !holder.is_empty());
    let renewed = text("/spec/renewTime").filter(|_| is_held);
    let age = renewed
        .and_then(|time| time.parse::<Timestamp>().ok())
        .map(|time| now.duration_since(time));
    match age {
        Some(age) if age < LEASE_IS_OLD => None,
        Some(age) => Some(format!(
            "the operator does not run: its {lease} was last renewed {} s ago by this machine's clock. The answer is \
             for the objects in the cluster; proxies enforce those from before that time",
            age.as_secs()
        )),
        None => Some(format!(
            "the operator does not run: nobody holds its {lease}. The answer is for the objects in the cluster; \
             proxies may enforce earlier ones"
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_that_was_edited_is_reported() {
        let policy = |name: &str, service: &str, observed: Option<i64>| {
            json!({
                "metadata": {"name": name, "generation": 4},
                "spec": {"targetRef": {"name": service}},
                "status": {"observedGeneration": observed},
            })
        };
        let page = json!({"items": [
            policy("current", "openbao", Some(4)),
            policy("edited", "openbao", Some(3)),
            policy("new", "openbao", None),
            policy("another", "other", Some(1)),
        ]});
        let warnings = of_policies(&page, &"vault/openbao".parse().unwrap());
        let starts = ["VaultNetworkPolicy edited: ", "VaultNetworkPolicy new: "];
        assert_eq!(warnings.len(), starts.len(), "{warnings:?}");
        for (warning, start) in warnings.iter().zip(starts) {
            assert!(warning.starts_with(start), "{warning}");
        }
    }

    #[test]
    fn a_lease_that_nobody_renews_is_reported() {
        let now: Timestamp = "2026-05-01T00:01:00Z".parse().unwrap();
        let recent = "2026-05-01T00:00:55.000000Z";
        for (holder, renewed, part) in [
            ("one", Some(recent), None),
            // The clock of the leader may be ahead.
            ("one", Some("2026-05-01T00:01:05.000000Z"), None),
            (
                "one",
                Some("2026-04-30T23:59:00.000000Z"),
                Some("120 s ago"),
            ),
            ("one", None, Some("nobody holds")),
            // A leader that stops releases it.
            ("", Some(recent), Some("nobody holds")),
        ] {
            let lease = json!({"spec": {"holderIdentity": holder, "renewTime": renewed}});
            let warning = of_lease(&lease, "lease vaultwall-system/vaultwall", now);
            match part {
                None => assert_eq!(warning, None),
                Some(part) => assert!(warning.unwrap().contains(part)),
            }
        }
    }
}
