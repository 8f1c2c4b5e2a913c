//! `vaultwall explain` as people and scripts meet it: exit codes, the keys of its JSON, what to do about a denial.

use std::process::Command;

use serde_json::Value;

use crate::program::Run;

/// Files, who, request (listener before `:`, method, path), exit code, reason, rule (`-` none), a part of the trace.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    i32,
    &'static str,
    &'static str,
    &'static str,
);

const QUICKSTART: &str = "examples/quickstart";
const DIRECT: &str = "tests/explain/direct.yaml";
const REFUSED: &str = "tests/explain/only-refused.yaml";
const AUDIT: &str = "tests/explain/audit.yaml";
const ALLOW: &str = "tests/explain/allow.yaml";
const AZURE: &str = "tests/explain/azure.yaml";
const PROXIES: &str = "tests/explain/proxies.yaml";
const PROXY_IDENTITY: &str = "tests/explain/proxy-is-identity.yaml";
const CLUSTER_ISSUER: &str = "tests/explain/cluster-issuer.yaml";
const AZURE_SERVICES: &str = "tests/explain/azure-services.yaml";
const SERVICES: &str = "tests/explain/services.yaml";
const DROP: &str = "tests/explain/drop.yaml";
const READ: &str = "data: GET /v1/secret/data/app";

