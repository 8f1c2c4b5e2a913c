//! Policies with as many rules as the limits allow, and with one more.

use serde_json::{Map, Value, json};

/// Returns specs at the limits and just above, with the HTTP status that the API server answers when they are in force.
pub(super) fn at_the_limits(virtual_network_rules: usize, ip_rules: usize) -> [(Value, u16); 3] {
    let networks = |count: usize| -> Vec<Value> {
        let subnet = |n| json!({"subnet": {"virtualNetwork": "probe", "name": format!("s{n}")}});
        (0..count).map(subnet).collect()
    };
    let addresses = |count: usize| -> Vec<Value> {
        let address = |n| json!({"value": format!("8.8.{}.{}", n / 250, n % 250)});
        (0..count).map(address).collect()
    };
    let both = [
        ("virtualNetworkRules", networks(virtual_network_rules)),
        ("ipRules", addresses(ip_rules)),
    ];
    let more_networks = ("virtualNetworkRules", networks(virtual_network_rules + 1));
    let more_addresses = ("ipRules", addresses(ip_rules + 1));
    [
        (spec(both), 201),
        (spec([more_networks]), 422),
        (spec([more_addresses]), 422),
    ]
}

fn spec<const N: usize>(rules: [(&str, Vec<Value>); N]) -> Value {
    let target = [(
        "targetRef".to_owned(),
        json!({"name": "probe", "port": 8200}),
    )];
    let rules = rules.map(|(field, rules)| (field.to_owned(), Value::Array(rules)));
    Value::Object(target.into_iter().chain(rules).collect::<Map<_, _>>())
}
