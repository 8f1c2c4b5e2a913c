//! Denials that are alike: of the same caller, with the same reason and operations, at the same endpoint. An agent that
//! repeats its request is one group, however often and for however many paths.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::Record;

/// Largest number of paths, of addresses and of decision ids that a group lists.
const EXAMPLES: usize = 5;

/// Denials that are alike.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Caller, reason and operations, which they have in common.
    #[serde(flatten)]
    pub key: GroupKey,
    /// Their number.
    pub count: u64,
    /// Time of the first one.
    pub first: Timestamp,
    /// Time of the last one.
    pub last: Timestamp,
    /// Addresses of the client, the last one first.
    pub addresses: Vec<String>,
    /// Methods and paths, the last one first.
    pub requests: Vec<String>,
    /// Whether there are more paths or addresses than listed.
    pub more: bool,
    /// Ids of the last decisions, the last one first.
    pub decision_ids: Vec<String>,
    /// The last reason for which the client's address could not be read, or a token proved nothing.
    pub problem: Option<String>,
}

/// The caller, and its kind of request.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "camelCase")]
pub struct GroupKey {
    /// The vault, `namespace/service`.
    pub vault: String,
    /// Proven identity of the caller; without one, its address.
    pub who: String,
    /// Address of the peer, if it is not the client itself: a trusted proxy.
    pub through: Option<String>,
    /// Endpoint, `data` or `management`.
    pub listener: String,
    /// Reason of the denial; none if the request could not be read, and so was not decided.
    pub reason: Option<String>,
    /// Whether the requests were forwarded all the same, because the vault has `mode: Audit`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_recorded: bool,
    /// Envoy's name for the problem, if the request was not decided.
    pub details: Option<String>,
    /// Names of the operations.
    pub operations: Option<String>,
}

impl GroupKey {
    fn of(record: &Record) -> Self {
        let undecided = record.reason.is_none();
        let through = record.direct_ip_address.clone();
        Self {
            vault: record.vault.clone(),
            who: who(record),
            through: through.filter(|peer| record.caller_ip_address.as_ref() != Some(peer)),
            listener: record.listener.clone(),
            reason: record.judged().map(str::to_owned),
            only_recorded: record.would_deny.is_some(),
            details: record.response_details.clone().filter(|_| undecided),
            operations: record.operations.clone(),
        }
    }
}

/// The caller of a request: a proven identity, because addresses of pods change; without one, the client's address.
fn who(record: &Record) -> String {
    let token = record.token_identity.as_ref();
    let token = token.map(|identity| identity.replace('\t', " "));
    let account = record
        .pod_and_token
        .as_ref()
        .or(record.service_account.as_ref());
    let address = record
        .caller_ip_address
        .as_ref()
        .or(record.direct_ip_address.as_ref());
    account
        .cloned()
        .or(token)
        .or(address.cloned())
        .unwrap_or_else(|| "unknown".to_owned())
}

impl Group {
    /// The group of one denial, which was seen at this time.
    pub fn of(record: &Record, seen: Timestamp) -> Self {
        let request = record.request_uri.as_ref().map(|path| {
            let method = record.method.as_deref().unwrap_or_default();
            format!("{method} {path}").trim_start().to_owned()
        });
        let problem = record
            .client_address_warning
            .as_ref()
            .or(record.token_problem.as_ref());
        Self {
            key: GroupKey::of(record),
            count: 1,
            first: seen,
            last: seen,
            addresses: record.caller_ip_address.iter().cloned().collect(),
            requests: request.into_iter().collect(),
            more: false,
            decision_ids: record.decision_id.iter().cloned().collect(),
            problem: problem.cloned(),
        }
    }

    /// Joins two groups with the same key, also of two replicas.
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let (newer, older) = if other.last >= self.last {
            (other, self)
        } else {
            (self, other)
        };
        let (addresses, more_addresses) = joined(newer.addresses, older.addresses);
        let (requests, more_requests) = joined(newer.requests, older.requests);
        Self {
            key: newer.key,
            count: newer.count.saturating_add(older.count),
            first: newer.first.min(older.first),
            last: newer.last,
            addresses,
            requests,
            more: newer.more || older.more || more_addresses || more_requests,
            decision_ids: joined(newer.decision_ids, older.decision_ids).0,
            problem: newer.problem.or(older.problem),
        }
    }
}

