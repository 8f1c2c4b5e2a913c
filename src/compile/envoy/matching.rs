//! Short constructors for Envoy's unified matching API (`xds.type.matcher.v3`).

use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::predicate::{
    MatchType, PredicateList, SinglePredicate, single_predicate,
};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::{FieldMatcher, Predicate};
use envoy_types::pb::xds::r#type::matcher::v3::matcher::{
    MatcherList, MatcherType, OnMatch, on_match,
};
use envoy_types::pb::xds::r#type::matcher::v3::string_matcher::MatchPattern;
use envoy_types::pb::xds::r#type::matcher::v3::{
    Matcher, RegexMatcher, StringMatcher, regex_matcher,
};
use prost::{Message, Name};

use super::wire::any;

/// An extension of the matching API: an input, a custom matcher or an action.
pub(super) fn input<M: Message + Name>(name: &str, message: &M) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: name.into(),
        typed_config: Some(any(message)),
    }
}

/// A matcher in which the first predicate that holds decides; without one, `otherwise`.
pub(super) fn first_of(rows: Vec<(Predicate, OnMatch)>, otherwise: Option<OnMatch>) -> Matcher {
    let matchers = rows
        .into_iter()
        .map(|(predicate, on_match)| FieldMatcher {
            predicate: Some(predicate),
            on_match: Some(on_match),
        })
        .collect();
    Matcher {
        on_no_match: otherwise.map(Box::new),
        matcher_type: Some(MatcherType::MatcherList(MatcherList { matchers })),
    }
}

/// Ends the matching with an action.
pub(super) fn action(action: TypedExtensionConfig) -> OnMatch {
    OnMatch {
        keep_matching: false,
        on_match: Some(on_match::OnMatch::Action(action)),
    }
}

/// Continues in another matcher.
pub(super) fn nested(matcher: Matcher) -> OnMatch {
    OnMatch {
        keep_matching: false,
        on_match: Some(on_match::OnMatch::Matcher(Box::new(matcher))),
    }
}

/// The value of a request header.
pub(super) fn header(name: &str) -> TypedExtensionConfig {
    let header = HttpRequestHeaderMatchInput {
        header_name: name.into(),
    };
    input("header", &header)
}

/// Holds if an input's text matches a pattern. A missing text matches none, an empty one can.
pub(super) fn is(input: TypedExtensionConfig, pattern: StringMatcher) -> Predicate {
    single(input, single_predicate::Matcher::ValueMatch(pattern))
}

/// Holds if an input satisfies a custom matcher.
pub(super) fn fits(input: TypedExtensionConfig, matcher: TypedExtensionConfig) -> Predicate {
    single(input, single_predicate::Matcher::CustomMatch(matcher))
}

fn single(input: TypedExtensionConfig, matcher: single_predicate::Matcher) -> Predicate {
    Predicate {
        match_type: Some(MatchType::SinglePredicate(SinglePredicate {
            input: Some(input),
            matcher: Some(matcher),
        })),
    }
}

/// Holds if both do.
pub(super) fn both(a: Predicate, b: Predicate) -> Predicate {
    Predicate {
        match_type: Some(MatchType::AndMatcher(PredicateList {
            predicate: vec![a, b],
        })),
    }
}

/// Holds if at least one does. A single predicate is returned as it is: the API wants two or more in a list.
pub(super) fn any_of(mut predicates: Vec<Predicate>) -> Predicate {
    if predicates.len() == 1 {
        return predicates.remove(0);
    }
    Predicate {
        match_type: Some(MatchType::OrMatcher(PredicateList {
            predicate: predicates,
        })),
    }
}

/// Holds if the predicate does not.
pub(super) fn not(predicate: Predicate) -> Predicate {
    Predicate {
        match_type: Some(MatchType::NotMatcher(Box::new(predicate))),
    }
}

/// Matches exactly this text.
pub(super) fn exactly(text: &str) -> StringMatcher {
    string(MatchPattern::Exact(text.into()))
}

/// Matches a text that contains this one.
pub(super) fn contains(text: &str) -> StringMatcher {
    string(MatchPattern::Contains(text.into()))
}

/// Matches a text that begins with this one.
pub(super) fn begins_with(text: &str) -> StringMatcher {
    string(MatchPattern::Prefix(text.into()))
}

/// Matches a text that as a whole fits this regular expression.
pub(super) fn matches(regex: &str) -> StringMatcher {
    let engine_type = Some(regex_matcher::EngineType::GoogleRe2(
        regex_matcher::GoogleRe2 {},
    ));
    string(MatchPattern::SafeRegex(RegexMatcher {
        regex: regex.into(),
        engine_type,
    }))
}

fn string(pattern: MatchPattern) -> StringMatcher {
    StringMatcher {
        ignore_case: false,
        match_pattern: Some(pattern),
    }
}
