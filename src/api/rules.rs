//! Rules of the CRDs in CEL (`x-kubernetes-validations`), so that the API server does not store an invalid object. They
//! are equal to the rules of `policy::validate` for one value or one object. Rules that compare entries of a list, or
//! need other objects, are only in validation and in the operator. The ranges come from [`crate::address`].
//!
//! The API server limits the cost of rules: every list and string that a rule reads has a bound in the schema, and the
//! expressions have loops over short lists only. Every rule is evaluated for every value, even for one that another
//! rule refuses, so no rule may rely on another one.

use ipnet::Ipv4Net;
use kube::core::{Message, Rule};
use schemars::Schema;
use serde_json::{Map, Value, json};

use super::operations::OPERATIONS;
use crate::address::{NEVER_A_PEER, SPECIAL_RANGES, SUBNET_RANGES};

/// Key of a schema's rules.
pub(super) const RULES: &str = "x-kubernetes-validations";
/// DNS label (RFC 1123); the length is the schema's.
const DNS_LABEL: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// DNS labels with dots between them.
const DNS_SUBDOMAIN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$";
/// Name of a rule in answers and logs.
const RULE_NAME: &str = "^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$";

/// Address and range in messages about a field that takes public ones, and about one that takes private ones.
const PUBLIC_EXAMPLES: [&str; 2] = ["203.0.113.7", "198.51.100.0/24"];
const PRIVATE_EXAMPLES: [&str; 2] = ["10.20.0.7", "10.20.0.0/16"];

/// Requires exactly one of two optional fields.
pub(super) fn exactly_one(one: &str, other: &str) -> Rule {
    let message = |given: &str| {
        quote(&format!(
            "has {given}; exactly one of {one} and {other} is needed"
        ))
    };
    Rule::new(format!("has(self.{one}) != has(self.{other})")).message(Message::Expression(
        format!(
            "has(self.{one}) ? {} : {}",
            message(&format!("both {one} and {other}")),
            message(&format!("neither {one} nor {other}"))
        ),
    ))
}

/// Requires exactly one of three optional fields.
pub(super) fn exactly_one_of_three(one: &str, two: &str, three: &str) -> Rule {
    let fields = [one, two, three];
    let given = fields.map(|field| format!("has(self.{field})"));
    Rule::new(format!("[{}].exists_one(given, given)", given.join(", "))).message(Message::Message(
        format!("needs exactly one of {one}, {two} and {three}"),
    ))
}

/// Refuses URLs of keys in a policy: its owner must not choose the addresses that the operator connects to.
pub(super) fn no_key_urls() -> Rule {
    Rule::new(
        "self.all(one, !has(one.federatedCredential) || !has(one.federatedCredential.jwksUri))",
    )
    .message(
        "jwksUri is possible in a TrustedService only, whose owner decides which addresses the operator connects to; \
         write the issuer's keys in jwks",
    )
}

/// Refuses the account that every pod without another one runs under.
pub(super) fn no_default_account() -> Rule {
    Rule::new("self != 'default'").message(
        "is the account of every pod that names none; give the service an account of its own",
    )
}

/// Requires an https URL.
pub(super) fn https_url() -> Rule {
    Rule::new("self.matches('^https://[!-~]+$')")
        .message("is not an https URL; write https://, a host and a path, without spaces")
}

/// Schema of a list of operations.
pub(super) fn operations(schema: &mut Schema) {
    if let Some(items) = schema.get_mut("items").and_then(Value::as_object_mut) {
        items.insert("enum".into(), json!(&OPERATIONS[..]));
    }
}

/// Schema of a list of objects with any fields.
pub(super) fn any_objects(schema: &mut Schema) {
    let item = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    schema.insert("items".into(), item);
}

/// Requires a value: service tags are not supported yet.
pub(super) fn value_or_service_tag() -> Rule {
    Rule::new("has(self.value) != has(self.serviceTag)").message(Message::Expression(format!(
        "has(self.value) ? {} : {}",
        quote("has both value and serviceTag; remove serviceTag, which is not supported yet"),
        quote("has neither value nor serviceTag; write value, because service tags are not supported yet")
    )))
}

