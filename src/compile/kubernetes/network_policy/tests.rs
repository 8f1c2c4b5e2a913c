#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
//! Tables of firewalls and the ports that their policies open, one line each; rules are written `ports<-sources`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

use super::*;
use crate::policy::{ClientAddressSource, Denial, Mode, TrustedProxies};

fn vault() -> VaultId {
    VaultId {
        namespace: "vault".into(),
        service: "openbao".into(),
    }
}

fn service() -> ProtectedService {
    ProtectedService::new(labels("app=bao"), IntOrString::Int(8200), None).unwrap()
}

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split_whitespace()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// `namespace labels/pod labels`, or a block.
fn peers(text: &str) -> Vec<Peer> {
    let selector = |text: &str| LabelSelector {
        match_labels: Some(labels(text)),
        match_expressions: None,
    };
    text.split(',')
        .filter(|peer| !peer.is_empty())
        .map(|peer| {
            if let Ok(block) = peer.parse() {
                return Peer::Block(block);
            }
            let (namespaces, pods) = peer.split_once('/').unwrap();
            Peer::Pods {
                namespaces: selector(namespaces),
                pods: selector(pods),
            }
        })
        .collect()
}

fn short(selector: &LabelSelector) -> String {
    let labels = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| format!("{key}={value}"));
    let expressions = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|expression| {
            format!(
                "{} {} {}",
                expression.key,
                expression.operator,
                expression.values.iter().flatten().count()
            )
        });
    labels.chain(expressions).collect::<Vec<_>>().join("&")
}

/// The policy's rules, `ports<-sources`; `any` is a rule without `from`.
fn rules(policy: &NetworkPolicy) -> String {
    let spec = policy.spec.as_ref().unwrap();
    assert_eq!(spec.policy_types, Some(vec!["Ingress".to_owned()]));
    assert!(
        !spec
            .pod_selector
            .as_ref()
            .unwrap()
            .match_labels
            .as_ref()
            .unwrap()
            .is_empty()
    );
    let rule = |rule: &NetworkPolicyIngressRule| {
        let ports: Vec<_> = rule
            .ports
            .iter()
            .flatten()
            .map(|port| {
                assert_eq!(port.protocol.as_deref(), Some("TCP"));
                match port.port.as_ref().unwrap() {
                    IntOrString::Int(number) => number.to_string(),
                    IntOrString::String(name) => name.clone(),
                }
            })
            .collect();
        assert!(!ports.is_empty(), "a rule without ports opens every port");
        let from = rule.from.as_ref().map_or("any".to_owned(), |from| {
            assert!(!from.is_empty(), "an empty `from` admits everybody");
            let peers = from.iter().map(|peer| {
                match (&peer.ip_block, &peer.namespace_selector, &peer.pod_selector) {
                    (Some(block), None, None) => block.cidr.clone(),
                    (None, Some(namespaces), Some(pods)) => {
                        format!("{}/{}", short(namespaces), short(pods))
                    }
                    (None, None, Some(pods)) => format!("here/{}", short(pods)),
                    other => panic!("{other:?}"),
                }
            });
            peers.collect::<Vec<_>>().join(",")
        });
        format!("{}<-{from}", ports.join("+"))
    };
    spec.ingress
        .iter()
        .flatten()
        .map(rule)
        .collect::<Vec<_>>()
        .join(" ")
}

