//! Identities by token: which issuer is this cluster's, and which account and pods are meant.

use std::sync::Arc;

use super::*;
use crate::api::Proof;
use crate::limits::MAX_TRUSTED_PODS;
use crate::policy::token::{Claims, TokenProblem, TokenProof, TokenRules, audience, subject};
use crate::policy::{
    ClusterIssuer, ClusterKeys, FederatedIdentity, IssuerKeys, KeySource, ProxySource,
    ServiceIdentity,
};

const CLUSTER: &str = "https://kubernetes.default.svc";

fn keys() -> Arc<str> {
    "{}".into()
}

fn known() -> ClusterIssuer {
    ClusterIssuer::Known(ClusterKeys {
        issuer: CLUSTER.into(),
        jwks: keys(),
    })
}

fn id(text: &str) -> ObjectName {
    text.parse().unwrap()
}

fn account(uid: &str) -> ServiceAccountFact {
    ServiceAccountFact {
        namespace: "shop".into(),
        name: "agent".into(),
        uid: Some(uid.into()),
    }
}

/// A policy whose operators have one identity.
fn operated_by(identity: ServiceIdentity, proof: Proof) -> ValidatedPolicy {
    policy("main", 1).with(|policy| {
        policy.proof = proof;
        policy.operators = vec![identity];
    })
}

fn by_agent(proof: Proof) -> ValidatedPolicy {
    operated_by(ServiceIdentity::ServiceAccount(id("shop/agent")), proof)
}

fn set_cluster(index: &mut Index, cluster: ClusterIssuer) {
    index.set_keys(IssuerKeys {
        cluster,
        ..IssuerKeys::default()
    });
}

fn firewall(index: &mut Index) -> Firewall {
    index.resolve(&vault()).unwrap().resolution.firewall
}

fn rules(index: &mut Index) -> TokenRules {
    firewall(index).tokens.unwrap()
}

/// A credential for the tokens of this cluster would pass the checks of its accounts: that one exists, and that the
/// token is for this vault.
#[test]
fn a_credential_with_the_issuer_of_this_cluster_proves_nothing() {
    let account = subject(&id("shop/agent"));
    let other = "https://other.example";
    let expired = || ClusterIssuer::WithoutKeys(CLUSTER.into());
    for (cluster, issuer, subject, counts) in [
        (known(), CLUSTER, &*account, false),
        (known(), CLUSTER, "repo:app", false),
        (known(), other, &*account, true),
        (expired(), CLUSTER, &*account, false),
        (expired(), other, &*account, true),
        (ClusterIssuer::Unknown, CLUSTER, &*account, false),
        (ClusterIssuer::Unknown, other, &*account, false),
        (ClusterIssuer::Unknown, other, "repo:app", true),
        (ClusterIssuer::None, CLUSTER, &*account, true),
    ] {
        let case = format!("{cluster:?}: {subject} of {issuer}");
        let mut index = Index::default();
        set_cluster(&mut index, cluster);
        let credential = FederatedIdentity {
            issuer: issuer.into(),
            subject: subject.into(),
            audiences: ["vault".to_owned()].into(),
            keys: KeySource::Inline(keys()),
        };
        let identity = ServiceIdentity::FederatedCredential(credential);
        index.apply(operated_by(identity, Proof::Pod));
        let resolution = index.resolve(&vault()).unwrap().resolution;
        let found = resolution.firewall.tokens.unwrap().identities;
        assert_eq!(!found.is_empty(), counts, "{case}");
        assert_eq!(resolution.warnings.is_empty(), counts, "{case}");
    }
}

#[test]
fn only_a_token_of_the_account_that_exists_proves_it() {
    let mut index = Index::default();
    set_cluster(&mut index, known());
    index.apply(by_agent(Proof::Token));
    let claims = |uid: Option<&str>| {
        TokenProof::Verified(Claims {
            iss: CLUSTER.into(),
            sub: subject(&id("shop/agent")),
            aud: vec![audience(&vault())],
            iat: Some(0),
            exp: Some(600),
            account_uid: uid.map(str::to_owned),
            pod_uid: None,
        })
    };
    let mut problem = |change: &dyn Fn(&mut Index), uid| {
        change(&mut index);
        assert_eq!(index.take_changed(), [vault()].into());
        let found = rules(&mut index);
        found
            .identify("10.0.0.1".parse().unwrap(), &claims(uid))
            .problem
    };
    let create = |uid| move |index: &mut Index| index.apply(account(uid));
    let delete = |index: &mut Index| {
        index.delete(&Key::new(Kind::ServiceAccount, id("shop/agent")));
    };
    assert_eq!(problem(&create("a"), Some("a")), None);
    assert_eq!(
        problem(&create("b"), Some("a")),
        Some(TokenProblem::Account)
    );
    assert_eq!(problem(&create("a"), None), Some(TokenProblem::Account));
    assert_eq!(problem(&delete, Some("a")), Some(TokenProblem::Subject));
    assert_eq!(problem(&create("c"), Some("c")), None);
}

/// Of too many pods, none is trusted as a proxy; each of them still sends the requests of others.
#[test]
fn a_pod_that_is_listed_as_a_proxy_proves_nothing_however_many_there_are() {
    for (proof, count) in [
        (Proof::Pod, 1),
        (Proof::Pod, MAX_TRUSTED_PODS + 1),
        (Proof::PodAndToken, 1),
        (Proof::PodAndToken, MAX_TRUSTED_PODS + 1),
    ] {
        let mut index = Index::default();
        set_cluster(&mut index, known());
        index.apply(account("a"));
        Event::Namespace("shop", "").apply_to(&mut index);
        let mut add = |number: usize, labels: Labels| {
            index.apply(ObservedPod::Counted(PodFact {
                namespace: "shop".into(),
                name: format!("pod-{number}"),
                uid: Some(number.to_string()),
                labels,
                service_account: "agent".into(),
                addresses: vec![(0x0a01_0000 + u32::try_from(number).unwrap()).into()],
            }));
        };
        for number in 1..=count {
            add(number, labels("app=proxy"));
        }
        add(0, Labels::new());
        let everywhere = pods(Some(""), "app=proxy");
        index.apply(by_agent(proof).behind(ProxySource::Pods(everywhere)));
        let firewall = firewall(&mut index);
        let trusted = firewall.client_address.trusted_proxies().unwrap();
        assert_eq!(trusted.pods.len(), count % (MAX_TRUSTED_PODS + 1));
        let by_pod = firewall.grants.pods.into_keys();
        let by_both = firewall.tokens.into_iter();
        let by_both = by_both.flat_map(|rules| rules.pods.into_keys());
        let proven: Vec<_> = by_pod.chain(by_both).collect();
        assert_eq!(
            proven,
            [std::net::Ipv4Addr::new(10, 1, 0, 0)],
            "{proof:?}, {count}"
        );
    }
}
