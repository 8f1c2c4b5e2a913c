//! The label of service accounts on pods in a real API server: each door through which a label of a pod can be changed,
//! with harmless values, before and after the policy that sets it; kubelets and their mirror pods.

use std::sync::LazyLock;

use serde_json::{Value, json};
use testkit::ApiServer;
use testkit::wait::wait_for_ok;
use vaultwall::runtime::permissions::LABEL_PERMISSIONS;

use crate::roles::permission_rule;

const LABEL: &str = "vaultwall.dev/service-account";
/// Part of the guard's refusal.
const REFUSED: &str =
    "the label vaultwall.dev/service-account of a pod names its own service account";
/// Expected: the request succeeds.
const WRITTEN: &str = "";

/// May do everything in the cluster.
const ADMIN: &str = "admin";
/// Has the role `edit` in the namespace `team`.
const EDITOR: &str = "editor";
/// The operator: the status of pods, and the labels of accounts with long names.
const OPERATOR: &str = "operator";
/// The kubelet of the node `n1`.
const KUBELET: &str = "system:node:n1 --as-group=system:nodes";

/// Name of a service account that no label can hold.
static LONG: LazyLock<String> = LazyLock::new(|| "long.".repeat(20) + "name");
/// Value that its pods have, see `policy::account_label_value`.
static CUT: LazyLock<String> = LazyLock::new(|| vaultwall::policy::account_label_value(&LONG));

fn pod(name: &str, account: &str, label: Option<&str>) -> Value {
    let labels = label.map(|value| json!({LABEL: value}));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "team", "labels": labels},
        "spec": {
            "serviceAccountName": account,
            "automountServiceAccountToken": false,
            "nodeName": "n1",
            "containers": [{"name": "main", "image": "main"}],
        },
    })
}

/// A server with users, a node, and pods from the time before the policies: `old` without the label, `right` with the
/// one of its account `web`, `wrong` with another one, `long` with an account of a long name.
fn server() -> ApiServer {
    let server = ApiServer::start();
    server.apply(r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}}"#);
    server.apply(r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#);
    let bound = |name: &str, role: &str, kind: &str, subject: &str| {
        let group = "rbac.authorization.k8s.io";
        let namespace = (kind == "RoleBinding").then_some("team");
        let subject_kind = if subject.contains(':') {
            "Group"
        } else {
            "User"
        };
        let binding = json!({
            "apiVersion": format!("{group}/v1"),
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
            "subjects": [{"apiGroup": group, "kind": subject_kind, "name": subject}],
        });
        server.apply(&binding.to_string());
    };
    bound("admins", "cluster-admin", "ClusterRoleBinding", ADMIN);
    // The parts of the roles `edit` and `view`, which a controller puts together elsewhere.
    for role in ["system:aggregate-to-edit", "system:aggregate-to-view"] {
        bound(role, role, "RoleBinding", EDITOR);
    }
    bound(
        "kubelets",
        "system:node",
        "ClusterRoleBinding",
        "system:nodes",
    );
    // kubectl reads what it patches.
    let read = json!([{"apiGroups": [""], "resources": ["pods/status"], "verbs": ["get"]}]);
    server.bind("n1", None, "system:node:n1", read.as_array().unwrap());
    let rules = LABEL_PERMISSIONS.map(|permission| permission_rule(&permission));
    server.bind(
        OPERATOR,
        None,
        OPERATOR,
        &[read.as_array().unwrap(), &rules[..]].concat(),
    );
    for pod in [
        pod("old", "web", None),
        pod("right", "web", Some("web")),
        pod("wrong", "web", Some("agent")),
        pod("long", &LONG, None),
    ] {
        server.apply(&pod.to_string());
    }
    server
}

