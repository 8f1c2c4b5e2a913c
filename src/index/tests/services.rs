//! State of trusted services, and the events after which the index reports one as changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::index::*;
use crate::limits::Limits;
use crate::policy::fixtures::{Build as _, labels, policy, vault};
use crate::policy::{
    BypassSettings, ClusterIssuer, FailedFetch, FederatedIdentity, IssuerKeys, KeySource, ServiceIdentity,
    ValidatedScenario, ValidatedTrustedService,
};

fn id(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn account(text: &str) -> ServiceIdentity {
    ServiceIdentity::ServiceAccount(id(text))
}

fn registered(name: &str) -> ServiceIdentity {
    ServiceIdentity::RegisteredResource(name.into())
}

fn federated(subject: &str) -> ServiceIdentity {
    ServiceIdentity::FederatedCredential(FederatedIdentity {
        issuer: "https://tokens.example.com".into(),
        subject: subject.into(),
        audiences: ["vault".to_owned()].into(),
        keys: KeySource::Url("https://tokens.example.com/keys".into()),
    })
}

fn service(name: &str, identities: impl IntoIterator<Item = ServiceIdentity>) -> ValidatedTrustedService {
    ValidatedTrustedService {
        name: name.into(),
        scenarios: vec![ValidatedScenario {
            name: "read".into(),
            operations: ["secrets/get".to_owned()].into(),
        }],
        identities: identities.into_iter().collect(),
    }
}

fn namespace(name: &str, text: &str, terminating: bool) -> NamespaceFact {
    NamespaceFact {
        name: name.into(),
        labels: labels(text),
        terminating,
    }
}

fn service_account(text: &str) -> ServiceAccountFact {
    let ObjectName { namespace, name } = id(text);
    ServiceAccountFact {
        namespace,
        name,
        uid: None,
    }
}

fn pod(namespace: &str, name: &str, account: &str, address: &str) -> ObservedPod {
    ObservedPod::Counted(PodFact {
        namespace: namespace.into(),
        name: name.into(),
        uid: None,
        labels: Labels::new(),
        service_account: account.into(),
        addresses: vec![address.parse().unwrap()],
    })
}

fn with_bypass(name: &str, names: Option<&[&str]>) -> crate::policy::ValidatedPolicy {
    let names = names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    policy(name, 1).with(|policy| policy.bypass = Some(BypassSettings { names }))
}

fn problems(index: &Index, service: &str) -> Vec<Option<IdentityProblem>> {
    let observed = index.observe_service(service).unwrap();
    let identities = observed.identities.into_iter();
    identities.map(|identity| identity.problem).collect()
}

#[test]
fn a_missing_namespace_or_account_is_a_problem_until_it_exists() {
    let mut index = Index::new(Limits::default());
    index.apply(service("sql", [account("db/tde")]));
    assert_eq!(problems(&index, "sql"), [Some(IdentityProblem::NamespaceNotFound)]);
    index.apply(namespace("db", "", false));
    assert_eq!(problems(&index, "sql"), [Some(IdentityProblem::ServiceAccountNotFound)]);
    index.apply(service_account("db/tde"));
    assert_eq!(problems(&index, "sql"), [None]);
    index.apply(namespace("db", "", true));
    assert_eq!(problems(&index, "sql"), [Some(IdentityProblem::NamespaceTerminating)]);
    index.delete(&Key::new(Kind::Namespace, ObjectName::cluster_scoped("db")));
    assert_eq!(problems(&index, "sql"), [Some(IdentityProblem::NamespaceNotFound)]);
    assert_eq!(index.observe_service("other"), None);
}

#[test]
fn pods_are_counted_once_however_many_identities_they_have() {
    let mut index = Index::new(Limits::default());
    let subscription = "vaultwall.dev/subscription=one";
    index.apply(namespace("db", subscription, false));
    index.apply(namespace("web", subscription, false));
    index.apply(namespace("other", "", false));
    for text in ["db/tde", "web/tde", "other/tde"] {
        index.apply(service_account(text));
    }
    index.apply(service("sql", [account("db/tde"), registered("tde")]));
    index.apply(pod("db", "one", "tde", "10.0.0.1"));
    index.apply(pod("db", "two", "tde", "10.0.0.2"));
    index.apply(pod("db", "three", "default", "10.0.0.3"));
    index.apply(pod("web", "four", "tde", "10.0.0.4"));
    index.apply(pod("other", "five", "tde", "10.0.0.5"));
    let observed = index.observe_service("sql").unwrap();
    assert_eq!((observed.scenarios, observed.pods), (1, 3));
    let accounts: Vec<ObservedAccounts> = observed
        .identities
        .into_iter()
        .map(|identity| identity.accounts.unwrap())
        .collect();
    let namespaces = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        accounts,
        [
            ObservedAccounts { existing: 1, pods: 2, namespaces: namespaces(&["db"]) },
            ObservedAccounts { existing: 2, pods: 3, namespaces: namespaces(&["db", "web"]) },
        ]
    );
}

