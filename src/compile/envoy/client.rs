//! The client's address behind trusted proxies, found by a filter of its own.
//!
//! Envoy's own detection reads only entries that are nothing but an address, and runs before any filter; and header
//! mutations, which run before it, cannot rewrite a part of a value. So a small Lua filter applies the rules of
//! [`crate::policy::client_address`] ([decision 26](../../../docs/decisions/0026-client-address-in-lua.md)). It is an
//! ECDS resource, because pods that are trusted proxies start and end often.

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source};
use envoy_types::pb::envoy::extensions::filters::common::set_filter_state::v3::FilterStateValue;
use envoy_types::pb::envoy::extensions::filters::http::lua::v3::Lua;
use envoy_types::pb::google::protobuf::BoolValue;

use super::metadata;
use super::names::ATTEMPT;
use super::routes::filter_state;
use crate::policy::{ClientAddressSource, TrustedProxies, client_address};

/// Name of the ECDS resource.
pub(super) const RESOURCE: &str = "vaultwall.client-address";
/// Request header with the client's address, until the request is forwarded.
pub(super) const HEADER: &str = "x-vaultwall-client";
/// Format of the direct peer, with which the filter begins in [`HEADER`].
pub(super) const PEER: &str = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%";
/// Filter state with the client's address.
pub(super) const STATE: &str = "vaultwall.client";
/// Metadata namespace of the warning.
pub(super) const METADATA: &str = "vaultwall";
/// Key of the warning, which says why the header cannot be read. Missing if it can.
pub(super) const WARNING: &str = "clientAddressWarning";
/// Key of the place of the client's address, such as `entry 2 of X-Forwarded-For`. Missing if the client is the peer.
pub(super) const FROM: &str = "clientAddressFrom";

/// The filter's configuration.
pub(super) fn filter(proxies: &TrustedProxies) -> Lua {
    let ranges = proxies.addresses();
    let bounds = ranges
        .iter()
        .flat_map(|range| [range.network(), range.broadcast()])
        .map(|address| address.to_bits().to_string());
    let bounds = bounds.collect::<Vec<_>>().join(",");
    let code = include_str!("client.lua")
        .replace("ATTEMPT", ATTEMPT)
        .replace("PROXIES = {}", &format!("PROXIES = {{{bounds}}}"))
        .replace(
            "MAX_ENTRIES = 0",
            &format!("MAX_ENTRIES = {}", client_address::MAX_ENTRIES),
        )
        .replace(
            "MAX_LENGTH = 0",
            &format!("MAX_LENGTH = {}", client_address::MAX_LENGTH),
        );
    lua(code)
}

/// Configuration until the first one is received: no proxy is trusted, so that the client is the peer.
pub(super) fn no_proxies() -> Lua {
    lua("function envoy_on_request(handle) end".to_owned())
}

/// A Lua filter. It changes no header on which a route depends.
pub(super) fn lua(code: String) -> Lua {
    Lua {
        default_source_code: Some(DataSource {
            specifier: Some(data_source::Specifier::InlineString(code)),
            ..DataSource::default()
        }),
        clear_route_cache: Some(BoolValue { value: false }),
        ..Lua::default()
    }
}

/// Format of the client's address.
pub(super) fn address(source: &ClientAddressSource) -> String {
    match source {
        ClientAddressSource::Direct => PEER.into(),
        ClientAddressSource::XForwardedFor { .. } => metadata::state_format(STATE),
    }
}

/// Format of a text that the filter found.
pub(super) fn metadata(key: &str) -> String {
    metadata::format(METADATA, key)
}

/// Filter state with the client's address, unless it is the peer's.
pub(super) fn state(source: &ClientAddressSource) -> Option<FilterStateValue> {
    match source {
        ClientAddressSource::Direct => None,
        ClientAddressSource::XForwardedFor { .. } => {
            Some(filter_state(STATE, &format!("%REQ({HEADER})%")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(proxies: &TrustedProxies) -> String {
        let source = filter(proxies).default_source_code;
        match source.and_then(|source| source.specifier) {
            Some(data_source::Specifier::InlineString(code)) => code,
            _ => String::new(),
        }
    }

    #[test]
    fn the_filter_has_the_bounds_of_all_proxies_in_order() {
        let ranges = ["10.0.1.0/24", "10.0.0.7/32", "10.0.1.128/25"];
        let proxies = TrustedProxies {
            ranges: ranges.iter().filter_map(|text| text.parse().ok()).collect(),
            pods: "10.0.0.6".parse().into_iter().collect(),
            ..TrustedProxies::default()
        };
        // 10.0.0.6 and 10.0.0.7 together, and 10.0.1.0 to 10.0.1.255.
        let expected = "PROXIES = {167772166,167772167,167772416,167772671}\n";
        assert!(code(&proxies).contains(expected), "{}", code(&proxies));
        assert!(code(&TrustedProxies::default()).contains("PROXIES = {}\n"));
    }

    #[test]
    fn the_filter_differs_in_each_attempt() {
        assert_eq!(code(&TrustedProxies::default()).matches(ATTEMPT).count(), 1);
    }
}
