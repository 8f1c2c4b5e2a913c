//! Rows of the condition `Ready`.

use serde_json::json;

use super::fixture::{fixture, limited};
use super::rows::{Row, beyond_drop, no_proxies, other_port};
use super::{corp, ip, subnet};

/// Returns the rows of the condition `Ready`, which has the reason of the first condition that is not true, and one of
/// trusted services.
pub(super) fn rows() -> Vec<Row> {
    let bad = || ip(&["10.0.0.1"]);
    let inline = json!({"virtualNetworkRules": [{"pods": {"podSelector": {}}}]});
    let subnet_of = |name: &str| fixture().corp(&corp()).own(&subnet("corp", name));
    let unknown_service =
        json!({"bypass": "TrustedServices", "trustedServices": {"names": ["tde"]}});
    let row = |what, fixture, expected, parts| (what, fixture, "Ready", expected, parts);
    vec![
        row(
            "all",
            fixture(),
            "True Ready",
            &["all of generation 1 is in force"][..],
        ),
        row(
            "never was valid",
            limited(127).own(&bad()),
            "False Invalid",
            &["see Accepted: generation 1 has 1 error"],
        ),
        row("was valid", fixture().own(&bad()), "False Invalid", &[]),
        row(
            "beyond a limit",
            beyond_drop(),
            "False LimitExceeded",
            &["see Accepted"],
        ),
        row(
            "not evaluated",
            fixture().not_indexed(),
            "Unknown Pending",
            &["see Accepted"],
        ),
        row(
            "no Service",
            fixture().service(|service| *service = None),
            "False TargetNotFound",
            &["see ResolvedRefs: 1 reference"],
        ),
        row(
            "an external Service",
            fixture().service(|service| service.as_mut().unwrap().selector.clear()),
            "False NoSelector",
            &[],
        ),
        row(
            "another port",
            fixture().service(|service| other_port(&mut service.as_mut().unwrap().ports)),
            "False PortNotFound",
            &[],
        ),
        row(
            "no network",
            fixture().own(&subnet("corp", "open")),
            "False VirtualNetworkNotFound",
            &["see ResolvedRefs: 1 reference cannot be resolved; the other rules stay in force"],
        ),
        row("no subnet", subnet_of("other"), "False SubnetNotFound", &[]),
        row(
            "not enabled",
            subnet_of("closed"),
            "False ServiceEndpointMissing",
            &[],
        ),
        row(
            "not opted in",
            fixture().namespace("vault").own(&inline),
            "False NotOptedIn",
            &[],
        ),
        (
            "no trusted service",
            fixture().own(&unknown_service),
            "ResolvedRefs",
            "False TrustedServiceNotFound",
            &["spec.trustedServices.names: there is no valid TrustedService `tde`"],
        ),
        row(
            "no trusted service",
            fixture().own(&unknown_service),
            "False TrustedServiceNotFound",
            &[],
        ),
        row(
            "rejected",
            fixture().rejected("no"),
            "False Rejected",
            &["see Programmed: a proxy"],
        ),
        row(
            "an object cannot be written",
            fixture().with(|fixture| fixture.apply_error = Some("forbidden".into())),
            "False ApplyFailed",
            &[],
        ),
        row(
            "being deleted",
            fixture().with(|fixture| fixture.terminating = true),
            "False NamespaceTerminating",
            &[],
        ),
        row(
            "not behind the Service",
            fixture().with(|fixture| fixture.ready = Some(0)),
            "False NoEndpoints",
            &[],
        ),
        row(
            "none connected",
            fixture().with(no_proxies),
            "Unknown NoProxies",
            &[],
        ),
        row(
            "some",
            fixture().with(|fixture| fixture.proxies.programmed = 1),
            "Unknown Pending",
            &["see Programmed: 1 of 2"],
        ),
    ]
}
