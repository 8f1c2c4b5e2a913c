//! Filters that exist only for some requests, by Envoy's composite filter. For others they cost nothing but a match.

use envoy_types::pb::envoy::extensions::filters::http::composite::v3::{
    Composite, ExecuteFilterAction,
};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;
use prost::{Message, Name};

use super::http;
use super::matching::{action, first_of, input};

/// A filter for the requests for which the predicate holds.
pub(super) fn only_if<M: Message + Name>(needed: Predicate, filter: &M) -> Composite {
    let execute = ExecuteFilterAction {
        typed_config: Some(http::extension("filter", filter)),
        ..ExecuteFilterAction::default()
    };
    let execute = action(input("execute", &execute));
    Composite {
        matcher: Some(first_of(vec![(needed, execute)], None)),
        ..Composite::default()
    }
}
