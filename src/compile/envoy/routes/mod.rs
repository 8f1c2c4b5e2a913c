//! The table that classifies requests, as Envoy routes. Each route writes the plane and the operations of its requests
//! into the filter state, which the deciding filter and the access log read.
//!
//! Rows keep their order, but are grouped by the first segments of their paths, so that a request for one engine is not
//! compared with the rows of all the others.

mod action;

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, Route, RouteConfiguration, RouteList, RouteMatch, VirtualHost, route,
};
use envoy_types::pb::envoy::r#type::matcher::v3::HttpRequestHeaderMatchInput;
use envoy_types::pb::google::protobuf::UInt32Value;
use envoy_types::pb::xds::core::v3::TypedExtensionConfig;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

pub(super) use self::action::filter_state;
use self::action::{
    bad_request_route, class_state, forward, header_is, is_probe, regex, with_body,
};
use super::matching::{action, any_of, both, first_of, input, is, matches, nested, not};
use super::{budget, client, http};
use crate::vault_api::{
    FLAGS_FALSE, FLAGS_TRUE, HEADER_ANNOUNCED, HEADER_NAMESPACE, HEADER_TOKEN, HeaderMatch,
    NAMESPACE_ROOT, NAMESPACE_VALUE, PathMatch, Prefix, Row, Table, Template, Verb, path,
};

/// Name of the route configuration, which both listeners use.
pub(super) const NAME: &str = "vault";

/// Request header with the method, a space, and the method that an `OPTIONS` request announces, until the request is
/// forwarded.
pub(super) const HEADER_METHOD: &str = "x-vaultwall-method";

/// Format of [`HEADER_METHOD`].
pub(super) fn method() -> String {
    format!("%REQ(:METHOD)% %REQ({HEADER_ANNOUNCED})%")
}

/// Pattern of [`HEADER_METHOD`] for requests that are judged by one of these methods, which are separated by `|`. An
/// announcement in a request by another method means nothing; it may hold any byte.
fn judged_by(methods: &str) -> String {
    let options = if methods.split('|').any(|method| method == "OPTIONS") {
        "|"
    } else {
        ""
    };
    let others: Vec<&str> = methods
        .split('|')
        .filter(|method| *method != "OPTIONS")
        .collect();
    let others = others.join("|");
    format!("(?:{others}) \\C*|OPTIONS (?:{methods}{options})")
}

/// The routes of both listeners.
pub(super) fn route_configuration(table: &Table) -> RouteConfiguration {
    let mut checks = bad_requests(table);
    checks.push(help(table));
    let unknown = unknown(table);
    let groups = groups(table)
        .into_iter()
        .map(|group| (belongs_to(&group), group.matcher()));
    checks.extend(groups);
    RouteConfiguration {
        name: NAME.into(),
        virtual_hosts: vec![VirtualHost {
            name: "vault".into(),
            domains: vec!["*".into()],
            matcher: Some(first_of(
                checks,
                unknown.map(|row| one_route(&row_route(row, false))),
            )),
            response_headers_to_add: vec![network_info(), address_warning()],
            request_headers_to_add: vec![peer()],
            retry_policy: Some(retries()),
            request_headers_to_remove: budget::HEADERS
                .into_iter()
                .chain([client::HEADER, HEADER_METHOD, HEADER_TOKEN])
                .map(Into::into)
                .collect(),
            ..VirtualHost::default()
        }],
        ..RouteConfiguration::default()
    }
}

/// Response header with the caller's addresses as Envoy sees them.
fn network_info() -> HeaderValueOption {
    let value = format!(
        "conn_type=Ipv4;addr=%FILTER_STATE({}:PLAIN)%;direct=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%;",
        client::STATE
    );
    http::set_header("x-vaultwall-network-info", &value)
}

/// Response header that says why the client's address is unknown; Envoy adds no header without a value.
fn address_warning() -> HeaderValueOption {
    let value = format!(
        "%DYNAMIC_METADATA({}:{})%",
        client::METADATA,
        client::WARNING
    );
    http::set_header("x-vaultwall-client-address-warning", &value)
}

/// Appends the direct peer to `X-Forwarded-For` for the vault.
fn peer() -> HeaderValueOption {
    HeaderValueOption {
        append_action: HeaderAppendAction::AppendIfExistsOrAdd.into(),
        ..http::set_header(
            "x-forwarded-for",
            "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
        )
    }
}