/// The first examples of both lists without repetitions, and whether some are left out.
fn joined(mut newer: Vec<String>, older: Vec<String>) -> (Vec<String>, bool) {
    for one in older {
        if !newer.contains(&one) {
            newer.push(one);
        }
    }
    let more = newer.len() > EXAMPLES;
    newer.truncate(EXAMPLES);
    (newer, more)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::{Value, json};

    use super::*;

    fn record(second: i64, fields: &Value) -> Record {
        let mut record = json!({
            "time": Timestamp::from_second(second).unwrap(),
            "vault": "vault/openbao", "listener": "data",
            "reason": "ForbiddenByFirewall", "operations": "secrets/get",
            "directIpAddress": "10.0.0.7", "callerIpAddress": "10.0.0.7",
            "method": "GET", "requestUri": "/v1/secret/data/app",
            "decisionId": format!("id-{second}"),
        });
        for (name, value) in fields.as_object().unwrap() {
            record[name] = value.clone();
        }
        serde_json::from_value(record).unwrap()
    }

    fn group(second: i64, fields: &Value) -> Group {
        let record = record(second, fields);
        Group::of(&record, record.time)
    }

    #[test]
    #[rustfmt::skip] // a table
    fn alike_is_the_same_caller_with_the_same_reason_and_operations() {
        let one = group(1, &json!({}));
        for (fields, alike) in [
            (json!({"requestUri": "/v1/secret/data/other"}), true),
            (json!({"method": "HEAD", "userAgent": "x"}), true),
            (json!({"callerIpAddress": "10.0.0.8", "directIpAddress": "10.0.0.8"}), false),
            (json!({"callerIpAddress": "203.0.113.7"}), false),
            (json!({"reason": "ForbiddenByScenario"}), false),
            (json!({"reason": "AuditMode", "wouldDeny": "ForbiddenByFirewall"}), false),
            (json!({"operations": "secrets/set"}), false),
            (json!({"listener": "management"}), false),
            (json!({"vault": "vault/other"}), false),
        ] {
            assert_eq!(group(2, &fields).key == one.key, alike, "{fields}");
        }
        // The pods of an account have several addresses.
        let account = |address| group(1, &json!({"serviceAccount": "ci/agent", "callerIpAddress": address,
            "directIpAddress": address}));
        assert_eq!(account("10.0.0.8").key, account("10.0.0.9").key);
    }

    #[test]
    #[rustfmt::skip] // a table
    fn who_is_the_best_proof() {
        for (fields, who, through) in [
            (json!({}), "10.0.0.7", None),
            (json!({"callerIpAddress": "203.0.113.7"}), "203.0.113.7", Some("10.0.0.7")),
            (json!({"callerIpAddress": null}), "10.0.0.7", Some("10.0.0.7")),
            (json!({"serviceAccount": "ci/agent"}), "ci/agent", None),
            (json!({"tokenIdentity": "https://i\tsub\taud"}), "https://i sub aud", None),
            (json!({"tokenIdentity": "https://i\tsub\taud", "podAndToken": "ci/agent"}), "ci/agent", None),
            (json!({"callerIpAddress": null, "directIpAddress": null}), "unknown", None),
        ] {
            let key = group(1, &fields).key;
            assert_eq!((&*key.who, key.through.as_deref()), (who, through), "{fields}");
        }
    }

    #[test]
    fn merging_takes_no_notice_of_the_order() {
        let make = |seconds: &[i64]| {
            let groups = seconds
                .iter()
                .map(|second| group(*second, &json!({"requestUri": format!("/{second}")})));
            groups.reduce(Group::merged).unwrap()
        };
        let (early, late) = (make(&[1, 2, 3]), make(&[4, 5, 6, 7]));
        let merged = early.clone().merged(late.clone());
        assert_eq!(merged, late.merged(early));
        assert_eq!(merged.count, 7);
        assert_eq!(merged.first, Timestamp::from_second(1).unwrap());
        assert_eq!(merged.last, Timestamp::from_second(7).unwrap());
        assert_eq!(
            merged.decision_ids,
            ["id-7", "id-6", "id-5", "id-4", "id-3"]
        );
        assert_eq!(
            merged.requests,
            ["GET /7", "GET /6", "GET /5", "GET /4", "GET /3"]
        );
        assert_eq!(merged.addresses, ["10.0.0.7"]);
        assert!(merged.more);
    }
}
