//! The answer of `explain` as JSON, whose keys are a stable contract, and as text.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde::Serialize;

use super::claims::{Assumed, Token};
use crate::access_log::Record;
use crate::api::SERVICE_ACCOUNT_LABEL;
use crate::index::PodFact;
use crate::policy::token::TokenProof;
use crate::policy::{
    Admitted, Decision, DiagnosticReason, Firewall, Identity, Listener, ManagementAccess, Mode,
    Nearest, Reason, RefusedPolicy, Resolution, Step, VaultId, Verdict, Violation, admitted,
};
use crate::vault_api::Plane;

/// A decision, with advice for a denied caller.
pub(super) struct Explanation {
    /// The vault that the request was sent to.
    pub(super) vault: VaultId,
    /// Method and path, separated by a space.
    pub(super) request: String,
    /// Verdict, reason and trace.
    pub(super) decision: Decision,
    /// The request under the mode in force, if that is `Audit`; the decision is that of enforcement.
    pub(super) in_audit: Option<InAudit>,
    /// The rule that came nearest to admitting a denied caller.
    pub(super) nearest: Option<Nearest>,
    /// Advice for a denied caller: a sentence with a full stop.
    pub(super) remedy: Option<String>,
    /// The record of the decision that is explained, if it was looked up.
    pub(super) recorded: Option<Record>,
}

/// Fate of a request in a vault with `mode: Audit`.
#[derive(Clone, Copy)]
pub(super) struct InAudit {
    /// Whether the vault receives it.
    is_forwarded: bool,
    /// Whether the access log has the reason in `wouldDeny`.
    is_marked: bool,
}

/// JSON of an answer; the keys are a stable contract.
#[derive(Serialize)]
pub(super) struct Json<'a> {
    verdict: Verdict,
    /// `Audit` if the verdict is not enforced; otherwise missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    reason: Reason,
    rule: Option<&'a str>,
    plane: Option<Plane>,
    operations: &'a [String],
    trace: Vec<Step>,
    /// The record of the decision, only with `--id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<&'a Record>,
    /// Whether the decision of today has another reason, only with `--id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    differs: Option<bool>,
}

impl Explanation {
    pub(super) fn json(&self) -> Json<'_> {
        let mut trace = self.decision.trace.clone();
        trace.extend(self.nearest_text().map(|text| step("nearestRule", text)));
        trace.extend(self.remedy.iter().map(|text| step("remedy", text)));
        Json {
            verdict: self.decision.verdict(),
            mode: self.in_audit.map(|_| Mode::Audit),
            reason: self.decision.reason,
            rule: self.decision.rule.as_deref(),
            plane: self.decision.plane,
            operations: &self.decision.operations.names,
            trace,
            recorded: self.recorded.as_ref(),
            differs: self.differs(),
        }
    }

    pub(super) fn text(&self) -> String {
        let decision = &self.decision;
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:12}{value}");
        };
        if let Some(record) = &self.recorded {
            let reason = record.judged().unwrap_or("none");
            line("recorded", &format!("{reason} at {}", record.time));
            let today = if self.differs() == Some(true) {
                "another reason"
            } else {
                "the same reason"
            };
            line("today", today);
        }
        line("verdict", decision.verdict().name());
        if let Some(in_audit) = self.in_audit {
            line("mode", in_audit.text());
        }
        line("reason", decision.reason.name());
        line("rule", decision.rule.as_deref().unwrap_or("none"));
        line("vault", &self.vault.to_string());
        line("request", &self.request);
        line("plane", decision.plane.map_or("none", Plane::name));
        let separator = if decision.operations.all {
            " and "
        } else {
            " or "
        };
        let operations = decision.operations.names.join(separator);
        line(
            "operations",
            if operations.is_empty() {
                "none"
            } else {
                &operations
            },
        );
        text.push_str("\nSteps of the decision:\n");
        let width = decision.trace.iter().map(|step| step.step.len()).max();
        let width = width.unwrap_or(0);
        for (index, step) in decision.trace.iter().enumerate() {
            let _ = writeln!(
                text,
                "{:3}. {:width$}  {}",
                index + 1,
                step.step,
                step.found
            );
        }
        if self.nearest.is_some() || self.remedy.is_some() {
            text.push('\n');
        }
        if let Some(nearest) = self.nearest_text() {
            let _ = writeln!(text, "Nearest rule: {nearest}.");
        }
        if let Some(remedy) = &self.remedy {
            let _ = writeln!(text, "What to do: {remedy}");
        }
        text
    }

    /// Whether the decision of today has another reason than the recorded one.
    fn differs(&self) -> Option<bool> {
        let recorded = self.recorded.as_ref()?;
        Some(recorded.judged() != Some(self.decision.reason.name()))
    }

    fn nearest_text(&self) -> Option<String> {
        let nearest = self.nearest.as_ref()?;
        Some(format!("{}, but {}", nearest.rule, nearest.mismatch))
    }
}

