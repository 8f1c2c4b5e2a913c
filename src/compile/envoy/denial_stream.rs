//! The stream of denials to the operator, in addition to the complete access log of the proxy's own output: the same
//! fields, and a number, because Envoy counts records that it loses as written
//! ([decision 39](../../../docs/decisions/0039-denial-stream.md)).
//!
//! Requests that the firewall allowed are not streamed: for them, this costs one more filter that is skipped, and two
//! more conditions.

use envoy_types::pb::envoy::config::accesslog::v3::{AccessLog, AccessLogFilter, access_log};
use envoy_types::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use envoy_types::pb::envoy::config::core::v3::{ApiVersion, GrpcService, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use envoy_types::pb::envoy::extensions::common::matching::v3::ExtensionWithMatcher;
use envoy_types::pb::envoy::extensions::filters::common::matcher::action::v3::SkipFilter;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpFilter;
use envoy_types::pb::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use envoy_types::pb::google::protobuf::UInt32Value;

use super::access_log::fields;
use super::matching::{action, first_of, input};
use super::wire::{Kind, any, seconds};
use super::{client, decision, http, metadata, rbac, xds_cluster};
use crate::policy::{Firewall, Listener};

/// Name of the stream, which the operator finds in its first message.
pub const STREAM: &str = "vaultwall-denials";
/// Field with the number of a record, `SEQUENCE/NUMBER`: numbers of a sequence begin at 1 and leave none out. Requests
/// that were not decided have none.
pub const NUMBER: &str = "recordNumber";
/// Bytes of records that a worker collects before it sends them; while it can send none, it drops what is more.
const BUFFER: u32 = 16 * 1024;
/// Longest time in seconds that a worker collects records for.
const INTERVAL: i64 = 1;

/// The loggers of a listener for the operator. Those of requests that were not decided have fewer fields, as in the
/// complete log.
pub(super) fn loggers(firewall: &Firewall, side: Listener) -> Vec<AccessLog> {
    [true, false]
        .map(|decided| AccessLog {
            name: "denial_stream".into(),
            filter: Some(filter(decided)),
            // The logger for HTTP would send the path with its query, whatever its settings are.
            config_type: Some(access_log::ConfigType::TypedConfig(any(
                &TcpGrpcAccessLogConfig {
                    common_config: Some(stream(tags(firewall, side, decided))),
                },
            ))),
        })
        .into()
}

fn stream(custom_tags: Vec<CustomTag>) -> CommonGrpcAccessLogConfig {
    let cluster = EnvoyGrpc {
        cluster_name: xds_cluster::NAME.into(),
        ..EnvoyGrpc::default()
    };
    CommonGrpcAccessLogConfig {
        log_name: STREAM.into(),
        grpc_service: Some(GrpcService {
            target_specifier: Some(TargetSpecifier::EnvoyGrpc(cluster)),
            ..GrpcService::default()
        }),
        transport_api_version: ApiVersion::V3.into(),
        buffer_flush_interval: Some(seconds(INTERVAL)),
        buffer_size_bytes: Some(UInt32Value { value: BUFFER }),
        custom_tags,
        ..CommonGrpcAccessLogConfig::default()
    }
}

/// The fields of the complete log. A tag without a value is not sent.
fn tags(firewall: &Firewall, side: Listener, decided: bool) -> Vec<CustomTag> {
    let fields = fields(firewall, side, decided).fields.into_iter();
    let fields = fields.filter_map(|(tag, format)| match format.kind {
        Some(Kind::Text(format)) => Some((tag, format)),
        _ => None,
    });
    let number = (NUMBER.to_owned(), client::metadata(NUMBER));
    fields
        .chain(decided.then_some(number))
        .map(|(tag, format)| CustomTag {
            tag,
            r#type: Some(custom_tag::Type::Value(format)),
        })
        .collect()
}

/// Holds for a denial, or for a request without any decision.
fn filter(decided: bool) -> AccessLogFilter {
    // The deciding filter never stores the other text.
    let result = metadata::text(if decided { decision::DENIED } else { "none" });
    metadata::has(rbac::METADATA, &decision::result_key(), result, !decided)
}

/// The filter that numbers denials. It comes after the deciding filter: an allowed request reaches it with its result,
/// and skips it; a denied one reaches it with its answer only, when no result is written yet.
pub(super) fn numbering() -> HttpFilter {
    let is_allowed = decision::is_allowed(&decision::result_key());
    let skip = action(input("skip", &SkipFilter {}));
    let code = include_str!("number.lua")
        .replace("METADATA", client::METADATA)
        .replace("KEY", NUMBER);
    let numbering = ExtensionWithMatcher {
        extension_config: Some(TypedExtensionConfig {
            name: "envoy.filters.http.lua".into(),
            typed_config: Some(any(&client::lua(code))),
        }),
        xds_matcher: Some(first_of(vec![(is_allowed, skip)], None)),
        ..ExtensionWithMatcher::default()
    };
    http::filter("envoy.filters.http.match_delegate", &numbering)
}