#[rustfmt::skip] // read by eye
const ANSWERS: &[Row] = &[
    // --- allowed
    (QUICKSTART, "--pod build/runner-1", READ, 0, "VirtualNetworkRule", "quickstart/virtualNetworkRules/build", "127.0.30.1, the address of pod build/runner-1"),
    (QUICKSTART, "--source-ip 127.0.30.2", READ, 0, "VirtualNetworkRule", "quickstart/virtualNetworkRules/build", "the address of pod build/runner-2"),
    (QUICKSTART, "--source-ip 127.0.10.200", READ, 0, "VirtualNetworkRule", "quickstart/virtualNetworkRules/dc", "127.0.10.200, the address of no known pod"),
    (QUICKSTART, "--source-ip 10.20.1.1", READ, 0, "VirtualNetworkRule", "quickstart/virtualNetworkRules/dc", "10.20.0.0/16"),
    (QUICKSTART, "--pod web/shop-1", READ, 0, "VirtualNetworkRule", "quickstart/virtualNetworkRules/2", "127.0.31.1"),
    (QUICKSTART, "--source-ip 203.0.113.7", READ, 0, "IpRule", "quickstart/ipRules/hq", "no trusted proxy, so it is the client"),
    (QUICKSTART, "--source-ip 127.0.20.1 --client-ip 203.0.113.7", READ, 0, "IpRule", "quickstart/ipRules/hq", "is a trusted proxy, the client is 203.0.113.7"),
    (QUICKSTART, "--source-ip 127.0.20.1 --client-ip 198.51.100.9 --token", READ, 0, "IpRule", "quickstart/ipRules/office", "carries a token of the vault"),
    (QUICKSTART, "--source-ip 192.0.2.1", "data: GET /v1/sys/health", 0, "Infrastructure", "-", "infrastructure plane"),
    (QUICKSTART, "--source-ip 192.0.2.1", "management: GET /v1/sys/mounts", 0, "ControlPlane", "-", "management endpoint, access Unrestricted"),
    (QUICKSTART, "--pod web-staging/shop-1", "management: POST /v1/auth/kubernetes/login", 0, "ControlPlane", "-", "session plane"),
    (ALLOW, "--source-ip 192.0.2.1", READ, 0, "DefaultAction", "-", "defaultAction Allow"),
    (ALLOW, "--source-ip 2001:db8::1", READ, 0, "DefaultAction", "-", "is IPv6"),
    (AUDIT, "--source-ip 203.0.113.7", READ, 0, "IpRule", "main/ipRules/hq", "main: spec.mode: nothing is blocked"),
    (AUDIT, "--source-ip 192.0.2.1", READ, 1, "ForbiddenByFirewall", "-", "add an entry to spec.ipRules with the value 192.0.2.1"),
    (AUDIT, "--source-ip 192.0.2.1", READ, 1, "ForbiddenByFirewall", "-", "so it gets a timeout in place of this answer"),
    (AUDIT, "--source-ip 192.0.2.1", "data: POST /v1/sys/init", 1, "ForbiddenCritical", "-", "in one of the vault's own pods"),
    (PROXIES, "--source-ip 10.9.0.7 --client-ip 198.51.100.9", READ, 0, "IpRule", "proxies/ipRules/office", "is a trusted proxy"),
    // a range that holds pods makes each of them a proxy
    (PROXIES, "--pod shop/report --client-ip 198.51.100.9", READ, 0, "IpRule", "proxies/ipRules/office", "proxies: spec.clientAddress.trustedProxies[1]: pods have addresses in the range 10.50.0.0/16"),
    (PROXIES, "--source-ip 192.0.2.1", READ, 1, "ForbiddenByFirewall", "-", "(2 pods, for example ingress/controller and shop/report)"),
    (PROXIES, "--pod edge/gateway --client-ip 198.51.100.9", READ, 0, "IpRule", "proxies/ipRules/office", "the peer 10.60.0.1 is a trusted proxy, the client is 198.51.100.9"),
    (PROXIES, "--pod edge/gateway --client-ip 203.0.113.9", READ, 1, "ForbiddenByFirewall", "-", "add an entry to spec.ipRules with the value 203.0.113.9"),
    (PROXIES, "--pod edge/gateway --client-ip 10.1.2.3", READ, 1, "ForbiddenByFirewall", "-", "IP rules take public addresses, and 10.1.2.3 is none"),
    (PROXIES, "--pod edge/gateway", READ, 1, "ForbiddenByFirewall", "-", "Let the trusted proxy 10.60.0.1 send the client's address in X-Forwarded-For"),
    (PROXIES, "--pod edge/job --client-ip 198.51.100.9", READ, 1, "ForbiddenByFirewall", "-", "--client-ip 198.51.100.9 is ignored, because the peer 10.60.0.2 is no trusted proxy"),
    // --- denied, with the nearest rule and what to do
    (QUICKSTART, "--pod build/debug", READ, 1, "ForbiddenByFirewall", "-", "quickstart/virtualNetworkRules/build, but in namespace build it selects pods with app=runner; this one has app=debug"),
    (QUICKSTART, "--pod build/debug", READ, 1, "ForbiddenByFirewall", "-", "Ask the owner of policy vault/quickstart to add an entry to spec.virtualNetworkRules that selects pod build/debug"),
    (QUICKSTART, "--pod web-staging/shop-1", READ, 1, "ForbiddenByFirewall", "-", "Ask a cluster admin to label namespace web-staging vaultwall.dev/service-endpoint=enabled"),
    (QUICKSTART, "--source-ip 127.0.20.1 --client-ip 203.0.113.9", READ, 1, "ForbiddenByFirewall", "-", "quickstart/ipRules/hq, but 203.0.113.9 is not in 203.0.113.7/32"),
    (QUICKSTART, "--source-ip 127.0.20.1 --client-ip 192.0.2.9", READ, 1, "ForbiddenByFirewall", "-", "add an entry to spec.ipRules with the value 192.0.2.9"),
    (QUICKSTART, "--source-ip 127.0.20.1", READ, 1, "ForbiddenByFirewall", "-", "without --client-ip it counts as the client"),
    (QUICKSTART, "--source-ip 192.0.2.1 --client-ip 203.0.113.7", READ, 1, "ForbiddenByFirewall", "-", "--client-ip 203.0.113.7 is ignored, because the peer 192.0.2.1 is no trusted proxy"),
    (QUICKSTART, "--source-ip 127.0.11.1", READ, 1, "ForbiddenByFirewall", "-", "VirtualNetwork subnet whose addressPrefixes contain 127.0.11.1"),
    (QUICKSTART, "--source-ip 127.0.30.3", READ, 1, "ForbiddenByFirewall", "-", "the address of no known pod"),
    (QUICKSTART, "--source-ip ::ffff:127.0.30.1", READ, 1, "ForbiddenByFirewall", "-", "an IPv6 caller matches no rule"),
    (QUICKSTART, "--source-ip 192.0.2.1", "data: GET /v1/sys/mounts", 1, "ForbiddenByFirewall", "-", "Send it to the management endpoint"),
    (QUICKSTART, "--pod build/runner-1", "management: LIST /v1/secret/metadata", 1, "ForbiddenByPlane", "-", "send the request to the data endpoint"),
    (QUICKSTART, "--pod build/runner-1", "data: GET /v1/sys/metrics", 1, "ForbiddenByPlane", "-", "The firewall never forwards this path"),
    (QUICKSTART, "--pod build/runner-1", "data: POST /v1/sys/init", 1, "ForbiddenCritical", "-", "in one of the vault's own pods"),
    (QUICKSTART, "--pod build/runner-1", "data: GET /v1/secret/data/a;b", 1, "BadRequest", "-", "only one meaning"),
    (QUICKSTART, "--pod build/runner-1", "data: BREW /v1/secret/data/a", 1, "BadRequest", "-", "Use one of GET, HEAD, LIST, SCAN, POST, PUT, PATCH, DELETE, OPTIONS, HELP, in capital letters"),
    (QUICKSTART, "--pod build/runner-1", "data: get /v1/secret/data/a", 1, "BadRequest", "-", "method get is not a method of the vault's API"),
    (QUICKSTART, "--pod build/runner-1 --vault-namespace a//b", READ, 1, "BadRequest", "-", "Write the namespace in X-Vault-Namespace as segments"),
    (QUICKSTART, "--pod build/runner-1 --vault-namespace nowhere", "management: GET /v1/sys/mounts", 1, "ForbiddenByPlane", "-", "only if spec.vault.namespaces lists the namespace"),
    (QUICKSTART, "--pod build/runner-1", "data: GET /secret/data/a", 0, "VirtualNetworkRule", "quickstart/virtualNetworkRules/build", "the answer is for this path, which does not begin with /v1/ and so is no path of the vault's API; for the API, write --path /v1/secret/data/a"),
    (AZURE, "--source-ip 203.0.113.7", "data: GET /secrets/db?api-version=7.6", 0, "IpRule", "main/ipRules/hq", "data plane"),
    (AZURE, "--source-ip 192.0.2.1", "data: GET /healthstatus", 0, "Infrastructure", "-", "infrastructure plane"),
    (AZURE, "--source-ip 203.0.113.7", "management: GET /secrets/db", 1, "ForbiddenByPlane", "-", "send the request to the data endpoint."),
    (AZURE, "--source-ip 203.0.113.7", "data: LIST /secrets", 1, "BadRequest", "-", "Use one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, in"),
    (AZURE, "--source-ip 203.0.113.7", "data: GET /secrets/a;b", 1, "BadRequest", "-", "no encoded slashes or control characters."),
    (ALLOW, "--source-ip 192.0.2.1", "management: GET /v1/sys/mounts", 1, "ForbiddenByPlane", "-", "spec.management.access"),
    // --- identities: a proxy sends the requests of others, and its address proves nothing
    (PROXY_IDENTITY, "--pod edge/job --token", READ, 0, "TrustedService", "TrustedService/gateway/read", "TrustedService/gateway/read has secrets/get"),
    (PROXY_IDENTITY, "--pod edge/gateway --token", READ, 1, "ForbiddenByFirewall", "-", "a caller without a proven identity is no trusted service"),
    (PROXY_IDENTITY, "--pod edge/in-range --token", READ, 1, "ForbiddenByFirewall", "-", "a caller without a proven identity is no trusted service"),
    (PROXY_IDENTITY, "--pod edge/job", "management: POST /v1/sys/init", 0, "Operator", "-", "is listed"),
    (PROXY_IDENTITY, "--pod edge/gateway --client-ip 203.0.113.9", "management: POST /v1/sys/init", 1, "ForbiddenCritical", "-", "a caller without a proven identity is not listed"),
    (CLUSTER_ISSUER, "--source-ip 10.0.0.1 --token --claims tests/explain/cluster-issuer.json", READ, 1, "ForbiddenByFirewall", "-", "so it proves nothing; name the service account"),
    // --- trusted services: allowed, and each way in which one is not
    (SERVICES, "--pod payroll/worker-1 --token", READ, 0, "TrustedService", "TrustedService/payroll/read-secrets", "has secrets/get"),
    (SERVICES, "--pod payroll/worker-1", "data: POST /v1/auth/kubernetes/login", 0, "TrustedService", "TrustedService/payroll", "which may log in"),
    (SERVICES, "--pod payroll/worker-1", READ, 1, "ForbiddenByMissingToken", "-", "send its token in X-Vault-Token"),
    (SERVICES, "--pod payroll/worker-1 --token", "data: POST /v1/secret/data/app", 1, "ForbiddenByScenario", "-", "if the service has to do secrets/set everywhere"),
    (SERVICES, "--pod payroll/worker-1 --token", "data: GET /v1/kv/app", 1, "ForbiddenByScenario", "-", "No engine in spec.vault.engines has this path"),
    (AZURE_SERVICES, "--pod payroll/worker-1 --token", "data: GET /rng", 1, "ForbiddenByScenario", "-", "The firewall does not know the operation of this path"),
    (SERVICES, "--pod payroll/report-1 --token", READ, 1, "ForbiddenByFirewall", "-", "10.1.0.8, the address of pod payroll/report-1 with the service account report"),
    (SERVICES, "--pod payroll/report-1 --token", READ, 1, "ForbiddenByFirewall", "-", "compare its service account"),
    // --- with `denial: Drop`: whose packets reach the proxies
    (DROP, "--pod payroll/worker-1 --token --claims tests/explain/worker.json", READ, 0, "TrustedService", "TrustedService/payroll/read-secrets", "lets this pod in by its label vaultwall.dev/service-account, which is taken as set"),
    (DROP, "--pod payroll/report-1 --token --claims tests/explain/worker.json", READ, 0, "TrustedService", "TrustedService/payroll/read-secrets", "it gets a timeout in place of this answer"),
    (DROP, "--source-ip 192.0.2.1", READ, 1, "ForbiddenByFirewall", "-", "it gets a timeout in place of this answer"),
    (DROP, "--source-ip 192.0.2.1", "data: GET /v1/sys/health", 0, "Infrastructure", "-", "it gets a timeout in place of this answer"),
    // --- an invalid policy opens nothing, and its vault's default action is Deny
    (DIRECT, "--source-ip 203.0.113.7", READ, 0, "IpRule", "owner/ipRules/hq", "there is no valid VirtualNetwork|has no subnet `nowhere`"),
    (DIRECT, "--source-ip 198.51.100.7", READ, 1, "ForbiddenByFirewall", "-", "`Allow` is not in force because the policy `typo`"),
    (DIRECT, "--source-ip 10.20.3.4", READ, 1, "ForbiddenByFirewall", "-", "the owner of VirtualNetwork corp to add Vault to the serviceEndpoints of its subnet closed"),
    (REFUSED, "--source-ip 203.0.113.7", READ, 1, "ForbiddenByFirewall", "-", "correct the errors that `vaultwall validate` reports"),
    (REFUSED, "--source-ip 203.0.113.7", "management: GET /v1/sys/mounts", 1, "ForbiddenByPlane", "-", "no accepted policy"),
    (REFUSED, "--source-ip 203.0.113.7", "data: GET /v1/sys/health", 0, "Infrastructure", "-", "no accepted policy"),
];

