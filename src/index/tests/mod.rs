#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines
)]
//! Events one after another, and the vaults that the index reports as changed.

mod event;
mod identities;
mod incremental;
#[rustfmt::skip] // tables are read by eye
mod labels;
mod proxies;
#[rustfmt::skip] // tables are read by eye
mod services;
mod tokens;

use event::*;

use super::*;
use crate::api::VaultApi;
use crate::limits::Limits;
use crate::policy::Accounts as _;
use crate::policy::fixtures::*;
use crate::policy::{
    DefaultAction, Firewall, NetworkRuleSource, SubnetMembers, ValidatedPolicy, VaultId,
};

/// A policy `name` in the namespace `team`, for the vault `team/vault`.
fn on(team: &str, name: &str) -> ValidatedPolicy {
    policy(name, 1).with(|policy| {
        policy.vault = VaultId {
            namespace: team.into(),
            service: "vault".into(),
        };
    })
}

fn opted(namespace: &'static str) -> Event {
    Event::Namespace(namespace, "vaultwall.dev/service-endpoint=enabled")
}

/// Applies the events of a script one by one and compares the vaults that each of them changes.
fn follow(index: &mut Index, script: Vec<(&str, Event, &[&str])>) {
    for (what, event, expected) in script {
        let words = format!("{what}: {event:?}");
        event.apply_to(index);
        let touched: Vec<String> = index
            .take_changed()
            .iter()
            .map(|vault| vault.namespace.clone())
            .collect();
        assert_eq!(touched, expected, "{words}");
        for vault in index.vaults().cloned().collect::<Vec<_>>() {
            index.resolve(&vault);
        }
        assert!(
            index.take_changed().is_empty(),
            "{words}: resolving changes nothing"
        );
    }
}

#[test]
fn an_event_reports_the_vaults_that_it_changes_and_no_other() {
    use Event::{
        Namespace, NamespaceDeleted, Network, NetworkDeleted, Pod, PodDeleted, Policy,
        PolicyDeleted, Service, ServiceDeleted,
    };
    let web = || on("red", "web").inline(pods(Some(""), "app=web"));
    let all = || on("green", "all").inline(pods(Some(""), ""));
    let by_subnet = || on("blue", "net").subnet("corp", "web").ip("203.0.113.7");
    let corp = |endpoint, group, dc: &[&str]| {
        let subnets = vec![
            subnet("web", endpoint, SubnetMembers::Pods(group)),
            subnet("dc", true, prefixes(dc)),
        ];
        Network(network("corp", subnets))
    };
    let app = |app| pods(Some("team=shop"), app);
    let script: Vec<(&str, Event, &[&str])> = vec![
        // before there is a policy
        ("first namespace", opted("shop"), &[]),
        ("first pod", Pod("shop", "web", "app=web", "10.1.1.1"), &[]),
        // policies
        ("new", Policy(web()), &["red"]),
        ("the same again", Policy(web()), &[]),
        ("another vault", Policy(all()), &["green"]),
        (
            "names a network that is missing",
            Policy(by_subnet()),
            &["blue"],
        ),
        // networks
        (
            "network created",
            corp(true, app("app=web"), &["10.20.0.0/16"]),
            &["blue"],
        ),
        (
            "the same again",
            corp(true, app("app=web"), &["10.20.0.0/16"]),
            &[],
        ),
        (
            "a subnet that no rule names",
            corp(true, app("app=web"), &["10.21.0.0/16"]),
            &[],
        ),
        (
            "its endpoint is closed",
            corp(false, app("app=web"), &["10.21.0.0/16"]),
            &["blue"],
        ),
        (
            "and opened",
            corp(true, app("app=api"), &["10.21.0.0/16"]),
            &["blue"],
        ),
        ("another network", Network(network("other", vec![])), &[]),
        // pods
        (
            "the same again",
            Pod("shop", "web", "app=web", "10.1.1.1"),
            &[],
        ),
        (
            "in one group",
            Pod("shop", "db", "app=db", "10.1.1.2"),
            &["green"],
        ),
        (
            "joins another",
            Pod("shop", "db", "app=web", "10.1.1.2"),
            &["red"],
        ),
        (
            "a label that no selector uses",
            Pod("shop", "db", "app=web,x=y", "10.1.1.2"),
            &[],
        ),
        (
            "another address",
            Pod("shop", "db", "app=web", "10.1.1.3"),
            &["green", "red"],
        ),
        ("leaves", PodDeleted("shop", "db"), &["green", "red"]),
        ("again", PodDeleted("shop", "db"), &[]),
        (
            "finished",
            Pod("shop", "web", "app=web", ""),
            &["green", "red"],
        ),
        (
            "runs",
            Pod("shop", "web", "app=web", "10.1.1.1"),
            &["green", "red"],
        ),
        (
            "in no namespace that is known",
            Pod("dark", "web", "app=web", "10.1.4.1"),
            &[],
        ),
        ("not opted in", Namespace("dark", "team=shop"), &[]),
        (
            "a pod of the subnet alone",
            Pod("dark", "api", "app=api", "10.1.4.2"),
            &["blue"],
        ),
        // namespaces
        (
            "opts in",
            Namespace("dark", "team=shop,vaultwall.dev/service-endpoint=enabled"),
            &["green", "red"],
        ),
        ("leaves the subnet", opted("dark"), &["blue"]),
        (
            "a label that no selector uses",
            Namespace("dark", "vaultwall.dev/service-endpoint=enabled,x=y"),
            &[],
        ),
        ("empty", opted("empty"), &[]),
        ("deleted", NamespaceDeleted("dark"), &["green", "red"]),
        ("again", NamespaceDeleted("dark"), &[]),
        // Services: the NetworkPolicies of a vault are made from its Service
        ("of a vault", Service("red", "vault", 8200), &["red"]),
        ("the same again", Service("red", "vault", 8200), &[]),
        ("another port", Service("red", "vault", 8300), &["red"]),
        ("of no vault", Service("red", "shop", 80), &[]),
        ("deleted", ServiceDeleted("red", "vault"), &["red"]),
        // deletions
        ("network deleted", NetworkDeleted("corp"), &["blue"]),
        ("again", NetworkDeleted("corp"), &[]),
        ("policy deleted", PolicyDeleted("red", "web"), &["red"]),
        ("again", PolicyDeleted("red", "web"), &[]),
        (
            "its group is removed with it",
            Pod("shop", "web", "app=api", "10.1.1.1"),
            &[],
        ),
    ];
    follow(&mut Index::default(), script);
}

