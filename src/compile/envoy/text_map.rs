//! Matchers that look up a text in a map, and a composite filter that uses them.
//!
//! `envoy-types` has these messages with a map that it would encode in random order (see [`super::wire`]).

use std::collections::BTreeMap;

use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use prost::{Message, Name};

/// `envoy.extensions.filters.http.composite.v3.Composite`: the filter that the matcher chooses, or none.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChosenByText {
    #[prost(message, optional, tag = "2")]
    pub matcher: Option<Matcher>,
}

impl Name for ChosenByText {
    const NAME: &'static str = "Composite";
    const PACKAGE: &'static str = "envoy.extensions.filters.http.composite.v3";
}

/// `xds.type.matcher.v3.Matcher`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Matcher {
    #[prost(message, optional, tag = "1")]
    list: Option<List>,
    #[prost(message, optional, tag = "2")]
    tree: Option<Tree>,
}

/// `xds.type.matcher.v3.Matcher.MatcherList`.
#[derive(Clone, PartialEq, Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    matchers: Vec<Row>,
}

/// `xds.type.matcher.v3.Matcher.MatcherList.FieldMatcher`.
#[derive(Clone, PartialEq, Message)]
struct Row {
    #[prost(message, optional, tag = "1")]
    predicate: Option<Predicate>,
    #[prost(message, optional, tag = "2")]
    on_match: Option<OnMatch>,
}

/// `xds.type.matcher.v3.Matcher.MatcherTree`.
#[derive(Clone, PartialEq, Message)]
struct Tree {
    #[prost(message, optional, tag = "1")]
    input: Option<TypedExtensionConfig>,
    #[prost(message, optional, tag = "2")]
    exact: Option<Map>,
}

/// `xds.type.matcher.v3.Matcher.MatcherTree.MatchMap`, sorted.
#[derive(Clone, PartialEq, Message)]
struct Map {
    #[prost(btree_map = "string, message", tag = "1")]
    map: BTreeMap<String, OnMatch>,
}

/// `xds.type.matcher.v3.Matcher.OnMatch`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct OnMatch {
    #[prost(message, optional, boxed, tag = "1")]
    matcher: Option<Box<Matcher>>,
    #[prost(message, optional, tag = "2")]
    action: Option<TypedExtensionConfig>,
}

impl OnMatch {
    /// Ends the matching with an action.
    pub(super) fn action(action: TypedExtensionConfig) -> Self {
        Self {
            matcher: None,
            action: Some(action),
        }
    }

    /// Continues in another matcher. If that does not match either, this place counts as not matched.
    pub(super) fn nested(matcher: Matcher) -> Self {
        Self {
            matcher: Some(Box::new(matcher)),
            action: None,
        }
    }
}

/// The first row whose predicate holds and whose nested matcher matches.
pub(super) fn first_of(rows: impl IntoIterator<Item = (Predicate, OnMatch)>) -> Matcher {
    let matchers = rows.into_iter().map(|(predicate, on_match)| Row {
        predicate: Some(predicate),
        on_match: Some(on_match),
    });
    Matcher {
        list: Some(List {
            matchers: matchers.collect(),
        }),
        tree: None,
    }
}

/// Looks up an input's text.
pub(super) fn look_up(input: TypedExtensionConfig, map: BTreeMap<String, OnMatch>) -> Matcher {
    Matcher {
        list: None,
        tree: Some(Tree {
            input: Some(input),
            exact: Some(Map { map }),
        }),
    }
}
