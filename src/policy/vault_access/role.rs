//! Roles of auth methods: which identities can log in with a role.

use super::Subject;
use super::glob::glob;
use crate::policy::identity::ObjectName;
use crate::policy::token;

/// A role of an auth method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Path of the role, such as `auth/kubernetes/role/app`.
    pub path: String,
    /// Identities that can log in.
    pub binding: Binding,
    /// Names of the policies of its tokens.
    pub policies: Vec<String>,
}

/// Identities that can log in with a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Kubernetes auth method.
    ServiceAccounts {
        /// Globs for names of service accounts.
        names: Vec<String>,
        /// Globs for their namespaces.
        namespaces: Vec<String>,
        /// Whether a label selector admits further namespaces.
        has_selector: bool,
        /// Audience of the token; `None` accepts any.
        audience: Option<String>,
    },
    /// JWT auth method.
    Claims {
        /// Issuer of the tokens; `None` if only the keys determine it.
        issuer: Option<String>,
        /// Subjects of the tokens.
        subject: SubjectRule,
        /// Audiences, of which the token needs one; empty accepts only tokens without any.
        audiences: Vec<String>,
    },
    /// JWT auth method with `role_type: oidc`: people log in with a browser, and nobody with a token.
    Browser,
}

/// Subjects that a role of the JWT auth method accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectRule {
    /// Any one.
    Any,
    /// One of these.
    Exact(Vec<String>),
    /// One that a glob matches.
    Globs(Vec<String>),
}

impl SubjectRule {
    fn accepts(&self, subject: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(subjects) => subjects.iter().any(|exact| exact == subject),
            Self::Globs(globs) => globs.iter().any(|pattern| glob(pattern, subject)),
        }
    }
}

impl Role {
    /// Whether an identity can log in, as far as the role determines it. A label selector may admit it.
    pub(super) fn accepts(&self, subject: &Subject) -> bool {
        match (&self.binding, subject) {
            (
                Binding::ServiceAccounts {
                    names,
                    namespaces,
                    has_selector,
                    ..
                },
                Subject::Account(ObjectName { namespace, name }),
            ) => any(names, name) && (*has_selector || any(namespaces, namespace)),
            // The issuer of this cluster's tokens is not known here.
            (Binding::Claims { subject: rule, .. }, Subject::Account(account)) => {
                *rule != SubjectRule::Any && rule.accepts(&token::subject(account))
            }
            (
                Binding::Claims {
                    issuer,
                    subject: rule,
                    ..
                },
                Subject::Federated {
                    issuer: own,
                    subject,
                },
            ) => issuer.as_ref().is_none_or(|issuer| issuer == own) && rule.accepts(subject),
            (Binding::ServiceAccounts { .. }, Subject::Federated { .. })
            | (Binding::Browser, _) => false,
        }
    }

    /// Globs that admit more than one identity, for a message.
    pub(super) fn wildcards(&self) -> Vec<&str> {
        let globs: Vec<&String> = match &self.binding {
            Binding::ServiceAccounts {
                names, namespaces, ..
            } => names.iter().chain(namespaces).collect(),
            Binding::Claims {
                subject: SubjectRule::Globs(globs),
                ..
            } => globs.iter().collect(),
            Binding::Claims {
                subject: SubjectRule::Any,
                ..
            } => return vec!["any subject"],
            Binding::Claims { .. } | Binding::Browser => Vec::new(),
        };
        let globs = globs.into_iter().map(String::as_str);
        globs.filter(|text| text.contains('*')).collect()
    }

    /// Whether tokens of any audience can log in.
    pub(super) fn lacks_audience(&self) -> bool {
        match &self.binding {
            Binding::ServiceAccounts { audience, .. } => audience.is_none(),
            Binding::Claims { audiences, .. } => audiences.is_empty(),
            Binding::Browser => false,
        }
    }
}

fn any(globs: &[String], text: &str) -> bool {
    globs.iter().any(|pattern| glob(pattern, text))
}
