//! The listeners of both endpoints, each with its connection manager and fixed order of filters. A listener changes
//! only with the policy's settings; rules are in the filters' own ECDS resources.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::accesslog::v3::AccessLog;
use envoy_types::pb::envoy::config::common::mutation_rules::v3::HeaderMutation;
use envoy_types::pb::envoy::config::common::mutation_rules::v3::header_mutation::{
    Action, RemoveOnMatch,
};
use envoy_types::pb::envoy::config::core::v3::{
    ExtensionConfigSource, HeaderValue, HeaderValueOption, Http1ProtocolOptions,
    Http2ProtocolOptions, HttpProtocolOptions, TypedExtensionConfig,
    header_value_option::HeaderAppendAction,
};
use envoy_types::pb::envoy::config::listener::v3::{FilterChain, Listener};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::common::matching::v3::ExtensionWithMatcher;
use envoy_types::pb::envoy::extensions::filters::common::matcher::action::v3::SkipFilter;
use envoy_types::pb::envoy::extensions::filters::http::buffer::v3::Buffer;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, Rds,
    http_connection_manager::{CodecType, PathWithEscapedSlashesAction, RouteSpecifier},
    http_filter,
};
use envoy_types::pb::envoy::extensions::http::early_header_mutation::header_mutation::v3 as early;
use envoy_types::pb::envoy::extensions::matching::common_inputs::network::v3::FilterStateInput;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::{BoolValue, UInt32Value};
use prost::{Message, Name};

use super::access_log::access_logs;
use super::budget::{self, Budget, ClientLimits, client_limits};
use super::callers::{self, Callers};
use super::config_source::aggregated;
use super::matching::{action, exactly, first_of, input, is, not};
use super::names::{PLANE, SET_FILTER_STATE};
use super::proxy::{Http2, Proxy};
use super::rbac::Fact;
use super::reply::local_replies;
use super::wire::{JwtAuthentication, any, seconds, type_url};
use super::{client, decision, denial_stream, grants, http, routes, token};
use crate::policy::{Firewall, Listener as Side};
use crate::vault_api::{HEADER_NAMESPACE, Plane};

/// Beginning of Vaultwall's own headers.
const VAULTWALL: &str = "x-vaultwall-";
/// The rest of the name of the only one that a client may send, [`HEADER_TOKEN`](crate::vault_api::HEADER_TOKEN).
const TOKEN: &str = "token";

/// Beginnings of the names of headers that are removed before anything reads them.
const STRIPPED: [&str; 23] = [
    // Envoy's own switches, and Vaultwall's own headers.
    "x-envoy-",
    VAULTWALL,
    // `OpenBao`'s inline authentication, which needs no token.
    "x-vault-inline-auth-",
    // Envoy would use the client's text as the decision id.
    "x-request-id",
    // Another method than the one that was judged; the first one is Azure Key Vault's.
    "x-http-request",
    "x-http-method",
    "x-method-override",
    // Client certificates as other proxies forward them; the vault can be configured to accept one of these headers
    // instead of a certificate (`x_forwarded_for_client_cert_header`).
    "client-cert",                 // RFC 9440
    "x-forwarded-client-cert",     // Envoy
    "x-forwarded-tls-client-cert", // Traefik
    "x-forwarded-ssl-client",
    "x-ssl-",     // HAProxy
    "ssl-client", // NGINX
    "ssl_client", // Apache
    "sslclient",  // F5
    "x-client-cert",
    "x-clientcert",
    "x-tls-client",
    "x-mtls-",
    "x-amzn-mtls-",         // AWS
    "x-arr-clientcert",     // Azure
    "cf-client-cert",       // Cloudflare
    "wl-proxy-client-cert", // WebLogic
];

/// Host of a request by HTTP/1.0 that names none.
const DEFAULT_HOST: &str = "vault";

/// The filter that waits for whole requests.
const BUFFER: &str = "envoy.filters.http.buffer";

/// How Envoy gets the parts that change on their own.
pub(super) enum Delivery {
    /// Over the aggregated stream.
    Ads,
    /// Inside the listener, for a configuration that needs no xDS server.
    Inline(Box<RouteConfiguration>),
}

