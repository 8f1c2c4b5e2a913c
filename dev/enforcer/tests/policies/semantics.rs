//! Policies that the cases of cyclonus do not cover, as tables of sources and destinations.

use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde::de::DeserializeOwned;
use serde_json::Value;

use enforcer::policy::{Model, Packet, Protocol, resolve};

/// `new` is a namespace that is not known yet.
const NAMESPACES: &str = "
- metadata: {name: red, labels: {team: red}}
- metadata: {name: blue, labels: {team: blue}}
- metadata: {name: bare}
";

const PODS: &str = "
- metadata: {namespace: red, name: web, labels: {app: web}}
  spec:
    containers:
    - {name: c, ports: [{name: http, containerPort: 8080}, {name: dns, containerPort: 53, protocol: UDP}]}
  status: {phase: Running, podIP: 10.0.0.1}
- metadata: {namespace: red, name: db, labels: {app: db}}
  spec: {containers: [{name: c, ports: [{name: http, containerPort: 9090, protocol: TCP}]}]}
  status: {phase: Running, podIP: 10.0.0.2}
- metadata: {namespace: blue, name: web, labels: {app: web}}
  spec:
    containers: [{name: c}]
    initContainers:
    - {name: sidecar, restartPolicy: Always, ports: [{name: http, containerPort: 80}]}
    - {name: once, ports: [{name: http, containerPort: 8081}]}
  status: {phase: Running, podIP: 10.0.0.3}
- metadata: {namespace: bare, name: two-families}
  spec: {containers: [{name: c}]}
  status: {phase: Running, podIP: 'fd00::4', podIPs: [{ip: 'fd00::4'}, {ip: 10.0.0.4}]}
- metadata: {namespace: red, name: ended, labels: {app: web}}
  spec: {containers: [{name: c}]}
  status: {phase: Succeeded, podIP: 10.0.0.5}
- metadata: {namespace: red, name: failed, labels: {app: web}}
  spec: {containers: [{name: c}]}
  status: {phase: Failed, podIP: 10.0.0.6}
- metadata: {namespace: red, name: on-node, labels: {app: web}}
  spec: {hostNetwork: true, containers: [{name: c}]}
  status: {phase: Running, podIP: 10.0.0.7}
- metadata: {namespace: red, name: begins, labels: {app: web}}
  spec: {containers: [{name: c}]}
  status: {phase: Pending}
- metadata: {namespace: new, name: web, labels: {app: web}}
  spec: {containers: [{name: c}]}
  status: {phase: Running, podIP: 10.0.0.8}
";

fn objects<T: DeserializeOwned>(yaml: &str) -> Vec<Arc<T>> {
    let values: Vec<Value> = serde_saphyr::from_str(yaml).unwrap();
    values
        .into_iter()
        .map(|value| Arc::new(serde_json::from_value(value).unwrap()))
        .collect()
}

/// The model of policies in the namespace `red`, given by their specs.
fn model(specs: &[&str]) -> Model {
    let policies: Vec<Arc<NetworkPolicy>> = specs
        .iter()
        .map(|spec| {
            let text = format!("metadata: {{namespace: red, name: p}}\nspec: {spec}\n");
            let value: Value = serde_saphyr::from_str(&text).unwrap();
            Arc::new(serde_json::from_value(value).unwrap())
        })
        .collect();
    resolve(
        &policies,
        &objects::<Pod>(PODS),
        &objects::<Namespace>(NAMESPACES),
    )
}