/// Arguments, a part of the message; all exit with 2.
#[rustfmt::skip] // read by eye
const CANNOT_TELL: &[(&str, &str)] = &[
    ("--kubeconfig nowhere/config --vault vault/openbao --source-ip 10.0.0.1", "the kubeconfig nowhere/config cannot be read: No such file"),
    ("-f examples/quickstart --context here --vault vault/openbao --source-ip 10.0.0.1", "cannot be used with"),
    ("-f examples/quickstart --vault vault/nothing --source-ip 10.0.0.1", "no policy in the files of -f is for the vault vault/nothing; the files have policies for vault/openbao"),
    ("-f examples/quickstart/facts.yaml --vault vault/openbao --source-ip 10.0.0.1", "is for the vault vault/openbao; the files have no policies"),
    ("-f examples/quickstart --vault vault/openbao --pod build/nobody", "there is no pod build/nobody in the files of -f"),
    ("-f examples/quickstart --vault vault/openbao --pod build/runner-0", "its phase is Succeeded"),
    ("-f tests/explain/direct.yaml --vault vault/openbao --pod kube-system/node-agent", "give the node's address with --source-ip"),
    ("-f tests/explain/direct.yaml --vault vault/openbao --pod build/starting", "it has no IPv4 address"),
    ("-f tests/explain/direct.yaml --vault vault/openbao --source-ip 10.0.0.1 --client-ip 203.0.113.7", "source is Direct"),
    ("-f examples/quickstart --vault vault/openbao --source-ip 10.0.0.1 --claims c.json", "--claims c.json: No such file"),
    ("-f tests/explain/none.yaml --vault vault/openbao --source-ip 10.0.0.1", "tests/explain/none.yaml"),
    ("-f examples/quickstart --vault openbao --source-ip 10.0.0.1", "--vault openbao has no namespace, and files have no current one: add --namespace NAMESPACE, or write NAMESPACE/SERVICE"),
    ("-f examples/quickstart --vault openbao -n web --source-ip 10.0.0.1", "is for the vault web/openbao; the files have policies for vault/openbao"),
    ("-f examples/quickstart --vault a/b/c --source-ip 10.0.0.1", "write SERVICE or NAMESPACE/SERVICE"),
    ("-f examples/quickstart --vault vault/openbao --pod runner-1", "write NAMESPACE/NAME"),
    ("-f examples/quickstart --vault vault/openbao --source-ip 127.0.10", "write one address, such as 10.0.0.5; a range is not possible"),
    ("-f examples/quickstart --vault vault/openbao --source-ip 10.0.0.0/8", "write one address, such as 10.0.0.5; a range is not possible"),
    ("-f examples/quickstart --vault vault/openbao -n other --source-ip 10.0.0.1", "--namespace other and --vault vault/openbao name two namespaces; write one of them. For the vault's own namespace (X-Vault-Namespace) use --vault-namespace other"),
    ("-f examples/quickstart --vault vault/openbao", "--source-ip"),
    ("-f examples/quickstart --vault vault/openbao --pod build/runner-1 --source-ip 10.0.0.1", "cannot be used with"),
];

