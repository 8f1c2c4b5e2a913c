//! Checks in front of all routes: requests that can be read in more than one way are bad requests.

use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

use super::action::{bad_request_route, one_route};
use super::patterns::{HEADER_METHOD, alternatives, first_value, judged_by, target};
use crate::compile::envoy::matching::{both, header, is, matches, not};
use crate::vault_api::{
    FLAGS_FALSE, FLAGS_TRUE, HEADER_NAMESPACE, HEADER_TOKEN, NAMESPACE_ROOT, NAMESPACE_VALUE,
    Table, Verb, path,
};

/// Routes of requests that can be read in more than one way, in the order in which `classify` refuses them.
pub(super) fn bad_requests(table: &Table) -> Vec<(Predicate, OnMatch)> {
    let ocsp = table.ocsp.as_ref().map(|ocsp| {
        let pattern = ocsp.as_str().trim_start_matches('^').trim_end_matches('$');
        format!("|{pattern}")
    });
    let dialect = &*table.dialect;
    let readable = format!(
        "(?:{}{})(?:\\?{})?",
        path::PATH,
        ocsp.unwrap_or_default(),
        dialect.query()
    );
    let methods = judged_by(&dialect.all_methods().join("|"));
    let mut bad = vec![
        is(header(":path"), matches(&too_long())),
        not(is(header(":path"), matches(&readable))),
        not(is(header(HEADER_METHOD), matches(&methods))),
    ];
    if dialect.namespaces {
        let named = || header(HEADER_NAMESPACE);
        bad.push(both(
            is(named(), matches(".*")),
            not(is(named(), matches(NAMESPACE_VALUE))),
        ));
    }
    bad.push(is(header(HEADER_TOKEN), matches("\\C*,\\C*")));
    let flags = [(Verb::List, "list"), (Verb::Scan, "scan")];
    let flags = flags.into_iter().filter(|(verb, _)| dialect.has(*verb));
    bad.extend(flags.map(|(_, flag)| unreadable(flag)));
    bad.extend(two_namespaces(table));
    bad.into_iter()
        .map(|predicate| (predicate, one_route(&bad_request_route())))
        .collect()
}

/// Matches a flag whose first value is neither true nor false.
fn unreadable(flag: &str) -> Predicate {
    let readable = format!(
        "(?:=(?:{}))?",
        [&FLAGS_TRUE[..], &FLAGS_FALSE[..]].concat().join("|")
    );
    let flag_is = |value: &str| is(header(":path"), matches(&first_value(flag, value)));
    both(flag_is("(?:=[^&]*)?"), not(flag_is(&readable)))
}

/// Matches a request with a namespace in the header and another one in the path.
fn two_namespaces(table: &Table) -> Option<Predicate> {
    if table.namespaces.is_empty() {
        return None;
    }
    let named = || header(HEADER_NAMESPACE);
    let rest = format!("(?:{})/.*", alternatives(table.namespaces.iter()));
    Some(both(
        both(
            is(named(), matches(".*")),
            not(is(named(), matches(NAMESPACE_ROOT))),
        ),
        is(header(":path"), matches(&target(&table.dialect, &rest))),
    ))
}

/// Pattern of targets that are too long. Regular expressions count to 1,000 only, hence the repetition.
fn too_long() -> String {
    let thousands = ".{1000}".repeat(path::MAX_TARGET / 1000);
    format!("{thousands}.{{{},}}", path::MAX_TARGET % 1000 + 1)
}