/// Requires a selector: an empty field must not select everything.
pub(super) fn selects_something() -> Rule {
    Rule::new("has(self.namespaceSelector) || has(self.podSelector)").message(
        "selects nothing; give namespaceSelector, podSelector or both ({} selects everything)",
    )
}

/// Requires a namespace selector in a cluster-scoped object, which has no namespace of its own.
pub(super) fn namespace_selector_is_given() -> Rule {
    Rule::new("!has(self.pods) || has(self.pods.namespaceSelector)")
        .message(
            "namespaceSelector is missing; a VirtualNetwork has no namespace of its own ({} selects every namespace)",
        )
        .field_path(".pods")
}

/// Refuses `cloud` without a service tag.
pub(super) fn cloud_needs_service_tag() -> Rule {
    Rule::new("!has(self.cloud) || has(self.serviceTag)")
        .message("cloud belongs to a service tag, which is not supported yet; remove it")
        .field_path(".cloud")
}

/// Refuses `externalTrafficPolicy` for a `ClusterIP`.
pub(super) fn external_traffic_needs_an_external_type() -> Rule {
    Rule::new("!has(self.externalTrafficPolicy) || (has(self.type) && self.type != 'ClusterIP')")
        .message(
            "has no effect on a ClusterIP, which receives no traffic from outside; set type to NodePort or \
             LoadBalancer, or remove it",
        )
        .field_path(".externalTrafficPolicy")
}

/// Refuses another target: the vault of the earlier one would lose its firewall, for example by a typing error.
pub(super) fn same_target() -> Rule {
    Rule::new("self == oldSelf").message(
        "cannot be changed: the vault that it names would lose its firewall. Create another policy for the other \
         vault, and delete this one if its vault needs no firewall",
    )
}

/// Requires a DNS label.
pub(super) fn dns_label() -> Rule {
    Rule::new(format!("self.matches('{DNS_LABEL}')")).message(
        "is not a DNS label; write lower-case letters, digits and -, beginning and ending with a letter or digit",
    )
}

/// Requires a DNS subdomain.
pub(super) fn dns_subdomain() -> Rule {
    Rule::new(format!("self.matches('{DNS_SUBDOMAIN}')")).message(
        "is not a DNS name; write lower-case letters, digits, - and ., beginning and ending with a letter or digit",
    )
}

/// Requires a name that answers and logs can show.
pub(super) fn rule_name() -> Rule {
    Rule::new(format!("self.matches('{RULE_NAME}')")).message(
        "cannot be the name of a rule; write letters, digits, -, _ and ., beginning and ending with a letter or digit",
    )
}

/// Schema of an IP rule's value: one public address, or a public range with a prefix length of at most 30.
pub(super) fn ip_rule_value(schema: &mut Schema) {
    let mut rules = notation(
        "list the ranges that you mean, or set defaultAction: Allow",
        PUBLIC_EXAMPLES,
    );
    rules.push(
        Rule::new("!self.endsWith('/31') && !self.endsWith('/32')")
            .message("an IP rule does not accept a /31 or /32; write single addresses, each as a rule of its own"),
    );
    rules.extend(SPECIAL_RANGES.iter().map(|special| {
        Rule::new(format!("!({})", touches(special.prefix))).message(about_value(&format!(
            "lies in or overlaps {} ({}), which is not public; {}",
            special.prefix, special.name, special.advice
        )))
    }));
    set_rules(schema.ensure_object(), &rules);
}