fn explain(arguments: &[&str]) -> Run {
    Run::of(
        Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .arg("explain")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )
}

fn ask(files: &str, who: &str, request: &str, more: &[&str]) -> Run {
    let (listener, request) = request.split_once(": ").unwrap();
    let (method, path) = request.split_once(' ').unwrap();
    let mut arguments = vec!["-f", files, "--vault", "vault/openbao"];
    arguments.extend(who.split(' '));
    arguments.extend(["--listener", listener, "--method", method, "--path", path]);
    arguments.extend(more);
    explain(&arguments)
}

#[test]
fn answers() {
    for (files, who, request, code, reason, rule, part) in ANSWERS {
        let place = format!("{files} {who} {request}");
        let run = ask(files, who, request, &["-o", "json"]);
        assert_eq!(
            run.code,
            Some(*code),
            "{place}\n{}{}",
            run.stdout,
            run.stderr
        );
        let answer = run.json();
        let keys: Vec<&str> = answer
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let is_audit = *files == AUDIT;
        let mode = is_audit.then_some("mode");
        let others = ["reason", "rule", "plane", "operations", "trace"];
        let expected = ["verdict"].into_iter().chain(mode).chain(others);
        assert_eq!(keys, expected.collect::<Vec<_>>());
        assert_eq!(is_audit, answer["mode"] == "Audit", "{place}");
        assert_eq!(
            answer["verdict"],
            if *code == 0 { "Allow" } else { "Deny" },
            "{place}"
        );
        assert_eq!(answer["reason"], *reason, "{place}");
        assert_eq!(answer["rule"].as_str().unwrap_or("-"), *rule, "{place}");
        assert_eq!(
            answer["plane"].is_null(),
            *reason == "BadRequest",
            "{place}"
        );
        assert!(answer["operations"].is_array(), "{place}");
        let trace = answer["trace"].as_array().unwrap();
        for step in trace {
            let keys: Vec<&str> = step
                .as_object()
                .unwrap()
                .keys()
                .map(String::as_str)
                .collect();
            assert_eq!(keys, ["step", "found"], "{place}");
        }
        let found = |step: &Value| {
            part.split('|')
                .any(|part| step["found"].as_str().unwrap().contains(part))
        };
        assert!(
            trace.iter().any(found),
            "{place}: no step says {part}\n{}",
            run.stdout
        );
        let advises = trace.iter().any(|step| step["step"] == "remedy");
        assert_eq!(advises, *code == 1, "{place}: advice exactly for denials");
    }
}

