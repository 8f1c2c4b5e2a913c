//! Reads Envoy's decision from its answer and its access log, and holds it against `decide`'s.

use std::collections::BTreeMap;

use serde_json::Value;
use vaultwall::policy::{Decision, Reason, Verdict};
use vaultwall::vault_api::{HEADER_NAMESPACE, Plane, path};

use crate::differential::headers::SPOOFED;
use crate::differential::hop::Arrived;
use crate::differential::wire::{Answer, Sent};

/// Decision of Envoy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    status: Option<u16>,
    reason: Option<String>,
    would_deny: Option<String>,
    rule: Option<String>,
    plane: Option<String>,
    operations: String,
    path: Option<String>,
    id: Option<String>,
}

/// Response flags of requests that Envoy refuses while it parses them, so that no filter sees them. `low_version` is a
/// request whose first line ends early.
const UNREADABLE: &[&str] = &[
    "http1.codec_error",
    "absolute_path_rejected",
    "path_normalization_failed",
    "low_version",
];
/// Beginnings of headers that must not arrive. Envoy adds headers of its own with the first one and the last one.
const STRIPPED: &[&str] = &[
    "x-envoy-",
    "x-vaultwall-",
    "x-vault-inline-auth-",
    "client-cert",
    "x-forwarded-client-cert",
    "x-forwarded-tls-client-cert",
    "x-ssl-",
    "ssl-client",
    "ssl_client",
    "x-client-cert",
    "x-amzn-mtls-",
    "x-arr-clientcert",
    "cf-client-cert",
    "x-request-id",
    "x-http-request",
    "x-http-method",
    "x-method-override",
];
/// Largest number of bytes of a path in the access log.
const PATH_BYTES: usize = 1024;

impl Observed {
    /// Reads an answer and the request's log record, if its mark could be read at all.
    pub fn new(sent: &Sent, answer: &Answer, record: Option<&Value>) -> Self {
        let field = |name: &str| {
            let text = record?[name].as_str()?;
            (text != "-").then(|| text.to_owned())
        };
        let details = field("responseDetails").unwrap_or_default();
        let refused = record.is_none() || UNREADABLE.iter().any(|start| details.starts_with(start));
        let reason = field("reason").or_else(|| {
            let denied = matches!(answer.status, Some(400 | 426 | 431));
            let unreadable = refused && (denied || sent.is_grpc());
            unreadable.then(|| Reason::BadRequest.name().to_owned())
        });
        let rule = match reason.as_deref() {
            Some("VirtualNetworkRule") => {
                field("virtualNetworkHostRule").or_else(|| field("virtualNetworkRule"))
            }
            Some("IpRule") => field("ipRule"),
            Some("TrustedService") => field("trustedService"),
            Some("Operator") => field("virtualNetworkHostRule")
                .or_else(|| field("virtualNetworkRule"))
                .or_else(|| field("ipRule")),
            _ => None,
        };
        Self {
            status: answer.status,
            reason,
            would_deny: field("wouldDeny"),
            rule,
            plane: field("plane").filter(|plane| plane != "bad-request"),
            operations: field("operations").unwrap_or_default(),
            path: field("requestUri"),
            id: field("decisionId"),
        }
    }
}

/// How the two decisions differ.
pub fn decisions(sent: &Sent, decision: &Decision, observed: &Observed) -> Vec<String> {
    let mut differences = Vec::new();
    let mut differ = |what: &str, decided: &str, seen: &str| {
        if decided != seen {
            differences.push(format!("{what}: decide {decided:?}, Envoy {seen:?}"));
        }
    };
    let seen = observed.reason.as_deref().unwrap_or_default();
    differ("reason", decision.reason.name(), seen);
    differ(
        "wouldDeny",
        decision.would_deny.map(Reason::name).unwrap_or_default(),
        observed.would_deny.as_deref().unwrap_or_default(),
    );
    differ(
        "rule",
        decision.rule.as_deref().unwrap_or_default(),
        observed.rule.as_deref().unwrap_or_default(),
    );
    let plane = decision.plane.map(Plane::name).unwrap_or_default();
    differ(
        "plane",
        plane,
        observed.plane.as_deref().unwrap_or_default(),
    );
    differ(
        "operations",
        &decision.operations.to_string(),
        &observed.operations,
    );
    let status = match decision.reason {
        reason if reason.verdict() == Verdict::Allow => &[200][..],
        // Envoy answers a denied client of gRPC with 200, and the status of gRPC in a header.
        _ if sent.is_grpc() => &[200, 400][..],
        // Of the two limits, the one of the headers may be reached first.
        Reason::BadRequest => &[400, 426, 431][..],
        _ => &[403][..],
    };
    if !observed.status.is_some_and(|seen| status.contains(&seen)) {
        differences.push(format!(
            "status: {:?} instead of {status:?}",
            observed.status
        ));
    }
    differences.extend(wrong_record(sent, observed));
    differences
}