/// Installs the policy of the label with this kind of admission, `Validating` or `Mutating`, and its binding.
pub(crate) fn install(server: &ApiServer, kind: &str) {
    let output = std::process::Command::new(testkit::vaultwall())
        .args(["crds", "--service-account-label", "-o", "json"])
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let objects = list["items"].as_array().unwrap().iter().filter(|object| {
        object["metadata"]["name"] == "service-account-label.vaultwall.dev"
            && object["kind"].as_str().unwrap().starts_with(kind)
    });
    let objects: Vec<String> = objects.map(Value::to_string).collect();
    assert_eq!(objects.len(), 2, "{kind}");
    server.apply(&objects.join("\n---\n"));
}

/// User, kubectl command, standard input, and the expected result: [`WRITTEN`], or a refusal with this text.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Runs kubectl as that user, without storing anything; returns the difference to the expected result, if any.
fn differs(server: &ApiServer, (user, command, stdin, expected): Row<'_>) -> Option<String> {
    let command = format!("{command} --as {user}");
    let mut arguments: Vec<&str> = command.split(' ').collect();
    // `--raw` cannot be combined with `--dry-run`, so the path has the parameter.
    if !command.contains("--raw") {
        arguments.extend(["--dry-run=server", "--namespace=team"]);
    }
    let output = server.kubectl(&arguments, stdin);
    let said = String::from_utf8_lossy(&output.stderr);
    let fits = match expected {
        WRITTEN => output.status.success(),
        refusal => !output.status.success() && said.contains(refusal),
    };
    (!fits).then(|| format!("kubectl {command} {stdin}: expected {expected:?}, got {said:?}"))
}

fn check<'a>(server: &ApiServer, rows: impl IntoIterator<Item = Row<'a>>) {
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|row| differs(server, row))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Waits until a row is as it should be: policies come into force a moment after they are stored.
fn until(server: &ApiServer, row: Row<'_>) {
    wait_for_ok("the expected result", || {
        differs(server, row).map_or(Ok(()), Err)
    });
}

fn patch(pod: &str, subresource: &str, value: &Value) -> String {
    let subresource = if subresource.is_empty() {
        String::new()
    } else {
        format!(" --subresource={subresource}")
    };
    let patch = json!({"metadata": {"labels": {LABEL: value}}});
    format!("patch pod {pod}{subresource} --type=merge -p {patch}")
}

/// A `Binding` of the pod `free` to the node, whose labels become labels of the pod.
fn bound_with(label: Option<&str>) -> String {
    let labels = label.map(|value| json!({LABEL: value}));
    json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": "free", "namespace": "team", "labels": labels},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"},
    })
    .to_string()
}

/// The label of a stored pod.
fn label_of(server: &ApiServer, pod: &str) -> Value {
    let object = server.get(&format!("/api/v1/namespaces/team/pods/{pod}"));
    object.unwrap()["metadata"]["labels"][LABEL].clone()
}

const CREATE: &str = "create -f -";
const FORCE: &str = "apply --server-side --force-conflicts -f -";