/// The listener of one endpoint.
pub(super) fn listener(
    firewall: &Firewall,
    proxy: &Proxy,
    side: Side,
    delivery: &Delivery,
) -> Listener {
    let address = match side {
        Side::Data => proxy.data,
        Side::Management => proxy.management,
    };
    let chains = Callers::ALL.map(|callers| chain(firewall, proxy, side, callers, delivery));
    Listener {
        filter_chain_matcher: Some(callers::filter_chain_matcher(firewall)),
        ..http::listener(side.name(), address, chains.into())
    }
}

fn chain(
    firewall: &Firewall,
    proxy: &Proxy,
    side: Side,
    callers: Callers,
    delivery: &Delivery,
) -> FilterChain {
    let limits = client_limits(side, callers);
    let manager = HttpConnectionManager {
        early_header_mutation_extensions: vec![early_header_mutation(firewall, side, callers)],
        ..connection_manager(firewall, proxy, side, &limits, delivery)
    };
    let statistics = format!("{}.{}", side.name(), callers.chain());
    let chain = http::chain_with_replies(&manager, local_replies(firewall, side));
    let chain = http::limited(&statistics, limits.connections, chain);
    let tls = proxy.tls.of_listener(proxy.http2.is_some());
    FilterChain {
        name: callers.chain().into(),
        // A client that begins a handshake and does not finish it is disconnected.
        transport_socket_connect_timeout: tls.as_ref().map(|_| seconds(10)),
        transport_socket: tls,
        ..chain
    }
}

fn connection_manager(
    firewall: &Firewall,
    proxy: &Proxy,
    side: Side,
    limits: &ClientLimits,
    delivery: &Delivery,
) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: side.name().into(),
        // The vault receives the path that was judged.
        normalize_path: Some(BoolValue { value: true }),
        merge_slashes: true,
        path_with_escaped_slashes_action: PathWithEscapedSlashesAction::KeepUnchanged.into(),
        http_protocol_options: Some(http1()),
        // `X-Forwarded-For` is read by a filter of our own, if at all.
        use_remote_address: Some(BoolValue { value: true }),
        // Routes append the peer: Envoy itself would write its own address for a peer on the same machine.
        skip_xff_append: true,
        request_headers_timeout: Some(seconds(limits.headers)),
        request_timeout: Some(seconds(limits.request)),
        stream_flush_timeout: Some(seconds(60)),
        stream_idle_timeout: Some(seconds(limits.silence)),
        max_request_headers_kb: Some(UInt32Value {
            value: limits.headers_kib,
        }),
        common_http_protocol_options: Some(HttpProtocolOptions {
            idle_timeout: Some(seconds(limits.idle)),
            max_headers_count: Some(UInt32Value {
                value: limits.headers_count,
            }),
            ..HttpProtocolOptions::default()
        }),
        codec_type: match proxy.http2 {
            None => CodecType::Http1.into(),
            Some(_) => CodecType::Auto.into(),
        },
        http2_protocol_options: proxy.http2.map(http2),
        access_log: loggers(firewall, proxy, side),
        http_filters: filters(firewall, proxy, side, limits.body, delivery),
        route_specifier: Some(match delivery {
            Delivery::Ads => RouteSpecifier::Rds(Rds {
                config_source: Some(aggregated()),
                route_config_name: routes::NAME.into(),
            }),
            Delivery::Inline(routes) => RouteSpecifier::RouteConfig((**routes).clone()),
        }),
        ..HttpConnectionManager::default()
    }
}

fn loggers(firewall: &Firewall, proxy: &Proxy, side: Side) -> Vec<AccessLog> {
    let mut loggers = access_logs(firewall, proxy, side);
    if proxy.streams_denials {
        loggers.extend(denial_stream::loggers(firewall, side));
    }
    loggers
}

/// HTTP/1 as the vault itself serves it: also HTTP/1.0, and an offer of another protocol changes nothing.
fn http1() -> Http1ProtocolOptions {
    let any_protocol = StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
            regex: ".*".into(),
            ..RegexMatcher::default()
        })),
        ..StringMatcher::default()
    };
    Http1ProtocolOptions {
        allow_custom_methods: true, // LIST
        allow_absolute_url: Some(BoolValue { value: false }),
        accept_http_10: true,
        default_host_for_http_10: DEFAULT_HOST.into(),
        ignore_http_11_upgrade: vec![any_protocol],
        ..Http1ProtocolOptions::default()
    }
}

