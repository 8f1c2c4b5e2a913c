//! The objects of proxies on a real server: it accepts them, adds no field of its own, and a second apply changes
//! nothing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use vaultwall::compile::ProxyPorts;
use vaultwall::compile::kubernetes::proxies::{
    self, BOOTSTRAP_FILE, Identity, ProxyInputs, owner_references,
};
use vaultwall::policy::{
    ExternalTrafficPolicy, ProxyResources, ProxyService, ProxySettings, ServiceType, VaultId,
};

use testkit::ApiServer;

/// One field manager, as the operator has one.
const MANAGER: &str = "--field-manager=vaultwall-test";

/// Fields that only the server sets.
const SERVERS_OWN: [&str; 10] = [
    "metadata.creationTimestamp",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.uid",
    "spec.clusterIP",
    "spec.clusterIPs",
    "spec.healthCheckNodePort",
    "spec.ports[].nodePort",
    "status",
];

/// The objects, in the order in which they are applied.
fn objects(service: &str, port: u16, settings: &ProxySettings) -> Vec<Value> {
    let owner = |name: &str| (name.to_owned(), format!("00000000-{name}"));
    let vault = VaultId {
        namespace: "fleet".to_owned(),
        service: service.to_owned(),
    };
    let made = proxies::objects(&ProxyInputs {
        vault: &vault,
        ports: ProxyPorts::of(port),
        settings,
        image: "envoy:1",
        files: BTreeMap::from([(BOOTSTRAP_FILE.to_owned(), "{}".to_owned())]),
        identity: &identity(),
        owners: &owner_references([owner("younger"), owner("older")]),
    });
    made.to_json().unwrap()
}

fn identity() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key);
    let certificate = certificate.unwrap().pem();
    Identity {
        authority: certificate.clone(),
        certificate,
        key: key.serialize_pem(),
    }
}

/// Settings that differ in what the server makes of them.
fn settings() -> Vec<(&'static str, u16, ProxySettings)> {
    let of = |service_type, external_traffic_policy| ProxySettings {
        service: Some(ProxyService {
            service_type,
            external_traffic_policy,
            annotations: BTreeMap::from([("example.com/a".to_owned(), "b".to_owned())]),
        }),
        ..ProxySettings::default()
    };
    let amounts = |cpu: &str, memory: &str| {
        BTreeMap::from([
            ("cpu".to_owned(), cpu.to_owned()),
            ("memory".to_owned(), memory.to_owned()),
        ])
    };
    let local = Some(ExternalTrafficPolicy::Local);
    let cluster = Some(ExternalTrafficPolicy::Cluster);
    let resources = Some(ProxyResources {
        requests: amounts("1500m", "1Gi"),
        limits: amounts("2", "1536Mi"),
    });
    let balanced = ProxySettings {
        replicas: Some(3),
        resources,
        ..of(ServiceType::LoadBalancer, local)
    };
    let nothing_asked = ProxySettings {
        resources: Some(ProxyResources {
            requests: BTreeMap::new(),
            limits: BTreeMap::new(),
        }),
        ..of(ServiceType::NodePort, cluster)
    };
    vec![
        ("openbao", 8200, ProxySettings::default()),
        ("low", 443, balanced),
        ("node", 8300, nothing_asked),
        (
            "a-service-whose-name-takes-all-of-the-sixty-three-characters-ok",
            8200,
            ProxySettings::default(),
        ),
    ]
}

fn namespace(server: &ApiServer) {
    let namespace = json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "fleet", "labels": {
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/enforce-version": "latest",
        }},
    });
    server.apply(&namespace.to_string());
}

fn applied(server: &ApiServer, object: &Value) -> Value {
    let arguments = [
        "apply",
        "--server-side",
        MANAGER,
        "-o",
        "json",
        "--show-managed-fields",
        "-f",
        "-",
    ];
    let output = server.kubectl(&arguments, &object.to_string());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{object:#}");
    // A warning is about a field that does nothing, or soon will.
    assert_eq!(said, "", "{object:#}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_server_adds_nothing_and_a_second_apply_changes_nothing() {
    let server = ApiServer::shared();
    namespace(server);
    for (service, port, settings) in settings() {
        for object in objects(service, port, &settings) {
            let first = applied(server, &object);
            let mut differences = Vec::new();
            compare("", &object, &first, &mut differences);
            assert_eq!(
                differences,
                Vec::<String>::new(),
                "{} {service}",
                object["kind"]
            );
            assert_eq!(
                applied(server, &object),
                first,
                "{} {service}",
                object["kind"]
            );
        }
    }
}

#[test]
fn the_service_can_change_its_type_and_back() {
    let server = ApiServer::shared();
    namespace(server);
    for index in [0, 1, 2, 0, 2, 1, 0] {
        let (_, _, settings) = &settings()[index];
        let service = &objects("changing", 8200, settings)[4];
        let stored = applied(server, service);
        assert_eq!(stored["spec"]["type"], service["spec"]["type"]);
        assert_eq!(applied(server, service), stored);
    }
}

#[test]
fn a_restricted_namespace_takes_the_pods() {
    let server = ApiServer::shared();
    namespace(server);
    let pod = |deployment: &Value| {
        let template = &deployment["spec"]["template"];
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": template["metadata"],
            "spec": template["spec"],
        });
        pod["metadata"]["name"] = json!("one");
        pod["metadata"]["namespace"] = json!("fleet");
        pod
    };
    let create = |pod: &Value| {
        let output = server.kubectl(&["create", "--dry-run=server", "-f", "-"], &pod.to_string());
        let said = String::from_utf8(output.stderr).unwrap();
        (output.status.success(), said)
    };
    for (service, port, settings) in settings() {
        let deployment = &objects(service, port, &settings)[3];
        assert_eq!(create(&pod(deployment)), (true, String::new()), "{service}");
    }
    // That the namespace is restricted indeed.
    let mut other = pod(&objects("openbao", 8200, &ProxySettings::default())[3]);
    other["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({});
    let (taken, said) = create(&other);
    assert!(!taken && said.contains("restricted"), "{said}");
}

/// Returns the fields that differ or are in only one of both, apart from those of the server.
fn compare(path: &str, ours: &Value, stored: &Value, differences: &mut Vec<String>) {
    if SERVERS_OWN.contains(&path) {
        return;
    }
    match (ours, stored) {
        (Value::Object(ours), Value::Object(stored)) => {
            let keys: std::collections::BTreeSet<_> = ours.keys().chain(stored.keys()).collect();
            for key in keys {
                let at = |object: &serde_json::Map<String, Value>| {
                    object.get(key).cloned().unwrap_or_default()
                };
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(&path, &at(ours), &at(stored), differences);
            }
        }
        (Value::Array(ours), Value::Array(stored)) if ours.len() == stored.len() => {
            for (ours, stored) in ours.iter().zip(stored) {
                compare(&format!("{path}[]"), ours, stored, differences);
            }
        }
        (ours, stored) if ours == stored => {}
        (ours, stored) => differences.push(format!("{path}: ours {ours}, stored {stored}")),
    }
}