/// A row is `SOURCE DESTINATION PORTS VERDICTS`: last numbers of addresses in 10.0.0.0/24, or whole addresses;
/// `PROTOCOL/PORT` or `ICMP`; `yes` or `-`.
#[track_caller]
fn check(specs: &[&str], rows: &str) {
    let model = model(specs);
    let address = |text: &str| -> Ipv4Addr {
        let whole = format!("10.0.0.{text}");
        text.parse().unwrap_or_else(|_| whole.parse().unwrap())
    };
    let transport = |text: &str| {
        let (protocol, port) = text.split_once('/')?;
        let protocol = match protocol {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            "SCTP" => Protocol::Sctp,
            _ => panic!("not a protocol: {text}"),
        };
        Some((protocol, port.parse().unwrap()))
    };
    let mut checked = 0;
    for row in rows.lines().filter(|row| !row.trim().is_empty()) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        let [source, destination, port, verdict] = cells[..] else {
            panic!("not a row: {row}");
        };
        let packet = Packet {
            source: address(source),
            destination: address(destination),
            transport: transport(port),
        };
        let expected = match verdict {
            "yes" => true,
            "-" => false,
            _ => panic!("`yes` or `-`: {row}"),
        };
        assert_eq!(model.allows(&packet), expected, "{row}");
        checked += 1;
    }
    assert!(checked > 0);
}

#[test]
fn nothing_is_isolated_without_a_policy() {
    check(
        &[],
        "1 2 TCP/80 yes\n9.9.9.9 1 UDP/53 yes\n1 9.9.9.9 ICMP yes",
    );
}

#[test]
fn types_that_are_missing() {
    // Ingress always; egress only if there are rules for it, which an empty list is not.
    check(&["{podSelector: {}}"], "3 1 TCP/80 -\n1 3 TCP/80 yes");
    check(
        &["{podSelector: {}, egress: []}"],
        "3 1 TCP/80 -\n1 3 TCP/80 yes",
    );
    check(
        &["{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}"],
        "3 1 TCP/80 -\n1 3 TCP/80 -\n1 2 TCP/80 -",
    );
}

#[test]
fn types_that_are_named() {
    // Rules of a type that is not named do not count.
    check(
        &["{podSelector: {}, policyTypes: [Egress], ingress: [], egress: [{}]}"],
        "3 1 TCP/80 yes\n1 3 TCP/80 yes",
    );
    check(
        &["{podSelector: {}, policyTypes: [Ingress], ingress: [{}], egress: []}"],
        "3 1 TCP/80 yes\n1 3 TCP/80 yes",
    );
    check(
        &["{podSelector: {}, policyTypes: [Egress]}"],
        "1 3 TCP/80 -\n3 1 TCP/80 yes\n3 4 TCP/80 yes",
    );
}

#[test]
fn empty_lists() {
    let isolated = |rules: &str| format!("{{podSelector: {{}}, ingress: {rules}}}");
    check(&[&isolated("[]")], "3 1 TCP/80 -\n9.9.9.9 1 TCP/80 -");
    for everyone in [
        "[{}]",
        "[{from: []}]",
        "[{ports: []}]",
        "[{from: [], ports: []}]",
    ] {
        check(&[&isolated(everyone)], "3 1 TCP/80 yes\n9.9.9.9 1 ICMP yes");
    }
    // An empty peer matches no address; the API server would refuse it.
    check(&[&isolated("[{from: [{}]}]")], "2 1 TCP/80 -\n3 1 TCP/80 -");
}

#[test]
fn both_ends_have_to_agree() {
    let egress = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}";
    let ingress = "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 9090}]}]}";
    check(
        &[egress, ingress],
        "1 2 TCP/9090 yes\n1 2 TCP/80 -\n1 3 TCP/9090 -\n3 2 TCP/9090 yes\n3 2 TCP/80 -",
    );
}

#[test]
fn policies_add_up() {
    let deny = "{podSelector: {}, policyTypes: [Ingress]}";
    let web = "{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: 80}]}]}";
    check(&[deny, web], "3 1 TCP/80 yes\n3 1 TCP/81 -\n3 2 TCP/80 -");
    check(&[web, deny], "3 1 TCP/80 yes\n3 1 TCP/81 -\n3 2 TCP/80 -");
}