#[test]
fn a_policy_with_another_target_changes_both_vaults() {
    let mut index = Index::default();
    Event::Policy(policy("p", 1).ip("203.0.113.7")).apply_to(&mut index);
    index.take_changed();
    Event::Policy(policy("p", 1).with(|p| p.vault.service = "other".into())).apply_to(&mut index);
    let touched: Vec<String> = index
        .take_changed()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(touched, ["vault/openbao", "vault/other"]);
    assert_eq!(index.resolve(&vault()), None);
    assert_eq!(index.vaults().count(), 1);
}

/// Addresses that the firewall of `vault/openbao` allows.
fn allowed(index: &mut Index) -> Vec<String> {
    let resolution = index.resolve(&vault()).unwrap().resolution;
    let firewall = &resolution.firewall;
    let both = lines(&firewall.virtual_networks)
        .into_iter()
        .chain(lines(&firewall.ip_rules));
    both.map(|line| line.split(' ').next().unwrap().to_owned())
        .collect()
}

#[test]
fn an_address_of_two_pods_is_allowed_only_if_both_pods_are() {
    use Event::{Pod, PodDeleted, Policy};
    let mut index = Index::default();
    opted("shop").apply_to(&mut index);
    opted("blog").apply_to(&mut index);
    Policy(policy("p", 1).inline(pods(Some(""), "app=web"))).apply_to(&mut index);
    // event | whether 10.1.1.1 is allowed afterwards | whether the vault is reported
    let script = [
        (Pod("shop", "old", "app=web", "10.1.1.1"), true, true),
        // another pod has the address before the deletion of the first arrives
        (Pod("blog", "new", "app=db", "10.1.1.1"), false, true),
        (PodDeleted("shop", "old"), false, true),
        (Pod("blog", "new", "app=web", "10.1.1.1"), true, true),
        (Pod("shop", "third", "app=web", "10.1.1.1"), true, false),
        (Pod("shop", "third", "app=db", "10.1.1.1"), false, true),
        (Pod("shop", "third", "app=db", ""), true, true),
        (Pod("blog", "new", "app=db", "10.1.1.1"), false, true),
    ];
    for (event, expected, reported) in script {
        let words = format!("{event:?}");
        index.take_changed();
        event.apply_to(&mut index);
        assert_eq!(!index.take_changed().is_empty(), reported, "{words}");
        assert_eq!(allowed(&mut index) == ["10.1.1.1"], expected, "{words}");
    }
}

