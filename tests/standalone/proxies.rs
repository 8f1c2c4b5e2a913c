//! Trusted proxies that are pods: they start and end, and what they forward is decided by the client that they name.

use std::net::Ipv4Addr;

use crate::standalone::objects::{namespace, pod};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::Serve;
use testkit::OpenBao;
use testkit::client::{Client, Verdict};
use testkit::wait::wait_until;

/// Pods of the controller, another pod of its namespace, and a proxy that the policy lists by its address.
const CONTROLLER: Ipv4Addr = Ipv4Addr::new(127, 36, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 36, 0, 2);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(127, 36, 0, 9);
const LISTED: Ipv4Addr = Ipv4Addr::new(127, 37, 0, 1);
/// A client in the IP rule.
const OFFICE: &str = "198.51.100.77";
const STRANGER: &str = "203.0.113.77";

/// A policy with this list of trusted proxies.
fn policy(trusted_proxies: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: main, namespace: vault}}\n\
         spec:\n  targetRef: {{name: openbao, port: 8200}}\n  vault: {{engines: [{{path: secret, type: KvV2}}]}}\n  \
         ipRules: [{{name: office, value: 198.51.100.0/24}}]\n  \
         clientAddress: {{source: XForwardedFor, trustedProxies: [{trusted_proxies}]}}\n"
    )
}

/// The controller's pods, by labels that the pods of [`pod`] can have, and the listed address.
fn behind_a_controller() -> String {
    let web = "{matchLabels: {kubernetes.io/metadata.name: web}}";
    let app = "{matchLabels: {app: controller}}";
    policy(&format!(
        "{{pods: {{namespaceSelector: {web}, podSelector: {app}}}}}, {LISTED}"
    ))
}

/// A client that keeps its connection, and forwards for `client`.
fn forwards(sandbox: &Sandbox, source: Ipv4Addr, client: &str) -> Client {
    let mut forwarder = sandbox.client(source);
    let header = format!("X-Forwarded-For: {client}\r\n");
    forwarder.headers.push_str(&header);
    forwarder
}

/// Waits until a kept connection has another verdict. It must not end.
fn becomes(client: &mut Client, expected: &Verdict) {
    wait_until(&format!("{} is {expected:?}", client.source), || {
        let verdict = client.verdict();
        let is_open = matches!(verdict, Verdict::Allowed | Verdict::Denied);
        assert!(is_open, "{}: {verdict:?}", client.source);
        verdict == *expected
    });
}

#[test]
fn pods_are_trusted_while_the_policy_selects_them() {
    let sandbox = Sandbox::new();
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    sandbox.put("policy.yaml", &behind_a_controller());
    // The namespace has not opted in: a proxy is let in by nothing.
    sandbox.put("namespace.yaml", &namespace("web", false));
    sandbox.put("neighbour.yaml", &pod("neighbour", "other", NEIGHBOUR));
    let _serve = Serve::start(&sandbox);
    let through = |source, client: &str| forwards(&sandbox, source, client);
    let mut listed = through(LISTED, OFFICE);
    becomes(&mut listed, &Verdict::Allowed);
    let mut office = through(CONTROLLER, OFFICE);
    let mut stranger = through(CONTROLLER, STRANGER);
    // The rightmost address that is no proxy's: SECOND, until it is one.
    let mut over_two = through(CONTROLLER, &format!("{OFFICE}, {SECOND}"));
    let mut neighbour = through(NEIGHBOUR, OFFICE);
    let mut itself = sandbox.client(CONTROLLER);
    for denied in [
        &mut office,
        &mut stranger,
        &mut over_two,
        &mut neighbour,
        &mut itself,
    ] {
        assert_eq!(denied.verdict(), Verdict::Denied, "{}", denied.source);
    }

    sandbox.put("first.yaml", &pod("first", "controller", CONTROLLER));
    becomes(&mut office, &Verdict::Allowed);
    assert_eq!(over_two.verdict(), Verdict::Denied);
    sandbox.put("second.yaml", &pod("second", "controller", SECOND));
    becomes(&mut over_two, &Verdict::Allowed);
    let never = |clients: [&mut Client; 3]| {
        for client in clients {
            assert_eq!(client.verdict(), Verdict::Denied, "{}", client.source);
        }
    };
    never([&mut stranger, &mut neighbour, &mut itself]);

    // Two pods with one address: it is unknown which of them sends.
    sandbox.put("other.yaml", &pod("other", "other", CONTROLLER));
    becomes(&mut office, &Verdict::Denied);
    std::fs::remove_file(sandbox.path_of("other.yaml")).unwrap();
    becomes(&mut office, &Verdict::Allowed);
    // A pod that has ended.
    let ended = pod("first", "controller", CONTROLLER).replace("Running", "Succeeded");
    sandbox.put("first.yaml", &ended);
    becomes(&mut office, &Verdict::Denied);
    sandbox.put("first.yaml", &pod("first", "controller", CONTROLLER));
    becomes(&mut office, &Verdict::Allowed);
    // A namespace that is not known.
    std::fs::remove_file(sandbox.path_of("namespace.yaml")).unwrap();
    becomes(&mut office, &Verdict::Denied);
    becomes(&mut over_two, &Verdict::Denied);
    // An edit of the list replaces no listener either.
    sandbox.put("policy.yaml", &policy(&format!("{CONTROLLER}, {SECOND}")));
    becomes(&mut office, &Verdict::Allowed);
    becomes(&mut over_two, &Verdict::Allowed);
    becomes(&mut listed, &Verdict::Denied);
    never([&mut stranger, &mut neighbour, &mut itself]);
}

#[test]
fn a_range_with_pods_is_reported_with_their_names() {
    let sandbox = Sandbox::new();
    sandbox.put("policy.yaml", &policy("127.36.0.0/16"));
    sandbox.put("namespace.yaml", &namespace("web", false));
    sandbox.put("pods.yaml", &pod("first", "controller", CONTROLLER));
    let serve = Serve::start(&sandbox);
    let words =
        "spec.clientAddress.trustedProxies[0]: pods have addresses in the range 127.36.0.0/16";
    serve.wait_for_line_with(0, &[words, "(1 pod: web/first)"]);
    let said = serve.lines();
    sandbox.put("more.yaml", &pod("neighbour", "other", NEIGHBOUR));
    serve.wait_for_line_with(
        said,
        &[words, "(2 pods, for example web/first and web/neighbour)"],
    );
}