#[test]
fn pods_that_do_not_count() {
    // Neither isolated nor a peer: an ended pod's address may be another's by now, a node's is not the pod's.
    check(
        &["{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}"],
        "2 1 TCP/80 yes\n5 1 TCP/80 -\n6 1 TCP/80 -\n7 1 TCP/80 -\n3 5 TCP/80 yes\n3 6 TCP/80 yes\n3 7 TCP/80 yes",
    );
}

#[test]
fn a_pod_of_two_families_counts_by_its_ipv4_address() {
    check(
        &["{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}]}]}"],
        "4 1 TCP/80 yes",
    );
}

#[test]
fn namespaces() {
    let from = |selector: &str| {
        format!("{{podSelector: {{}}, ingress: [{{from: [{{namespaceSelector: {selector}}}]}}]}}")
    };
    check(
        &[&from("{matchLabels: {team: blue}}")],
        "3 1 TCP/80 yes\n4 1 TCP/80 -\n2 1 TCP/80 -\n8 1 TCP/80 -",
    );
    // A label that is missing is not in any list; a namespace that is not known is not let in for that.
    let not = "{matchExpressions: [{key: team, operator: NotIn, values: [blue]}]}";
    check(
        &[&from(not)],
        "3 1 TCP/80 -\n4 1 TCP/80 yes\n2 1 TCP/80 yes\n8 1 TCP/80 -",
    );
    let without = "{matchExpressions: [{key: team, operator: DoesNotExist}]}";
    check(
        &[&from(without)],
        "3 1 TCP/80 -\n4 1 TCP/80 yes\n8 1 TCP/80 -",
    );
    // With a selector of pods, both have to fit.
    let both = "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: \
        web}}}]}]}";
    check(
        &[both],
        "3 1 TCP/80 yes\n4 1 TCP/80 -\n2 1 TCP/80 -\n1 2 TCP/80 yes",
    );
    let own = "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}";
    check(&[own], "3 1 TCP/80 -\n1 2 TCP/80 yes\n2 1 TCP/80 -");
}

#[test]
fn names_of_ports_are_the_destinations() {
    let ingress = "{podSelector: {}, ingress: [{ports: [{port: http}]}]}";
    check(
        &[ingress],
        "3 1 TCP/8080 yes\n3 1 TCP/9090 -\n3 2 TCP/9090 yes\n3 2 TCP/8080 -\n3 1 UDP/8080 -",
    );
    // The name is of a port of UDP, and `protocol` is TCP if it is missing.
    let udp = "{podSelector: {}, ingress: [{ports: [{port: dns}]}]}";
    check(&[udp], "3 1 UDP/53 -\n3 1 TCP/53 -");
    let egress = "{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: [{ports: [{port: http}]}]}";
    check(
        &[egress],
        "2 1 TCP/8080 yes\n2 1 TCP/80 -\n2 3 TCP/80 yes\n2 3 TCP/8080 -\n2 3 TCP/8081 -\n2 9.9.9.9 TCP/80 -\n2 4 \
            TCP/80 -",
    );
    // Only those of the peers that are meant.
    let blue = "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.3/32}}], ports: \
        [{port: http}, {port: 443}]}]}";
    check(
        &[blue],
        "2 3 TCP/80 yes\n2 3 TCP/443 yes\n2 1 TCP/8080 -\n2 1 TCP/443 -",
    );
}