/// `e=1/a=2` is a peer that selects pods: namespace labels, then pod labels; `/` selects every pod.
const SOURCES_OF_THE_PROXIES: &str = "
# denial | default | management  | peers | trusted | rules
# Reject: Envoy answers everybody.
Reject | Deny  | Unrestricted |                        |             | 8200+8300<-any 8400<-/
Reject | Deny  | Unrestricted | e=1/a=2,203.0.113.7/32 |             | 8200+8300<-any 8400<-/
Reject | Deny  | NetworkRules | e=1/a=2,203.0.113.7/32 |             | 8200+8300<-any 8400<-/
Reject | Deny  | Disabled     | e=1/a=2,203.0.113.7/32 |             | 8200<-any 8400<-/
Reject | Allow | Disabled     |                        |             | 8200<-any 8400<-/
# Drop: only the rules' sources; without any, nobody.
Drop   | Deny  | Disabled     |                        |             | 8400<-/
Drop   | Deny  | NetworkRules |                        |             | 8400<-/
Drop   | Deny  | Unrestricted |                        |             | 8300<-any 8400<-/
Drop   | Deny  | Disabled     | e=1/a=2,203.0.113.7/32 |             | 8200<-e=1/a=2,203.0.113.7/32 8400<-/
Drop   | Deny  | NetworkRules | e=1/a=2,203.0.113.7/32 |             | 8200+8300<-e=1/a=2,203.0.113.7/32 8400<-/
Drop   | Deny  | Unrestricted | e=1/a=2,203.0.113.7/32 |             | 8200<-e=1/a=2,203.0.113.7/32 8300<-any 8400<-/
# Drop with a default of Allow drops nobody.
Drop   | Allow | NetworkRules | e=1/a=2,203.0.113.7/32 |             | 8200+8300<-any 8400<-/
Drop   | Allow | Disabled     |                        |             | 8200<-any 8400<-/
# Trusted proxies reach Envoy, which reads the client's address from the header.
Drop   | Deny  | Disabled     |                        | 10.0.9.0/24 | 8200<-10.0.9.0/24 8400<-/
Drop   | Deny  | Disabled     | e=1/a=2,203.0.113.7/32 | 10.0.9.0/24 | 8200<-e=1/a=2,10.0.9.0/24,203.0.113.7/32 8400<-/
Drop   | Deny  | Disabled     | 203.0.113.7/32         | n=in/app=in | 8200<-n=in/app=in,203.0.113.7/32 8400<-/
Drop   | Deny  | NetworkRules | n=in/app=in | n=in/app=in,10.0.9.1/32 | 8200+8300<-n=in/app=in,10.0.9.1/32 8400<-/
Reject | Deny  | Disabled     | 203.0.113.7/32         | n=in/app=in | 8200<-any 8400<-/
# With `mode: Audit` the proxies record what would be dropped, so everybody reaches the data port.
Drop   | Audit | Disabled     | 203.0.113.7/32         |             | 8200<-any 8400<-/
Drop   | Audit | NetworkRules | 203.0.113.7/32         |             | 8200+8300<-any 8400<-/
# A peer that selects every pod shares the rule of the metrics port.
Drop   | Deny  | Disabled     | /                      |             | 8200+8400<-/
# Sorted, without duplicates; blocks joined where that is exact.
Drop   | Deny  | Disabled     | b=1/,a=1/,b=1/         |             | 8200<-a=1/,b=1/ 8400<-/
Drop   | Deny  | Disabled     | 198.51.100.8/32,198.51.100.0/24 |    | 8200<-198.51.100.0/24 8400<-/
Drop   | Deny  | Disabled     | 9.0.0.0/9,9.128.0.0/9  |             | 8200<-9.0.0.0/8 8400<-/
Drop   | Deny  | Disabled     | 9.128.0.0/9,10.0.0.0/9 |             | 8200<-9.128.0.0/9,10.0.0.0/9 8400<-/
Drop   | Deny  | Disabled     | 203.0.113.7/32,9.9.9.9/32 |          | 8200<-9.9.9.9/32,203.0.113.7/32 8400<-/
";

#[test]
fn the_proxies_policy_opens_its_ports_to_these_sources() {
    let rows = SOURCES_OF_THE_PROXIES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for row in rows {
        let columns: Vec<_> = row.split('|').map(str::trim).collect();
        let [denial, default_action, management, given, trusted, expected] = columns[..] else {
            panic!("six columns: {row}");
        };
        let mut firewall = Firewall::deny_all(vault(), 8200);
        firewall.denial = serde_json::from_value(denial.into()).unwrap();
        match default_action {
            "Audit" => firewall.mode = Mode::Audit,
            action => firewall.default_action = serde_json::from_value(action.into()).unwrap(),
        }
        firewall.management = serde_json::from_value(management.into()).unwrap();
        firewall.peers = peers(given);
        if !trusted.is_empty() {
            let mut trusted_proxies = TrustedProxies::default();
            for peer in peers(trusted) {
                match peer {
                    Peer::Block(range) => trusted_proxies.ranges.push(range),
                    Peer::Pods { .. } => trusted_proxies.peers.push(peer),
                }
            }
            // Pods are admitted by their selector, whatever their addresses are.
            trusted_proxies.pods.insert("10.0.9.9".parse().unwrap());
            firewall.client_address = ClientAddressSource::XForwardedFor { trusted_proxies };
        }
        assert_eq!(
            rules(&firewall_policy(&firewall).unwrap()),
            expected,
            "{row}"
        );
        count += 1;
    }
    assert_eq!(count, 26);
}

#[test]
fn the_vaults_policy_opens_its_ports_to_proxies_and_own_pods() {
    const PROXIES: &str =
        "here/app.kubernetes.io/name=vaultwall-firewall&vaultwall.dev/vault=openbao";
    let name = |name: &str| IntOrString::String(name.to_owned());
    for (selector, api, cluster, expected) in [
        (
            "app=bao",
            IntOrString::Int(8200),
            None,
            format!("8200+8201<-here/app=bao 8200<-{PROXIES}"),
        ),
        (
            "app=bao x=y",
            name("http"),
            Some(name("peer")),
            format!("http+peer<-here/app=bao&x=y http<-{PROXIES}"),
        ),
        (
            "app=bao",
            IntOrString::Int(8300),
            None,
            format!("8300+8301<-here/app=bao 8300<-{PROXIES}"),
        ),
        (
            "app=bao",
            name("http"),
            None,
            format!("http+8201<-here/app=bao http<-{PROXIES}"),
        ),
    ] {
        let service = ProtectedService::new(labels(selector), api, cluster).unwrap();
        let policy = vault_policy(&vault(), &service);
        assert_eq!(rules(&policy), expected);
        let selected = policy.spec.unwrap().pod_selector.unwrap();
        assert_eq!(selected.match_labels.as_ref(), Some(service.selector()));
    }
}

