//! Diagnostics that resolution finds, sorted by the readers who may see them.

use super::diagnostic::{Diagnostic, DiagnosticReason};
use crate::policy::pod_group::GroupMembers;
use crate::policy::validated::ValidatedPolicy;

/// Diagnostics; the fields are those of [`super::Resolution`].
#[derive(Default)]
pub(super) struct Found {
    pub(super) unresolved: Vec<Diagnostic>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) about_others: Vec<Diagnostic>,
}

impl Found {
    /// Adds warnings that depend on pods: of the policy's own namespace, or also of others.
    pub(super) fn warn(&mut self, is_own: bool, warnings: impl IntoIterator<Item = Diagnostic>) {
        let list = if is_own {
            &mut self.warnings
        } else {
            &mut self.about_others
        };
        list.extend(warnings);
    }
}

/// Part of a policy that selects only some of the pods with one address.
#[derive(Clone, Copy)]
pub(super) enum Contested {
    Rule,
    Proxies,
}

/// Reports addresses that also belong to pods that are not selected.
pub(super) fn contested(
    policy: &ValidatedPolicy,
    field: &str,
    part: Contested,
    members: &GroupMembers,
) -> Option<Diagnostic> {
    let first = members.contested.first()?;
    let others = match members.contested.len() - 1 {
        0 => String::new(),
        others => format!(" and {others} more"),
    };
    let (part, consequence) = match part {
        Contested::Rule => ("rule", "allowed"),
        Contested::Proxies => ("entry", "trusted"),
    };
    Some(Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::AddressContested,
        field: field.to_owned(),
        message: format!(
            "address {first}{others}: several pods have it and this {part} selects only some of them, so it is not \
             {consequence}; this ends when the older pod is deleted"
        ),
        detail: String::new(),
    })
}