#[test]
fn ranges_of_ports() {
    let ports = |ports: &str| format!("{{podSelector: {{}}, ingress: [{{ports: [{ports}]}}]}}");
    check(
        &[&ports("{port: 80, endPort: 82}")],
        "3 1 TCP/79 -\n3 1 TCP/80 yes\n3 1 TCP/82 yes\n3 1 TCP/83 -\n3 1 UDP/81 -",
    );
    check(
        &[&ports("{protocol: UDP}")],
        "3 1 UDP/1 yes\n3 1 UDP/65535 yes\n3 1 TCP/1 -\n3 1 SCTP/1 -",
    );
    check(
        &[&ports("{protocol: SCTP, port: 9}")],
        "3 1 SCTP/9 yes\n3 1 TCP/9 -",
    );
    // Rules that the API server would have refused allow nothing.
    for nonsense in [
        "{endPort: 90}",
        "{port: http, endPort: 9000}",
        "{port: 82, endPort: 80}",
        "{port: -1}",
        "{protocol: ICMP}",
    ] {
        check(
            &[&ports(nonsense)],
            "3 1 TCP/80 -\n3 1 TCP/8080 -\n3 1 UDP/80 -\n3 1 ICMP -",
        );
    }
}

#[test]
fn protocols_without_ports_pass_rules_without_ports() {
    check(&["{podSelector: {}, ingress: [{}]}"], "3 1 ICMP yes");
    check(
        &[
            "{podSelector: {}, ingress: [{ports: [{protocol: TCP}, {protocol: UDP}, {protocol: SCTP}]}]}",
        ],
        "3 1 ICMP -\n3 1 TCP/1 yes",
    );
}

#[test]
fn address_blocks() {
    let block =
        |block: &str| format!("{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {block}}}]}}]}}");
    check(
        &[&block(
            "{cidr: 9.0.0.0/8, except: [9.9.0.0/16, 9.9.9.0/24, 9.255.255.255/32]}",
        )],
        "9.0.0.0 1 TCP/80 yes\n9.8.255.255 1 TCP/80 yes\n9.9.0.0 1 TCP/80 -\n9.9.9.9 1 TCP/80 -\n9.10.0.0 1 TCP/80 \
            yes\n9.255.255.254 1 TCP/80 yes\n9.255.255.255 1 TCP/80 -\n10.0.0.0 1 TCP/80 -",
    );
    check(
        &[&block("{cidr: 0.0.0.0/0, except: [10.0.0.2/31]}")],
        "0.0.0.0 1 TCP/80 yes\n255.255.255.255 1 TCP/80 yes\n1 1 TCP/80 yes\n2 1 TCP/80 -\n3 1 TCP/80 -\n4 1 TCP/80 \
            yes",
    );
    check(&[&block("{cidr: 9.9.9.9/8}")], "9.1.1.1 1 TCP/80 yes");
    check(
        &[&block("{cidr: 9.0.0.0/8, except: [9.0.0.0/8]}")],
        "9.1.1.1 1 TCP/80 -",
    );
    // Addresses of another family, and those that cannot be parsed, match nothing.
    for nobody in [
        "{cidr: '::/0'}",
        "{cidr: nonsense}",
        "{cidr: 9.0.0.0/8, except: [nonsense]}",
    ] {
        check(&[&block(nobody)], "9.9.9.9 1 TCP/80 -\n2 1 TCP/80 -");
    }
}

#[test]
fn selectors_that_cannot_be_read() {
    let nonsense = "{matchExpressions: [{key: app, operator: Resembles, values: [web]}]}";
    check(
        &[&format!("{{podSelector: {nonsense}}}")],
        "3 1 TCP/80 -\n3 2 TCP/80 -\n1 3 TCP/80 yes",
    );
    let peer = |field: &str| {
        format!("{{podSelector: {{}}, ingress: [{{from: [{{{field}: {nonsense}}}]}}]}}")
    };
    check(&[&peer("podSelector")], "2 1 TCP/80 -\n3 1 TCP/80 -");
    check(&[&peer("namespaceSelector")], "2 1 TCP/80 -\n3 1 TCP/80 -");
}

#[test]
fn a_pod_reaches_itself() {
    check(
        &["{podSelector: {}, policyTypes: [Ingress, Egress]}"],
        "1 1 TCP/80 yes\n1 2 TCP/80 -\n2 2 ICMP yes",
    );
}