/// Differences in the parts of the record that hold texts of the client: the path is the one that was judged, without
/// query and with a limit of its length, and the decision id is Envoy's.
fn wrong_record(sent: &Sent, observed: &Observed) -> Vec<String> {
    let mut wrong = Vec::new();
    if let (Some(path), Ok(judged)) = (&observed.path, path::normalise(&sent.read_target())) {
        let end = judged.path.len().min(PATH_BYTES);
        if *path != judged.path[..end] {
            wrong.push(format!("path: judged {:?}, logged {path:?}", judged.path));
        }
    }
    let chosen = |id: &&String| id.contains(SPOOFED);
    wrong.extend(
        observed
            .id
            .iter()
            .filter(chosen)
            .map(|id| format!("the client chose its decision id {id:?}")),
    );
    wrong
}

/// Differences between the receipt of a denial and its log record. Only a denial that was decided has a receipt.
pub fn receipts(answer: &Answer, record: Option<&Value>) -> Vec<String> {
    let reason = record.and_then(|record| record["reason"].as_str());
    let is_denied =
        reason.is_some_and(|reason| Reason::from_name(reason).unwrap().verdict() == Verdict::Deny);
    let receipt = receipt(answer);
    if receipt.is_some() != is_denied {
        return vec![format!("receipt: {receipt:?} for {reason:?}")];
    }
    let (Some(receipt), Some(record)) = (receipt, record) else {
        return Vec::new();
    };
    let logged = |field: &str| record[field].as_str().unwrap_or_default().to_owned();
    let field_of = |key: &str| match key {
        "decision" => "decisionId".to_owned(),
        "addr" => "callerIpAddress".to_owned(),
        "direct" => "directIpAddress".to_owned(),
        "from" => "clientAddressFrom".to_owned(),
        key => key.to_owned(),
    };
    let wrong = receipt.iter().filter(|(key, value)| {
        let direct =
            *key == "from" && *value == "peer" && record.get("clientAddressFrom").is_none();
        !direct && **value != logged(&field_of(key))
    });
    wrong
        .map(|(key, value)| format!("receipt: {key} is {value:?}"))
        .collect()
}

/// Parts of the receipt in an answer's headers.
fn receipt(answer: &Answer) -> Option<BTreeMap<String, String>> {
    let text = String::from_utf8_lossy(&answer.bytes);
    let (head, _) = text.split_once("\r\n\r\n")?;
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("x-vaultwall-denial: "))?;
    let parts = line.split_terminator(';');
    let parts = parts.map(|part| part.split_once('=').unwrap());
    Some(
        parts
            .map(|(key, value)| (key.into(), value.into()))
            .collect(),
    )
}

/// Returns the differences in the request that arrived at the hop.
pub fn arrivals(sent: &Sent, decision: &Decision, arrived: &[Arrived]) -> Vec<String> {
    let expected = usize::from(decision.verdict() == Verdict::Allow);
    if arrived.len() != expected {
        return vec![format!(
            "{} requests arrived at the hop, not {expected}",
            arrived.len()
        )];
    }
    arrived
        .iter()
        .flat_map(|arrived| wrong_with(sent, arrived))
        .collect()
}

fn wrong_with(sent: &Sent, arrived: &Arrived) -> Vec<String> {
    let mut wrong = Vec::new();
    let judged = path::normalise(&sent.read_target()).unwrap();
    let query = judged
        .query
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let line = format!(
        "{} {}{query} HTTP/1.1",
        String::from_utf8_lossy(&sent.method),
        judged.path
    );
    if arrived.line != line.as_bytes() {
        wrong.push(format!(
            "judged {line:?}, arrived {:?}",
            arrived.line.escape_ascii().to_string()
        ));
    }
    let namespaces = arrived.values(HEADER_NAMESPACE);
    let first = sent.values(HEADER_NAMESPACE).into_iter().next();
    if namespaces != first.iter().map(String::as_bytes).collect::<Vec<_>>() {
        wrong.push(format!(
            "namespace {first:?} arrived as {:?}",
            namespaces
                .iter()
                .map(|v| v.escape_ascii().to_string())
                .collect::<Vec<_>>()
        ));
    }
    let forwarded = arrived.values("x-forwarded-for").join(&b","[..]);
    let last = forwarded.rsplit(|byte| *byte == b',').next();
    if last != Some(sent.from.to_string().as_bytes()) || !arrived.values("upgrade").is_empty() {
        wrong.push(format!("peer or upgrade: {:?}", arrived.headers));
    }
    for (name, value) in &arrived.headers {
        let forged = value
            .windows(SPOOFED.len())
            .any(|part| part == SPOOFED.as_bytes());
        let envoys_own = name.starts_with("x-envoy-") || name == "x-request-id";
        if STRIPPED.iter().any(|prefix| name.starts_with(prefix)) && (forged || !envoys_own) {
            wrong.push(format!("the client's {name} arrived"));
        }
    }
    wrong
}
