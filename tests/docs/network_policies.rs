//! `NetworkPolicies` in the pages are complete: the API server drops a misspelt field, and the port that it was to
//! close stays open.

use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::Value;

use crate::docs::page::{Kind, Page};

/// Returns the error in the `NetworkPolicy` of a text; none if it is of another kind.
fn wrong(text: &str) -> Option<String> {
    let shown: Value = serde_saphyr::from_str(text).ok()?;
    if shown["kind"] != "NetworkPolicy" {
        return None;
    }
    let read: NetworkPolicy = match serde_json::from_value(shown.clone()) {
        Ok(read) => read,
        Err(error) => return Some(error.to_string()),
    };
    let kept = serde_json::to_value(&read).unwrap();
    (kept != shown).then(|| format!("the API server reads only {kept}"))
}

#[test]
fn network_policies_are_whole() {
    let mut problems = Vec::new();
    let mut count = 0;
    for page in Page::all() {
        for block in &page.blocks {
            if !matches!(block.kind, Kind::Objects { .. }) {
                continue;
            }
            count += usize::from(block.text.contains("kind: NetworkPolicy"));
            problems.extend(
                wrong(&block.text).map(|problem| format!("{}: {problem}", page.place(block))),
            );
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 2, "only {count} NetworkPolicies were found");
}

#[test]
fn an_incomplete_policy_is_found() {
    let policy = |spec: &str| {
        format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: a}}, spec: {spec}}}"
        )
    };
    // spec | whole
    for (spec, whole) in [
        ("{podSelector: {}, ingress: [{}]}", true),
        ("{podSelector: {}, ingres: [{}]}", false),
        (
            "{podSelector: {}, ingress: [{ports: [{prot: 8200}]}]}",
            false,
        ),
        ("{podSelector: []}", false),
    ] {
        assert_eq!(wrong(&policy(spec)).is_none(), whole, "{spec}");
    }
}
