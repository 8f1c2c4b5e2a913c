//! Trusted services of a firewall with `denial: Drop`, and the label of service accounts on pods.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::api::Proof;
use crate::policy::{
    AccountLabels, BypassSettings, Denial, FederatedIdentity, KeySource, NoAccountLabels, Peer,
    ServiceIdentity, ValidatedScenario, ValidatedTrustedService,
};

const UNGUARDED: AccountLabels = AccountLabels::NotInForce(NoAccountLabels::Unguarded);

fn service(name: &str, identities: Vec<ServiceIdentity>) -> ValidatedTrustedService {
    ValidatedTrustedService {
        name: name.into(),
        scenarios: vec![ValidatedScenario {
            name: "read".into(),
            operations: ["secrets/get".to_owned()].into(),
        }],
        identities,
    }
}

fn account(text: &str) -> ServiceIdentity {
    ServiceIdentity::ServiceAccount(text.parse().unwrap())
}

fn federated() -> ServiceIdentity {
    ServiceIdentity::FederatedCredential(FederatedIdentity {
        issuer: "https://tokens.example.com".into(),
        subject: "somebody".into(),
        audiences: ["vault".to_owned()].into(),
        keys: KeySource::Url("https://tokens.example.com/keys".into()),
    })
}

fn pod(name: &str, account: &str, label: Option<&str>) -> ObservedPod {
    let labels = label.map(|value| ("vaultwall.dev/service-account".to_owned(), value.to_owned()));
    ObservedPod::Counted(PodFact {
        namespace: "shop".into(),
        name: name.into(),
        uid: Some(format!("uid of {name}")),
        labels: labels.into_iter().collect(),
        service_account: account.into(),
        addresses: vec!["10.1.0.1".parse().unwrap()],
    })
}

fn dropping(names: Option<&[&str]>) -> ValidatedPolicy {
    let names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    on("red", "main").with(|policy| {
        policy.bypass = Some(BypassSettings { names });
        policy.denial = Denial::Drop;
    })
}

/// Holders of all services, selectors of the `NetworkPolicy`, and reasons of warnings.
fn found(index: &mut Index) -> (usize, Vec<serde_json::Value>, Vec<&'static str>) {
    let resolution = index.resolve(&"red/vault".parse().unwrap()).unwrap().resolution;
    let firewall = resolution.firewall;
    let peer = |peer: &Peer| match peer {
        Peer::Pods { namespaces, pods } => {
            let namespaces = namespaces.match_expressions.as_ref().unwrap();
            let labels = pods.match_labels.as_ref().unwrap();
            json!([namespaces[0].values, labels["vaultwall.dev/service-account"]])
        }
        Peer::Block(block) => panic!("{block}"),
    };
    (
        firewall.grants.services().map(|grant| grant.holders.len()).sum(),
        firewall.service_peers.iter().map(peer).collect(),
        resolution.warnings.iter().map(|warning| warning.reason.name()).collect(),
    )
}

#[test]
fn drop_lets_in_what_a_network_policy_can_select() {
    let mut index = Index::default();
    for namespace in ["red", "shop", "blog"] {
        let labels = labels("vaultwall.dev/subscription=one");
        index.apply(NamespaceFact { name: namespace.into(), labels, terminating: false });
    }
    let registered = ServiceIdentity::RegisteredResource("agent".into());
    index.apply(service("web", vec![account("shop/web"), account("blog/web"), registered]));
    index.apply(service("outside", vec![federated()]));
    index.apply(service("empty", vec![]));
    let agents = json!([["blog", "red", "shop"], "agent"]);
    let web = json!([["blog", "shop"], "web"]);

    // In files, pods count as labelled.
    index.apply(dropping(Some(&["web", "empty"])));
    let both = vec![agents, web];
    assert_eq!(found(&mut index), (5, both.clone(), vec!["NoIdentities"]));
    index.apply(dropping(None));
    assert_eq!(found(&mut index), (5, both.clone(), vec!["FederatedDropped", "KeysUnknown"]));
    index.apply(dropping(Some(&["outside"])));
    assert_eq!(found(&mut index), (0, vec![], vec!["FederatedDropped", "KeysUnknown"]));

    // A label that nobody guards lets nobody in, in no layer.
    index.apply(dropping(Some(&["web"])));
    for (guard, expected) in [
        (UNGUARDED, (0, vec![], vec!["AccountLabelMissing"])),
        (AccountLabels::InForce, (5, both, vec![])),
        (
            AccountLabels::NotInForce(NoAccountLabels::Off),
            (0, vec![], vec!["AccountLabelMissing"]),
        ),
    ] {
        index.take_changed();
        index.keep_labels(guard);
        assert_eq!(index.take_changed().len(), 1, "{guard:?}");
        assert_eq!(found(&mut index), expected, "{guard:?}");
    }
    // Nothing is dropped: every identity counts, and no label is needed.
    let reject = |policy: &mut ValidatedPolicy| policy.denial = Denial::Reject;
    index.apply(dropping(Some(&["web", "outside"])).with(reject));
    assert_eq!(found(&mut index), (6, vec![], vec!["KeysUnknown"]));
    let allow = |policy: &mut ValidatedPolicy| policy.default_action = DefaultAction::Allow;
    index.apply(dropping(Some(&["web"])).with(allow));
    assert_eq!(found(&mut index), (5, vec![], vec![]));
    // Identities by token: an account without known keys proves nothing, whatever the label.
    index.keep_labels(AccountLabels::InForce);
    index.apply(dropping(Some(&["web"])).with(|policy| policy.proof = Proof::Token));
    assert_eq!(found(&mut index).0, 0);
}

