//! The access log of both endpoints. A record holds no header that can be a token, no query, and no text of a client
//! without a limit of its length.

use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, OrFilter, access_log,
};

use super::names::{OPERATIONS, PLANE};
use super::proxy::Proxy;
use super::rbac::{self, Fact};
use super::reply::when;
use super::wire::{Fields, FileAccessLog, Json, JsonFormat, any};
use super::{client, decision, grants, metadata, token};
use crate::api::AccessLogLevel;
use crate::policy::{Firewall, Listener};
use crate::vault_api::HEADER_NAMESPACE;

/// Largest number of bytes of a path in a record.
const PATH_BYTES: usize = 1024;
/// Largest number of bytes of another text that the client chooses.
const TEXT_BYTES: usize = 256;

/// The loggers of a listener: one for requests that were decided, and one for those that Envoy refused before. Of the
/// latter, the id is the client's own text, and the target can contain anything, such as a password in front of a host
/// name or a token behind a `#`. So their records have neither.
pub(super) fn access_logs(firewall: &Firewall, proxy: &Proxy, side: Listener) -> Vec<AccessLog> {
    [true, false]
        .map(|decided| AccessLog {
            name: "access_log".into(),
            filter: Some(filter(firewall.access_log, decided)),
            config_type: Some(access_log::ConfigType::TypedConfig(any(&FileAccessLog {
                path: proxy.access_log.clone(),
                log_format: Some(JsonFormat {
                    json_format: Some(fields(firewall, side, decided)),
                }),
            }))),
        })
        .into()
}

fn filter(level: AccessLogLevel, decided: bool) -> AccessLogFilter {
    let has = |key: &str, value, if_missing| metadata::has(rbac::METADATA, key, value, if_missing);
    let result = if decided {
        metadata::present()
    } else {
        // The deciding filter stores its result, allowed or denied: never this text.
        metadata::text("none")
    };
    let decided = has(&decision::result_key(), result, !decided);
    match level {
        AccessLogLevel::All => decided,
        // A request that the vault itself answered was allowed, but with `mode: Audit` it may be one that would be
        // denied. The status does not show a denial: to a client of gRPC, Envoy sends it as 200.
        AccessLogLevel::Denied => {
            let denied = OrFilter {
                filters: vec![
                    when("!response.code_details.startsWith('via_upstream')"),
                    has(&decision::would_deny_key(), metadata::present(), false),
                ],
            };
            let denied = AccessLogFilter {
                filter_specifier: Some(FilterSpecifier::OrFilter(denied)),
            };
            AccessLogFilter {
                filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter {
                    filters: vec![decided, denied],
                })),
            }
        }
    }
}

/// Format of each field. Formatting one takes Envoy about a hundredth of the time of a request, so that those of
/// identities and tokens are only where there can be any.
pub(super) fn fields(firewall: &Firewall, side: Listener, decided: bool) -> Fields {
    let metadata = |key: &str| metadata::format(rbac::METADATA, key);
    let state = metadata::state_format;
    let of_decided = [
        ("decisionId", "%STREAM_ID%".to_owned()),
        ("wouldDeny", metadata(&decision::would_deny_key())),
        ("requestUri", format!("%PATH(NQ:PATH):{PATH_BYTES}%")),
    ];
    let of_proxies = [client::FROM, client::WARNING].map(|key| (key, client::metadata(key)));
    let of_tokens =
        [token::IDENTIFIED, token::POD, token::PROBLEM].map(|key| (key, client::metadata(key)));
    let of_identities = [("serviceAccount", state(grants::POD))];
    let of_services = [("trustedService", state(grants::SERVICE))];
    let others = [
        ("time", "%START_TIME%".to_owned()),
        ("vault", firewall.vault.to_string()),
        ("listener", side.name().to_owned()),
        ("reason", metadata(&decision::reason_key())),
        ("virtualNetworkHostRule", metadata(&Fact::Hosts.rule_key())),
        ("virtualNetworkRule", metadata(&Fact::Networks.rule_key())),
        ("ipRule", metadata(&Fact::IpRules.rule_key())),
        ("plane", state(PLANE)),
        ("operations", state(OPERATIONS)),
        ("route", "%ROUTE_NAME%".to_owned()),
        (
            "directIpAddress",
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
        ),
        (
            "callerIpAddress",
            if decided {
                client::address(&firewall.client_address)
            } else {
                "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned()
            },
        ),
        ("method", format!("%REQ(:METHOD):{TEXT_BYTES}%")),
        (
            "vaultNamespace",
            format!("%REQ({HEADER_NAMESPACE}):{TEXT_BYTES}%"),
        ),
        ("userAgent", format!("%REQ(USER-AGENT):{TEXT_BYTES}%")),
        ("httpStatusCode", "%RESPONSE_CODE%".to_owned()),
        ("responseDetails", "%RESPONSE_CODE_DETAILS%".to_owned()),
        ("responseFlags", "%RESPONSE_FLAGS%".to_owned()),
        ("durationMs", "%DURATION%".to_owned()),
    ];
    let proxies = firewall.client_address.trusted_proxies();
    let parts: [(&[(&str, String)], bool); 6] = [
        (&others, true),
        (&of_decided, decided),
        (&of_proxies, decided && proxies.is_some()),
        (&of_tokens, decided && firewall.tokens.is_some()),
        (&of_identities, grants::needs_identities(firewall, side)),
        (&of_services, grants::has_bypass(firewall)),
    ];
    let parts = parts.into_iter().filter(|(_, needed)| *needed);
    let fields = parts
        .flat_map(|(fields, _)| fields)
        .cloned()
        .map(|(name, value)| (name.to_owned(), Json::text(value)));
    Fields {
        fields: fields.collect(),
    }
}
