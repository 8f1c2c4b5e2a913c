//! Where Envoy gets the resources that one resource refers to.

use envoy_types::pb::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, config_source,
};

/// The aggregated stream (ADS), over which the proxy receives all resources.
pub(super) fn aggregated() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(
            AggregatedConfigSource {},
        )),
        resource_api_version: ApiVersion::V3.into(),
        ..ConfigSource::default()
    }
}
