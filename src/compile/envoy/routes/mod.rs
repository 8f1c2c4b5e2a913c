//! The table that classifies requests, as Envoy routes. Each route writes the plane and the operations of its requests
//! into the filter state, which the deciding filter and the access log read.
//!
//! Rows keep their order, but are grouped by the first segments of their paths, so that a request for one engine is not
//! compared with the rows of all the others.

mod action;
mod checks;
mod patterns;

use envoy_types::pb::envoy::config::core::v3::HeaderValueOption;
use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::config::route::v3::{
    RetryPolicy, Route, RouteConfiguration, RouteMatch, VirtualHost, route,
};
use envoy_types::pb::google::protobuf::UInt32Value;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::OnMatch;
use envoy_types::pb::xds::r#type::matcher::v3::matcher::matcher_list::Predicate;

pub(super) use self::action::filter_state;
use self::action::{
    class_state, forward, header_is, is_probe, one_route, regex, routes, with_body,
};
use self::checks::bad_requests;
pub(super) use self::patterns::{HEADER_METHOD, method};
use self::patterns::{alternatives, first_value, judged_by, target};
use super::matching::{any_of, both, first_of, header, is, matches, nested};
use super::{budget, client, http};
use crate::policy::ClientAddressSource;
use crate::vault_api::{
    FLAGS_TRUE, HEADER_NAMESPACE, HEADER_TOKEN, HeaderMatch, NAMESPACE_ROOT, PathMatch, Prefix,
    Row, Table, Template, Verb,
};

/// Name of the route configuration, which both listeners use.
pub(super) const NAME: &str = "vault";

/// The routes of both listeners.
pub(super) fn route_configuration(
    table: &Table,
    source: &ClientAddressSource,
) -> RouteConfiguration {
    let mut checks = bad_requests(table);
    checks.extend(help(table));
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
                unknown.map(|row| one_route(&row_route(table, row, false))),
            )),
            response_headers_to_add: network_info(source),
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

/// Response headers with the caller's addresses as Envoy sees them, and why the client's is unknown. Envoy adds no
/// header without a value.
fn network_info(source: &ClientAddressSource) -> Vec<HeaderValueOption> {
    let client = client::address(source);
    let addresses = format!("conn_type=Ipv4;addr={client};direct={};", client::PEER);
    let warning = source
        .trusted_proxies()
        .map(|_| client::metadata(client::WARNING));
    let addresses = http::set_header("x-vaultwall-network-info", &addresses);
    let warning =
        warning.map(|warning| http::set_header("x-vaultwall-client-address-warning", &warning));
    std::iter::once(addresses).chain(warning).collect()
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

/// The routes for help, in front of all groups, if the dialect has it.
fn help(table: &Table) -> Option<(Predicate, OnMatch)> {
    let asks = any_of(vec![
        is(header(HEADER_METHOD), matches(&judged_by("HELP"))),
        is(header(":path"), matches(&first_value("help", "=[^&]+"))),
    ]);
    let rows = table.rows.iter().filter(|row| is_help(row));
    let help = rows.map(|row| row_route(table, row, false)).collect();
    table.dialect.has(Verb::Help).then(|| (asks, routes(help)))
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
    table: &'t Table,
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
                table,
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
        (None, PathMatch::Api(_, templates)) => templates.first().map(Template::first_segment),
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
        if !self.table.dialect.has_flags() {
            return routes(otherwise);
        }
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
            .chain(unknown(self.table));
        joined(rows, flagged)
            .iter()
            .flat_map(|row| {
                let route = row_route(self.table, row, flagged);
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
            (Some(PathMatch::Api(_, known)), PathMatch::Api(_, more)) => {
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
        (PathMatch::Api(one, _), PathMatch::Api(other, _)) => one == other,
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
            PathMatch::Api(prefix, _) => namespaces_of(prefix),
        };
        bare |= without;
        namespaces.extend(within);
    }
    namespaces.sort();
    namespaces.dedup();
    let start = regex::escape(group.start);
    let prefix = namespace_prefix(namespaces, bare);
    let rest = format!("{prefix}{start}(?:[/?].*)?");
    is(
        header(":path"),
        matches(&target(&group.table.dialect, &rest)),
    )
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
fn row_route(table: &Table, row: &Row, flagged: bool) -> Route {
    let path_specifier = match &row.path {
        PathMatch::Any => PathSpecifier::Prefix("/".into()),
        PathMatch::Api(prefix, templates) => {
            let (bare, namespaces) = namespaces_of(prefix);
            let namespace = namespace_prefix(namespaces, bare);
            let templates: Vec<String> = templates.iter().map(Template::regex).collect();
            let rest = format!("{namespace}(?:{})", templates.join("|"));
            PathSpecifier::SafeRegex(regex(&target(&table.dialect, &rest)))
        }
    };
    let mut headers = Vec::new();
    // The routes for help matched its method and its flag before.
    let methods: Vec<&str> = row
        .verbs
        .iter()
        .flat_map(|verb| table.dialect.methods_of(*verb))
        .map(String::as_str)
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

#[cfg(test)]
mod tests;