#[test]
fn without_an_accepted_policy_the_last_accepted_one_stays_in_force() {
    use Event::{InvalidPolicy, Network, Pod, PodDeleted, Policy, PolicyDeleted};
    let mut index = Index::new(Limits {
        virtual_network_rules: 2,
        ip_rules: 2,
        ..Limits::default()
    });
    let ips = |name: &str, list: &[&str]| {
        list.iter()
            .fold(policy(name, 1), |policy, ip| policy.ip(ip))
    };
    let dc = |list: &[&str]| Network(network("corp", vec![subnet("dc", true, prefixes(list))]));
    let closed =
        |list: &[&str]| Network(network("corp", vec![subnet("dc", false, prefixes(list))]));
    let by_all = || {
        let inline = NetworkRuleSource::Pods(pods(Some("team=shop"), ""));
        policy("p", 1).rule(inline, true).subnet("corp", "dc")
    };
    let too_many = || {
        by_all()
            .ip("203.0.113.1")
            .ip("203.0.113.2")
            .ip("203.0.113.3")
    };
    // event | allowed | whether the firewall is an earlier one
    let script: Vec<(Event, &[&str], bool)> = vec![
        // never valid: closed
        (InvalidPolicy("p"), &[], false),
        // valid by itself, refused for the vault: closed, because no policy was accepted before
        (
            Policy(ips("p", &["203.0.113.1", "203.0.113.2", "203.0.113.3"])),
            &[],
            false,
        ),
        (Policy(ips("p", &["203.0.113.1"])), &["203.0.113.1"], false),
        // the last valid form of an object that is now invalid
        (InvalidPolicy("p"), &["203.0.113.1"], false),
        // the last accepted form of an object that is now refused
        (
            Policy(ips("p", &["203.0.113.1", "203.0.113.2", "203.0.113.3"])),
            &["203.0.113.1"],
            true,
        ),
        (Policy(ips("p", &["203.0.113.2"])), &["203.0.113.2"], false),
        // the policy is kept and not its addresses: pods are still added and removed
        (
            Event::Namespace("shop", "team=shop"),
            &["203.0.113.2"],
            false,
        ),
        (Pod("shop", "web", "", "10.1.1.1"), &["203.0.113.2"], false),
        (
            dc(&["10.20.0.0/24", "10.21.0.0/24"]),
            &["203.0.113.2"],
            false,
        ),
        (
            Policy(by_all()),
            &["10.1.1.1", "10.20.0.0/24", "10.21.0.0/24"],
            false,
        ),
        (
            Policy(too_many()),
            &["10.1.1.1", "10.20.0.0/24", "10.21.0.0/24"],
            true,
        ),
        (
            Pod("shop", "api", "", "10.1.1.2"),
            &["10.1.1.1", "10.1.1.2", "10.20.0.0/24", "10.21.0.0/24"],
            true,
        ),
        (
            PodDeleted("shop", "web"),
            &["10.1.1.2", "10.20.0.0/24", "10.21.0.0/24"],
            true,
        ),
        // a subnet that grew does not open more, one that shrank or closed is not kept open
        (
            dc(&["10.20.0.0/16", "10.21.0.0/24"]),
            &["10.1.1.2", "10.20.0.0/24", "10.21.0.0/24"],
            true,
        ),
        (dc(&["10.20.0.0/16"]), &["10.1.1.2", "10.20.0.0/24"], true),
        (closed(&["10.20.0.0/16"]), &["10.1.1.2"], true),
        (dc(&["10.20.0.0/16"]), &["10.1.1.2", "10.20.0.0/24"], true),
        // a deleted policy allows no client
        (
            Policy(ips("other", &["203.0.113.4", "203.0.113.5", "203.0.113.6"])),
            &["10.1.1.2", "10.20.0.0/24"],
            true,
        ),
        (PolicyDeleted("vault", "p"), &[], false),
    ];
    for (event, expected, kept) in script {
        let words = format!("{event:?}");
        event.apply_to(&mut index);
        assert_eq!(allowed(&mut index), expected, "{words}");
        let resolved = index.resolve(&vault()).unwrap();
        assert_eq!(resolved.kept, kept, "{words}");
        if expected.is_empty() {
            assert_eq!(
                resolved.resolution.firewall,
                Firewall::deny_all(vault(), 8200),
                "{words}"
            );
        }
    }
    PolicyDeleted("vault", "other").apply_to(&mut index);
    assert_eq!(index.resolve(&vault()), None);
}