#[test]
fn a_registered_resource_needs_a_subscription() {
    let mut index = Index::new(Limits::default());
    index.apply(service("backup", [registered("agent")]));
    assert_eq!(problems(&index, "backup"), [Some(IdentityProblem::ServiceAccountNotFound)]);
    index.apply(namespace("shop", "", false));
    index.apply(service_account("shop/agent"));
    let without = IdentityProblem::NoSubscription(["shop".to_owned()].into());
    assert_eq!(problems(&index, "backup"), [Some(without)]);
    index.apply(namespace("shop", "vaultwall.dev/subscription=one", false));
    assert_eq!(problems(&index, "backup"), [None]);
}

#[test]
fn services_with_the_same_identity_are_named() {
    let mut index = Index::new(Limits::default());
    index.apply(namespace("db", "", false));
    index.apply(service_account("db/tde"));
    index.apply(service("one", [account("db/tde")]));
    index.apply(service("two", [account("db/tde"), federated("a")]));
    index.apply(service("three", [registered("tde"), federated("b")]));
    let shared = |names: &[&str]| {
        let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Some(IdentityProblem::SharedByServices(names))
    };
    assert_eq!(problems(&index, "one"), [shared(&["two"])]);
    assert_eq!(problems(&index, "two"), [shared(&["one"]), None]);
    index.apply(namespace("db", "vaultwall.dev/subscription=one", false));
    assert_eq!(problems(&index, "one"), [shared(&["three", "two"])]);
    assert_eq!(problems(&index, "three"), [shared(&["one", "two"]), None]);
    index.apply(service("three", [federated("a")]));
    assert_eq!(problems(&index, "two"), [shared(&["one"]), shared(&["three"])]);
}

#[test]
fn an_issuer_with_other_keys_in_another_service_is_named() {
    let mut index = Index::new(Limits::default());
    let mut other = service("other", [federated("b")]);
    if let ServiceIdentity::FederatedCredential(credential) = &mut other.identities[0] {
        credential.keys = KeySource::Inline("{}".into());
    }
    index.apply(service("deploy", [federated("a"), account("db/tde")]));
    index.apply(other);
    index.apply(service("same", [federated("c")]));
    let differ = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Some(IdentityProblem::KeysDiffer(names))
    };
    assert_eq!(problems(&index, "deploy")[0], differ(&["other"]));
    assert_eq!(problems(&index, "other"), [differ(&["deploy", "same"])]);
}

