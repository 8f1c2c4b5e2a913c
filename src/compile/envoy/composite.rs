//! Filters that exist only for some requests, by Envoy's composite filter. For others they cost nothing but a match.

use envoy_types::pb::envoy::extensions::filters::http::composite::v3::{
    Composite, ExecuteFilterAction,
};
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::Matcher;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use prost::{Message, Name};

use super::http;
use super::matching::{action, first_of, input};

/// A filter for the requests for which the predicate holds.
pub(super) fn only_if<M: Message + Name>(needed: Predicate, filter: &M) -> Composite {
    chosen_by(first_of(vec![(needed, action(execute(filter)))], None))
}

/// The filter that a matcher chooses by an action of [`execute`]; none where it has no match.
pub(super) fn chosen_by(matcher: Matcher) -> Composite {
    Composite {
        matcher: Some(matcher),
        ..Composite::default()
    }
}

/// An action: the request passes through this filter.
pub(super) fn execute<M: Message + Name>(filter: &M) -> TypedExtensionConfig {
    let execute = ExecuteFilterAction {
        typed_config: Some(http::extension("filter", filter)),
        ..ExecuteFilterAction::default()
    };
    input("execute", &execute)
}
