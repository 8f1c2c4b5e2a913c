//! Parts of HTTP listeners: the listener itself, filters, and matches of routes.

use std::net::SocketAddrV4;

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, HttpProtocolOptions, TypedExtensionConfig,
    header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::listener::v3::{Filter, FilterChain, Listener, filter};
use envoy_types::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, Route, RouteConfiguration, RouteMatch, VirtualHost, route,
    route_match,
};
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::connection_limit::v3::ConnectionLimit;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager::CodecType, http_filter,
};
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{Any, UInt32Value, UInt64Value};
use prost::{Message, Name};

use super::addresses::socket;
use super::budget::BUFFER_BYTES;
use super::wire::{LocalReplies, LocalReplyConfig, any, any_joined, seconds};

/// A listener with these filter chains.
pub(super) fn listener(name: &str, at: SocketAddrV4, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.into(),
        address: Some(socket(&at.ip().to_string(), at.port())),
        filter_chains: chains,
        per_connection_buffer_limit_bytes: Some(UInt32Value {
            value: BUFFER_BYTES,
        }),
        ..Listener::default()
    }
}

/// A filter chain that ends in this connection manager.
pub(super) fn chain(manager: &HttpConnectionManager) -> FilterChain {
    FilterChain {
        filters: vec![network_filter("http", any(manager))],
        ..FilterChain::default()
    }
}

/// The same with bodies for the answers that Envoy generates itself.
pub(super) fn chain_with_replies(
    manager: &HttpConnectionManager,
    replies: LocalReplyConfig,
) -> FilterChain {
    let replies = LocalReplies {
        local_reply_config: Some(replies),
    };
    FilterChain {
        filters: vec![network_filter("http", any_joined(manager, &replies))],
        ..FilterChain::default()
    }
}

/// Limits the connections of a filter chain. One above the limit is closed at once. `name` is that of the limit's
/// statistics.
pub(super) fn limited(name: &str, connections: u32, mut chain: FilterChain) -> FilterChain {
    let limit = ConnectionLimit {
        stat_prefix: name.into(),
        max_connections: Some(UInt64Value {
            value: connections.into(),
        }),
        ..ConnectionLimit::default()
    };
    let limit = network_filter("envoy.filters.network.connection_limit", any(&limit));
    chain.filters.insert(0, limit);
    chain
}

fn network_filter(name: &str, configuration: Any) -> Filter {
    Filter {
        name: name.into(),
        config_type: Some(filter::ConfigType::TypedConfig(configuration)),
    }
}

/// Exempts a listener from the limits of the process: the clients of the vault cannot make the proxy look dead.
pub(super) fn exempt(listener: Listener) -> Listener {
    Listener {
        ignore_global_conn_limit: true,
        bypass_overload_manager: true,
        ..listener
    }
}

/// The configuration of an HTTP filter as an ECDS resource.
pub(super) fn extension<M: Message + Name>(name: &str, filter: &M) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: name.into(),
        typed_config: Some(any(filter)),
    }
}

/// An HTTP filter with its configuration in place.
pub(super) fn filter<M: Message + Name>(name: &str, configuration: &M) -> HttpFilter {
    HttpFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::TypedConfig(any(configuration))),
        ..HttpFilter::default()
    }
}

/// The filter that ends every chain.
pub(super) fn router(configuration: &Router) -> HttpFilter {
    filter("envoy.filters.http.router", configuration)
}

/// Settings of a connection manager for small requests that are answered at once.
pub(super) fn small_requests() -> HttpConnectionManager {
    HttpConnectionManager {
        codec_type: CodecType::Http1.into(),
        request_headers_timeout: Some(seconds(10)),
        request_timeout: Some(seconds(10)),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(seconds(60)),
            ..HttpProtocolOptions::default()
        }),
        ..HttpConnectionManager::default()
    }
}

/// A route with an answer of Envoy's own.
pub(super) fn direct(r#match: RouteMatch, status: u32) -> Route {
    Route {
        r#match: Some(r#match),
        action: Some(route::Action::DirectResponse(DirectResponseAction {
            status,
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    }
}

/// Routes of one virtual host, for every host name.
pub(super) fn routes(name: &str, routes: Vec<Route>) -> RouteConfiguration {
    RouteConfiguration {
        name: name.into(),
        virtual_hosts: vec![VirtualHost {
            name: name.into(),
            domains: vec!["*".into()],
            routes,
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// Sets a header to a value, in which Envoy's `%…%` commands are replaced. An empty value
/// adds nothing.
pub(super) fn set_header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: name.into(),
            value: value.into(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// Matches a GET of exactly this path.
pub(super) fn get(path: &str) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(route_match::PathSpecifier::Path(path.into())),
        headers: vec![header_is(":method", "GET")],
        ..RouteMatch::default()
    }
}

/// Matches a header with exactly this value.
pub(super) fn header_is(name: &str, value: &str) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(value.into())),
            ..StringMatcher::default()
        })),
        ..HeaderMatcher::default()
    }
}