#[test]
fn keys_are_missed_only_if_a_policy_needs_them() {
    let mut index = Index::new(Limits::default());
    index.apply(service("deploy", [federated("a")]));
    assert_eq!(problems(&index, "deploy"), [None]);
    index.apply(with_bypass("main", None));
    let url = "https://tokens.example.com/keys".to_owned();
    assert_eq!(problems(&index, "deploy"), [Some(IdentityProblem::KeysNotFetched(url.clone(), None))]);
    index.take_changed_services();
    index.set_keys(IssuerKeys {
        cluster: ClusterIssuer::None,
        urls: [(url.clone(), Arc::from("{}"))].into(),
        failed: BTreeMap::new(),
    });
    assert_eq!(index.take_changed_services(), ["deploy".to_owned()].into());
    let observed = index.observe_service("deploy").unwrap();
    assert_eq!(observed.identities[0].problem, None);
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(observed.identities[0].keys.as_deref(), Some(digest));

    // A failed fetch concerns the service, and no vault.
    let failed = FailedFetch { since: "2026-05-01T00:00:00Z".into(), error: "it answers 503".into() };
    let known = index.keys.clone();
    index.take_changed();
    index.set_keys(IssuerKeys { failed: [(url.clone(), failed.clone())].into(), ..known });
    assert_eq!((index.take_changed_services().len(), index.take_changed().len()), (1, 0));
    let expected = IdentityProblem::KeysNotConfirmed(url.clone(), failed.clone());
    assert_eq!(problems(&index, "deploy"), [Some(expected)]);
    index.set_keys(IssuerKeys { failed: [(url.clone(), failed.clone())].into(), ..IssuerKeys::default() });
    assert_eq!(problems(&index, "deploy"), [Some(IdentityProblem::KeysNotFetched(url, Some(failed)))]);
}

#[test]
fn a_credential_of_this_clusters_issuer_is_a_problem() {
    let mut index = Index::new(Limits::default());
    index.apply(service("deploy", [federated("a")]));
    index.take_changed_services();
    for (issuer, expected) in [
        ("https://other.example", None),
        ("https://tokens.example.com", Some(IdentityProblem::OwnIssuer)),
    ] {
        let cluster = ClusterIssuer::WithoutKeys(issuer.into());
        index.set_keys(IssuerKeys { cluster, ..IssuerKeys::default() });
        assert_eq!(index.take_changed_services().len(), 1, "{issuer}");
        assert_eq!(problems(&index, "deploy"), [expected], "{issuer}");
    }
}

/// A change, and the services that it concerns.
type Step<'s> = (&'s str, Box<dyn Fn(&mut Index)>, &'s [&'s str]);

#[test]
fn an_event_reports_the_services_that_it_changes_and_no_other() {
    let mut index = Index::new(Limits::default());
    index.apply(namespace("db", "", false));
    index.apply(namespace("web", "", false));
    index.apply(service("sql", [account("db/tde")]));
    index.apply(service("backup", [account("web/agent")]));
    index.take_changed_services();
    let pod_key = |namespace: &str, name: &str| {
        let name = name.into();
        Key::new(Kind::Pod, ObjectName { namespace: namespace.into(), name })
    };
    let all = &["backup", "sql"][..];
    let steps: Vec<Step<'_>> = vec![
        ("an account", Box::new(|index| index.apply(service_account("db/tde"))), &["sql"]),
        ("again", Box::new(|index| index.apply(service_account("db/tde"))), &[]),
        ("no identity", Box::new(|index| index.apply(service_account("db/other"))), &[]),
        ("a pod", Box::new(|index| index.apply(pod("web", "p", "agent", "10.0.0.1"))), &["backup"]),
        ("its address", Box::new(|index| index.apply(pod("web", "p", "agent", "10.0.0.2"))), &[]),
        ("another's pod", Box::new(|index| index.apply(pod("web", "q", "default", "10.0.0.3"))), &[]),
        ("its end", Box::new(move |index| index.delete(&pod_key("web", "p"))), &["backup"]),
        ("labels", Box::new(|index| index.apply(namespace("db", "a=b", false))), &[]),
        ("a deletion", Box::new(|index| index.apply(namespace("db", "a=b", true))), all),
        ("a policy", Box::new(|index| index.apply(with_bypass("main", Some(&["sql"])))), &["sql"]),
        ("its rules", Box::new(|index| index.apply(with_bypass("main", Some(&["sql"])).ip("203.0.113.7"))), &[]),
        ("its bypass", Box::new(|index| index.apply(with_bypass("main", None))), all),
        ("no bypass", Box::new(|index| index.apply(policy("other", 1))), &[]),
    ];
    for (what, apply, expected) in steps {
        apply(&mut index);
        let changed = index.take_changed_services();
        assert!(changed.iter().eq(expected), "{what}: {changed:?}");
    }
    let observed = index.observe_service("sql").unwrap();
    assert_eq!(observed.policies, [ObjectName { namespace: vault().namespace, name: "main".into() }]);
}
