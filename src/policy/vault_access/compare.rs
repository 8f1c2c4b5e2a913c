//! Comparison of the mapping with the vault's roles and policies.

use std::collections::{BTreeMap, BTreeSet};

use super::acl::{Rule, root};
use super::coverage::{Access, accesses};
use super::role::{Binding, Role};
use super::{Finding, Mapped, Severity, Subject, VaultAccess};
use crate::vault_api::{Operations, Plane, Table};

/// Policy that every token has unless its role excludes it. It is about the caller's own token.
const DEFAULT: &str = "default";
/// Policy that allows everything; it is built in.
const ROOT: &str = "root";

/// Returns all differences, the most serious first.
pub fn compare(
    mapped: &[Mapped],
    vault: &VaultAccess,
    table: &Table,
    namespace: Option<&str>,
) -> Vec<Finding> {
    let mut services: BTreeMap<&Subject, Vec<&Mapped>> = BTreeMap::new();
    for service in mapped {
        for subject in &service.subjects {
            services.entry(subject).or_default().push(service);
        }
    }
    let granted: Vec<(&Role, Granted)> = vault
        .roles
        .iter()
        .map(|role| (role, Granted::of(role, vault)))
        .collect();
    let mut found = BTreeSet::new();
    for (subject, services) in &services {
        let roles = granted.iter().filter(|(role, _)| role.accepts(subject));
        let roles: Vec<(&Role, Vec<Access<'_>>)> = roles
            .map(|(role, granted)| (*role, accesses(&granted.rules, table, namespace)))
            .collect();
        if roles.is_empty() {
            found.insert(no_role(subject));
            continue;
        }
        for (role, accesses) in &roles {
            found.extend(wider(subject, services, role, accesses));
        }
        found.extend(narrower(subject, services, &roles, table));
    }
    for (role, granted) in &granted {
        let mut subjects = services.keys();
        let is_mapped = subjects.any(|subject| role.accepts(subject));
        found.extend(of_role(role, is_mapped));
        if is_mapped {
            found.extend(granted.problems.iter().cloned());
        }
    }
    found.into_iter().collect()
}

/// Rules of a role's policies.
struct Granted {
    rules: Vec<Rule>,
    problems: Vec<Finding>,
}

impl Granted {
    fn of(role: &Role, vault: &VaultAccess) -> Self {
        let mut granted = Self {
            rules: Vec::new(),
            problems: Vec::new(),
        };
        for name in role.policies.iter().filter(|name| *name != DEFAULT) {
            match vault.policies.get(name) {
                _ if name == ROOT => granted.rules.push(root()),
                Some(Some(Ok(rules))) => granted.rules.extend(rules.iter().cloned()),
                Some(Some(Err(error))) => granted.problems.push(Finding {
                    severity: Severity::Unknown,
                    reason: "PolicyUnreadable",
                    object: format!("policy {name}"),
                    message: format!(
                        "its text cannot be read, so it is unknown what tokens of {} may do: {error}; write the policy \
                         in plain HCL or JSON",
                        role.path
                    ),
                }),
                Some(None) | None => granted.problems.push(Finding {
                    severity: Severity::Warning,
                    reason: "PolicyMissing",
                    object: role.path.clone(),
                    message: format!(
                        "token_policies names the policy {name}, which does not exist, and anybody who may create it \
                         determines what the service may do; create the policy or remove the name"
                    ),
                }),
            }
        }
        granted
    }
}

fn no_role(subject: &Subject) -> Finding {
    Finding {
        severity: Severity::Warning,
        reason: "NoRole",
        object: subject.to_string(),
        message: "the firewall lets it in, and no role of the vault's Kubernetes and JWT auth methods does, so it \
                  cannot log in; create a role that is bound to it, or remove the identity from its TrustedService"
            .to_owned(),
    }
}

/// Differences that only the role shows.
fn of_role(role: &Role, is_mapped: bool) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |severity, reason, message: String| {
        found.push(Finding {
            severity,
            reason,
            object: role.path.clone(),
            message,
        });
    };
    if role.binding == Binding::Browser {
        let message = "it was not compared, because its role_type is oidc: people log in with it in a browser, and no \
                       token of a service can; if a service shall log in with it, set role_type to jwt";
        add(Severity::Note, "NotChecked", message.to_owned());
        return found;
    }
    let wildcards = role.wildcards();
    if !is_mapped {
        add(
            Severity::Warning,
            "NotMapped",
            "no identity of a trusted service that this vault's policies let in can log in with it; delete it if no \
             other client needs it, or correct its bound names"
                .to_owned(),
        );
    }
    if !wildcards.is_empty() {
        let message = format!(
            "it is bound by {}, so that identities which nobody mapped can log in as well; bind it to exact names",
            wildcards.join(", ")
        );
        add(Severity::Error, "WildcardBinding", message);
    }
    if role.lacks_audience() {
        let field = match role.binding {
            Binding::ServiceAccounts { .. } => "audience",
            Binding::Claims { .. } | Binding::Browser => "bound_audiences",
        };
        let message = format!(
            "it has no {field}, so that a token which was made for another server can log in; set {field} to an \
             audience of this vault alone"
        );
        add(Severity::Error, "NoAudience", message);
    }
    if let Binding::ServiceAccounts {
        has_selector: true, ..
    } = role.binding
    {
        let message = "bound_service_account_namespace_selector admits namespaces by their labels, which are not \
                       compared; name the namespaces in bound_service_account_namespaces"
            .to_owned();
        add(Severity::Unknown, "NamespaceSelector", message);
    }
    found
}