#[test]
fn with_drop_it_names_only_packets_that_no_rule_lets_in() {
    for (files, who, request) in [
        (DROP, "--source-ip 203.0.113.7", READ),
        (
            DROP,
            "--source-ip 192.0.2.1",
            "management: GET /v1/sys/mounts",
        ),
        (SERVICES, "--source-ip 192.0.2.1", READ),
    ] {
        let run = ask(files, who, request, &[]);
        assert!(run.code.is_some_and(|code| code < 2), "{}", run.stderr);
        assert!(!run.stdout.contains("Drop"), "{who}: {}", run.stdout);
    }
}

#[test]
fn in_audit_it_says_what_happens_to_the_request() {
    for (who, request, line) in [
        (
            "--source-ip 192.0.2.1",
            READ,
            "mode        Audit: the request is forwarded, and the access log has the reason in wouldDeny",
        ),
        (
            "--source-ip 203.0.113.7",
            READ,
            "mode        Audit: the request is forwarded, as with Enforced",
        ),
        (
            "--source-ip 192.0.2.1",
            "data: POST /v1/sys/init",
            "mode        Audit: the request is denied all the same; only network rules are not enforced",
        ),
    ] {
        let run = ask(AUDIT, who, request, &[]);
        assert_eq!(run.stdout.lines().nth(1), Some(line), "{}", run.stdout);
    }
}

