//! The CRDs' own rules in CEL (`x-kubernetes-validations`), so that the API server refuses a bad object before anybody
//! stores it. They say what `policy::validate` says about one value or one object; what compares list entries or needs
//! other objects is validation's and the operator's alone. The ranges come from [`crate::address`], which is their one
//! truth.
//!
//! Budgets of the API server: every list and string that a rule reads has a bound in the schema, and expressions are
//! plain terms instead of loops. Every rule sees every value, also one that another rule refuses, so each guards itself.

use ipnet::Ipv4Net;
use kube::core::{Message, Rule};
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::address::{NEVER_A_PEER, SPECIAL_RANGES, SUBNET_RANGES};

/// Key of a schema's rules.
pub(super) const RULES: &str = "x-kubernetes-validations";
/// DNS label (RFC 1123); the length is the schema's.
const DNS_LABEL: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// DNS labels with dots between them.
const DNS_SUBDOMAIN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";
/// What can stand for a rule in answers and logs.
const RULE_NAME: &str = "^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$";

/// Exactly one of two optional fields is given.
pub(super) fn exactly_one(one: &str, other: &str) -> Rule {
    let say = |given: &str| {
        quote(&format!(
            "has {given}; exactly one of {one} and {other} is needed"
        ))
    };
    Rule::new(format!("has(self.{one}) != has(self.{other})")).message(Message::Expression(
        format!(
            "has(self.{one}) ? {} : {}",
            say(&format!("both {one} and {other}")),
            say(&format!("neither {one} nor {other}"))
        ),
    ))
}

/// A selector that nobody wrote must not select everything.
pub(super) fn selects_something() -> Rule {
    Rule::new("has(self.namespaceSelector) || has(self.podSelector)").message(
        "selects nothing; give namespaceSelector, podSelector or both ({} selects everything)",
    )
}

/// A cluster-scoped object has no namespace of its own.
pub(super) fn namespace_selector_is_given() -> Rule {
    Rule::new("!has(self.pods) || has(self.pods.namespaceSelector)")
        .message(
            "namespaceSelector is missing; a VirtualNetwork has no namespace of its own ({} selects every namespace)",
        )
        .field_path(".pods")
}

/// A service tag's cloud says nothing about a value.
pub(super) fn cloud_needs_service_tag() -> Rule {
    Rule::new("!has(self.cloud) || has(self.serviceTag)")
        .message("cloud belongs to a service tag; remove it, or give serviceTag")
        .field_path(".cloud")
}

/// Client addresses are believed from listed proxies only (R29).
pub(super) fn direct_lists_no_proxies() -> Rule {
    Rule::new("self.source != 'Direct' || !has(self.trustedProxies) || size(self.trustedProxies) == 0")
        .message("nobody is believed when the source is Direct; set source: XForwardedFor, or remove the list")
        .field_path(".trustedProxies")
}

/// See [`direct_lists_no_proxies`].
pub(super) fn others_list_proxies() -> Rule {
    Rule::new(
        "self.source == 'Direct' || (has(self.trustedProxies) && size(self.trustedProxies) > 0)",
    )
    .message("this source is believed from listed proxies only; list the proxies' addresses")
    .field_path(".trustedProxies")
}

/// Where nothing comes from outside there is nothing to say about it.
pub(super) fn external_traffic_needs_a_way_in() -> Rule {
    Rule::new("!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')")
        .message("nothing comes from outside to a ClusterIP; set type to NodePort or LoadBalancer, or remove it")
        .field_path(".externalTrafficPolicy")
}

/// A DNS label.
pub(super) fn dns_label() -> Rule {
    Rule::new(format!("self.matches('{DNS_LABEL}')"))
        .message("is not a DNS label; write lower-case letters, digits and -, beginning and ending with a letter or digit")
}

/// A DNS subdomain.
pub(super) fn dns_subdomain() -> Rule {
    Rule::new(format!("self.matches('{DNS_SUBDOMAIN}')"))
        .message("is not a DNS name; write lower-case letters, digits, - and ., beginning and ending with a letter or digit")
}

/// A rule's name.
pub(super) fn rule_name() -> Rule {
    Rule::new(format!("self.matches('{RULE_NAME}')")).message(
        "cannot name a rule; write letters, digits, -, _ and ., beginning and ending with a letter or digit",
    )
}

/// Schema of an IP rule's value: one public address, or a public range of /30 or shorter (R4, R6, R7, R8).
pub(super) fn ip_rule_value(schema: &mut Schema) {
    let mut rules = notation("list the ranges that you mean, or set defaultAction: Allow");
    rules.push(
        Rule::new("!self.endsWith('/31') && !self.endsWith('/32')")
            .message("a /31 or /32 is not taken in an IP rule; write single addresses, each as a rule of its own"),
    );
    rules.extend(SPECIAL_RANGES.iter().map(|special| {
        Rule::new(format!("!({})", touches(special.prefix))).message(about_value(&format!(
            "lies in or overlaps {} ({}), which is not public; {}",
            special.prefix, special.name, special.advice
        )))
    }));
    set_rules(schema.ensure_object(), &rules);
}

