//! The access log of both endpoints. A record holds no header that can be a token, no query, and no text of a client
//! without a limit of its length.

use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, AndFilter, HeaderFilter, access_log,
};
use envoy_types::pb::envoy::config::route::v3::{
    HeaderMatcher, header_matcher::HeaderMatchSpecifier,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};

use super::names::PLANE;
use super::proxy::Proxy;
use super::rbac::{self, Fact};
use super::reply::when;
use super::routes;
use super::wire::{Fields, FileAccessLog, JsonFormat, Text, any};
use crate::api::AccessLogLevel;
use crate::policy::{Firewall, Listener};
use crate::vault_api::HEADER_NAMESPACE;

/// Pattern of targets that are a path. Envoy refuses all others before it normalises them, and they can contain
/// anything, such as a password in front of a host name, or a token behind a `#`. Their records have no `requestUri`.
const PATH: &str = "/[^#]*";
/// Largest number of bytes of a path in a record.
const PATH_BYTES: usize = 1024;
/// Largest number of bytes of another text that the client chooses.
const TEXT_BYTES: usize = 256;

/// The loggers of a listener: one for requests whose target is a path, and one for the others.
pub(super) fn access_logs(firewall: &Firewall, proxy: &Proxy, side: Listener) -> Vec<AccessLog> {
    [true, false]
        .map(|has_path| AccessLog {
            name: "access_log".into(),
            filter: Some(filter(firewall.access_log, has_path)),
            config_type: Some(access_log::ConfigType::TypedConfig(any(&FileAccessLog {
                path: proxy.access_log.clone(),
                log_format: Some(JsonFormat {
                    json_format: Some(fields(firewall, side, has_path)),
                }),
            }))),
        })
        .into()
}

fn filter(level: AccessLogLevel, has_path: bool) -> AccessLogFilter {
    let target = AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::HeaderFilter(HeaderFilter {
            header: Some(HeaderMatcher {
                name: ":path".into(),
                invert_match: !has_path,
                header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
                    match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
                        regex: PATH.into(),
                        ..RegexMatcher::default()
                    })),
                    ..StringMatcher::default()
                })),
                ..HeaderMatcher::default()
            }),
        })),
    };
    match level {
        AccessLogLevel::All => target,
        // A request that the vault itself answered was allowed. The status does not show a denial: to a client of gRPC,
        // Envoy sends it as 200.
        AccessLogLevel::Denied => AccessLogFilter {
            filter_specifier: Some(FilterSpecifier::AndFilter(AndFilter {
                filters: vec![
                    target,
                    when("!response.code_details.startsWith('via_upstream')"),
                ],
            })),
        },
    }
}

fn fields(firewall: &Firewall, side: Listener, has_path: bool) -> Fields {
    let metadata = |key: &str| format!("%DYNAMIC_METADATA({}:{key})%", rbac::METADATA);
    let path = has_path.then(|| ("requestUri", format!("%PATH(NQ:PATH):{PATH_BYTES}%")));
    let others = [
        ("time", "%START_TIME%".to_owned()),
        ("decisionId", "%STREAM_ID%".to_owned()),
        ("vault", firewall.vault.to_string()),
        ("listener", side.name().to_owned()),
        ("reason", metadata(&rbac::reason_key())),
        ("virtualNetworkHostRule", metadata(&Fact::Hosts.rule_key())),
        ("virtualNetworkRule", metadata(&Fact::Networks.rule_key())),
        ("ipRule", metadata(&Fact::IpRules.rule_key())),
        ("plane", format!("%FILTER_STATE({PLANE}:PLAIN)%")),
        (
            "operations",
            format!(
                "%METADATA(ROUTE:{}:{})%",
                routes::METADATA,
                routes::OPERATIONS
            ),
        ),
        ("route", "%ROUTE_NAME%".to_owned()),
        (
            "directIpAddress",
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
        ),
        (
            "callerIpAddress",
            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%".to_owned(),
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
    let fields = others.into_iter().chain(path).map(|(name, value)| {
        let value = Text {
            string_value: Some(value),
        };
        (name.to_owned(), value)
    });
    Fields {
        fields: fields.collect(),
    }
}
