//! One table for each reason code.

use vaultwall::policy::{Caller, Listener, Reason, Verdict, decide};
use vaultwall::vault_api::Request;

use crate::decisions::firewall::firewall;
use crate::decisions::table::{optional, request, rows};

const COLUMNS: usize = 9;

#[test]
fn every_reason_has_a_table_and_every_row_is_decided_so() {
    let mut wrong = Vec::new();
    for reason in Reason::ALL {
        let mut listeners = [false, false];
        for row in rows(&format!("reasons/{}.txt", reason.name()), COLUMNS) {
            let [
                name,
                listener,
                peer,
                client,
                namespace,
                sent,
                rule,
                plane,
                operations,
            ] = row.cells.as_slice()
            else {
                panic!("{}: columns", row.place)
            };
            let listener = match listener.as_str() {
                "data" => Listener::Data,
                "management" => Listener::Management,
                other => panic!("{}: no listener is called {other}", row.place),
            };
            listeners[usize::from(listener == Listener::Management)] = true;
            let firewall = firewall(name);
            let (method, target) = request(sent);
            // The peer's address, and `token` if it sends the vault's token.
            let (address, token) = peer.split_once(' ').unwrap_or((peer, ""));
            let peer = address.parse().unwrap();
            let caller = Caller {
                vault_token: token == "token",
                ..Caller::new(
                    peer,
                    optional(client).map_or(peer, |client| client.parse().unwrap()),
                )
            };
            let request = Request {
                has_body: false,
                several_tokens: false,
                announced: None,
                method: &method,
                target: &target,
                namespace: optional(namespace),
            };
            let decision = decide(&firewall, &firewall.table(), listener, caller, &request);
            // Instead of a rule, the table of `AuditMode` has the reason of enforcement.
            let would_deny = decision.would_deny.map(Reason::name);
            assert_eq!(would_deny.is_some(), decision.reason == Reason::AuditMode);
            let got = format!(
                "{} | {} | {} | {}",
                decision.reason.name(),
                would_deny.or(decision.rule.as_deref()).unwrap_or("-"),
                decision.plane.map_or("-", |plane| plane.name()),
                names(&decision.operations.names),
            );
            let expected = format!("{} | {rule} | {plane} | {operations}", reason.name());
            if got != expected {
                wrong.push(format!(
                    "{}: {sent}\n  expected {expected}\n  got      {got}",
                    row.place
                ));
            }
            assert!(
                decision
                    .trace
                    .iter()
                    .all(|step| !step.step.is_empty() && !step.found.is_empty())
            );
            assert_eq!(
                decision.trace.first().map(|step| step.step),
                Some("classify")
            );
            assert_eq!(decision.verdict(), reason.verdict());
        }
        // Unrestricted management and deployments exist on the management listener alone, the bypass for data on the
        // data listener alone.
        let only_management = [Reason::ControlPlane, Reason::Deployer];
        let only_data = [Reason::ForbiddenByScenario, Reason::ForbiddenByMissingToken];
        let expected = [
            !only_management.contains(&reason),
            !only_data.contains(&reason),
        ];
        assert_eq!(
            listeners, expected,
            "{reason:?}: data and management listener"
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn verdicts_of_the_reasons() {
    let allow = [
        "VirtualNetworkRule",
        "IpRule",
        "TrustedService",
        "DefaultAction",
        "AuditMode",
        "Infrastructure",
        "ControlPlane",
        "Operator",
        "Deployer",
    ];
    for reason in Reason::ALL {
        let expected = if allow.contains(&reason.name()) {
            Verdict::Allow
        } else {
            Verdict::Deny
        };
        assert_eq!(reason.verdict(), expected, "{reason:?}");
        assert_eq!(format!("{reason:?}"), reason.name());
    }
}

fn names(operations: &[String]) -> String {
    if operations.is_empty() {
        "-".into()
    } else {
        operations.join(",")
    }
}
