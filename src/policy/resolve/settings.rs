//! Settings of a firewall, which the oldest accepted policy determines, and diagnostics for policies with other values.

use super::diagnostic::{Diagnostic, DiagnosticReason};
use crate::api::Mode;
use crate::policy::model::Firewall;
use crate::policy::validated::ValidatedPolicy;

/// Copies the settings of `oldest` to `firewall`, without those that depend on pods.
pub(super) fn apply(firewall: &mut Firewall, oldest: &ValidatedPolicy) {
    firewall.port = oldest.port;
    firewall.api = oldest.api;
    firewall.engines.clone_from(&oldest.engines);
    firewall.auth_mounts.clone_from(&oldest.auth_mounts);
    firewall.namespaces.clone_from(&oldest.namespaces);
    firewall.management = oldest.management;
    firewall.token_creation = oldest.token_creation;
    firewall.denial = oldest.denial;
    firewall.access_log = oldest.access_log;
}

/// Returns the mode: `Enforced` if any policy has it. Policies with `Audit` are reported: as conflicts if that is not
/// in force, otherwise with a warning that nothing is blocked.
pub(super) fn mode(
    policies: &[&ValidatedPolicy],
    conflicts: &mut Vec<Diagnostic>,
    warnings: &mut Vec<Diagnostic>,
) -> Mode {
    let enforced = policies.iter().find(|policy| policy.mode == Mode::Enforced);
    let (list, reason, message) = match enforced {
        Some(enforced) => (
            conflicts,
            DiagnosticReason::SettingsDiffer,
            format!(
                "`Audit` is not in force, because the policy `{}` of this vault has `Enforced`, which is stricter; use \
                 the same mode in all its policies",
                enforced.name
            ),
        ),
        None => (
            warnings,
            DiagnosticReason::AuditMode,
            "nothing is blocked: requests that the network rules deny are forwarded, and the access log has the \
             reason in `wouldDeny`; write `Enforced` to deny them"
                .to_owned(),
        ),
    };
    let audited = policies.iter().filter(|policy| policy.mode == Mode::Audit);
    list.extend(audited.map(|policy| Diagnostic {
        policy: policy.name.clone(),
        reason,
        field: "spec.mode".to_owned(),
        message: message.clone(),
        detail: String::new(),
    }));
    if enforced.is_some() {
        Mode::Enforced
    } else {
        Mode::Audit
    }
}

/// Reports settings for a bypass in policies that have none.
pub(super) fn idle(policies: &[&ValidatedPolicy]) -> impl Iterator<Item = Diagnostic> {
    let idle = policies.iter().filter(|policy| policy.has_idle_settings);
    idle.map(|policy| Diagnostic {
        policy: policy.name.clone(),
        reason: DiagnosticReason::NoBypass,
        field: "spec.trustedServices".to_owned(),
        message: "the settings have no effect, because spec.bypass is None and no service passes; set spec.bypass to \
                  TrustedServices to let services in, or remove the settings"
            .to_owned(),
        detail: String::new(),
    })
}

/// Reports the settings of younger policies that differ from the oldest one's. An empty list of engines, auth
/// mounts or namespaces and an absent setting of the proxies do not differ, so a policy that only adds a rule need not
/// repeat them.
pub(super) fn conflicts(oldest_first: &[&ValidatedPolicy]) -> Vec<Diagnostic> {
    let Some((oldest, younger)) = oldest_first.split_first() else {
        return Vec::new();
    };
    let mut conflicts = Vec::new();
    for policy in younger {
        let differs = [
            ("spec.targetRef.port", policy.port != oldest.port),
            ("spec.vault.api", policy.api != oldest.api),
            (
                "spec.vault.engines",
                !policy.engines.is_empty() && policy.engines != oldest.engines,
            ),
            (
                "spec.vault.authMounts",
                !policy.auth_mounts.is_empty() && policy.auth_mounts != oldest.auth_mounts,
            ),
            (
                "spec.vault.namespaces",
                !policy.namespaces.is_empty() && policy.namespaces != oldest.namespaces,
            ),
            ("spec.denial", policy.denial != oldest.denial),
            (
                "spec.clientAddress",
                policy.client_address != oldest.client_address,
            ),
            (
                "spec.management.access",
                policy.management != oldest.management,
            ),
            (
                "spec.management.tokenCreation",
                policy.token_creation != oldest.token_creation,
            ),
            (
                "spec.management.operators",
                !policy.operators.is_empty() && policy.operators != oldest.operators,
            ),
            (
                "spec.management.deployers",
                !policy.deployers.is_empty() && policy.deployers != oldest.deployers,
            ),
            (
                "spec.accessLog.level",
                policy.access_log != oldest.access_log,
            ),
            (
                "spec.proxy.replicas",
                policy.proxy.replicas.is_some()
                    && policy.proxy.replicas() != oldest.proxy.replicas(),
            ),
            (
                "spec.proxy.resources",
                policy.proxy.resources.is_some()
                    && policy.proxy.resources() != oldest.proxy.resources(),
            ),
            (
                "spec.proxy.service",
                policy.proxy.service.is_some() && policy.proxy.service() != oldest.proxy.service(),
            ),
            (
                "spec.proxy.tls",
                policy.proxy.tls.is_some() && policy.proxy.tls != oldest.proxy.tls,
            ),
            (
                "spec.proxy.upstreamTls",
                policy.proxy.upstream_tls.is_some()
                    && policy.proxy.upstream_tls != oldest.proxy.upstream_tls,
            ),
        ];
        conflicts.extend(differs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| Diagnostic {
            policy: policy.name.clone(),
            reason: DiagnosticReason::SettingsDiffer,
            field: field.to_owned(),
            message: format!(
                "is not in force: it differs from the policy `{}`, the oldest of this vault, whose value applies; \
                 use the same value in both",
                oldest.name
            ),
            detail: String::new(),
        }));
    }
    conflicts
}
