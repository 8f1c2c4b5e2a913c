//! The audit log of the API server: each write, and its user.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Value, json};

/// A write request that was answered. Its line is in the log before the client has received the whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// User of the request; the impersonated one, if any.
    pub user: String,
    /// `User-Agent` of the client, such as `kubectl/v1.36.3`.
    pub user_agent: String,
    /// One of create, update, patch, delete, deletecollection.
    pub verb: String,
    /// Plural name, with the subresource after a slash: `vaultnetworkpolicies/status`.
    pub resource: String,
    /// Namespace of the object; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name of the object; empty where the server generated it.
    pub name: String,
    /// Path with its query: field manager, dry run.
    pub uri: String,
    /// HTTP status of the response.
    pub status: u64,
    /// Body of a create, update or patch of a status or an event; null for others.
    pub body: Value,
}

/// Audit policy: writes alone, without those of the server itself. Statuses and events are recorded as a whole, because
/// they may contain no token.
pub(super) fn policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            {"level": "None", "users": ["system:apiserver"]},
            {
                "level": "Request",
                "verbs": ["create", "update", "patch"],
                "resources": [
                    {"group": "vaultwall.dev", "resources": ["*/status"]},
                    {"group": "events.k8s.io"},
                ],
            },
            {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        ],
    })
}

/// Returns the length of the log, in bytes.
pub(super) fn length(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |file| file.len())
}

/// Returns the records after the first `earlier` bytes of the log.
pub(super) fn records(log: &Path, earlier: u64) -> Vec<AuditRecord> {
    let mut content = String::new();
    if let Ok(mut log) = File::open(log) {
        log.seek(SeekFrom::Start(earlier)).unwrap();
        log.read_to_string(&mut content).unwrap();
    }
    // A line without its end is still being written: its client has no response yet.
    content
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| record(&serde_json::from_str(line).unwrap()))
        .collect()
}

fn record(event: &Value) -> AuditRecord {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let (resource, subresource) = (text(&object["resource"]), text(&object["subresource"]));
    let acting = &event["impersonatedUser"]["username"];
    AuditRecord {
        user: text(if acting.is_string() {
            acting
        } else {
            &event["user"]["username"]
        }),
        user_agent: text(&event["userAgent"]),
        verb: text(&event["verb"]),
        resource: if subresource.is_empty() {
            resource
        } else {
            format!("{resource}/{subresource}")
        },
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        uri: text(&event["requestURI"]),
        status: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
        body: event["requestObject"].clone(),
    }
}
