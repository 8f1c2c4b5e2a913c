//! Parts of a route: its match by a header, its metadata, and where its requests go.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::substitution_format_string::Format;
use envoy_types::pb::envoy::config::core::v3::{DataSource, SubstitutionFormatString, data_source};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    DirectResponseAction, HeaderMatcher, Route, RouteAction, RouteList, RouteMatch,
    header_matcher::HeaderMatchSpecifier, route, route_action::ClusterSpecifier,
};
use envoy_types::pb::envoy::extensions::filters::common::set_filter_state::v3::{
    FilterStateValue, filter_state_value,
};
use envoy_types::pb::envoy::extensions::filters::http::set_filter_state::v3::Config as SetFilterState;
use envoy_types::pb::envoy::r#type::matcher::v3::{
    RegexMatcher, StringMatcher, string_matcher::MatchPattern,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;

use crate::compile::envoy::budget;
use crate::compile::envoy::matching::{action, input};
use crate::compile::envoy::names::{BAD_REQUEST, OPERATIONS, PLANE, SET_FILTER_STATE};
use crate::compile::envoy::wire::{any, seconds};
use crate::vault_api::{Class, Plane, Row};

/// Timeout in seconds of the vault's answer to a probe.
const PROBE_SECONDS: i64 = 10;

pub(super) fn is_probe(row: &Row) -> bool {
    row.class.plane == Plane::Infrastructure
}

/// Routes for the requests of a route that have a body: bad requests. Anyone may send a probe, and a body that arrives
/// slowly would occupy the budget of all probes.
pub(super) fn with_body(route: &Route) -> [Route; 2] {
    [
        ("content-length", ".*[1-9].*"),
        (budget::HEADER_ENCODING, ".*"),
    ]
    .map(|(name, value)| {
        let mut bad = bad_request_route();
        bad.r#match.clone_from(&route.r#match);
        if let Some(matched) = &mut bad.r#match {
            matched.headers.push(header_is(name, value, false));
        }
        bad
    })
}

/// Forwards a request of this plane to the cluster of its budget.
pub(super) fn forward(plane: Plane) -> RouteAction {
    let (cluster, timeout) = match plane {
        Plane::Infrastructure => (
            ClusterSpecifier::ClusterHeader(budget::HEADER_PROBE.into()),
            PROBE_SECONDS,
        ),
        // No timeout (zero) for these: the vault has timeouts of its own.
        Plane::Session => (
            ClusterSpecifier::ClusterHeader(budget::HEADER_SESSION.into()),
            0,
        ),
        _ => (ClusterSpecifier::ClusterHeader(budget::HEADER.into()), 0),
    };
    RouteAction {
        cluster_specifier: Some(cluster),
        timeout: Some(seconds(timeout)),
        ..RouteAction::default()
    }
}

/// Route of a bad request. The deciding filter denies it; even without that filter, this route forwards nothing.
pub(super) fn bad_request_route() -> Route {
    Route {
        name: BAD_REQUEST.into(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..RouteMatch::default()
        }),
        typed_per_filter_config: states(BAD_REQUEST, None),
        action: Some(route::Action::DirectResponse(DirectResponseAction {
            status: 400,
            body: Some(DataSource {
                specifier: Some(data_source::Specifier::InlineString(String::new())),
                ..DataSource::default()
            }),
            ..DirectResponseAction::default()
        })),
        ..Route::default()
    }
}

/// Writes the class of a route's requests into the filter state.
pub(super) fn class_state(class: &Class) -> HashMap<String, Any> {
    let operations = class.operations.to_string();
    let operations = (!operations.is_empty()).then(|| filter_state(OPERATIONS, &operations));
    states(class.plane.name(), operations)
}

fn states(plane: &str, operations: Option<FilterStateValue>) -> HashMap<String, Any> {
    let plane = filter_state(PLANE, plane);
    let config = SetFilterState {
        on_request_headers: std::iter::once(plane).chain(operations).collect(),
        ..SetFilterState::default()
    };
    HashMap::from([(SET_FILTER_STATE.to_owned(), any(&config))])
}

/// A text in the filter state, in which Envoy's `%…%` commands are replaced.
pub(in crate::compile::envoy) fn filter_state(key: &str, text: &str) -> FilterStateValue {
    let text = DataSource {
        specifier: Some(data_source::Specifier::InlineString(text.into())),
        ..DataSource::default()
    };
    let format = SubstitutionFormatString {
        format: Some(Format::TextFormatSource(text)),
        ..SubstitutionFormatString::default()
    };
    FilterStateValue {
        key: Some(filter_state_value::Key::ObjectKey(key.into())),
        factory_key: "envoy.string".into(),
        value: Some(filter_state_value::Value::FormatString(format)),
        ..FilterStateValue::default()
    }
}

pub(super) fn header_is(name: &str, pattern: &str, missing_is_empty: bool) -> HeaderMatcher {
    let pattern = StringMatcher {
        match_pattern: Some(MatchPattern::SafeRegex(regex(pattern))),
        ..StringMatcher::default()
    };
    HeaderMatcher {
        name: name.into(),
        treat_missing_header_as_empty: missing_is_empty,
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(pattern)),
        ..HeaderMatcher::default()
    }
}

pub(super) fn regex(regex: &str) -> RegexMatcher {
    RegexMatcher {
        regex: regex.into(),
        ..RegexMatcher::default()
    }
}

/// Ends the matching with one route.
pub(super) fn one_route(route: &Route) -> OnMatch {
    action(input("route", route))
}

/// Ends the matching with the first of these routes that matches.
pub(super) fn routes(routes: Vec<Route>) -> OnMatch {
    action(input("routes", &RouteList { routes }))
}