/// Schema of the list of a subnet's prefixes: private, shared or loopback.
pub(super) fn subnet_prefixes(schema: &mut Schema) {
    let contained = |function: &str| {
        let terms = SUBNET_RANGES.map(|range| format!("cidr('{range}').{function}(self)"));
        terms.join(" || ")
    };
    let mut rules = notation("list the subnet's own prefixes", PRIVATE_EXAMPLES);
    rules.push(
        Rule::new(format!(
            "isIP(self) ? ({}) : !isCIDR(self) || {}",
            contained("containsIP"),
            contained("containsCIDR")
        ))
        .message(about_value(&format!(
            "is not wholly inside one of {}; a subnet takes private, shared or loopback prefixes, public addresses \
             belong in spec.ipRules of a VaultNetworkPolicy",
            SUBNET_RANGES.map(|range| range.to_string()).join(", ")
        ))),
    );
    set_item_rules(schema, &rules);
}

/// Rules of a trusted proxy's address or range: one that a peer can have, but not every address.
pub(super) fn trusted_proxy() -> Vec<Rule> {
    let mut rules = notation(
        "any caller could choose its client address then, so list the proxies' own addresses",
        PUBLIC_EXAMPLES,
    );
    rules.extend(NEVER_A_PEER.iter().map(|never| {
        Rule::new(format!("!({})", touches(*never))).message(about_value(&format!(
            "overlaps {never}, which no proxy can have; list the proxies' own addresses"
        )))
    }));
    rules
}

/// Rules for every address or range: IPv4, decimal notation, no host bits, not every address.
///
/// `isIP` and `isCIDR` accept only four decimal numbers. Leading zeros need a rule of our own, because parsers
/// interpret them differently, and such a difference must not allow anything.
fn notation(instead_of_all: &str, [address, range]: [&str; 2]) -> Vec<Rule> {
    vec![
        Rule::new("!self.contains(':')")
            .message("only IPv4 is supported; write the IPv4 address or range, without a port"),
        Rule::new("self.contains(':') || (isIP(self) || isCIDR(self)) && !self.matches('(^|[./])0[0-9]')")
            .message(Message::Expression(malformed(address, range))),
        Rule::new("!self.endsWith('/0')").message(format!("is every address; {instead_of_all}").as_str()),
        Rule::new("!isCIDR(self) || self.endsWith('/0') || cidr(self) == cidr(self).masked()").message(about_value(
            "has bits set beyond its prefix; write the first address of the range before the slash, or a single \
             address without one",
        )),
    ]
}

/// CEL expression: the value in quotes, if it can be printed.
pub(super) const SHOWN: &str = "(self.matches('^[!-~]+$') ? '\"' + self + '\" ' : '')";

/// CEL expression of the message for a value in another notation. The first cause that applies is reported.
fn malformed(address: &str, range: &str) -> String {
    let causes = [
        ("self == ''", "is empty"),
        ("self.matches('[[:space:]]')", "contains white space"),
        ("self.contains('%')", "has a zone id"),
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
    format!(
        "{SHOWN} + ({why}{}) + {}",
        quote("is not four numbers with dots between them"),
        quote(&format!(
            "; write an IPv4 address such as {address}, or a range such as {range}"
        ))
    )
}

/// CEL expression: whether the value and `range` overlap. Two prefixes overlap exactly if one contains the other.
fn touches(range: Ipv4Net) -> String {
    format!(
        "isIP(self) ? cidr('{range}').containsIP(self) : isCIDR(self) && !self.endsWith('/0') && \
         (cidr('{range}').containsCIDR(self) || cidr(self).containsCIDR('{range}'))"
    )
}

/// Message that begins with the value, because the API server reports only the type of a value.
fn about_value(text: &str) -> Message {
    Message::Expression(format!("'\"' + self + {}", quote(&format!("\" {text}"))))
}

/// Quotes `text` as a CEL string.
pub(super) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

fn set_item_rules(schema: &mut Schema, rules: &[Rule]) {
    // The schema of the items is a direct child, also in an optional list.
    if let Some(Value::Object(items)) = schema.get_mut("items") {
        set_rules(items, rules);
    }
}

/// Sets the rules of a schema.
pub(super) fn set_rules(schema: &mut Map<String, Value>, rules: &[Rule]) {
    schema.insert(RULES.to_owned(), json!(rules));
}
