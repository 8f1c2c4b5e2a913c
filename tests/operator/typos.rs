//! Typing errors in the target of a policy that is in force: they open no vault, and cut nobody off.

use crate::operator::enforcement::policy;
use crate::operator::objects::{GENERATED, get};
use crate::operator::sandbox::{OTHER_POD, OUTSIDER, POD, Sandbox};
use testkit::client::Verdict::{Allowed, Denied};
use testkit::wait::wait_for;

#[test]
fn a_policy_cannot_be_moved_to_another_vault() {
    let sandbox = Sandbox::new();
    let _operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let _proxy = sandbox.proxy();
    sandbox.condition("web", "Programmed", "True", "Programmed");

    let mistyped = policy("web", "web").replace("openbao", "openbap");
    let output = sandbox
        .server
        .kubectl(&["apply", "--server-side", "-f", "-"], &mistyped);
    let error = String::from_utf8_lossy(&output.stderr);
    let words = "cannot be changed: the vault that it names would lose its firewall";
    assert!(
        error.contains("spec.targetRef.name: Invalid value: \"openbap\"") && error.contains(words),
        "{error}"
    );
    for object in GENERATED {
        assert!(get(&sandbox, object).is_some(), "{object}");
    }
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OUTSIDER, Denied)]);

    // Only without any policy the vault has no firewall, and that is announced.
    sandbox.kubectl(&["delete", "vnp", "-n", "vault", "web"]);
    let event = wait_for("the event", || {
        let events = sandbox
            .server
            .get("/apis/events.k8s.io/v1/namespaces/vault/events")?;
        let events = events["items"].as_array()?.clone();
        let mut events = events.into_iter();
        events.find(|event| event["reason"] == "FirewallRemoved")
    });
    assert_eq!(event["regarding"]["kind"], "Service");
    assert_eq!(event["regarding"]["name"], "openbao");
    let note = event["note"].as_str().unwrap();
    assert!(note.contains("vault/openbao was deleted"), "{note}");
}

#[test]
fn the_port_in_force_stays_until_the_service_has_the_new_one() {
    let sandbox = Sandbox::new();
    let operator = sandbox.operator();
    sandbox.server.apply(&policy("web", "web"));
    let _proxy = sandbox.proxy();
    sandbox.condition("web", "Programmed", "True", "Programmed");
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);

    // All the rest of the edit is in force.
    let mistyped = |app: &str| policy("web", app).replace("8200", "8201");
    sandbox.server.apply(&mistyped("batch"));
    sandbox.wait_for_verdicts(&[(POD, Denied), (OTHER_POD, Allowed)]);
    sandbox.condition("web", "ResolvedRefs", "False", "PortNotFound");
    let message = sandbox.condition("web", "Programmed", "False", "PortNotFound");
    assert!(message.contains("stays at port 8200"), "{message}");
    let ports = || {
        let service = get(&sandbox, "service/openbao-firewall").unwrap();
        service["spec"]["ports"][0]["port"].clone()
    };
    assert_eq!(ports(), 8200);

    // An operator that starts now knows the port from the status.
    operator.kill();
    let operator = sandbox.operator_at("second", sandbox.operators);
    operator.wait_for_programmed_proxy();
    sandbox.server.apply(&mistyped("web"));
    sandbox.wait_for_verdicts(&[(POD, Allowed), (OTHER_POD, Denied)]);
    assert_eq!(ports(), 8200);

    // The Service gets the port, so that the firewall moves there.
    let patch = r#"[{"op": "replace", "path": "/spec/ports/0/port", "value": 8201}]"#;
    let what = ["patch", "service", "openbao", "-n", "vault"];
    sandbox.kubectl(&[&what[..], &["--type=json", "-p", patch]].concat());
    sandbox.condition("web", "Programmed", "True", "Programmed");
    assert_eq!(ports(), 8201);
}
