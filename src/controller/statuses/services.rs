//! Desired status of a `TrustedService`. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::StatusOnly;
use super::conditions::{Verdict, conditions};
use super::state::Stored;
use crate::api::{
    IdentityStatus, MESSAGE_LENGTH, SERVICE_CONDITIONS, SUBSCRIPTION_LABEL, TrustedService,
    TrustedServiceStatus,
};
use crate::controller::debounce::Urgency;
use crate::index::{IdentityProblem, ObservedIdentity, ObservedService};
use crate::policy::FailedFetch;
use crate::runtime::operations::metrics::number;
use crate::runtime::status::conditions::normalize;
use crate::runtime::status::text;

/// Most policies that a status names.
const POLICIES: usize = 32;
/// Most namespaces of an identity's pods that a status names.
const NAMESPACES: usize = 16;
/// Longest message about an identity, in characters.
const IDENTITY_MESSAGE: usize = 1024;
/// Most names in a message.
const NAMES: usize = 8;

/// The kind `TrustedService`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services;

impl StatusOnly for Services {
    type Resource = TrustedService;
    type Status = TrustedServiceStatus;
    type Facts = ObservedService;
    const METRIC: &'static str = "TrustedService/status";
    const SHORT_NAME: &'static str = "ts";

    fn status_of(service: &Stored<Self>, now: Timestamp) -> TrustedServiceStatus {
        let stored = service.status.as_ref();
        let stored = stored.map_or(&[][..], |status| &status.conditions);
        let generation = service.generation;
        let verdicts = match &service.read {
            Ok(observed) => [Verdict::accepted(generation), ready(observed)],
            Err(violations) => {
                let instead = if service.has_earlier {
                    "its last valid generation stays in force"
                } else {
                    "it lets nobody in"
                };
                let verdict = Verdict::invalid(generation, violations, instead);
                [verdict.clone(), verdict]
            }
        };
        let own: Vec<_> = SERVICE_CONDITIONS.into_iter().zip(verdicts).collect();
        let conditions = conditions(&own, stored, generation, now);
        let status = TrustedServiceStatus {
            observed_generation: Some(generation),
            conditions,
            ..TrustedServiceStatus::default()
        };
        match &service.read {
            Ok(observed) => with_facts(status, observed),
            Err(_) => status,
        }
    }

    fn urgency(stored: Option<&TrustedServiceStatus>, desired: &TrustedServiceStatus) -> Urgency {
        let normalized = |status: &TrustedServiceStatus| {
            let mut status = status.clone();
            normalize(&mut status.conditions);
            status
        };
        let Some(stored) = stored.map(normalized) else {
            return Urgency::Now;
        };
        let desired = normalized(desired);
        if stored == desired {
            Urgency::None
        } else if without_counts(&stored) == without_counts(&desired) {
            Urgency::Counting
        } else if stored.observed_generation == desired.observed_generation {
            Urgency::Settling
        } else {
            Urgency::Now
        }
    }
}

/// The status without everything that changes with pods and policies.
fn without_counts(status: &TrustedServiceStatus) -> TrustedServiceStatus {
    let mut status = status.clone();
    status.pods = None;
    status.policies.clear();
    status.policy_count = None;
    for identity in &mut status.identities {
        identity.pods = None;
        identity.namespaces.clear();
    }
    status
}

fn with_facts(status: TrustedServiceStatus, observed: &ObservedService) -> TrustedServiceStatus {
    let policies = observed.policies.iter().take(POLICIES);
    TrustedServiceStatus {
        scenarios: Some(number(observed.scenarios)),
        identity_count: Some(number(observed.identities.len())),
        pods: Some(number(observed.pods)),
        identities: observed.identities.iter().map(identity).collect(),
        policies: policies.map(ToString::to_string).collect(),
        policy_count: Some(number(observed.policies.len())),
        ..status
    }
}

fn identity(observed: &ObservedIdentity) -> IdentityStatus {
    let accounts = observed.accounts.as_ref();
    let namespaces = accounts
        .into_iter()
        .flat_map(|accounts| &accounts.namespaces);
    let problem = observed.problem.as_ref();
    IdentityStatus {
        identity: observed.identity.clone(),
        service_accounts: accounts.map(|accounts| number(accounts.existing)),
        pods: accounts.map(|accounts| number(accounts.pods)),
        namespaces: namespaces.take(NAMESPACES).cloned().collect(),
        keys: observed.keys.clone(),
        reason: problem.map(|problem| reason(problem).to_owned()),
        message: problem.map(|problem| text::shortened(&message(problem), IDENTITY_MESSAGE)),
    }
}