#[test]
fn no_door_gives_a_pod_the_label_of_another_account() {
    let server = server();
    install(&server, "Validating");
    let wrong = pod("new", "web", Some("agent")).to_string();
    until(&server, (EDITOR, CREATE, &wrong, REFUSED));
    let right = pod("new", "web", Some("web")).to_string();
    let none = pod("new", "web", None).to_string();
    let old_wrong = pod("old", "web", Some("agent")).to_string();
    let old_right = pod("old", "web", Some("web")).to_string();
    let empty = pod("new", "web", Some("")).to_string();
    // A pod without a service account, such as a mirror pod, has no such label.
    let mut mirror = pod("new", "web", Some("web"));
    mirror["spec"]
        .as_object_mut()
        .unwrap()
        .remove("serviceAccountName");
    let mirror = mirror.to_string();
    let mut free = pod("free", "web", None);
    free["spec"].as_object_mut().unwrap().remove("nodeName");
    server.apply(&free.to_string());
    let binding = "create --raw /api/v1/namespaces/team/pods/free/binding?dryRun=All -f -";
    let bindings = "create --raw /api/v1/namespaces/team/bindings?dryRun=All -f -";
    let doors = [
        (CREATE, wrong.clone()),
        (CREATE, empty.clone()),
        (CREATE, mirror),
        (FORCE, old_wrong.clone()),
        ("replace -f -", old_wrong.clone()),
        (
            "label pod old vaultwall.dev/service-account=agent",
            String::new(),
        ),
        (
            "label pod right --overwrite vaultwall.dev/service-account=agent",
            String::new(),
        ),
        (
            "label pod right --overwrite vaultwall.dev/service-account=",
            String::new(),
        ),
    ];
    for (command, stdin) in &doors {
        for user in [EDITOR, ADMIN] {
            check(&server, [(user, *command, stdin.as_str(), REFUSED)]);
        }
    }
    for subresource in ["", "status"] {
        let wrong = patch("old", subresource, &json!("agent"));
        let right = patch("old", subresource, &json!("web"));
        check(
            &server,
            [(ADMIN, &*wrong, "", REFUSED), (ADMIN, &*right, "", WRITTEN)],
        );
    }
    // These change no label, whatever the request says.
    for subresource in ["ephemeralcontainers", "resize"] {
        let wrong = patch("old", subresource, &json!("agent"));
        check(&server, [(ADMIN, &*wrong, "", WRITTEN)]);
        let arguments = format!("{wrong} --namespace=team");
        server.kubectl_prints(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(label_of(&server, "old"), Value::Null);
    }
    check(
        &server,
        [
            (ADMIN, binding, bound_with(Some("agent")).as_str(), REFUSED),
            (ADMIN, bindings, bound_with(Some("agent")).as_str(), REFUSED),
            (ADMIN, bindings, bound_with(Some("web")).as_str(), REFUSED),
            (ADMIN, binding, bound_with(None).as_str(), WRITTEN),
            // The own account, no label, and its removal.
            (EDITOR, CREATE, right.as_str(), WRITTEN),
            (EDITOR, CREATE, none.as_str(), WRITTEN),
            (EDITOR, FORCE, old_right.as_str(), WRITTEN),
            (
                EDITOR,
                "label pod right vaultwall.dev/service-account-",
                "",
                WRITTEN,
            ),
            // An unchanged label, whatever it is, hinders no other change.
            (EDITOR, "annotate pod wrong a=b", "", WRITTEN),
            (EDITOR, "annotate pod right a=b", "", WRITTEN),
            (EDITOR, "annotate pod old a=b", "", WRITTEN),
            (EDITOR, "label pod wrong a=b", "", WRITTEN),
            (
                EDITOR,
                "label pod wrong --overwrite vaultwall.dev/service-account=web",
                "",
                WRITTEN,
            ),
        ],
    );
    let running = r#"{"status":{"phase":"Running"}}"#;
    for name in ["old", "right", "wrong", "long"] {
        let status = format!("patch pod {name} --subresource=status --type=strategic -p {running}");
        check(&server, [(KUBELET, &*status, "", WRITTEN)]);
    }
}

#[test]
fn requests_of_another_shape_are_decided_alike() {
    let server = server();
    install(&server, "Validating");
    let wrong = pod("new", "web", Some("agent")).to_string();
    until(&server, (EDITOR, CREATE, &wrong, REFUSED));
    // The older name of the field.
    let deprecated = |label| {
        let mut pod = pod("new", "web", Some(label));
        let spec = pod["spec"].as_object_mut().unwrap();
        let account = spec.remove("serviceAccountName").unwrap();
        spec.insert("serviceAccount".to_owned(), account);
        pod.to_string()
    };
    let mut unlabelled = pod("new", "web", None);
    unlabelled["metadata"]["labels"] = Value::Null;
    let evict = "create --raw /api/v1/namespaces/team/pods/right/eviction?dryRun=All -f -";
    let metadata = json!({"name": "right", "namespace": "team"});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata});
    // A patch for an earlier pod of the same name, as the operator can send it.
    let earlier = json!({"metadata": {"uid": "earlier", "labels": {LABEL: "web"}}});
    let earlier = format!("patch pod old --subresource=status --type=merge -p {earlier}");
    check(
        &server,
        [
            (EDITOR, CREATE, &*deprecated("agent"), REFUSED),
            (EDITOR, CREATE, &*deprecated("web"), WRITTEN),
            (EDITOR, CREATE, &*unlabelled.to_string(), WRITTEN),
            (ADMIN, evict, &*eviction.to_string(), WRITTEN),
            (ADMIN, &*earlier, "", "metadata.uid"),
        ],
    );
}