impl InAudit {
    /// The fate by the decision of the firewall in audit mode.
    pub(super) fn of(decision: &Decision) -> Self {
        Self {
            is_forwarded: decision.verdict() == Verdict::Allow,
            is_marked: decision.would_deny.is_some(),
        }
    }

    fn text(self) -> &'static str {
        match (self.is_forwarded, self.is_marked) {
            (true, true) => {
                "Audit: the request is forwarded, and the access log has the reason in wouldDeny"
            }
            (true, false) => "Audit: the request is forwarded, as with Enforced",
            (false, _) => {
                "Audit: the request is denied all the same; only network rules are not enforced"
            }
        }
    }
}

/// Path of the API that a person means who left out its beginning.
pub(super) fn api_path(text: &str) -> String {
    let path = text.trim_start_matches('/');
    let path = path.strip_prefix("v1/").unwrap_or(path);
    format!("/v1/{path}")
}

/// A warning, if the path does not begin as those of the vault's API do.
pub(super) fn path_step(prefix: &str, path: &str) -> Option<Step> {
    if path.starts_with(prefix) {
        return None;
    }
    let found = format!(
        "the answer is for this path, which does not begin with {prefix} and so is no path of the vault's API; for the \
         API, write --path {}",
        api_path(path)
    );
    tracing::warn!("--path {path}: {found}");
    Some(step("path", found))
}

/// The firewall that decides: vault, policies and endpoint.
pub(super) fn vault_step(resolution: &Resolution, listener: Listener) -> Step {
    let firewall = &resolution.firewall;
    let policies = if resolution.accepted.is_empty() {
        "no accepted policy, so it denies everything".to_owned()
    } else {
        format!("policies, oldest first: {}", resolution.accepted.join(", "))
    };
    let asked = match (listener, firewall.management) {
        (Listener::Data, _) => format!(
            "data endpoint, defaultAction {}",
            firewall.default_action.name()
        ),
        (Listener::Management, access) => format!(
            "management endpoint, access {}",
            match access {
                ManagementAccess::Unrestricted => "Unrestricted",
                ManagementAccess::NetworkRules => "NetworkRules",
                ManagementAccess::Disabled => "Disabled",
            }
        ),
    };
    step("vault", format!("{}, {policies}; {asked}", firewall.vault))
}

/// Parts of the policies that have no effect: policies that are not accepted, rules that open nothing, and further
/// warnings. Those that count pods are left out unless `all_pods` are known.
pub(super) fn remark_steps(resolution: &Resolution, all_pods: bool) -> impl Iterator<Item = Step> {
    let refused = resolution.refused.iter().map(|refused| {
        let RefusedPolicy { policy, violation } = refused;
        let Violation { field, message, .. } = violation;
        step("refusedPolicy", format!("{policy}: {field}: {message}"))
    });
    let unresolved = resolution.unresolved.iter();
    let warnings = resolution.warnings.iter().chain(&resolution.about_others);
    let warnings = warnings.filter(move |warning| {
        all_pods || warning.reason != DiagnosticReason::TrustedRangeHoldsPods
    });
    refused
        .chain(unresolved.map(|found| step("unresolvedRule", found.to_string())))
        .chain(warnings.map(|found| step("warning", found.to_string())))
}

