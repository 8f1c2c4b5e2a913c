//! A user who may read only a part gets no verdict that depends on the rest; the missing permission is named instead.

use std::path::Path;

use crate::cluster_cli::cluster::{cluster, explain, vaultwall};
use crate::program::Run;
use testkit::wait::wait_for_ok;

/// A permission: namespace (`-` the cluster), verb, resource.
pub(super) type Grant = (&'static str, &'static str, &'static str);

pub(super) const POLICIES: &str = "vaultnetworkpolicies.vaultwall.dev";
const NETWORKS: &str = "virtualnetworks.vaultwall.dev";

/// Permissions that are added one by one, and the error for the question about pod build/runner-1 after each.
const STEPS: [(Grant, &str); 3] = [
    (
        ("vault", "list", POLICIES),
        "you are not allowed to list virtualnetworks.vaultwall.dev of the cluster, and without them it is unknown \
         which clients the subnets of the rules contain",
    ),
    (
        ("-", "list", NETWORKS),
        "you are not allowed to list namespaces of the cluster, and without them it is unknown whose pods the rules \
         select",
    ),
    (
        ("-", "list", "namespaces"),
        "you are not allowed to list pods in all namespaces, and without them it is unknown which addresses belong to \
         which pods",
    ),
];

pub(super) fn grant(user: &str, (namespace, verb, resource): Grant) {
    let name = format!("{user}-{verb}-{}", resource.replace('.', "-"));
    let (verb, resource) = (format!("--verb={verb}"), format!("--resource={resource}"));
    let (user, role) = (format!("--user={user}"), format!("--clusterrole={name}"));
    cluster().kubectl_prints(&["create", "clusterrole", &name, &verb, &resource]);
    if namespace == "-" {
        cluster().kubectl_prints(&["create", "clusterrolebinding", &name, &user, &role]);
    } else {
        let arguments = [
            "create",
            "rolebinding",
            &name,
            &user,
            &role,
            "-n",
            namespace,
        ];
        cluster().kubectl_prints(&arguments);
    }
}

/// Permissions are in force a moment after they are written: repeats until the answer is as wanted. Every earlier
/// answer must satisfy `always`.
pub fn ask_until(
    kubeconfig: &Path,
    arguments: &[&str],
    wanted: impl Fn(&Run) -> bool,
    always: impl Fn(&Run) -> bool,
) -> Run {
    wait_for_ok(&format!("the answer to {arguments:?}"), || {
        let said = vaultwall(kubeconfig, arguments);
        if wanted(&said) {
            return Ok(said);
        }
        assert!(always(&said), "{arguments:?}: {said:?}");
        Err(format!("{said:?}"))
    })
}

/// Whether it is an error without a verdict.
pub fn refused(said: &Run) -> bool {
    said.code == Some(2) && said.stdout.is_empty()
}

/// Repeats until the error contains this text. No earlier answer may be a verdict.
pub(super) fn refused_until(kubeconfig: &Path, arguments: &[&str], part: &str) {
    let wanted = |said: &Run| refused(said) && said.stderr.contains(part);
    ask_until(kubeconfig, arguments, wanted, refused);
}

#[test]
fn a_verdict_needs_permission_to_read_its_facts() {
    let kubeconfig = cluster().kubeconfig_for("stepwise", &["system:authenticated"]);
    let question = explain("vault/openbao", ["--pod", "build/runner-1"]);
    refused_until(
        &kubeconfig,
        &question,
        "you are not allowed to list vaultnetworkpolicies.vaultwall.dev in namespace vault, and without them it is \
         unknown which rules there are; ask an admin of the cluster for that permission (answer of the API server: ",
    );
    for (step, part) in STEPS {
        grant("stepwise", step);
        refused_until(&kubeconfig, &question, part);
    }
    grant("stepwise", ("-", "list", "pods"));
    let answered = |said: &Run| said.code == Some(0);
    let said = ask_until(&kubeconfig, &question, answered, refused);
    assert!(
        said.stdout.contains("virtualNetworkRules/build"),
        "{said:?}"
    );
    // Permissions that the other commands need in addition.
    refused_until(
        &kubeconfig,
        &["render", "--vault", "vault/openbao"],
        "you are not allowed to get services in namespace vault, and without them it is unknown which pods are the \
         vault's",
    );
    refused_until(
        &kubeconfig,
        &["validate"],
        "you are not allowed to list vaultnetworkpolicies.vaultwall.dev in all namespaces",
    );
}

#[test]
fn addresses_alone_need_the_policies_alone() {
    let kubeconfig = cluster().kubeconfig_for("frugal", &["system:authenticated"]);
    grant("frugal", ("plain", "list", POLICIES));
    let question = explain("plain/openbao", ["--source-ip", "203.0.113.7"]);
    let said = ask_until(&kubeconfig, &question, |said| said.code == Some(0), refused);
    assert!(said.stdout.contains("addresses/ipRules/hq"), "{said:?}");
    assert!(
        said.stderr.contains(
            "it is unknown whether a pod has the address 203.0.113.7; the verdict does not depend on it: you are not \
             allowed to list pods"
        ),
        "{said:?}"
    );
    let said = vaultwall(
        &kubeconfig,
        &explain("plain/openbao", ["--pod", "web/shop-1"]),
    );
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
    assert!(
        said.stderr
            .contains("you are not allowed to get pods in namespace web"),
        "{said:?}"
    );
    let said = vaultwall(&kubeconfig, &["validate", "-n", "plain"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), "valid: 1 policy, 0 virtual networks\n"),
        "{said:?}"
    );
    assert!(
        said.stderr.contains(
            "references were not checked: you are not allowed to list services in namespace plain"
        ),
        "{said:?}"
    );
}

/// Arguments, a part of the message.
#[rustfmt::skip] // read by eye
const UNANSWERABLE: &[(&str, [&str; 2], &str)] = &[
    ("vault/nothing", ["--pod", "build/runner-1"], "no policy in namespace vault of the cluster is for the vault vault/nothing; namespace vault has policies for vault/openbao"),
    ("nowhere/openbao", ["--pod", "build/runner-1"], "no policy in namespace nowhere of the cluster is for the vault nowhere/openbao; namespace nowhere has no policies"),
    ("a?b=/openbao", ["--pod", "build/runner-1"], "no policy in namespace a?b= of the cluster"),
    ("vault/openbao", ["--pod", "build/nobody"], "there is no pod build/nobody in the cluster; correct the name, or give its address with --source-ip"),
    ("plain/openbao", ["--pod", "build/nobody"], "there is no pod build/nobody in the cluster"),
    ("vault/openbao", ["--pod", "build/starting"], "it has no IPv4 address"),
    ("plain/openbao", ["--pod", "build/starting"], "it has no IPv4 address"),
];

#[test]
fn a_missing_object_is_named() {
    for (vault, who, part) in UNANSWERABLE {
        let said = vaultwall(&cluster().kubeconfig(), &explain(vault, *who));
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(2), ""),
            "{vault} {who:?}: {said:?}"
        );
        assert!(said.stderr.contains(part), "{vault} {who:?}: {said:?}");
    }
}