fn http2(http2: Http2) -> Http2ProtocolOptions {
    let limit = |value| Some(UInt32Value { value });
    Http2ProtocolOptions {
        max_concurrent_streams: limit(http2.max_concurrent_streams.into()),
        initial_stream_window_size: limit(64 * 1024),
        initial_connection_window_size: limit(256 * 1024),
        ..Http2ProtocolOptions::default()
    }
}

fn early_header_mutation(
    firewall: &Firewall,
    side: Side,
    callers: Callers,
) -> TypedExtensionConfig {
    let prefixes = STRIPPED.map(|start| match start {
        VAULTWALL => format!("{start}{}", other_than(TOKEN)),
        start => format!("{}.*", regex::escape(start)),
    });
    let remove = Action::RemoveOnMatch(RemoveOnMatch {
        key_matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::SafeRegex(RegexMatcher {
                regex: format!("(?:{})", prefixes.join("|")),
                ..RegexMatcher::default()
            })),
            ..StringMatcher::default()
        }),
    });
    // The vault reads the first of several namespace headers, so only the first is kept; also when it is empty.
    let first_namespace = Action::Append(HeaderValueOption {
        header: Some(HeaderValue {
            key: HEADER_NAMESPACE.into(),
            value: format!("%REQ({HEADER_NAMESPACE})%"),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExists.into(),
        keep_empty_value: true,
        ..HeaderValueOption::default()
    });
    let added = [
        (budget::HEADER, Budget::of(side, callers).cluster()),
        (
            budget::HEADER_SESSION,
            Budget::of_sessions(side, callers).cluster(),
        ),
        (budget::HEADER_PROBE, Budget::Probes(callers).cluster()),
        (budget::HEADER_ENCODING, "%REQ(transfer-encoding)%"),
        (routes::HEADER_METHOD, &routes::method()),
    ];
    let client = firewall.client_address.trusted_proxies();
    let client = client.map(|_| (client::HEADER, client::PEER));
    let added = added
        .into_iter()
        .chain(client)
        .map(|(name, value)| Action::Append(http::set_header(name, value)));
    let actions = [remove, first_namespace].into_iter().chain(added);
    let mutations = actions.map(|action| HeaderMutation {
        action: Some(action),
    });
    let config = early::HeaderMutation {
        mutations: mutations.collect(),
    };
    TypedExtensionConfig {
        name: "early_header_mutation".into(),
        typed_config: Some(any(&config)),
    }
}

/// Pattern of every text but this one, which consists of letters.
fn other_than(text: &str) -> String {
    let shorter = text.char_indices().map(|(length, next)| {
        let start = text.get(..length).unwrap_or_default();
        format!("{start}(?:[^{next}].*)?")
    });
    let longer = std::iter::once(format!("{text}.+"));
    let patterns: Vec<String> = shorter.chain(longer).collect();
    format!("(?:{})", patterns.join("|"))
}

fn filters(
    firewall: &Firewall,
    proxy: &Proxy,
    side: Side,
    body: Option<u32>,
    delivery: &Delivery,
) -> Vec<HttpFilter> {
    let needs_identities = grants::needs_identities(firewall, side);
    let identities = needs_identities.then(|| grants::states(firewall));
    let identities = identities.into_iter().flatten();
    let client_address = client::state(&firewall.client_address).into_iter();
    let state = SetFilterState {
        on_request_headers: client_address.chain(identities).collect(),
        ..SetFilterState::default()
    };
    let client = firewall.client_address.trusted_proxies().map(|proxies| {
        delivered(delivery, client::RESOURCE, &client::no_proxies(), || {
            client::filter(proxies)
        })
    });
    let tokens = firewall.tokens.as_ref().map(|rules| {
        let no_identity = client::no_proxies();
        [
            delivered(delivery, token::KEYS, &JwtAuthentication::default(), || {
                token::keys(rules)
            }),
            delivered(delivery, token::IDENTITY, &no_identity, || {
                token::identity(rules)
            }),
        ]
    });
    let tokens = tokens.into_iter().flatten();
    let mut filters: Vec<HttpFilter> = client.into_iter().chain(tokens).collect();
    if needs_identities {
        filters.push(delivered(
            delivery,
            grants::PODS,
            &decision::deny_all(),
            || grants::pods(firewall),
        ));
    }
    filters.push(http::filter(SET_FILTER_STATE, &state));
    if decision::needs_facts(firewall, side) {
        filters.extend(Fact::ALL.map(|fact| {
            delivered(delivery, fact.resource(), &decision::deny_all(), || {
                fact.filter(firewall)
            })
        }));
        if grants::has_bypass(firewall) {
            let before = decision::deny_all();
            filters.push(delivered(delivery, grants::SERVICES, &before, || {
                grants::services(firewall)
            }));
        }
    }
    let resource = decision::decision_resource(side);
    filters.push(delivered(delivery, resource, &decision::deny_all(), || {
        decision::decision(firewall, side)
    }));
    if proxy.streams_denials {
        filters.push(denial_stream::numbering());
    }
    filters.extend(whole_requests(body));
    filters.push(http::router(&Router {
        suppress_envoy_headers: true,
        ..Router::default()
    }));
    filters
}

/// Filters that wait until a request has arrived whole, so that slow ones use none of the connections to the vault:
/// everything where bodies have a limit, and probes, which have no body, on both endpoints.
///
/// Routes refuse probes whose headers announce a body. But Envoy removes headers that `Connection` names before any
/// route sees them, and HTTP/2 needs none.
fn whole_requests(body: Option<u32>) -> Vec<HttpFilter> {
    let whole = |bytes| Buffer {
        max_request_bytes: Some(UInt32Value { value: bytes }),
    };
    let plane = FilterStateInput {
        key: PLANE.into(),
        field: String::new(),
    };
    let is_probe = is(
        input("plane", &plane),
        exactly(Plane::Infrastructure.name()),
    );
    let skip = action(input("skip", &SkipFilter {}));
    let of_probes = ExtensionWithMatcher {
        extension_config: Some(TypedExtensionConfig {
            name: BUFFER.into(),
            typed_config: Some(any(&whole(1))),
        }),
        xds_matcher: Some(first_of(vec![(not(is_probe), skip)], None)),
        ..ExtensionWithMatcher::default()
    };
    let of_all = body.map(whole);
    let of_all = of_all.map(|whole| http::filter(BUFFER, &whole));
    [http::filter(
        "envoy.filters.http.match_delegate",
        &of_probes,
    )]
    .into_iter()
    .chain(of_all)
    .collect()
}

/// A filter that is a resource of its own. `before` is its configuration until it has received the first one.
fn delivered<B: Message + Name, M: Message + Name>(
    delivery: &Delivery,
    name: &str,
    before: &B,
    filter: impl FnOnce() -> M,
) -> HttpFilter {
    if let Delivery::Inline(_) = delivery {
        return http::filter(name, &filter());
    }
    let source = ExtensionConfigSource {
        config_source: Some(aggregated()),
        default_config: Some(any(before)),
        type_urls: BTreeSet::from([type_url::<B>(), type_url::<M>()])
            .into_iter()
            .collect(),
        ..ExtensionConfigSource::default()
    };
    HttpFilter {
        name: name.into(),
        config_type: Some(http_filter::ConfigType::ConfigDiscovery(source)),
        ..HttpFilter::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault_api::HEADER_TOKEN;

    /// The page names all of them, as `Name*`, because an owner may have to choose another header.
    #[test]
    fn removed_headers_are_documented() {
        let page = include_str!("../../../docs/security-model.md").to_lowercase();
        let missing = STRIPPED
            .into_iter()
            .filter(|start| !page.contains(&format!("`{start}")));
        assert_eq!(missing.collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn every_header_of_vaultwall_but_the_token_is_removed() {
        let pattern = format!("^{VAULTWALL}{}$", other_than(TOKEN));
        let pattern = regex::Regex::new(&pattern);
        let is_removed = |name: &str| pattern.as_ref().is_ok_and(|pattern| pattern.is_match(name));
        assert_eq!(format!("{VAULTWALL}{TOKEN}"), HEADER_TOKEN);
        assert!(!is_removed(HEADER_TOKEN));
        for rest in [
            "", "t", "toke", "tokens", "token-", "client", "tx", "tokex", "token.x",
        ] {
            assert!(is_removed(&format!("{VAULTWALL}{rest}")), "{rest}");
        }
    }
}
