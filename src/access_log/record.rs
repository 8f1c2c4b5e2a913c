//! One record of the access log, with the fields that `docs/access-log.md` explains.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::policy::token::TokenIdentity;
use crate::policy::{Listener, Reason, Verdict};

/// Fields whose values are numbers.
const NUMBERS: [&str; 2] = ["httpStatusCode", "durationMs"];
/// Largest number of bytes of a text that is kept: that of Envoy's longest, the path.
const TEXT_BYTES: usize = 1024;
/// Largest number of bytes of all texts of a record that is kept. Those of Envoy have less than half of it.
const RECORD_BYTES: usize = 6 * 1024;

macro_rules! record {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A record. Fields that this version does not know are ignored, and all but three may be missing, so that
        /// records of a proxy of another version are read, too.
        #[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
        #[serde(rename_all = "camelCase")]
        pub struct Record {
            /// Start of the request.
            pub time: Timestamp,
            /// The vault, `namespace/service`.
            pub vault: String,
            /// Endpoint that received the request, `data` or `management`.
            pub listener: String,
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<String>,)*
            /// Status code of the response; it does not show a denial.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub http_status_code: Option<u64>,
            /// Time from the first byte of the request to the last byte of the response.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub duration_ms: Option<u64>,
        }

        impl Record {
            /// The record with every text cut to the largest length of Envoy's own, and all together to less than the
            /// sum of them, so that no proxy can fill the memory of a reader.
            #[must_use]
            pub fn bounded(mut self) -> Self {
                let mut room = RECORD_BYTES;
                for text in [&mut self.vault, &mut self.listener]
                    .into_iter()
                    .chain([$(&mut self.$name),*].into_iter().flatten())
                {
                    text.truncate(text.floor_char_boundary(TEXT_BYTES.min(room)));
                    text.shrink_to_fit();
                    room -= text.len();
                }
                self
            }
        }
    };
}

record! {
    /// Id that the denied client received.
    decision_id,
    /// Why the request was allowed or denied; none if it was not decided.
    reason,
    /// Why the request would have been denied without `mode: Audit`.
    would_deny,
    /// Rule that matches the peer as a single address.
    virtual_network_host_rule,
    /// Rule that matches the peer by a wider prefix.
    virtual_network_rule,
    /// Rule that matches the client's address.
    ip_rule,
    /// Service account of the peer's pod.
    service_account,
    /// The trusted service that the caller is, and the scenario that has the operation.
    trusted_service,
    /// Plane of the request.
    plane,
    /// Names of the operations.
    operations,
    /// Row of the classification table.
    route,
    /// Address of the peer.
    direct_ip_address,
    /// Address of the client.
    caller_ip_address,
    /// Place of the client's address in `X-Forwarded-For`.
    client_address_from,
    /// Why `X-Forwarded-For` could not be read.
    client_address_warning,
    /// Issuer, subject and audience of a token that proves an identity, separated by tabs.
    token_identity,
    /// Service account that both the token and the pod prove.
    pod_and_token,
    /// Check that the token failed.
    token_problem,
    /// Method of the request.
    method,
    /// Path as it was evaluated, without the query.
    request_uri,
    /// Value of `X-Vault-Namespace`.
    vault_namespace,
    /// Value of `User-Agent`.
    user_agent,
    /// Envoy's name for the end of the request.
    response_details,
    /// Envoy's flags.
    response_flags,
}