#[test]
fn without_a_verdict_it_exits_2_with_the_reason() {
    for (arguments, part) in CANNOT_TELL {
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.extend(["--method", "GET", "--path", "/v1/secret/data/app"]);
        let run = explain(&arguments);
        assert_eq!(
            run.code,
            Some(2),
            "{arguments:?}\n{}{}",
            run.stdout,
            run.stderr
        );
        assert!(run.stderr.contains(part), "{arguments:?}\n{}", run.stderr);
        assert_eq!(run.stdout, "", "{arguments:?}");
    }
}

#[test]
fn a_path_that_is_not_absolute_is_answered_by_the_path_to_write() {
    let (relative, url) = (
        "paths begin with /v1/, those of Azure Key Vault's API with /",
        "a path has no scheme and no host",
    );
    for (path, problem, wanted) in [
        ("secret/data/app", relative, "/v1/secret/data/app"),
        ("v1/sys/mounts?x=1", relative, "/v1/sys/mounts?x=1"),
        (
            "https://vault:8200/v1/secret/data/x?version=1",
            url,
            "/v1/secret/data/x?version=1",
        ),
        ("http://127.0.0.1:8200/ui/", url, "/ui/"),
        ("https://vault:8200", url, "/v1/"),
    ] {
        let run = ask(
            QUICKSTART,
            "--source-ip 10.0.0.1",
            &format!("data: GET {path}"),
            &[],
        );
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{path}");
        let message = format!("{problem}; write --path {wanted}\n");
        assert!(run.stderr.contains(&message), "{}", run.stderr);
    }
}

