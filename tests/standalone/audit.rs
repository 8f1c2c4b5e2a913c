//! `mode: Audit` with a real Envoy and a real vault: nothing that the network rules deny is blocked, all of it is
//! recorded, and a change of the mode closes no connection.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use testkit::OpenBao;
use testkit::client::{Client, SECRET, TOKEN, Verdict, connect};
use testkit::wait::{TIMEOUT, wait_for, wait_until};

use crate::standalone::objects::{ALLOWED, DENIED, network, policy, subnet};
use crate::standalone::sandbox::Sandbox;
use crate::standalone::serve::{IN_FORCE, Serve};

/// Warning in the log at the start and after each change.
const NOTHING_IS_BLOCKED: &str = "spec.mode: nothing is blocked";

fn objects(mode: &str) -> String {
    let settings = format!("  mode: {mode}\n  accessLog: {{level: Denied}}\n");
    [
        policy("main", &[&subnet("fixed")], &settings),
        network(&[("fixed", &["127.10.0.1/32"])]),
    ]
    .concat()
}

fn switch(sandbox: &Sandbox, serve: &Serve, mode: &str) {
    let lines = serve.lines();
    sandbox.put("main.yaml", &objects(mode));
    serve.wait_for_line(lines, IN_FORCE);
}

fn client(sandbox: &Sandbox, source: Ipv4Addr, agent: &str) -> Client {
    let mut client = Client::new(source, sandbox.data());
    let header = format!("User-Agent: {agent}\r\n");
    client.headers.push_str(&header);
    client
}

/// The first record of the client with this user agent.
fn record(sandbox: &Sandbox, agent: &str) -> Value {
    wait_for(agent, || records(sandbox, agent).into_iter().next())
}

fn records(sandbox: &Sandbox, agent: &str) -> Vec<Value> {
    let text = fs::read_to_string(sandbox.at("access.log")).unwrap_or_default();
    let records = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records
        .filter(|record| record["userAgent"] == agent)
        .collect()
}

/// Fields of a record that say what was decided.
fn decided(record: &Value) -> Value {
    json!([
        record["reason"],
        record["wouldDeny"],
        record["httpStatusCode"]
    ])
}

#[test]
fn what_would_be_denied_is_forwarded_and_recorded() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &objects("Audit"));
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    let serve = Serve::start(&sandbox);
    serve.wait_for_line(0, NOTHING_IS_BLOCKED);
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Allowed)]);

    let in_no_rule = client(&sandbox, DENIED, "in-no-rule").verdict();
    assert_eq!(in_no_rule, Verdict::Allowed);
    assert_eq!(
        decided(&record(&sandbox, "in-no-rule")),
        json!(["AuditMode", "ForbiddenByFirewall", 200])
    );
    // Denials that do not depend on network rules stay, and their records have no `wouldDeny`.
    for (agent, method, path, status, reason) in [
        ("critical", "POST", "/v1/sys/init", 403, "ForbiddenCritical"),
        (
            "internal",
            "GET",
            "/v1/sys/metrics",
            403,
            "ForbiddenByPlane",
        ),
        ("ambiguous", "GET", "/v1/secret/data/a;b", 400, "BadRequest"),
    ] {
        let answer = client(&sandbox, DENIED, agent).send(method, path, "");
        assert_eq!(answer.unwrap().status, status, "{agent}");
        assert_eq!(
            decided(&record(&sandbox, agent)),
            json!([reason, null, status])
        );
    }
    // With `accessLog.level: Denied`, other requests are left out.
    assert_eq!(
        client(&sandbox, ALLOWED, "in-a-rule").verdict(),
        Verdict::Allowed
    );
    assert_eq!(client(&sandbox, DENIED, "last").verdict(), Verdict::Allowed);
    record(&sandbox, "last");
    assert!(records(&sandbox, "in-a-rule").is_empty());
}

#[test]
fn a_changed_mode_disturbs_no_open_connection() {
    let sandbox = Sandbox::new();
    sandbox.put("main.yaml", &objects("Audit"));
    let _vault = OpenBao::start(sandbox.upstream(), &sandbox.at(""));
    let serve = Serve::start(&sandbox);
    sandbox.wait_for_verdicts(&[(ALLOWED, Verdict::Allowed), (DENIED, Verdict::Allowed)]);

    let mut others = [ALLOWED, DENIED].map(|source| client(&sandbox, source, "kept"));
    let mut verdicts = || {
        let [allowed, denied] = &mut others;
        [allowed.verdict(), denied.verdict()]
    };
    assert_eq!(verdicts(), [Verdict::Allowed, Verdict::Allowed]);
    let mut upload = connect(DENIED, sandbox.data(), TIMEOUT).unwrap();
    let head = format!(
        "POST {SECRET} HTTP/1.1\r\nHost: v\r\nX-Vault-Token: {TOKEN}\r\nContent-Length: 24\r\n\r\n{{\"data\":"
    );
    upload.write_all(head.as_bytes()).unwrap();
    let statistic = |name: &str| {
        let socket = sandbox.state().join("admin.sock");
        testkit::envoy::statistic(&socket, name).unwrap()
    };
    // The upload is decided, and forwarded, before the mode changes.
    wait_until("the upload is forwarded", || {
        statistic("http.data.downstream_rq_active") == 1
    });

    let changed = || statistic("listener_manager.listener_in_place_updated");
    let before = changed();
    switch(&sandbox, &serve, "Enforced");
    assert_eq!(verdicts(), [Verdict::Allowed, Verdict::Denied]);
    wait_until("both listeners are updated in place", || {
        changed() == before + 2
    });
    let lines = serve.lines();
    switch(&sandbox, &serve, "Audit");
    serve.wait_for_line(lines, NOTHING_IS_BLOCKED);
    assert_eq!(verdicts(), [Verdict::Allowed, Verdict::Allowed]);
    upload.write_all(b"{\"value\":\"new\"}}").unwrap();
    let mut answer = [0; 12];
    std::io::Read::read_exact(&mut upload, &mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    for name in [
        "total_filter_chains_draining",
        "total_listeners_draining",
        "listener_removed",
    ] {
        let name = format!("listener_manager.{name}");
        assert_eq!(statistic(&name), 0, "{name}");
    }
    // The log marks exactly the request that was denied, as well as those that would be.
    let denied = format!("{DENIED}");
    let kept = || {
        let mut found = records(&sandbox, "kept");
        found.retain(|record| record["callerIpAddress"] == denied);
        found.iter().map(decided).collect::<Vec<_>>()
    };
    let forwarded = json!(["AuditMode", "ForbiddenByFirewall", 200]);
    let expected = [
        forwarded.clone(),
        json!(["ForbiddenByFirewall", null, 403]),
        forwarded,
    ];
    wait_until("all records", || kept().len() == expected.len());
    assert_eq!(kept(), expected);
}