impl Record {
    /// A record from names and values where every value is a text, as Envoy sends them in tags, without those that have
    /// none.
    ///
    /// # Errors
    ///
    /// Time, vault or listener is missing, or the time or a number cannot be read.
    pub fn from_texts(
        fields: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, serde_json::Error> {
        let fields: Map<String, Value> = fields
            .into_iter()
            .map(|(name, value)| {
                let number = NUMBERS.contains(&&*name).then(|| value.parse::<u64>().ok());
                let number = number.flatten().map(Value::from);
                (name, number.unwrap_or(Value::String(value)))
            })
            .collect();
        serde_json::from_value(Value::Object(fields))
    }

    /// Why the request was denied, or would have been without `mode: Audit`; for others, why it was allowed.
    pub fn judged(&self) -> Option<&str> {
        self.would_deny.as_deref().or(self.reason.as_deref())
    }

    /// Whether the firewall let the request through, for a reason that this version knows.
    pub fn is_allowed(&self) -> bool {
        let reason = self.reason.as_deref().and_then(Reason::from_name);
        reason.is_some_and(|reason| reason.verdict() == Verdict::Allow)
    }

    /// Endpoint that received the request.
    pub fn endpoint(&self) -> Listener {
        if self.listener == Listener::Management.name() {
            Listener::Management
        } else {
            Listener::Data
        }
    }

    /// Address of the peer.
    pub fn peer(&self) -> Option<IpAddr> {
        self.direct_ip_address.as_ref()?.parse().ok()
    }

    /// Address of the client.
    pub fn client(&self) -> Option<IpAddr> {
        self.caller_ip_address.as_ref()?.parse().ok()
    }

    /// Identity that the token of the request proved, without the id of the account, which the record does not have.
    pub fn proven_identity(&self) -> Option<TokenIdentity> {
        TokenIdentity::read(self.token_identity.as_ref()?)
    }

    /// Path of the request; none if the record has only its beginning.
    pub fn whole_path(&self) -> Option<&str> {
        self.request_uri
            .as_deref()
            .filter(|path| path.len() < TEXT_BYTES)
    }

    /// Whether the firewall refused the request, or would have without `mode: Audit`: by a decision, or because Envoy
    /// could not read it and nothing was decided. The status does not show it.
    pub fn is_denial(&self) -> bool {
        if self.would_deny.is_some() {
            return true;
        }
        let details = self.response_details.as_deref().unwrap_or_default();
        let Some(reason) = &self.reason else {
            return !details.starts_with("via_upstream");
        };
        match Reason::from_name(reason) {
            Some(reason) => reason.verdict() == Verdict::Deny,
            // Of a proxy of another version.
            None => details.starts_with("rbac_access_denied"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// The record of `docs/access-log.md`, as a proxy of another version could write it.
    const LINE: &str = r#"{"decisionId":"53115e4e-0957-4539-845c-9ad0c4eeac76","durationMs":2,"httpStatusCode":200,
        "ipRule":null,"listener":"data","reason":"VirtualNetworkRule","responseDetails":"via_upstream",
        "time":"2026-11-22T18:30:16.391Z","vault":"vault/openbao","notKnownHere":{"deep":[1]}}"#;

    #[test]
    fn a_record_of_another_version_is_read() {
        let record: Record = serde_json::from_str(LINE).unwrap();
        assert_eq!(record.time.to_string(), "2026-11-22T18:30:16.391Z");
        assert_eq!(record.duration_ms, Some(2));
        assert_eq!(record.ip_rule, None);
        let written = serde_json::to_value(&record).unwrap();
        let read: Record = serde_json::from_value(written).unwrap();
        assert_eq!(read, record);
        for missing in ["time", "vault", "listener"] {
            let mut fields: Map<String, Value> = serde_json::from_str(LINE).unwrap();
            fields.remove(missing);
            let read: Result<Record, _> = serde_json::from_value(Value::Object(fields));
            assert!(read.is_err(), "{missing}");
        }
    }

    #[test]
    fn texts_are_the_same_record() {
        let texts = [
            ("time", "2026-11-22T18:30:16.391Z"),
            ("vault", "vault/openbao"),
            ("listener", "data"),
            ("decisionId", "53115e4e-0957-4539-845c-9ad0c4eeac76"),
            ("reason", "VirtualNetworkRule"),
            ("responseDetails", "via_upstream"),
            ("durationMs", "2"),
            ("httpStatusCode", "200"),
            ("notKnownHere", "1"),
        ];
        let texts = texts.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let read: Record = serde_json::from_str(LINE).unwrap();
        assert_eq!(Record::from_texts(texts.clone()).unwrap(), read);
        assert!(Record::from_texts(texts.into_iter().skip(1)).is_err());
    }

    #[test]
    #[rustfmt::skip] // a table
    fn the_reason_shows_a_denial_and_the_status_does_not() {
        for (reason, details, status, denied) in [
            (Some("IpRule"), "via_upstream", 403, false),
            (Some("IpRule"), "upstream_reset", 503, false),
            (Some("ForbiddenByFirewall"), "rbac_access_denied_matched_policy[ForbiddenByFirewall]", 200, true),
            (Some("BadRequest"), "rbac_access_denied_matched_policy[BadRequest]", 400, true),
            (Some("ForbiddenByWeather"), "rbac_access_denied_matched_policy[ForbiddenByWeather]", 403, true),
            (Some("AllowedByWeather"), "via_upstream", 403, false),
            (None, "http1.codec_error", 400, true),
        ] {
            let mut record: Record = serde_json::from_str(LINE).unwrap();
            record.reason = reason.map(str::to_owned);
            record.response_details = Some(details.to_owned());
            record.http_status_code = Some(status);
            assert_eq!(record.is_denial(), denied, "{reason:?} {details}");
            record.would_deny = Some("ForbiddenByFirewall".to_owned());
            assert!(record.is_denial());
            assert_eq!(record.judged(), Some("ForbiddenByFirewall"));
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let mut record: Record = serde_json::from_str(LINE).unwrap();
        record.request_uri = Some("é".repeat(600) + "x");
        record.user_agent = Some(format!("a{}", "é".repeat(600)));
        let record = record.bounded();
        assert_eq!(record.request_uri.as_ref().unwrap().len(), 1024);
        assert_eq!(record.user_agent.as_ref().unwrap().len(), 1023);

        let mut long = serde_json::to_value(record).unwrap();
        for (name, value) in long.as_object_mut().unwrap() {
            if value.is_string() && name != "time" {
                *value = "x".repeat(10_000).into();
            }
        }
        for name in ["route", "plane", "method", "operations"] {
            long.as_object_mut()
                .unwrap()
                .insert(name.into(), "x".repeat(10_000).into());
        }
        let long: Record = serde_json::from_value(long).unwrap();
        let kept = serde_json::to_value(long.bounded()).unwrap();
        let texts = kept.as_object().unwrap().values().filter_map(Value::as_str);
        let bytes: usize = texts.map(str::len).sum();
        assert!(bytes < RECORD_BYTES + 30, "{bytes}");
    }
}
