//! `vaultwall render` as people and scripts meet it: what is on stdout, which files are written, and exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::files::files;
use crate::program::Run;

const CLUSTER: &str = "tests/golden/cluster.yaml";
const QUICKSTART: &str = "tests/golden/quickstart/in.yaml";
/// Two vaults.
const SEVERAL: &str = "tests/golden/several-policies/in.yaml";
const OTHER_VAULT: &str = "tests/golden/active-service/in.yaml";

fn render(arguments: &[&str]) -> Run {
    Run::of(
        Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .arg("render")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )
}

/// YAML documents that a run printed.
fn documents(run: &Run) -> Vec<Value> {
    serde_saphyr::from_multiple(&run.stdout).unwrap()
}

fn golden_policies(case: &str) -> Vec<Value> {
    let file = format!("tests/golden/{case}/out/networkpolicies.yaml");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// Kinds and names of the proxies' objects.
const FLEET: [&str; 5] = [
    "ServiceAccount openbao-firewall",
    "ConfigMap openbao-firewall",
    "Deployment openbao-firewall",
    "Service openbao-firewall",
    "PodDisruptionBudget openbao-firewall",
];

fn kinds_and_names(objects: &[Value]) -> Vec<String> {
    let words = |object: &Value| {
        let [kind, name] = [&object["kind"], &object["metadata"]["name"]];
        format!("{} {}", kind.as_str().unwrap(), name.as_str().unwrap())
    };
    objects.iter().map(words).collect()
}

/// The operator alone has certificates and knows whose the objects are.
#[test]
fn the_proxies_are_rendered_without_the_keys_that_only_the_operator_has() {
    let fleet = |more: &[&str]| {
        let arguments = [&["-f", CLUSTER, QUICKSTART, "-o", "json"], more].concat();
        let run = render(&arguments);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let left_out = "left out: the Secret <service>-firewall";
        assert_eq!(run.stderr.matches(left_out).count(), 1, "{}", run.stderr);
        run.json()["vaults"][0]["fleet"].clone()
    };
    let rendered = fleet(&[]);
    assert_eq!(kinds_and_names(rendered.as_array().unwrap()), FLEET);
    assert_eq!(rendered[2]["metadata"]["ownerReferences"], Value::Null);

    let other = fleet(&[
        "--proxy-image",
        "mirror/envoy:1",
        "--xds-address",
        "192.0.2.1:1",
    ]);
    let container = &other[2]["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "mirror/envoy:1");
    let files = other[1]["data"].as_object().unwrap();
    let names: Vec<_> = files.keys().collect();
    assert_eq!(
        names,
        ["bootstrap.json", "sds-ca.json", "sds-identity.json"]
    );
    let bootstrap: Value = serde_json::from_str(files["bootstrap.json"].as_str().unwrap()).unwrap();
    assert_eq!(bootstrap["node"]["id"], "vault/openbao");
    let cluster = &bootstrap["static_resources"]["clusters"][0];
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    assert_eq!(
        cluster.pointer(endpoint).unwrap(),
        &json!({"address": "192.0.2.1", "port_value": 1})
    );
}

#[test]
fn stdout_is_one_stream_of_networkpolicies_and_then_envoy_resources() {
    let run = render(&["-f", CLUSTER, QUICKSTART]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let documents = documents(&run);
    assert_eq!(documents[..2], golden_policies("quickstart"));
    assert_eq!(kinds_and_names(&documents[2..7]), FLEET);
    let kinds: Vec<_> = documents[7..]
        .iter()
        .map(|resource| resource["@type"].as_str().unwrap())
        .map(|url| url.rsplit('.').next().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "Cluster",
            "Cluster",
            "Cluster",
            "Cluster",
            "Cluster",
            "Cluster",
            "Cluster",
            "Listener",
            "Listener",
            "RouteConfiguration",
            "TypedExtensionConfig",
            "TypedExtensionConfig",
            "TypedExtensionConfig",
            "TypedExtensionConfig",
            "TypedExtensionConfig",
        ]
    );
}

#[test]
fn json_has_the_same_in_one_object() {
    let arguments = ["-f", CLUSTER, QUICKSTART];
    let documents = documents(&render(&arguments));
    let run = render(&[&arguments[..], &["-o", "json"]].concat());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let object = run.json();
    let keys = |value: &Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&object), ["vaults", "violations"]);
    assert_eq!(object["violations"], json!([]));
    let vault = &object["vaults"][0];
    assert_eq!(
        keys(vault),
        ["vault", "warnings", "networkPolicies", "fleet", "envoy"]
    );
    assert_eq!(vault["vault"], "vault/openbao");
    let lists = [
        &vault["networkPolicies"],
        &vault["fleet"],
        &vault["envoy"]["clusters"],
        &vault["envoy"]["listeners"],
        &vault["envoy"]["routes"],
        &vault["envoy"]["extensions"],
    ];
    let listed: Vec<_> = lists
        .iter()
        .flat_map(|list| list.as_array().unwrap())
        .cloned()
        .collect();
    assert_eq!(listed, documents);
}