/// Schema of a list of a subnet's prefixes: private, shared or loopback.
pub(super) fn subnet_prefixes(schema: &mut Schema) {
    let contained = |function: &str| {
        let terms = SUBNET_RANGES.map(|range| format!("cidr('{range}').{function}(self)"));
        terms.join(" || ")
    };
    let mut rules = notation("list the subnet's own prefixes");
    rules.push(
        Rule::new(format!(
            "isIP(self) ? ({}) : !isCIDR(self) || {}",
            contained("containsIP"),
            contained("containsCIDR")
        ))
        .message(about_value(&format!(
            "is not wholly inside one of {}; a subnet takes private, shared or loopback prefixes, public addresses \
             belong into spec.ipRules of a VaultNetworkPolicy",
            SUBNET_RANGES.map(|range| range.to_string()).join(", ")
        ))),
    );
    set_item_rules(schema, &rules);
}

/// Schema of the list of trusted proxies: addresses that a peer can have, never all of them.
pub(super) fn trusted_proxies(schema: &mut Schema) {
    let mut rules =
        notation("anybody could send a client address then, so list the proxies' own addresses");
    rules.extend(NEVER_A_PEER.iter().map(|never| {
        Rule::new(format!("!({})", touches(*never))).message(about_value(&format!(
            "touches {never}, addresses that no proxy has; list the proxies' own addresses"
        )))
    }));
    set_item_rules(schema, &rules);
}

/// What holds for every address or range (R8): IPv4, one notation, no bits beyond the prefix, not every address.
///
/// `isIP` and `isCIDR` refuse whatever is not four decimal numbers; leading zeros are refused by a rule of our own,
/// because readers of addresses differ about them, and a difference must never open anything.
fn notation(instead_of_all: &str) -> Vec<Rule> {
    vec![
        Rule::new("!self.contains(':')")
            .message("only IPv4 is supported; write the IPv4 address or range, without a port"),
        Rule::new("self.contains(':') || (isIP(self) || isCIDR(self)) && !self.matches('(^|[./])0[0-9]')")
            .message(Message::Expression(malformed())),
        Rule::new("!self.endsWith('/0')").message(format!("is every address; {instead_of_all}").as_str()),
        Rule::new("!isCIDR(self) || self.endsWith('/0') || cidr(self) == cidr(self).masked()").message(about_value(
            "has bits set beyond its prefix; write the first address of the range before the slash, or a single \
             address without one",
        )),
    ]
}

/// Why a value is not in the one notation; the first that fits.
fn malformed() -> String {
    let causes = [
        ("self == ''", "is empty"),
        ("self.matches('[[:space:]]')", "holds white space"),
        ("self.contains('%')", "carries a zone id"),
        ("self.matches('(^|[.])0[xX]')", "is written in hexadecimal"),
        (
            "!self.matches('^[0-9./]*$')",
            "is not an address (no names, wildcards, signs or a-b ranges)",
        ),
        (
            "self.matches('(^|[.])0[0-9]')",
            "has a number with a leading zero, which some programs read as octal",
        ),
        (
            "self.matches('^[0-9]+([.][0-9]+){0,2}(/|$)')",
            "is a short form; all four numbers are needed",
        ),
        (
            "self.contains('/') && !self.matches('^[^/]*/(3[0-2]|[12]?[0-9])$')",
            "has a prefix length that is not a plain number from 1 to 32",
        ),
        (
            "self.matches('^[0-9]+([.][0-9]+){3}(/|$)')",
            "has a number above 255",
        ),
    ];
    let why = causes
        .map(|(when, why)| format!("{when} ? {} : ", quote(why)))
        .concat();
    let shown = "(self.matches('^[!-~]+$') ? '\"' + self + '\" ' : '')";
    format!(
        "{shown} + ({why}{}) + {}",
        quote("is not four numbers with dots between them"),
        quote("; write an IPv4 address such as 203.0.113.7, or a range such as 198.51.100.0/24")
    )
}

/// Whether the value shares an address with `range`; prefixes do exactly when one holds the other.
fn touches(range: Ipv4Net) -> String {
    format!(
        "isIP(self) ? cidr('{range}').containsIP(self) : isCIDR(self) && !self.endsWith('/0') && \
         (cidr('{range}').containsCIDR(self) || cidr(self).containsCIDR('{range}'))"
    )
}

/// The API server shows a value's type and not the value, so a message about it begins with it.
fn about_value(text: &str) -> Message {
    Message::Expression(format!("'\"' + self + {}", quote(&format!("\" {text}"))))
}

/// `text` as a CEL string.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn set_item_rules(schema: &mut Schema, rules: &[Rule]) {
    // In an optional list, too, the items' schema is a direct child.
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        set_rules(items, rules);
    }
}

/// Puts rules into a schema.
pub(super) fn set_rules(schema: &mut Map<String, Value>, rules: &[Rule]) {
    schema.insert(RULES.to_owned(), json!(rules));
}