/// Whether every identity can be proven.
fn ready(observed: &ObservedService) -> Verdict {
    let problems: Vec<(&ObservedIdentity, &IdentityProblem)> = observed
        .identities
        .iter()
        .filter_map(|identity| Some((identity, identity.problem.as_ref()?)))
        .filter(|(_, problem)| problem.lets_nobody_in())
        .collect();
    if observed.identities.is_empty() {
        return Verdict {
            is_true: false,
            reason: "NoIdentities",
            message: "no identity is mapped to the service, so it lets nobody in; add the service's account to \
                      spec.identities, or to catalog.identities in the values of the chart that installed it"
                .to_owned(),
        };
    }
    match problems.first() {
        None => Verdict {
            is_true: true,
            reason: "Ready",
            message: "every identity can be proven".to_owned(),
        },
        Some((_, first)) => {
            let heading = format!(
                "{} of {} identities let nobody in:",
                problems.len(),
                observed.identities.len()
            );
            let lines = problems
                .iter()
                .map(|(identity, problem)| format!("{}: {}", identity.identity, message(problem)));
            Verdict {
                is_true: false,
                reason: reason(first),
                message: text::list(&heading, lines, MESSAGE_LENGTH),
            }
        }
    }
}

fn reason(problem: &IdentityProblem) -> &'static str {
    match problem {
        IdentityProblem::NamespaceNotFound => "NamespaceNotFound",
        IdentityProblem::NamespaceTerminating => "NamespaceTerminating",
        IdentityProblem::ServiceAccountNotFound => "ServiceAccountNotFound",
        IdentityProblem::NoSubscription(_) => "NoSubscription",
        IdentityProblem::KeysNotFetched(..) => "KeysNotFetched",
        IdentityProblem::KeysNotConfirmed(..) => "KeysNotConfirmed",
        IdentityProblem::KeysDiffer(_) => "KeysDiffer",
        IdentityProblem::OwnIssuer => "OwnIssuer",
        IdentityProblem::SharedByServices(_) => "SharedByServices",
    }
}

fn message(problem: &IdentityProblem) -> String {
    match problem {
        IdentityProblem::NamespaceNotFound => {
            "the namespace does not exist; create it, or correct the name".to_owned()
        }
        IdentityProblem::NamespaceTerminating => {
            "the namespace is being deleted; map an account of another namespace, or remove the identity".to_owned()
        }
        IdentityProblem::ServiceAccountNotFound => {
            "no such service account exists; create it, or correct the name. A registered resource also needs a \
             namespace with a subscription"
                .to_owned()
        }
        IdentityProblem::NoSubscription(namespaces) => format!(
            "its service accounts are in namespaces without a subscription ({}); ask the cluster's admin to run \
             `kubectl label namespace NAME {SUBSCRIPTION_LABEL}=SUBSCRIPTION`, with the subscription of the vault's \
             namespace",
            names(namespaces)
        ),
        IdentityProblem::KeysNotFetched(url, None) => format!(
            "the keys at {url} are not fetched yet; the operator does it within seconds"
        ),
        IdentityProblem::KeysNotFetched(url, Some(FailedFetch { since, error })) => format!(
            "the keys at {url} could not be fetched since {since}: {error}; check that the operator can connect to the \
             URL and that it serves a JSON Web Key Set"
        ),
        IdentityProblem::KeysNotConfirmed(url, FailedFetch { since, error }) => format!(
            "the keys at {url} could not be fetched since {since}: {error}; the last ones are used until \
             --keys-expire-after is over, so check that the operator can connect to the URL and that it serves a JSON \
             Web Key Set"
        ),
        IdentityProblem::KeysDiffer(services) => format!(
            "the issuer has other keys in {}, so no vault that lets in both accepts its tokens; write the same jwks or \
             jwksUri in all services",
            names(services)
        ),
        IdentityProblem::OwnIssuer => {
            "the issuer is this cluster's own, so the federated credential proves nothing; map the account in \
             serviceAccount instead"
                .to_owned()
        }
        IdentityProblem::SharedByServices(services) => format!(
            "is also an identity of {}: the caller may do what any of these services may; map another account, or \
             combine the services",
            names(services)
        ),
    }
}