/// Sends a request again when its connection ended without a byte of an answer: the vault may have closed it as idle at
/// that moment. Only requests by methods that read: another one may have been executed.
fn retries() -> RetryPolicy {
    RetryPolicy {
        retry_on: "reset".into(),
        num_retries: Some(UInt32Value { value: 2 }),
        retriable_request_headers: vec![header_is(
            ":method",
            "GET|HEAD|LIST|SCAN|OPTIONS|HELP",
            false,
        )],
        ..RetryPolicy::default()
    }
}

/// Routes of requests that can be read in more than one way, in the order in which `classify` refuses them.
fn bad_requests(table: &Table) -> Vec<(Predicate, OnMatch)> {
    let ocsp = table.ocsp.as_ref().map(|ocsp| {
        let pattern = ocsp.as_str().trim_start_matches('^').trim_end_matches('$');
        format!("|{pattern}")
    });
    let target = format!(
        "(?:{}{})(?:\\?{})?",
        path::PATH,
        ocsp.unwrap_or_default(),
        path::QUERY
    );
    let methods: Vec<&str> = Verb::METHODS
        .iter()
        .flat_map(|(_, methods)| methods.iter().copied())
        .collect();
    let named = || header(HEADER_NAMESPACE);
    let mut bad = vec![
        is(header(":path"), matches(&too_long())),
        not(is(header(":path"), matches(&target))),
        not(is(
            header(HEADER_METHOD),
            matches(&judged_by(&methods.join("|"))),
        )),
        both(
            is(named(), matches(".*")),
            not(is(named(), matches(NAMESPACE_VALUE))),
        ),
        is(header(HEADER_TOKEN), matches("\\C*,\\C*")),
    ];
    let readable = format!(
        "(?:=(?:{}))?",
        [&FLAGS_TRUE[..], &FLAGS_FALSE[..]].concat().join("|")
    );
    bad.extend(["list", "scan"].map(|flag| {
        let flag_is = |value: &str| is(header(":path"), matches(&first_value(flag, value)));
        both(flag_is("(?:=[^&]*)?"), not(flag_is(&readable)))
    }));
    if !table.namespaces.is_empty() {
        let prefixed = format!("/v1/(?:{})/.*", alternatives(table.namespaces.iter()));
        bad.push(both(
            both(
                is(named(), matches(".*")),
                not(is(named(), matches(NAMESPACE_ROOT))),
            ),
            is(header(":path"), matches(&prefixed)),
        ));
    }
    bad.into_iter()
        .map(|predicate| (predicate, one_route(&bad_request_route())))
        .collect()
}

/// Pattern of targets that are too long. Regular expressions count to 1,000 only, hence the repetition.
fn too_long() -> String {
    let thousands = ".{1000}".repeat(path::MAX_TARGET / 1000);
    format!("{thousands}.{{{},}}", path::MAX_TARGET % 1000 + 1)
}

fn help(table: &Table) -> (Predicate, OnMatch) {
    let asks = any_of(vec![
        is(header(HEADER_METHOD), matches(&judged_by("HELP"))),
        is(header(":path"), matches(&first_value("help", "=[^&]+"))),
    ]);
    let rows = table.rows.iter().filter(|row| is_help(row));
    (
        asks,
        routes(rows.map(|row| row_route(row, false)).collect()),
    )
}

/// Whether a row is one of those for help, which are matched before all groups.
fn is_help(row: &Row) -> bool {
    row.verbs.contains(&Verb::Help)
}

fn unknown(table: &Table) -> Option<&Row> {
    table.rows.last()
}

/// The rows whose paths begin with the same segments.
struct Group<'t> {
    start: &'t str,
    rows: Vec<&'t Row>,
    unknown: Option<&'t Row>,
}

/// Groups the rows. No group's start is below another's, so a path is in one group at most: a mount below another
/// mount, which is possible only in another namespace, shares that group.
fn groups(table: &Table) -> Vec<Group<'_>> {
    let starts: Vec<&str> = table.rows.iter().filter_map(start).collect();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for row in table.rows.iter().filter(|row| !is_help(row)) {
        let Some(own) = start(row) else { continue };
        let start = starts
            .iter()
            .filter(|start| is_below(own, start))
            .min_by_key(|start| start.len())
            .map_or(own, |start| *start);
        match groups.iter_mut().find(|group| group.start == start) {
            Some(group) => group.rows.push(row),
            None => groups.push(Group {
                start,
                rows: vec![row],
                unknown: unknown(table),
            }),
        }
    }
    groups.sort_by_key(|group| group.start);
    groups
}