/// The caller: its address and pod.
pub(super) fn caller_step(peer: IpAddr, pod: Option<&PodFact>) -> Step {
    let found = match pod {
        None => format!("{peer}, the address of no known pod"),
        Some(pod) => {
            let others = pod
                .addresses
                .iter()
                .filter(|address| IpAddr::from(**address) != peer);
            let others: Vec<String> = others.map(ToString::to_string).collect();
            let also = if others.is_empty() {
                String::new()
            } else {
                format!("; it also has {}", others.join(", "))
            };
            let account = match pod.service_account.as_str() {
                "" => "without a service account".to_owned(),
                account => format!("with the service account {account}"),
            };
            format!("{peer}, the address of pod {} {account}{also}", pod.id())
        }
    };
    step("caller", found)
}

/// The identity that a token proves, or the check that it failed. None without a token, or where the firewall reads
/// none.
pub(super) fn proof_step(firewall: &Firewall, peer: IpAddr, token: &Token) -> Option<Step> {
    if token.proof == TokenProof::None {
        return None;
    }
    let Some(rules) = &firewall.tokens else {
        return Some(step(
            "claims",
            "the firewall reads no token: every identity of its policies is proven by a pod",
        ));
    };
    let identified = rules.identify(peer, &token.proof);
    let found = match (identified.token, identified.problem) {
        (_, Some(problem)) => format!("the token proves nothing more: {problem}"),
        (Some(identity), None) => {
            let of_cluster = rules.cluster_issuer.as_ref() == Some(&identity.issuer);
            let whose = match &token.assumed {
                assumed if !of_cluster || !assumed.issuer => "",
                Assumed { account: false, .. } => ", whose issuer is taken as this cluster's",
                _ => ", whose issuer is taken as this cluster's, and whose account as existing",
            };
            let identity = Identity::Token(identity).described();
            format!("{identity}, taken as verified{whose}")
        }
        (None, None) => return None,
    };
    Some(step("claims", found))
}

/// With `denial: Drop`, whether the caller's packets reach the proxies at all. None if a rule lets them in, or nothing
/// is dropped.
pub(super) fn denial_step(
    firewall: &Firewall,
    listener: Listener,
    peer: IpAddr,
    pod: Option<&PodFact>,
) -> Option<Step> {
    let account = pod.map(PodFact::account);
    let found = match admitted(firewall, listener, peer, account.as_ref()) {
        Admitted::Yes => return None,
        Admitted::ByAccountLabel => format!(
            "Drop: in a cluster, the proxies' NetworkPolicy lets this pod in by its label {SERVICE_ACCOUNT_LABEL}, \
             which is taken as set (kubectl get pods --label-columns {SERVICE_ACCOUNT_LABEL})"
        ),
        Admitted::No => "Drop: in a cluster, the proxies' NetworkPolicy does not select this caller, so it gets a \
                         timeout in place of this answer"
            .to_owned(),
    };
    Some(step("denial", found))
}

/// A step of the trace.
pub(super) fn step(step: &'static str, found: impl Into<String>) -> Step {
    let found = found.into();
    Step { step, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Diagnostic;

    #[test]
    fn pods_are_counted_only_if_all_are_known() {
        let vault = VaultId {
            namespace: "vault".into(),
            service: "openbao".into(),
        };
        let mut resolution = Resolution::deny_all(vault, 0);
        resolution.warnings = vec![Diagnostic {
            policy: "main".into(),
            reason: DiagnosticReason::TrustedRangeHoldsPods,
            field: "spec.clientAddress.trustedProxies[0]".into(),
            message: "pods have addresses in the range 10.0.0.0/8".into(),
            detail: "1 pod: web/shop-1".into(),
        }];
        assert_eq!(remark_steps(&resolution, true).count(), 1);
        assert_eq!(remark_steps(&resolution, false).count(), 0);
    }
}
