//! The tables of fields and of reasons are complete, and hold nothing that does not exist.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Map, Value, json};
use vaultwall::access_log::Record;
use vaultwall::policy::{Reason, Verdict};

use crate::docs::command::Folder;
use crate::docs::page::Page;

fn page(path: &str) -> Page {
    let found = Page::all()
        .into_iter()
        .find(|page| page.path.to_str() == Some(path));
    found.unwrap()
}

/// Names in backticks in the first column of the table whose head begins with `head`.
fn first_column(page: &Page, head: &str) -> BTreeSet<String> {
    let rows = page.prose.iter().map(|(_, line)| line.as_str());
    let table = rows.skip_while(|line| !line.starts_with(head)).skip(2);
    let cells = table
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.split(" | ").next());
    cells
        .flat_map(|cell| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// A policy that needs every field.
const TRUSTED: &str = "\
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
  bypass: TrustedServices
  clientAddress: {source: XForwardedFor, trustedProxies: [10.0.0.7]}
  trustedServices: {proof: PodAndToken}
---
apiVersion: vaultwall.dev/v1alpha1
kind: TrustedService
metadata: {name: sync}
spec:
  scenarios: [{name: read, operations: [secrets/get]}]
  identities: [{serviceAccount: {namespace: tools, name: sync}}]
";

#[test]
fn every_field_is_explained() {
    let folder = Folder::new();
    fs::write(folder.path().join("trusted.yaml"), TRUSTED).unwrap();
    let (code, said) = folder.run("vaultwall render -f trusted.yaml --output-dir rendered");
    // 1: without the vault's Service, a NetworkPolicy is left out.
    assert_eq!(code, Some(1), "{said}");
    let rendered = folder
        .path()
        .join("rendered/vault.openbao/envoy/listeners.json");
    let listeners: Value = serde_json::from_slice(&fs::read(rendered).unwrap()).unwrap();
    let mut written = BTreeSet::new();
    formats(&listeners, &mut written);
    let explained = first_column(&page("docs/access-log.md"), "| field |");
    assert_eq!(explained, written);

    // A reader of records knows all of them.
    let value = |name: &String| match name.as_str() {
        "time" => json!("2026-11-22T18:30:16.391Z"),
        "httpStatusCode" | "durationMs" => json!(7),
        _ => json!(name),
    };
    let fields: Map<String, Value> = written
        .iter()
        .map(|name| (name.clone(), value(name)))
        .collect();
    let read: Record = serde_json::from_value(Value::Object(fields.clone())).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), Value::Object(fields));
}

/// Keys of the JSON formats of access logs, wherever they are.
fn formats(value: &Value, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if let ("log_format", Some(Value::Object(format))) =
                    (key.as_str(), value.get("json_format"))
                {
                    keys.extend(format.keys().cloned());
                }
                formats(value, keys);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| formats(value, keys)),
        _ => {}
    }
}

#[test]
fn every_reason_is_explained() {
    let names = |wanted: fn(&Reason) -> bool| -> BTreeSet<String> {
        let reasons = Reason::ALL.iter().filter(|reason| wanted(reason));
        reasons.map(|reason| reason.name().to_owned()).collect()
    };
    let mut logged = first_column(&page("docs/access-log.md"), "| `reason` | verdict |");
    assert!(logged.remove("null"));
    assert_eq!(logged, names(|_| true));
    let denied = first_column(&page("docs/denied.md"), "| reason |");
    assert_eq!(denied, names(|reason| reason.verdict() == Verdict::Deny));
}