/// Names for a message, at most some of them.
fn names(names: &BTreeSet<String>) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    shown.join(", ") + &more
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::index::{ObjectName, ObservedAccounts};
    use crate::policy::{Violation, ViolationReason};

    fn account(pods: usize, problem: Option<IdentityProblem>) -> ObservedIdentity {
        ObservedIdentity {
            identity: "serviceAccount sql/tde".into(),
            accounts: Some(ObservedAccounts {
                existing: 1,
                pods,
                namespaces: ["sql".to_owned()].into(),
            }),
            problem,
            ..ObservedIdentity::default()
        }
    }

    fn stored(identities: Vec<ObservedIdentity>) -> Stored<Services> {
        let pods = identities.iter().filter_map(|one| one.accounts.as_ref());
        Stored {
            uid: "1".into(),
            version: 7,
            generation: 3,
            status: None,
            has_earlier: true,
            read: Ok(ObservedService {
                scenarios: 1,
                pods: pods.map(|accounts| accounts.pods).sum(),
                identities,
                policies: vec!["vault/main".parse::<ObjectName>().unwrap()],
            }),
        }
    }

    fn status_of(stored: &Stored<Services>) -> TrustedServiceStatus {
        Services::status_of(stored, "2026-05-01T00:00:00Z".parse().unwrap())
    }

    fn shown(status: &TrustedServiceStatus) -> Vec<(&str, &str, &str)> {
        let conditions = status.conditions.iter();
        conditions
            .map(|found| (&*found.type_, &*found.status, &*found.reason))
            .collect()
    }

    #[test]
    fn a_service_that_can_be_proven_is_ready() {
        let status = status_of(&stored(vec![account(2, None)]));
        assert_eq!(
            shown(&status),
            [("Accepted", "True", "Accepted"), ("Ready", "True", "Ready")]
        );
        assert_eq!(
            (status.scenarios, status.identity_count, status.pods),
            (Some(1), Some(1), Some(2))
        );
        assert_eq!(
            (status.policies, status.policy_count),
            (vec!["vault/main".to_owned()], Some(1))
        );
        let identity = &status.identities[0];
        assert_eq!(
            (identity.service_accounts, identity.pods),
            (Some(1), Some(2))
        );
        assert_eq!(
            (&identity.namespaces[..], &identity.reason),
            (&["sql".to_owned()][..], &None)
        );
    }

    #[test]
    fn each_problem_has_a_reason_and_a_remedy() {
        let names = || ["a".to_owned(), "b".to_owned()].into();
        let failed = || FailedFetch {
            since: "2026-05-01T00:00:00Z".into(),
            error: "it answers 503".into(),
        };
        for (problem, reason, remedy) in [
            (
                IdentityProblem::NamespaceNotFound,
                "NamespaceNotFound",
                "create it",
            ),
            (
                IdentityProblem::NamespaceTerminating,
                "NamespaceTerminating",
                "map an account",
            ),
            (
                IdentityProblem::ServiceAccountNotFound,
                "ServiceAccountNotFound",
                "create it",
            ),
            (
                IdentityProblem::NoSubscription(names()),
                "NoSubscription",
                "(a, b); ask the cluster's admin",
            ),
            (
                IdentityProblem::KeysNotFetched("https://x".into(), None),
                "KeysNotFetched",
                "https://x are not fetched yet",
            ),
            (
                IdentityProblem::KeysNotFetched("https://x".into(), Some(failed())),
                "KeysNotFetched",
                "https://x could not be fetched since 2026-05-01T00:00:00Z: it answers 503; check",
            ),
            (
                IdentityProblem::OwnIssuer,
                "OwnIssuer",
                "in serviceAccount instead",
            ),
            (
                IdentityProblem::KeysDiffer(names()),
                "KeysDiffer",
                "other keys in a, b,",
            ),
        ] {
            let status = status_of(&stored(vec![account(0, None), account(0, Some(problem))]));
            assert_eq!(shown(&status)[1], ("Ready", "False", reason));
            let message = &status.conditions[1].message;
            assert!(
                message.starts_with("1 of 2 identities let nobody in:\nserviceAccount sql/tde: ")
            );
            let identity = &status.identities[1];
            assert_eq!(identity.reason.as_deref(), Some(reason));
            assert!(
                message.contains(remedy) && message.contains(identity.message.as_deref().unwrap())
            );
        }
        // These can be proven.
        for (problem, reason) in [
            (
                IdentityProblem::SharedByServices(names()),
                "SharedByServices",
            ),
            (
                IdentityProblem::KeysNotConfirmed("https://x".into(), failed()),
                "KeysNotConfirmed",
            ),
        ] {
            let status = status_of(&stored(vec![account(1, Some(problem))]));
            assert_eq!(shown(&status)[1], ("Ready", "True", "Ready"));
            assert_eq!(status.identities[0].reason.as_deref(), Some(reason));
        }
        let status = status_of(&stored(Vec::new()));
        assert_eq!(shown(&status)[1], ("Ready", "False", "NoIdentities"));
    }

    #[test]
    fn an_invalid_service_names_its_fields() {
        let mut service = stored(vec![account(1, None)]);
        let violation = Violation::new("spec.scenarios", ViolationReason::Required, "is empty");
        service.read = Err(vec![violation]);
        let status = status_of(&service);
        assert_eq!(
            shown(&status),
            [
                ("Accepted", "False", "Invalid"),
                ("Ready", "False", "Invalid")
            ]
        );
        assert_eq!(
            status.conditions[0].message,
            "generation 3 is rejected as a whole, and its last valid generation stays in force. Correct these \
             fields:\nspec.scenarios: is empty"
        );
        assert_eq!(
            (status.scenarios, status.pods, status.identities),
            (None, None, Vec::new())
        );
    }

    #[test]
    fn only_changes_that_matter_are_urgent() {
        let one = status_of(&stored(vec![account(1, None)]));
        let pods = status_of(&stored(vec![account(2, None)]));
        let missing = Some(IdentityProblem::ServiceAccountNotFound);
        let missing = status_of(&stored(vec![account(1, missing)]));
        let mut edited = stored(vec![account(1, None)]);
        edited.generation = 4;
        for (desired, urgency) in [
            (&one, Urgency::None),
            (&pods, Urgency::Counting),
            (&missing, Urgency::Settling),
            (&status_of(&edited), Urgency::Now),
        ] {
            assert_eq!(Services::urgency(Some(&one), desired), urgency);
        }
        assert_eq!(Services::urgency(None, &one), Urgency::Now);
    }
}