/// A mistake in a rule must not remove proxies or a load balancer.
#[test]
fn without_an_accepted_policy_the_proxies_keep_their_settings() {
    let mut index = Index::new(Limits {
        virtual_network_rules: 1,
        ip_rules: 1,
        ..Limits::default()
    });
    let three = || policy("p", 1).with(|p| p.proxy.replicas = Some(3));
    let replicas = |index: &mut Index, policy: ValidatedPolicy| {
        Event::Policy(policy).apply_to(index);
        index.resolve(&vault()).unwrap().resolution.proxy.replicas()
    };
    assert_eq!(replicas(&mut index, three()), 3);
    let refused = three().with(|p| p.proxy.replicas = None);
    let refused = refused.ip("203.0.113.1").ip("203.0.113.2");
    assert_eq!(replicas(&mut index, refused), 3);
    assert_eq!(replicas(&mut index, policy("p", 1)), 2);
}

#[test]
fn an_invalid_policy_next_to_a_valid_one_sets_the_default_action_to_deny() {
    let mut index = Index::default();
    let open = policy("open", 1).with(|policy| policy.default_action = DefaultAction::Allow);
    Event::Policy(open).apply_to(&mut index);
    let default_action = |index: &mut Index| {
        index
            .resolve(&vault())
            .unwrap()
            .resolution
            .firewall
            .default_action
    };
    assert_eq!(default_action(&mut index), DefaultAction::Allow);
    Event::InvalidPolicy("broken").apply_to(&mut index);
    assert_eq!(index.take_changed().len(), 1);
    assert_eq!(default_action(&mut index), DefaultAction::Deny);
    Event::InvalidPolicy("broken").apply_to(&mut index);
    assert!(index.take_changed().is_empty());
    Event::PolicyDeleted("vault", "broken").apply_to(&mut index);
    assert_eq!(default_action(&mut index), DefaultAction::Allow);
}

/// Its probes and its error format must be those of the vault's API.
#[test]
fn a_vault_without_an_accepted_policy_has_the_api_of_all_its_policies() {
    let mut index = Index::default();
    let mut apply = |name: &str, api| {
        index.apply(ObservedPolicy::Invalid(InvalidPolicy {
            name: name.into(),
            vault: vault(),
            port: 443,
            api,
        }));
        index.resolve(&vault()).unwrap().resolution.firewall.api
    };
    let (azure, openbao) = (VaultApi::AzureKeyVault, VaultApi::OpenBao);
    assert_eq!(apply("one", azure), azure);
    assert_eq!(apply("two", azure), azure);
    assert_eq!(apply("one", openbao), openbao);
    assert_eq!(apply("one", azure), azure);
}

#[test]
fn facts_can_be_looked_up() {
    let mut index = Index::default();
    Event::Namespace("shop", "team=shop").apply_to(&mut index);
    Event::Pod("shop", "web", "app=web", "10.1.1.1").apply_to(&mut index);
    Event::Pod("shop", "job", "app=job", "").apply_to(&mut index);
    Event::Service("red", "vault", 8200).apply_to(&mut index);
    let id = |name: &str| ObjectName {
        namespace: "shop".into(),
        name: name.into(),
    };
    let account = ServiceAccountFact {
        namespace: "shop".into(),
        name: "shopper".into(),
        uid: Some("1".into()),
    };
    index.apply(account);

    assert_eq!(index.namespace("shop").unwrap()["team"], "shop");
    assert_eq!(index.namespace("blog"), None);
    assert_eq!(index.pod(&id("web")).unwrap().labels, labels("app=web"));
    assert_eq!(
        (index.pod(&id("job")), index.not_counted(&id("web"))),
        (None, None)
    );
    assert_eq!(index.not_counted(&id("job")), Some(&NotCounted::NoAddress));
    let at = |address: &str| {
        index
            .pods_at(address.parse().unwrap())
            .map(PodFact::id)
            .collect::<Vec<_>>()
    };
    assert_eq!((at("10.1.1.1"), at("10.1.1.2")), (vec![id("web")], vec![]));
    let red = VaultId {
        namespace: "red".into(),
        service: "vault".into(),
    };
    assert_eq!(index.service(&red).unwrap().ports[0].port, 8200);
    let existing = index.existing(&id("shopper")).unwrap();
    assert_eq!(existing.uid.as_deref(), Some("1"));
    index.delete(&Key::new(Kind::ServiceAccount, id("shopper")));
    assert!(index.existing(&id("shopper")).is_none());
    index.delete(&Key::new(Kind::Pod, id("job")));
    assert_eq!(index.not_counted(&id("job")), None);
}