fn corrections(index: &mut Index) -> BTreeMap<String, Option<String>> {
    let taken = index.take_label_corrections().into_iter();
    let value = |correction: LabelCorrection| correction.value.unwrap_or_default();
    taken.map(|(pod, correction)| (pod.name, correction.map(value))).collect()
}

fn expected(list: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    let pairs = list.iter();
    pairs.map(|(pod, value)| ((*pod).to_owned(), value.map(str::to_owned))).collect()
}

#[test]
fn pods_of_needed_accounts_and_wrong_labels_are_corrected() {
    let mut index = Index::default();
    index.keep_labels(UNGUARDED);
    index.apply(service("web", vec![account("shop/web")]));
    index.apply(dropping(None));
    index.apply(pod("old", "web", None));
    index.apply(pod("right", "web", Some("web")));
    index.apply(pod("wrong", "other", Some("web")));
    index.apply(pod("other", "other", None));
    assert_eq!(corrections(&mut index), expected(&[]), "it could be changed again");
    index.keep_labels(AccountLabels::InForce);
    let first = expected(&[("old", Some("web")), ("wrong", Some("other"))]);
    assert_eq!(corrections(&mut index), first);
    assert_eq!(corrections(&mut index), expected(&[]), "only changes");

    // While a wrong label is left, no NetworkPolicy selects any.
    index.take_changed();
    assert_eq!(found(&mut index).2, ["AccountLabelMissing"]);
    index.apply(pod("wrong", "other", Some("other")));
    assert_eq!(index.take_changed().len(), 1);
    assert_eq!(found(&mut index).2, [""; 0]);
    // A missing one delays nobody else.
    index.apply(pod("new", "web", None));
    assert_eq!(found(&mut index).2, [""; 0]);
    let next = expected(&[("wrong", None), ("new", Some("web"))]);
    assert_eq!(corrections(&mut index), next);

    // Accounts that a vault begins and ceases to depend on.
    index.apply(service("web", vec![account("shop/other")]));
    let changed = expected(&[("old", None), ("new", None), ("other", Some("other"))]);
    assert_eq!(corrections(&mut index), changed);
    index.delete(&Key::new(Kind::Pod, "shop/other".parse().unwrap()));
    assert_eq!(corrections(&mut index), expected(&[("other", None)]));
}

#[test]
fn wrong_labels_of_pods_without_an_address_or_an_account_are_corrected() {
    let mut index = Index::default();
    index.keep_labels(AccountLabels::InForce);
    index.apply(service("web", vec![account("shop/web")]));
    index.apply(dropping(None));
    let waiting = |wrong_label| ObservedPod::NotCounted {
        pod: "shop/waiting".parse().unwrap(),
        reason: NotCounted::NoAddress,
        wrong_label,
    };
    let wrong = LabelCorrection {
        uid: None,
        value: Some("other".into()),
        wrong: Some("web".into()),
    };
    index.apply(waiting(Some(wrong.clone())));
    assert_eq!(corrections(&mut index), expected(&[("waiting", Some("other"))]));
    assert_eq!(found(&mut index).2, ["AccountLabelMissing"]);
    index.apply(waiting(None));
    assert_eq!(corrections(&mut index), expected(&[("waiting", None)]));
    assert_eq!(found(&mut index).2, [""; 0]);
    index.apply(waiting(Some(wrong)));
    index.delete(&Key::new(Kind::Pod, "shop/waiting".parse().unwrap()));
    assert_eq!(found(&mut index).2, [""; 0]);

    // No value is right on a pod without an account, so the label is removed; a missing one is.
    index.take_label_corrections();
    index.apply(pod("mirror", "", Some("web")));
    let taken = index.take_label_corrections();
    assert_eq!(taken[0].1.as_ref().unwrap().value, None);
    index.apply(pod("mirror", "", None));
    assert_eq!(corrections(&mut index), expected(&[("mirror", None)]));
    assert_eq!(found(&mut index).2, [""; 0]);
}
