//! The mode of a vault with several policies.

use super::limits::many_ip_rules;
use super::*;
use crate::policy::Mode;

/// Policies, unreadable policies, mode, diagnostics about it.
type Row = (
    Vec<ValidatedPolicy>,
    &'static [&'static str],
    Mode,
    Vec<(&'static str, DiagnosticReason)>,
);

#[test]
fn enforced_of_one_accepted_policy_is_enough() {
    let audit = |name: &str, day| policy(name, day).with(|p| p.mode = Mode::Audit);
    let (audit_mode, conflict) = (
        DiagnosticReason::AuditMode,
        DiagnosticReason::SettingsDiffer,
    );
    let table: Vec<Row> = vec![
        (vec![policy("a", 1)], &[], Mode::Enforced, vec![]),
        (
            vec![audit("a", 1)],
            &[],
            Mode::Audit,
            vec![("a", audit_mode)],
        ),
        (
            vec![audit("a", 1), audit("b", 2)],
            &[],
            Mode::Audit,
            vec![("a", audit_mode), ("b", audit_mode)],
        ),
        (
            vec![audit("a", 1), policy("b", 2)],
            &[],
            Mode::Enforced,
            vec![("a", conflict)],
        ),
        (
            vec![policy("a", 1), audit("b", 2)],
            &[],
            Mode::Enforced,
            vec![("b", conflict)],
        ),
        // policies that are not accepted do not count
        (
            vec![audit("a", 1)],
            &["broken"],
            Mode::Audit,
            vec![("a", audit_mode)],
        ),
        (
            vec![audit("a", 1), many_ip_rules("b", 2, 128)],
            &[],
            Mode::Audit,
            vec![("a", audit_mode)],
        ),
        (
            vec![many_ip_rules("a", 1, 128).with(|p| p.mode = Mode::Audit)],
            &[],
            Mode::Enforced,
            vec![],
        ),
        (vec![], &[], Mode::Enforced, vec![]),
    ];
    for (policies, unreadable, expected, diagnostics) in table {
        let unreadable: Vec<String> = unreadable.iter().map(ToString::to_string).collect();
        let resolution = facts().resolve(&policies, &[], Limits::default(), &unreadable);
        let case = format!("{:?} {unreadable:?}", resolution.accepted);
        assert_eq!(resolution.firewall.mode, expected, "{case}");
        let found: Vec<_> = resolution
            .diagnostics()
            .filter(|found| found.field == "spec.mode")
            .map(|found| (found.policy.as_str(), found.reason))
            .collect();
        assert_eq!(found, diagnostics, "{case}");
    }
}