/// Accesses that no scenario has.
fn wider(
    subject: &Subject,
    services: &[&Mapped],
    role: &Role,
    accesses: &[Access<'_>],
) -> Vec<Finding> {
    let found = accesses.iter().filter_map(|access| {
        let Access {
            rule,
            capability,
            example,
            class,
        } = access;
        let object = format!("policy {}", rule.policy);
        let place = format!("capability {capability} on path {:?}", rule.path);
        let Some(class) = class else {
            return Some(Finding {
                severity: Severity::Unknown,
                reason: "OperationUnknown",
                object,
                message: format!(
                    "{place} is no known operation of the engines in spec.vault.engines, so it is unknown whether \
                     {subject} needs it (role {}); the bypass never lets it in: remove it, or list the engine",
                    role.path
                ),
            });
        };
        let does = match class.plane {
            Plane::Session | Plane::Infrastructure => return None,
            Plane::Data if is_inside(services, &class.operations) => return None,
            Plane::Data => class.operations.to_string(),
            other => format!("a request of the {other} plane"),
        };
        Some(Finding {
            severity: Severity::Error,
            reason: "PolicyWider",
            object,
            message: format!(
                "{place} allows {does}, for example on {example:?}, which no scenario of {} has ({subject}, role {}); \
                 remove the capability from the policy",
                names(services),
                role.path
            ),
        })
    });
    found.collect()
}

/// Operations of scenarios that no role allows.
fn narrower(
    subject: &Subject,
    services: &[&Mapped],
    roles: &[(&Role, Vec<Access<'_>>)],
    table: &Table,
) -> Vec<Finding> {
    let possible: BTreeSet<&String> = single(table.rows.iter().map(|row| &row.class.operations));
    let accesses = roles.iter().flat_map(|(_, accesses)| accesses);
    let classes = accesses.filter_map(|access| access.class.as_ref());
    let allowed = single(classes.map(|class| &class.operations));
    let paths: Vec<&str> = roles.iter().map(|(role, _)| role.path.as_str()).collect();
    let scenarios = services
        .iter()
        .flat_map(|mapped| mapped.service.scenarios.iter().map(move |s| (mapped, s)));
    let missing = scenarios.flat_map(|(mapped, scenario)| {
        let operations = scenario.operations.iter();
        let missing = operations.filter(|name| possible.contains(name) && !allowed.contains(name));
        missing.map(move |name| (mapped, &scenario.name, name))
    });
    missing
        .map(|(mapped, scenario, operation)| Finding {
            severity: Severity::Warning,
            reason: "PolicyNarrower",
            object: subject.to_string(),
            message: format!(
                "scenario {}/{scenario} has {operation}, and no policy of {} allows it, so the service cannot do it; \
                 add the capability to a policy, or remove the operation from the scenario",
                mapped.service.name,
                paths.join(", ")
            ),
        })
        .collect()
}

/// Names of operations of requests that need only one of theirs.
fn single<'a>(operations: impl Iterator<Item = &'a Operations>) -> BTreeSet<&'a String> {
    let operations = operations.filter(|operations| !operations.all);
    operations
        .flat_map(|operations| operations.names.iter())
        .collect()
}

/// Whether a service has the operations in its scenarios.
fn is_inside(services: &[&Mapped], operations: &Operations) -> bool {
    services.iter().any(|mapped| {
        let scenarios = &mapped.service.scenarios;
        let has = |name: &String| scenarios.iter().any(|all| all.operations.contains(name));
        let mut names = operations.names.iter();
        if operations.all {
            !operations.names.is_empty() && names.all(has)
        } else {
            names.any(has)
        }
    })
}

fn names(services: &[&Mapped]) -> String {
    let names: Vec<&str> = services
        .iter()
        .map(|mapped| &*mapped.service.name)
        .collect();
    names.join(", ")
}
