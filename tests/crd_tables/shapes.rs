//! Which fields go together, and names.

use serde_json::{Value, json};

use super::{ACCEPTED, Row, network, policy};

fn rows(
    parts: &[(Value, &'static str, &'static str)],
    object: impl Fn(&Value) -> Value,
) -> Vec<Row> {
    parts
        .iter()
        .map(|(part, field, expected)| Row {
            label: part.to_string(),
            object: object(part),
            field,
            expected,
        })
        .collect()
}

pub fn virtual_network_rules() -> Vec<Row> {
    let selector = |requirement: Value| json!({"podSelector": {"matchExpressions": [requirement]}});
    let requirement = "spec.virtualNetworkRules[0].pods.podSelector.matchExpressions[0]";
    let rules = [
        (
            json!({"subnet": {"virtualNetwork": "corp", "name": "build"}}),
            "",
            ACCEPTED,
        ),
        (json!({"pods": {"podSelector": {}}}), "", ACCEPTED),
        (json!({"pods": {"namespaceSelector": {}}}), "", ACCEPTED),
        (
            json!({}),
            "spec.virtualNetworkRules[0]",
            "has neither subnet nor pods",
        ),
        (
            json!({"subnet": {"virtualNetwork": "corp", "name": "build"}, "pods": {"podSelector": {}}}),
            "spec.virtualNetworkRules[0]",
            "has both subnet and pods",
        ),
        (
            json!({"pods": {}}),
            "spec.virtualNetworkRules[0].pods",
            "selects nothing",
        ),
        (
            json!({"subnet": {"virtualNetwork": "corp", "name": "Build"}}),
            "spec.virtualNetworkRules[0].subnet.name",
            "DNS label",
        ),
        (
            json!({"subnet": {"virtualNetwork": "corp_", "name": "build"}}),
            "spec.virtualNetworkRules[0].subnet.virtualNetwork",
            "DNS name",
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "In", "values": ["a"]}))}),
            "",
            ACCEPTED,
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "Exists"}))}),
            "",
            ACCEPTED,
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "In"}))}),
            requirement,
            "need at least one value",
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "NotIn", "values": []}))}),
            requirement,
            "need at least one value",
        ),
        (
            json!({"pods": selector(json!({"key": "app", "operator": "DoesNotExist", "values": ["a"]}))}),
            requirement,
            "take no values",
        ),
    ];
    rows(&rules, |rule| {
        policy(&json!({"virtualNetworkRules": [rule]}))
    })
}

pub fn policies() -> Vec<Row> {
    let specs = [
        (json!({}), "", ACCEPTED),
        (
            json!({"ipRules": [{"name": "hq", "value": "203.0.113.7"}]}),
            "",
            ACCEPTED,
        ),
        (
            json!({"ipRules": [{"name": "head office", "value": "203.0.113.7"}]}),
            "spec.ipRules[0].name",
            "cannot be the name of a rule",
        ),
        (
            json!({"ipRules": [{}]}),
            "spec.ipRules[0]",
            "has neither value nor serviceTag",
        ),
        (
            json!({"ipRules": [{"value": "203.0.113.7", "serviceTag": "AzureDevOps"}]}),
            "spec.ipRules[0]",
            "has both value and serviceTag",
        ),
        (
            json!({"ipRules": [{"value": "203.0.113.7", "cloud": "Public"}]}),
            "spec.ipRules[0].cloud",
            "belongs to a service tag",
        ),
        (
            json!({"ipRules": [{"value": "203.0.113.7", "expiresAt": "2027-02-29T00:00:00Z"}]}),
            "spec.ipRules[0].expiresAt",
            "is no time from the year 2000 on",
        ),
        (
            json!({"ipRules": [{"value": "203.0.113.7", "expiresAt": "2027-01-31T24:00:00Z"}]}),
            "spec.ipRules[0].expiresAt",
            "write a time such as 2027-01-31T18:00:00Z",
        ),
        (json!({"clientAddress": {}}), "", ACCEPTED),
        (
            json!({"proxy": {"service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}}}),
            "",
            ACCEPTED,
        ),
        (
            json!({"proxy": {"service": {"type": "NodePort"}}}),
            "",
            ACCEPTED,
        ),
        (
            json!({"proxy": {"service": {"externalTrafficPolicy": "Local"}}}),
            "spec.proxy.service.externalTrafficPolicy",
            "has no effect on a ClusterIP",
        ),
        (
            json!({"proxy": {"service": {"type": "ClusterIP", "externalTrafficPolicy": "Cluster"}}}),
            "spec.proxy.service.externalTrafficPolicy",
            "has no effect on a ClusterIP",
        ),
        (
            json!({"targetRef": {"name": "Open.Bao", "port": 8200}}),
            "spec.targetRef.name",
            "DNS label",
        ),
    ];
    rows(&specs, policy)
}

pub fn virtual_networks() -> Vec<Row> {
    let subnets = [
        (
            json!({"name": "build", "pods": {"namespaceSelector": {}, "podSelector": {}}}),
            "",
            ACCEPTED,
        ),
        (
            json!({"name": "dc", "addressPrefixes": ["10.0.0.0/8"], "serviceEndpoints": ["Vault"]}),
            "",
            ACCEPTED,
        ),
        (
            json!({"name": "build", "pods": {"podSelector": {}}}),
            "spec.subnets[0].pods",
            "namespaceSelector is missing",
        ),
        (
            json!({"name": "build", "pods": {}}),
            "spec.subnets[0].pods",
            "selects nothing",
        ),
        (
            json!({"name": "build"}),
            "spec.subnets[0]",
            "has neither pods nor addressPrefixes",
        ),
        (
            json!({"name": "dc", "pods": {"namespaceSelector": {}}, "addressPrefixes": ["10.0.0.0/8"]}),
            "spec.subnets[0]",
            "has both pods and addressPrefixes",
        ),
        (
            json!({"name": "a b", "addressPrefixes": ["10.0.0.0/8"]}),
            "spec.subnets[0].name",
            "DNS label",
        ),
    ];
    rows(&subnets, network)
}