/// First segments of a row's paths, after the vault's namespace.
fn start(row: &Row) -> Option<&str> {
    match (&row.mount, &row.path) {
        (Some(mount), _) => Some(mount),
        (None, PathMatch::V1(_, templates)) => templates.first().map(Template::first_segment),
        (None, PathMatch::Any) => None,
    }
}

/// Whether a path equals `parent` or is below it, by whole segments.
fn is_below(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Group<'_> {
    /// The routes of the group. A flag in the query turns GET into another verb; flags that change nothing here are not
    /// matched.
    fn matcher(&self) -> OnMatch {
        let flagged = |flag| {
            let set = first_value(flag, &format!("=(?:{})", FLAGS_TRUE.join("|")));
            both(
                is(header(HEADER_METHOD), matches(&judged_by("GET"))),
                is(header(":path"), matches(&set)),
            )
        };
        let with_verb = |verb| {
            self.routes(
                |row| row.verbs.is_empty() || row.verbs.contains(&verb),
                true,
            )
        };
        let (list, scan) = (with_verb(Verb::List), with_verb(Verb::Scan));
        let otherwise = self.routes(|_| true, false);
        let flags = if list != scan {
            vec![
                (flagged("list"), routes(list)),
                (flagged("scan"), routes(scan)),
            ]
        } else if list != otherwise {
            let either = any_of(vec![flagged("list"), flagged("scan")]);
            vec![(either, routes(list))]
        } else {
            return routes(otherwise);
        };
        nested(first_of(flags, Some(routes(otherwise))))
    }

    fn routes(&self, wanted: impl Fn(&Row) -> bool, flagged: bool) -> Vec<Route> {
        let rows = self
            .rows
            .iter()
            .copied()
            .filter(|row| wanted(row))
            .chain(self.unknown);
        joined(rows, flagged)
            .iter()
            .flat_map(|row| {
                let route = row_route(row, flagged);
                let bad = is_probe(row).then(|| with_body(&route));
                bad.into_iter().flatten().chain([route])
            })
            .collect()
    }
}

/// The same rows, joined where possible: the order of neighbours with one meaning does not matter, so those for the
/// same verbs become one. `flagged`: the verb was matched before.
fn joined<'t>(rows: impl Iterator<Item = &'t Row>, flagged: bool) -> Vec<Row> {
    let mut joined: Vec<Row> = Vec::new();
    for row in rows {
        let mut neighbours = joined
            .iter_mut()
            .rev()
            .take_while(|known| same_meaning(known, row));
        let same = neighbours.find(|known| flagged || known.verbs == row.verbs);
        match (same.map(|known| &mut known.path), &row.path) {
            (Some(PathMatch::V1(_, known)), PathMatch::V1(_, more)) => {
                *known = known.iter().chain(more.iter()).cloned().collect();
            }
            _ => joined.push(row.clone()),
        }
    }
    joined
}

/// Whether two rows differ in nothing but their verbs and templates.
fn same_meaning(one: &Row, other: &Row) -> bool {
    let prefixes = match (&one.path, &other.path) {
        (PathMatch::V1(one, _), PathMatch::V1(other, _)) => one == other,
        _ => false,
    };
    prefixes && (&one.name, &one.class, &one.header) == (&other.name, &other.class, &other.header)
}

/// Matches a target whose path begins with the group's segments, in any namespace of the group's rows. A namespace may
/// begin with the letters of a mount, and the other way round.
fn belongs_to(group: &Group<'_>) -> Predicate {
    let mut bare = false;
    let mut namespaces: Vec<&String> = Vec::new();
    for row in &group.rows {
        let (without, within) = match &row.path {
            PathMatch::Any => (true, &[][..]),
            PathMatch::V1(prefix, _) => namespaces_of(prefix),
        };
        bare |= without;
        namespaces.extend(within);
    }
    namespaces.sort();
    namespaces.dedup();
    let start = regex::escape(group.start);
    let prefix = namespace_prefix(namespaces, bare);
    let target = format!("/v1/{prefix}{start}(?:[/?].*)?");
    is(header(":path"), matches(&target))
}