#[test]
fn a_vault_on_a_default_port_of_the_proxy_opens_no_other_port() {
    let mut firewall = Firewall::deny_all(vault(), 8300);
    firewall.denial = Denial::Drop;
    firewall.management = ManagementAccess::Unrestricted;
    assert_eq!(
        rules(&firewall_policy(&firewall).unwrap()),
        "8301<-any 8400<-/"
    );
    firewall.port = 8400;
    assert_eq!(
        rules(&firewall_policy(&firewall).unwrap()),
        "8300<-any 8401<-/"
    );
}

#[test]
fn pods_of_trusted_services_are_selected_where_others_are_dropped() {
    let mut firewall = Firewall::deny_all(vault(), 8200);
    firewall.service_peers = peers("n=shop/a=web,n=backup/a=agent");
    firewall.peers = peers("203.0.113.7/32");
    let all = "any";
    let selected = "n=backup/a=agent,n=shop/a=web,203.0.113.7/32";
    for (denial, management, expected) in [
        (
            Denial::Reject,
            ManagementAccess::NetworkRules,
            format!("8200+8300<-{all} 8400<-/"),
        ),
        (
            Denial::Drop,
            ManagementAccess::NetworkRules,
            format!("8200+8300<-{selected} 8400<-/"),
        ),
        (
            Denial::Drop,
            ManagementAccess::Disabled,
            format!("8200<-{selected} 8400<-/"),
        ),
    ] {
        (firewall.denial, firewall.management) = (denial, management);
        assert_eq!(rules(&firewall_policy(&firewall).unwrap()), expected);
    }
}

#[test]
fn policies_have_the_vaults_namespace_and_generated_names_and_labels() {
    let policies = [
        firewall_policy(&Firewall::deny_all(vault(), 8200)).unwrap(),
        vault_policy(&vault(), &service()),
    ];
    let names: Vec<_> = policies
        .iter()
        .map(|policy| policy.metadata.name.as_deref().unwrap())
        .collect();
    assert_eq!(names, ["openbao-firewall", "openbao-vault"]);
    for policy in &policies {
        assert_eq!(policy.metadata.namespace.as_deref(), Some("vault"));
        let labels = policy.metadata.labels.as_ref().unwrap();
        assert_eq!(labels["vaultwall.dev/vault"], "openbao");
        assert_eq!(labels["app.kubernetes.io/managed-by"], "vaultwall");
    }
}

#[test]
fn the_order_of_rules_and_expressions_changes_nothing() {
    let requirement = |key: &str, values: &[&str]| LabelSelectorRequirement {
        key: key.into(),
        operator: "In".into(),
        values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
    };
    let selector = |expressions: Vec<_>| LabelSelector {
        match_labels: Some(BTreeMap::new()),
        match_expressions: Some(expressions),
    };
    let mut one = Firewall::deny_all(vault(), 8200);
    one.denial = Denial::Drop;
    one.peers = peers("9.9.9.9/32,a=1/,8.8.8.8/32");
    one.peers.push(Peer::Pods {
        namespaces: selector(vec![
            requirement("team", &["b", "a"]),
            requirement("env", &["prod"]),
        ]),
        pods: selector(vec![]),
    });
    let mut other = one.clone();
    other.peers.reverse();
    other.peers[0] = Peer::Pods {
        namespaces: selector(vec![
            requirement("env", &["prod"]),
            requirement("team", &["a", "b", "a"]),
        ]),
        pods: LabelSelector::default(),
    };
    assert_ne!(one.peers, other.peers);
    let policy = firewall_policy(&one).unwrap();
    assert_eq!(policy, firewall_policy(&other).unwrap());
    assert_eq!(
        rules(&policy),
        "8200<-a=1/,env In 1&team In 2/,8.8.8.8/32,9.9.9.9/32 8400<-/"
    );
}

#[test]
fn too_many_blocks_are_refused() {
    let blocks = |count: u32| {
        (0..count)
            .map(|n| Peer::Block(Ipv4Net::from(std::net::Ipv4Addr::from(n * 2))))
            .collect()
    };
    let mut firewall = Firewall::deny_all(vault(), 8200);
    firewall.denial = Denial::Drop;
    firewall.peers = blocks(2_000);
    assert!(firewall_policy(&firewall).is_ok());
    firewall.peers = blocks(2_001);
    let refused = firewall_policy(&firewall).unwrap_err();
    assert_eq!(
        refused,
        NetworkPolicyError::TooManyBlocks {
            vault: vault(),
            blocks: 2_001
        }
    );
    assert!(refused.to_string().contains("denial: Reject"), "{refused}");
    firewall.denial = Denial::Reject;
    assert!(firewall_policy(&firewall).is_ok());
}