#[test]
fn proxies_in_a_cluster_listen_everywhere_and_ask_the_service() {
    let socket = |resource: &Value, pointer: &str| {
        let address = resource.pointer(pointer).unwrap();
        let host = address["address"].as_str().unwrap();
        format!("{host}:{}", address["port_value"])
    };
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    let case = |arguments: &[&str]| {
        let run = render(&[arguments, &["-o", "json"]].concat());
        let envoy = &run.json()["vaults"][0]["envoy"];
        let mut addresses = vec![socket(&envoy["clusters"][0], endpoint)];
        for listener in envoy["listeners"].as_array().unwrap() {
            addresses.push(socket(listener, "/address/socket_address"));
        }
        addresses.join(" ")
    };
    assert_eq!(
        case(&["-f", QUICKSTART]),
        "openbao.vault.svc:8200 0.0.0.0:8200 0.0.0.0:8300"
    );
    // The management endpoint uses another port if the vault has its own.
    assert_eq!(
        case(&["-f", "tests/golden/port-8300/in.yaml"]),
        "openbao-8300.vault.svc:8300 0.0.0.0:8300 0.0.0.0:8301"
    );
    let overrides = [
        "--upstream",
        "127.0.0.1:18200",
        "--data-listen",
        "127.0.0.1:1",
        "--management-listen",
        "127.0.0.2:2",
    ];
    assert_eq!(
        case(&[&["-f", QUICKSTART][..], &overrides].concat()),
        "127.0.0.1:18200 127.0.0.1:1 127.0.0.2:2"
    );
}

#[test]
fn a_folder_gets_each_vaults_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("made/for/it");
    let arguments = [
        "-f",
        CLUSTER,
        SEVERAL,
        OTHER_VAULT,
        "--output-dir",
        at.to_str().unwrap(),
    ];
    let run = render(&arguments);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut expected = Vec::new();
    for vault in ["vault.openbao", "vault.openbao-active"] {
        for file in [
            "envoy-static.json",
            "envoy/clusters.json",
            "envoy/extensions.json",
            "envoy/listeners.json",
            "envoy/routes.json",
            "fleet.yaml",
            "networkpolicies.yaml",
        ] {
            expected.push(at.join(vault).join(file));
        }
    }
    expected.sort();
    assert_eq!(files(&at), expected);
    // stdout names them, one a line
    let mut named: Vec<_> = run.stdout.lines().map(PathBuf::from).collect();
    named.sort();
    assert_eq!(named, expected);

    for (vault, case) in [
        ("vault.openbao", "several-policies"),
        ("vault.openbao-active", "active-service"),
    ] {
        let text = fs::read_to_string(at.join(vault).join("networkpolicies.yaml")).unwrap();
        let policies: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        assert_eq!(policies, golden_policies(case));
    }
    let routes = fs::read_to_string(at.join("vault.openbao/envoy/routes.json")).unwrap();
    let printed = render(&["-f", CLUSTER, SEVERAL, "-o", "json"]).json();
    assert_eq!(
        serde_json::from_str::<Value>(&routes).unwrap(),
        printed["vaults"][0]["envoy"]["routes"]
    );

    // A second run overwrites its own files with the same bytes, and lets those of others be.
    let foreign = at.join("vault.openbao/notes.txt");
    fs::write(&foreign, "mine").unwrap();
    let cluster = at.join("vault.openbao/envoy/clusters.json");
    let before = fs::read(&cluster).unwrap();
    fs::write(&cluster, "spoilt").unwrap();
    let json = render(&[&arguments[..], &["-o", "json"]].concat()).json();
    assert_eq!(fs::read(&cluster).unwrap(), before);
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "mine");
    assert_eq!(json["vaults"][1]["vault"], "vault/openbao-active");
    assert_eq!(json["vaults"][1]["files"].as_array().unwrap().len(), 7);
}