/// Whether a path may have no namespace in front, and the namespaces that it may have.
fn namespaces_of(prefix: &Prefix) -> (bool, &[String]) {
    match prefix {
        Prefix::None => (true, &[]),
        Prefix::Optional(names) => (true, names),
        Prefix::Required(names) => (false, names),
    }
}

/// Pattern of one of these namespaces and a slash; `bare`: or of nothing.
fn namespace_prefix<'n>(namespaces: impl IntoIterator<Item = &'n String>, bare: bool) -> String {
    match (alternatives(namespaces), bare) {
        (names, true) if names.is_empty() => String::new(),
        (names, true) => format!("(?:(?:{names})/)?"),
        (names, false) => format!("(?:{names})/"),
    }
}

/// A row as a route. `flagged`: the method and the flag that make the verb were matched before.
fn row_route(row: &Row, flagged: bool) -> Route {
    let path_specifier = match &row.path {
        PathMatch::Any => PathSpecifier::Prefix("/".into()),
        PathMatch::V1(prefix, templates) => {
            let (bare, namespaces) = namespaces_of(prefix);
            let namespace = namespace_prefix(namespaces, bare);
            let templates: Vec<String> = templates.iter().map(Template::regex).collect();
            PathSpecifier::SafeRegex(regex(&format!(
                "/v1/{namespace}(?:{})",
                templates.join("|")
            )))
        }
    };
    let mut headers = Vec::new();
    // The routes for help matched its method and its flag before.
    let methods: Vec<&str> = row
        .verbs
        .iter()
        .flat_map(|verb| verb.methods())
        .copied()
        .collect();
    if !flagged && !methods.is_empty() && methods != ["HELP"] {
        headers.push(header_is(
            HEADER_METHOD,
            &judged_by(&methods.join("|")),
            false,
        ));
    }
    headers.extend(match &row.header {
        HeaderMatch::Any => None,
        HeaderMatch::Root => Some(header_is(HEADER_NAMESPACE, NAMESPACE_ROOT, true)),
        HeaderMatch::RootOr(names) => {
            let names = alternatives(std::iter::once(&"root".to_owned()).chain(names.iter()));
            Some(header_is(
                HEADER_NAMESPACE,
                &format!("/*(?:(?:{names})/*)?"),
                true,
            ))
        }
        HeaderMatch::Listed(names) => Some(header_is(
            HEADER_NAMESPACE,
            &format!("/*(?:{})/*", alternatives(names.iter())),
            false,
        )),
    });
    Route {
        name: row.name.to_string(),
        r#match: Some(RouteMatch {
            path_specifier: Some(path_specifier),
            headers,
            ..RouteMatch::default()
        }),
        typed_per_filter_config: class_state(&row.class),
        action: Some(route::Action::Route(forward(row.class.plane))),
        ..Route::default()
    }
}

fn one_route(route: &Route) -> OnMatch {
    action(input("route", route))
}

fn routes(routes: Vec<Route>) -> OnMatch {
    action(input("routes", &RouteList { routes }))
}

fn header(name: &str) -> TypedExtensionConfig {
    input(
        "header",
        &HttpRequestHeaderMatchInput {
            header_name: name.into(),
        },
    )
}

/// Pattern of a target whose first query pair with this key continues with the pattern `value`, which begins with `=`
/// for a pair with a value. Routes are chosen by headers alone, so the query is matched in `:path`.
fn first_value(key: &str, value: &str) -> String {
    let shorter_or_different = key.char_indices().map(|(index, letter)| {
        let (start, _) = key.split_at(index);
        format!("{start}(?:[^{letter}&=][^&]*|=[^&]*)?")
    });
    let longer = format!("{key}[^&=][^&]*");
    let others: Vec<String> = shorter_or_different.chain([longer]).collect();
    format!("[^?]*\\?(?:(?:{})&)*{key}{value}(?:&.*)?", others.join("|"))
}

fn alternatives<'n>(names: impl IntoIterator<Item = &'n String>) -> String {
    names
        .into_iter()
        .map(|name| regex::escape(name))
        .collect::<Vec<_>>()
        .join("|")
}

#[cfg(test)]
mod tests;