#[test]
fn a_name_that_no_label_can_hold_is_cut_by_the_operator_alone() {
    let server = server();
    install(&server, "Validating");
    let wrong = pod("new", "web", Some("agent")).to_string();
    until(&server, (EDITOR, CREATE, &wrong, REFUSED));
    let cut = patch("long", "status", &json!(*CUT));
    let short = patch("old", "status", &json!(*CUT));
    let other = patch("long", "status", &json!("web"));
    let unmarked = patch("long", "status", &json!(&LONG[..63]));
    check(
        &server,
        [
            (OPERATOR, &*cut, "", WRITTEN),
            (OPERATOR, &*short, "", REFUSED),
            (OPERATOR, &*other, "", REFUSED),
            (OPERATOR, &*unmarked, "", REFUSED),
            (EDITOR, &*patch("long", "", &json!(*CUT)), "", REFUSED),
        ],
    );
}

#[test]
fn every_new_pod_is_labelled_and_no_kubelet_refused() {
    let server = server();
    install(&server, "Validating");
    let wrong = pod("new", "web", Some("agent")).to_string();
    until(&server, (EDITOR, CREATE, &wrong, REFUSED));
    install(&server, "Mutating");
    let unlabelled = pod("new", "web", None).to_string();
    wait_for_ok("a label", || {
        let create = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
        let output = server.kubectl(&create, &unlabelled);
        let created: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let label = &created["metadata"]["labels"][LABEL];
        (label == "web")
            .then_some(())
            .ok_or_else(|| format!("{output:?}"))
    });
    // A wrong label is refused, not replaced: a ReplicaSet that selects it would create pods without end.
    check(&server, [(EDITOR, CREATE, wrong.as_str(), REFUSED)]);
    for (name, account, label, expected) in [
        ("a", "web", None, json!("web")),
        ("b", "web", Some("web"), json!("web")),
        ("c", &*LONG, None, Value::Null),
    ] {
        server.apply(&pod(name, account, label).to_string());
        assert_eq!(label_of(&server, name), expected, "{name}");
    }
    // Any update of an older pod labels it, and a removed label comes back.
    for command in [
        "annotate pod old a=b",
        "label pod right vaultwall.dev/service-account-",
    ] {
        server.kubectl_prints(
            &[
                &command.split(' ').collect::<Vec<_>>()[..],
                &["--namespace=team"],
            ]
            .concat(),
        );
    }
    assert_eq!(
        [label_of(&server, "old"), label_of(&server, "right")],
        ["web", "web"].map(Value::from)
    );

    // The kubelet reports all pods, and creates the mirror of a static pod, which has no account.
    let running = r#"{"status":{"phase":"Running"}}"#;
    for name in ["a", "b", "c", "old", "right", "wrong", "long"] {
        let status = format!("patch pod {name} --subresource=status --type=strategic -p {running}");
        check(&server, [(KUBELET, &*status, "", WRITTEN)]);
    }
    let node = server.get("/api/v1/nodes/n1").unwrap();
    let mut mirror = pod("mirror", "", None);
    mirror["spec"]
        .as_object_mut()
        .unwrap()
        .remove("serviceAccountName");
    mirror["metadata"]["annotations"] = json!({
        "kubernetes.io/config.mirror": "1", "kubernetes.io/config.hash": "1", "kubernetes.io/config.source": "file",
    });
    mirror["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Node", "name": "n1", "uid": node["metadata"]["uid"], "controller": true,
    }]);
    check(
        &server,
        [(KUBELET, CREATE, mirror.to_string().as_str(), WRITTEN)],
    );
}