#[test]
fn one_vault_can_be_chosen() {
    let arguments = ["-f", CLUSTER, SEVERAL, OTHER_VAULT, "-o", "json"];
    let names = |run: &Run| -> Vec<String> {
        let object = run.json();
        let vaults = object["vaults"].as_array().unwrap().iter();
        vaults
            .map(|vault| vault["vault"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        names(&render(&arguments)),
        ["vault/openbao", "vault/openbao-active"]
    );
    let one = [&arguments[..], &["--vault", "vault/openbao-active"]].concat();
    assert_eq!(names(&render(&one)), ["vault/openbao-active"]);
    let upstream = ["--upstream", "127.0.0.1:1"];
    assert_eq!(render(&[&one[..], &upstream].concat()).code, Some(0));

    for (more, word) in [
        (
            &["--vault", "vault/nobody"][..],
            "no policy in the files of -f is for the vault vault/nobody; the files have policies for vault/openbao, \
             vault/openbao-active",
        ),
        (&upstream, "--vault"),
    ] {
        let run = render(&[&arguments[..], more].concat());
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
        assert!(run.stderr.contains(word), "{}", run.stderr);
    }
}

#[test]
fn without_the_service_the_policy_around_its_pods_is_left_out_and_the_answer_is_no() {
    let run = render(&["-f", QUICKSTART, "-o", "json"]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let vault = &run.json()["vaults"][0];
    let policies = vault["networkPolicies"].as_array().unwrap();
    assert_eq!(policies.len(), 1);
    assert_eq!(policies[0]["metadata"]["name"], "openbao-firewall");
    assert_eq!(vault["envoy"]["listeners"].as_array().unwrap().len(), 2);
    let warnings = vault["warnings"].to_string();
    for words in ["openbao-vault", "kubectl get service -n vault openbao"] {
        assert!(warnings.contains(words), "{warnings}");
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
}

#[test]
fn an_invalid_object_is_not_rendered_and_neither_is_its_vault() {
    let run = render(&["-f", CLUSTER, QUICKSTART, "tests/validate/bad"]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    for words in [
        "tests/validate/bad/policies.yaml: VaultNetworkPolicy many-mistakes",
        "spec.ipRules[1].value",
        "12 violations",
    ] {
        assert!(run.stderr.contains(words), "{}", run.stderr);
    }
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_str().unwrap();
    let run = render(&[
        "-f",
        CLUSTER,
        QUICKSTART,
        "tests/validate/bad",
        "-o",
        "json",
        "--output-dir",
        at,
    ]);
    assert_eq!(run.code, Some(1));
    let object = run.json();
    assert_eq!(object["vaults"], json!([]));
    assert_eq!(object["violations"].as_array().unwrap().len(), 12);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn objects_that_are_invalid_only_together_are_not_rendered() {
    let folder = tempfile::tempdir().unwrap();
    let policy = |name: &str, net: u8| {
        format!(
            "---\napiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\n\
             metadata: {{name: {name}, namespace: vault, creationTimestamp: \"2026-01-0{net}T00:00:00Z\"}}\n\
             spec:\n  targetRef: {{name: openbao, port: 8200}}\n\
             \x20 ipRules: [{{value: 9.9.{net}.1}}, {{value: 9.9.{net}.2}}]\n"
        )
    };
    let text = policy("older", 1) + &policy("younger", 2);
    let file = folder.path().join("policies.yaml");
    fs::write(&file, text).unwrap();
    let arguments = ["-f", CLUSTER, file.to_str().unwrap(), "--max-ip-rules"];
    assert_eq!(render(&[&arguments[..], &["4"]].concat()).code, Some(0));
    let run = render(&[&arguments[..], &["3", "-o", "json"]].concat());
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    let object = run.json();
    assert_eq!(object["vaults"], json!([]));
    let violation = &object["violations"][0];
    assert_eq!(violation["file"], file.to_str().unwrap());
    assert_eq!(violation["kind"], "VaultNetworkPolicy");
    assert_eq!(violation["name"], "younger");
    assert_eq!(violation["reason"], "LimitExceeded");
}

#[test]
fn an_unreadable_or_unwritable_file_exits_2_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, "").unwrap();
    let broken = folder.path().join("broken.yaml");
    fs::write(&broken, "a: [").unwrap();
    let taken = taken.to_str().unwrap();
    let broken = broken.to_str().unwrap();
    for (arguments, word) in [
        (&["-f", "no/such/file", QUICKSTART][..], "no/such/file"),
        (&["-f", QUICKSTART, broken], broken),
        (&["-f", QUICKSTART, "--output-dir", taken], taken),
        (
            &["-f", QUICKSTART, "--vault", "openbao"],
            "NAMESPACE/SERVICE",
        ),
        (&["--kubeconfig", "no/such/config"], "no/such/config"),
        (&["-f", QUICKSTART, "-n", "vault"], "cannot be used with"),
        (
            &["-f", QUICKSTART, "-n", "web", "--vault", "vault/openbao"],
            "--namespace web and --vault vault/openbao name two namespaces; write one of them",
        ),
    ] {
        let run = render(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
        assert!(run.stderr.contains(word), "{}", run.stderr);
    }
}

#[test]
fn no_policy_renders_nothing() {
    let run = render(&["-f", CLUSTER]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.contains("VaultNetworkPolicy"), "{}", run.stderr);
}
