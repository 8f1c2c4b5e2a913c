//! Messages that are missing in `envoy-types`, and those whose maps it would encode in random order.
//!
//! A resource's version is a hash of its bytes, so equal content must give equal bytes: maps with more than one entry
//! are written here, sorted.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLogFilter;
use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::route::v3::HeaderMatcher;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::{
    JwtProvider, JwtRequirement, RequirementRule,
};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use ipnet::Ipv4Net;
use prost::{Message, Name, Oneof};

/// `xds.type.matcher.v3.IPMatcher`: one trie lookup, longest prefix first.
#[derive(Clone, PartialEq, Message)]
pub(super) struct IpMatcher {
    #[prost(message, repeated, tag = "1")]
    pub range_matchers: Vec<IpRangeMatcher>,
}

/// `xds.type.matcher.v3.IPMatcher.IPRangeMatcher`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct IpRangeMatcher {
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<CidrRange>,
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
}

/// `xds.core.v3.CidrRange`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CidrRange {
    #[prost(string, tag = "1")]
    pub address_prefix: String,
    #[prost(message, optional, tag = "2")]
    pub prefix_len: Option<UInt32Value>,
}

/// A range of addresses.
pub(super) fn range(prefix: Ipv4Net) -> CidrRange {
    CidrRange {
        address_prefix: prefix.addr().to_string(),
        prefix_len: Some(UInt32Value {
            value: prefix.prefix_len().into(),
        }),
    }
}

impl Name for IpMatcher {
    const NAME: &'static str = "IPMatcher";
    const PACKAGE: &'static str = "xds.type.matcher.v3";
}

/// `envoy.extensions.access_loggers.file.v3.FileAccessLog`, with the fields used here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct FileAccessLog {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(message, optional, tag = "5")]
    pub log_format: Option<JsonFormat>,
}

impl Name for FileAccessLog {
    const NAME: &'static str = "FileAccessLog";
    const PACKAGE: &'static str = "envoy.extensions.access_loggers.file.v3";
}

/// `envoy.config.core.v3.SubstitutionFormatString` with a JSON format.
#[derive(Clone, PartialEq, Message)]
pub(super) struct JsonFormat {
    #[prost(message, optional, tag = "2")]
    pub json_format: Option<Fields>,
}

/// `google.protobuf.Struct`, with sorted keys.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Fields {
    #[prost(btree_map = "string, message", tag = "1")]
    pub fields: BTreeMap<String, Json>,
}

impl<const N: usize> From<[(&str, Json); N]> for Fields {
    fn from(fields: [(&str, Json); N]) -> Self {
        let fields = fields.map(|(name, value)| (name.to_owned(), value));
        Self {
            fields: fields.into(),
        }
    }
}

/// `google.protobuf.Value`, with the kinds used here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Json {
    #[prost(oneof = "Kind", tags = "3, 5, 6")]
    pub kind: Option<Kind>,
}

/// Kind of a [`Json`].
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "5")]
    Object(Fields),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct List {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<Json>,
}

impl Json {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self {
            kind: Some(Kind::Text(text.into())),
        }
    }

    pub(super) fn object(fields: impl Into<Fields>) -> Self {
        Self {
            kind: Some(Kind::Object(fields.into())),
        }
    }

    pub(super) fn list(values: Vec<Self>) -> Self {
        Self {
            kind: Some(Kind::List(List { values })),
        }
    }
}

/// The field `local_reply_config` of an `HttpConnectionManager`, whose bodies are JSON with several keys.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LocalReplies {
    #[prost(message, optional, tag = "38")]
    pub local_reply_config: Option<LocalReplyConfig>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.LocalReplyConfig`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct LocalReplyConfig {
    #[prost(message, repeated, tag = "1")]
    pub mappers: Vec<ResponseMapper>,
    #[prost(message, optional, tag = "2")]
    pub body_format: Option<JsonFormat>,
}

/// `envoy.extensions.filters.network.http_connection_manager.v3.ResponseMapper`, with the fields used here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResponseMapper {
    #[prost(message, optional, tag = "1")]
    pub filter: Option<AccessLogFilter>,
    #[prost(message, optional, tag = "2")]
    pub status_code: Option<UInt32Value>,
    #[prost(message, optional, tag = "4")]
    pub body_format_override: Option<JsonFormat>,
    #[prost(message, repeated, tag = "5")]
    pub headers_to_add: Vec<HeaderValueOption>,
}

/// `envoy.extensions.filters.http.health_check.v3.HealthCheck`, with the fields used here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthCheckFilter {
    #[prost(message, optional, tag = "1")]
    pub pass_through_mode: Option<BoolValue>,
    #[prost(btree_map = "string, message", tag = "4")]
    pub cluster_min_healthy_percentages: BTreeMap<String, Percent>,
    #[prost(message, repeated, tag = "5")]
    pub headers: Vec<HeaderMatcher>,
}

impl Name for HealthCheckFilter {
    const NAME: &'static str = "HealthCheck";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.health_check.v3";
}

/// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`, with the fields used here.
#[derive(Clone, PartialEq, Message)]
pub(super) struct JwtAuthentication {
    #[prost(btree_map = "string, message", tag = "1")]
    pub providers: BTreeMap<String, JwtProvider>,
    #[prost(message, repeated, tag = "2")]
    pub rules: Vec<RequirementRule>,
    #[prost(btree_map = "string, message", tag = "5")]
    pub requirement_map: BTreeMap<String, JwtRequirement>,
}

impl Name for JwtAuthentication {
    const NAME: &'static str = "JwtAuthentication";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.jwt_authn.v3";
}

/// `envoy.type.v3.Percent`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Percent {
    #[prost(double, tag = "1")]
    pub value: f64,
}

/// Packs a message with its type URL.
pub(super) fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: type_url::<M>(),
        value: message.encode_to_vec(),
    }
}

/// Packs a message in two parts: the receiver merges them, because that is the meaning of joined protobuf messages.
pub(super) fn any_joined<M: Message + Name>(message: &M, more: &impl Message) -> Any {
    Any {
        type_url: type_url::<M>(),
        value: [message.encode_to_vec(), more.encode_to_vec()].concat(),
    }
}

/// Type URL of a packed message.
pub(super) fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}

/// A duration of less than a second, in milliseconds.
pub(super) fn milliseconds(milliseconds: i32) -> Duration {
    Duration {
        seconds: 0,
        nanos: milliseconds * 1_000_000,
    }
}

/// A duration of whole seconds.
pub(super) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}
