//! Identity by token: a real Envoy finds the identity that `TokenRules::identify` finds, and the same failed check.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use vaultwall::policy::token::{PodIdentity, TokenIdentity, TokenProof, TokenRules};
use vaultwall::policy::{DefaultAction, Firewall, Listener, Verdict};
use vaultwall::vault_api::HEADER_TOKEN;

use crate::differential::envoy::Envoy;
use crate::differential::hop::Hop;
use crate::differential::token_cases::{OUTSIDE, POD, Scene, account, changed, vault};
use crate::differential::wire::{Answer, Sent, exchange};

fn request(from: Ipv4Addr, lines: &[&str]) -> Sent {
    let lines = lines
        .iter()
        .map(|line| ("X-Vaultwall-Token".to_owned(), line.as_bytes().to_vec()));
    Sent {
        listener: Listener::Data,
        from,
        method: b"GET".to_vec(),
        target: b"/v1/secret/data/app".to_vec(),
        host: "vault",
        headers: lines.collect(),
        version: "1.1",
        proof: TokenProof::None,
    }
}

fn firewall(rules: &TokenRules) -> Firewall {
    Firewall {
        policies: vec!["tokens".into()],
        tokens: Some(rules.clone()),
        default_action: DefaultAction::Allow,
        ..Firewall::deny_all(vault(), 8200)
    }
}

async fn send(envoy: &Envoy, sent: &Sent, mark: &str) -> Answer {
    exchange(sent.from, envoy.address(sent.listener), &sent.bytes(mark)).await
}

#[tokio::test]
async fn envoy_finds_the_identity_of_each_token() {
    let scene = Scene::new();
    let hop = Hop::start().await;
    let envoy = Envoy::start(&firewall(&scene.rules), hop.address);
    let cases = scene.cases();
    for case in &cases {
        let answer = send(&envoy, &request(case.peer, &[&case.token]), case.name).await;
        assert_eq!(answer.status, Some(200), "{}", case.name);
    }
    let (log, arrived) = (envoy.log().await, hop.arrived());
    let mut wrong = Vec::new();
    for case in &cases {
        let expected = scene.rules.identify(IpAddr::V4(case.peer), &case.proof);
        assert_eq!(
            (expected.token.is_some(), expected.pod_and_token.is_some()),
            case.proves,
            "{}: {expected:?}",
            case.name
        );
        let text = |value: Option<String>| value.map_or(Value::Null, Value::String);
        let expected = json!([
            text(expected.token.map(|token| token.to_string())),
            text(expected.pod_and_token.map(|account| account.to_string())),
            text(expected.problem.map(|problem| problem.to_string())),
        ]);
        let record = &log[case.name];
        let found = json!(["tokenIdentity", "podAndToken", "tokenProblem"].map(|key| &record[key]));
        if found != expected {
            wrong.push(format!(
                "{}:\n  expected {expected}\n  found    {found}",
                case.name
            ));
        }
        assert_eq!(
            arrived[case.name][0].values(HEADER_TOKEN),
            [b""; 0],
            "{}",
            case.name
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Which of two tokens counts would depend on the reader.
#[tokio::test]
async fn several_tokens_are_a_bad_request() {
    let scene = Scene::new();
    let token = &scene.cluster.token(&scene.account_claims(&json!({})));
    let cases: [(&str, &[&str], u16); 8] = [
        ("none", &[], 200),
        ("one", &[token], 200),
        ("one, empty", &[""], 200),
        ("two", &[token, token], 400),
        ("two, the first empty", &["", token], 400),
        ("two, the last empty", &[token, ""], 400),
        ("two, both empty", &["", ""], 400),
        ("a list", &["a,b"], 400),
    ];
    let without = Firewall {
        tokens: None,
        ..firewall(&scene.rules)
    };
    for firewall in [firewall(&scene.rules), without] {
        let (hop, table) = (Hop::start().await, firewall.table());
        let envoy = Envoy::start(&firewall, hop.address);
        for (name, lines, status) in cases {
            let sent = request(POD, lines);
            let answer = send(&envoy, &sent, name).await;
            assert_eq!(answer.status, Some(status), "{name}: {answer:?}");
            let verdict = sent.decided(&firewall, &table).verdict();
            assert_eq!(verdict == Verdict::Allow, status == 200, "{name}");
        }
        let arrived = hop.arrived();
        for (name, _, status) in cases {
            let arrived = arrived.get(name).map_or(&[][..], Vec::as_slice);
            assert_eq!(arrived.len(), usize::from(status == 200), "{name}");
            for request in arrived {
                assert_eq!(request.values(HEADER_TOKEN), [b""; 0], "{name}");
            }
        }
    }
}

/// Envoy's Lua has limits for constants and for the size of a function.
#[tokio::test]
async fn a_vault_may_have_many_issuers_identities_and_pods() {
    let mut scene = Scene::new();
    for index in 0..1000_u32 {
        let issuer = format!("https://issuer-{index}.example");
        scene
            .rules
            .issuers
            .insert(issuer.clone(), scene.partner.jwks().into());
        scene
            .rules
            .identities
            .extend((0..10).map(|audience| TokenIdentity {
                issuer: issuer.clone(),
                subject: format!("subject-{index}"),
                audience: format!("audience-{audience}"),
                // Only tokens of the last issuer are sent.
                account_uid: (index < 999).then(|| format!("account-{index}-{audience}")),
            }));
    }
    let pods = (0..20_000).map(|index| {
        let uid = format!("{index:08}-0000-0000-0000-000000000000");
        let account = account(&format!("account-{index}"));
        (
            Ipv4Addr::from_bits(0x0A00_0000 + index),
            PodIdentity { account, uid },
        )
    });
    scene.rules.pods.extend(pods);
    let hop = Hop::start().await;
    let envoy = Envoy::start(&firewall(&scene.rules), hop.address);
    let claims = scene.account_claims(&json!({}));
    send(
        &envoy,
        &request(POD, &[&scene.cluster.token(&claims)]),
        "account",
    )
    .await;
    let claims =
        json!({"iss": "https://issuer-999.example", "sub": "subject-999", "aud": "audience-9"});
    let claims = changed(scene.partner_claims(&json!({})), &claims);
    send(
        &envoy,
        &request(OUTSIDE, &[&scene.partner.token(&claims)]),
        "partner",
    )
    .await;
    let log = envoy.log().await;
    assert_eq!(log["account"]["podAndToken"], "tools/sync");
    assert_eq!(
        log["partner"]["tokenIdentity"],
        "https://issuer-999.example\tsubject-999\taudience-9"
    );
}