#[test]
fn the_vaults_namespace_is_given_as_for_kubectl() {
    let question = |vault: &[&str]| {
        let request = "-f examples/quickstart --source-ip 127.0.10.200 --method GET --path /v1/secret/data/app";
        let request: Vec<&str> = request.split(' ').collect();
        explain(&[&request[..], vault].concat())
    };
    let one = question(&["--vault", "vault/openbao"]);
    assert_eq!(one.code, Some(0), "{}", one.stderr);
    for same in [
        &["--vault", "openbao", "-n", "vault"][..],
        &["--vault", "openbao", "--namespace", "vault"],
        &["--vault", "vault/openbao", "-n", "vault"],
    ] {
        assert_eq!(question(same), one, "{same:?}");
    }
}

#[test]
fn the_text_names_verdict_reason_rule_trace_and_remedy() {
    let run = ask(QUICKSTART, "--pod build/runner-1", READ, &[]);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(
        lines[..7],
        [
            "verdict     Allow",
            "reason      VirtualNetworkRule",
            "rule        quickstart/virtualNetworkRules/build",
            "vault       vault/openbao",
            "request     GET /v1/secret/data/app",
            "plane       data",
            "operations  secrets/get",
        ]
    );
    assert!(run.stdout.contains("  1. vault "), "{}", run.stdout);
    assert!(!run.stdout.contains("What to do"), "{}", run.stdout);
    let run = ask(QUICKSTART, "--pod build/debug", READ, &[]);
    assert!(
        run.stdout
            .contains("\nNearest rule: quickstart/virtualNetworkRules/build, but ")
    );
    assert!(
        run.stdout
            .contains("\nWhat to do: Ask the owner of policy vault/quickstart ")
    );
}

#[test]
fn operations_are_a_list_and_the_namespace_counts() {
    let operations = |path: &str, more: &[&str]| -> (String, Value) {
        let arguments = [&["-o", "json"], more].concat();
        let run = ask(
            ALLOW,
            "--source-ip 192.0.2.1",
            &format!("data: POST {path}"),
            &arguments,
        );
        let answer = run.json();
        (
            answer["plane"].as_str().unwrap_or("-").to_owned(),
            answer["operations"].clone(),
        )
    };
    let both = serde_json::json!(["keys/encrypt", "keys/wrapKey"]);
    assert_eq!(
        operations("/v1/transit/encrypt/k", &[]),
        ("data".into(), both)
    );
    let none = serde_json::json!([]);
    let unknown = serde_json::json!(["unknown"]);
    let mounts = "/v1/sys/mounts/kv";
    assert_eq!(
        operations(mounts, &["--vault-namespace", "ns1"]),
        ("control".into(), none.clone())
    );
    assert_eq!(
        operations(mounts, &["--vault-namespace", "ns9"]),
        ("data".into(), unknown)
    );
    assert_eq!(
        operations(mounts, &["--vault-namespace", "ns1/.."]),
        ("-".into(), none)
    );
}

#[test]
fn violations_are_printed_to_stderr() {
    let run = ask(DIRECT, "--source-ip 203.0.113.7", READ, &[]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for part in [
        "direct.yaml",
        "typo",
        "spec.ipRules[0].value",
        "These objects allow no client",
    ] {
        assert!(run.stderr.contains(part), "{}", run.stderr);
    }
    let run = ask(QUICKSTART, "--source-ip 203.0.113.7", READ, &[]);
    assert_eq!(run.stderr, "");
}
