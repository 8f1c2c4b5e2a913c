//! Which fields go together, and names.

use serde_json::{Value, json};

use super::{ACCEPTED, Row, network, policy, service};

fn rows(
    parts: &[(Value, &'static str, &'static str)],
    object: impl Fn(&Value) -> Value,
) -> Vec<Row> {
    parts
        .iter()
        .map(|(part, field, expected)| Row {
            label: part.to_string(),
            object: object(part),
            field: (*field).to_owned(),
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

pub fn identities() -> Vec<Row> {
    const CREDENTIAL: &str = "spec.identities[0].federatedCredential";
    let account = |namespace: &str, name: &str| json!({"serviceAccount": {"namespace": namespace, "name": name}});
    let credential = |issuer: &str, keys: Value| {
        let mut credential = json!({"issuer": issuer, "subject": "app", "audiences": ["vault"]});
        credential
            .as_object_mut()
            .unwrap()
            .extend(keys.as_object().unwrap().clone());
        json!({"federatedCredential": credential})
    };
    let uri = |uri: &str| json!({"jwksUri": uri});
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": "1",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]});
    let issuer = "https://tokens.example.com";
    let both = json!({
        "serviceAccount": {"namespace": "a", "name": "b"}, "registeredResource": {"serviceAccountName": "b"},
    });
    let identities = [
        (account("sql", "tde"), "", ACCEPTED),
        (account("default", "tde.v2"), "", ACCEPTED),
        (
            json!({"registeredResource": {"serviceAccountName": "backup-agent"}}),
            "",
            ACCEPTED,
        ),
        (
            credential(issuer, uri("https://tokens.example.com/keys?v=1")),
            "",
            ACCEPTED,
        ),
        (credential(issuer, json!({"jwks": keys})), "", ACCEPTED),
        (
            json!({}),
            "spec.identities[0]",
            "needs exactly one of serviceAccount",
        ),
        (
            both,
            "spec.identities[0]",
            "needs exactly one of serviceAccount",
        ),
        (
            account("sql", "default"),
            "spec.identities[0].serviceAccount.name",
            "an account of its own",
        ),
        (
            account("sql", "*"),
            "spec.identities[0].serviceAccount.name",
            "DNS name",
        ),
        (
            account("*", "tde"),
            "spec.identities[0].serviceAccount.namespace",
            "DNS label",
        ),
        (
            json!({"registeredResource": {"serviceAccountName": "default"}}),
            "spec.identities[0].registeredResource.serviceAccountName",
            "an account of its own",
        ),
        (
            credential(issuer, json!({})),
            CREDENTIAL,
            "neither jwks nor jwksUri",
        ),
        (
            credential(
                issuer,
                json!({"jwks": keys, "jwksUri": "https://a.example.com"}),
            ),
            CREDENTIAL,
            "both jwks and jwksUri",
        ),
        (
            credential("http://tokens.example.com", uri("https://a.example.com")),
            "spec.identities[0].federatedCredential.issuer",
            "https URL",
        ),
        (
            credential(issuer, uri("http://a.example.com")),
            "spec.identities[0].federatedCredential.jwksUri",
            "https URL",
        ),
    ];
    let mut rows = rows(&identities, service);
    rows.extend(in_policies(&identities));
    rows
}

/// Rows of the lists of a policy.
fn in_policies(identities: &[(Value, &'static str, &'static str)]) -> Vec<Row> {
    // They have the same rules, and take no URL of keys.
    let has_url = |identity: &Value| !identity["federatedCredential"]["jwksUri"].is_null();
    let listed = identities.iter().filter(|row| !has_url(&row.0));
    let listed = listed.map(|(identity, field, expected)| Row {
        label: format!("deployer {identity}"),
        object: policy(&json!({"management": {"deployers": [identity]}})),
        field: field.replace("spec.identities", "spec.management.deployers"),
        expected,
    });
    let with_url = json!({"federatedCredential": {
        "issuer": "https://tokens.example.com", "subject": "app", "audiences": ["vault"],
        "jwksUri": "https://tokens.example.com/keys",
    }});
    let with_url = ["operators", "deployers"].map(|list| Row {
        label: format!("{list} {with_url}"),
        object: policy(&json!({"management": {list: [with_url]}})),
        field: format!("spec.management.{list}"),
        expected: "is possible in a TrustedService only",
    });
    listed.chain(with_url).collect()
}
