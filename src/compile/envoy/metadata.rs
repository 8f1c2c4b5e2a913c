//! Texts that filters leave for later filters and for the log, in the metadata and in the filter state: their formats,
//! and conditions on them.

use envoy_types::pb::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use envoy_types::pb::envoy::config::accesslog::v3::{AccessLogFilter, MetadataFilter};
use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::{
    DynamicMetadataInput, dynamic_metadata_input,
};
use envoy_types::pb::envoy::extensions::matching::input_matchers::metadata::v3::Metadata;
use envoy_types::pb::envoy::r#type::matcher::v3::metadata_matcher::{
    PathSegment, path_segment::Segment,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{
    MetadataMatcher, StringMatcher, ValueMatcher, string_matcher, value_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::BoolValue;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

use super::matching::{fits, input};

/// Format of a text in the metadata.
pub(super) fn format(namespace: &str, key: &str) -> String {
    format!("%DYNAMIC_METADATA({namespace}:{key})%")
}

/// Format of a text in the filter state.
pub(super) fn state_format(key: &str) -> String {
    format!("%FILTER_STATE({key}:PLAIN)%")
}

/// Any value.
pub(super) fn present() -> ValueMatcher {
    ValueMatcher {
        match_pattern: Some(MatchPattern::PresentMatch(true)),
    }
}

/// This text.
pub(super) fn text(exactly: &str) -> ValueMatcher {
    ValueMatcher {
        match_pattern: Some(MatchPattern::StringMatch(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Exact(exactly.into())),
            ..StringMatcher::default()
        })),
    }
}

/// Holds for a request with a value in the metadata; for one without any, as `if_missing` says.
pub(super) fn has(
    namespace: &str,
    key: &str,
    value: ValueMatcher,
    if_missing: bool,
) -> AccessLogFilter {
    let matcher = MetadataMatcher {
        filter: namespace.into(),
        path: vec![PathSegment {
            segment: Some(Segment::Key(key.into())),
        }],
        value: Some(value),
        ..MetadataMatcher::default()
    };
    AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::MetadataFilter(MetadataFilter {
            matcher: Some(matcher),
            match_if_key_not_found: Some(BoolValue { value: if_missing }),
        })),
    }
}

/// Holds if a filter before wrote this value into the metadata.
pub(super) fn is(namespace: &str, key: &str, value: ValueMatcher) -> Predicate {
    let found = DynamicMetadataInput {
        filter: namespace.into(),
        path: vec![dynamic_metadata_input::PathSegment {
            segment: Some(dynamic_metadata_input::path_segment::Segment::Key(
                key.into(),
            )),
        }],
    };
    let expected = Metadata {
        value: Some(value),
        invert: false,
    };
    fits(input("fact", &found), input("text", &expected))
}
