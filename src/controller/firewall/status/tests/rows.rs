//! Rows of the test of all conditions: small vaults, and what each condition of their policy has.

use serde_json::{Value, json};

use super::fixture::{Fixture, fixture, limited};
use super::{corp, ip, subnet};
use crate::index::ServicePortFact;

/// Name of the case, the fixture, one condition, its status and reason, and parts of its message in their order.
pub(super) type Row = (
    &'static str,
    Fixture,
    &'static str,
    &'static str,
    &'static [&'static str],
);

/// Returns all rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = own_rows();
    rows.extend(super::ready::rows());
    rows
}

fn own_rows() -> Vec<Row> {
    let bad = || ip(&["10.0.0.1", "203.0.113.0/31"]);
    let inline = json!({"virtualNetworkRules": [{"pods": {"podSelector": {}}}]});
    vec![
        // Accepted
        (
            "valid",
            fixture(),
            "Accepted",
            "True Accepted",
            &["generation 1 is valid"],
        ),
        (
            "never was valid",
            limited(127).own(&bad()),
            "Accepted",
            "False Invalid",
            &[
                "generation 1 has 2 errors",
                "no policy of the vault vault/openbao is accepted, so the vault denies every request",
                "\nspec.ipRules[0].value: ",
                "\nspec.ipRules[1].value: ",
            ],
        ),
        (
            "was valid",
            fixture().own(&bad()),
            "Accepted",
            "False Invalid",
            &[
                "generation 2 has 2 errors",
                "the last accepted generation of this policy stays in force",
            ],
        ),
        (
            "never was valid, next to another policy",
            limited(127).older(&ip(&["203.0.113.1"])).own(&bad()),
            "Accepted",
            "False Invalid",
            &[
                "this policy allows nothing; the other policies of the vault vault/openbao stay \
                 in force",
            ],
        ),
        (
            "another is not accepted any more",
            older_beyond_drop().own(&bad()),
            "Accepted",
            "False Invalid",
            &[
                "this policy allows nothing; no policy of the vault vault/openbao is accepted, and the last accepted \
                 generations of its other policies stay in force",
            ],
        ),
        (
            "beyond a limit",
            limited(1)
                .older(&ip(&["203.0.113.1"]))
                .own(&ip(&["203.0.113.2"])),
            "Accepted",
            "False LimitExceeded",
            &[
                "this policy allows nothing; the other policies",
                "\nspec.ipRules: the vault vault/openbao may have at most 1 IP rules",
            ],
        ),
        (
            "the subnet grew",
            beyond_drop(),
            "Accepted",
            "False LimitExceeded",
            &[
                "the last accepted generation of this policy stays in force",
                "\nspec.denial: with `denial: Drop`",
            ],
        ),
        (
            "not evaluated",
            fixture().not_indexed(),
            "Accepted",
            "Unknown Pending",
            &["the operator has not evaluated generation 1 yet"],
        ),
        // ResolvedRefs
        (
            "all resolved",
            fixture(),
            "ResolvedRefs",
            "True ResolvedRefs",
            &[],
        ),
        (
            "no Service",
            fixture().service(|service| *service = None),
            "ResolvedRefs",
            "False TargetNotFound",
            &[
                "1 reference cannot be resolved; Programmed has what is in force:",
                "\nspec.targetRef.name: there is no Service `openbao` in the namespace `vault`; \
                 create it, or if the name is wrong (`kubectl -n vault get services` lists those that exist), delete",
            ],
        ),
        (
            "no Service, no resolution",
            fixture().not_indexed().service(|service| *service = None),
            "ResolvedRefs",
            "False TargetNotFound",
            &[
                "spec.targetRef.name: the Service does not exist in the policy's namespace; create it",
            ],
        ),
        (
            "an external Service",
            fixture().service(|service| service.as_mut().unwrap().selector.clear()),
            "ResolvedRefs",
            "False NoSelector",
            &["spec.targetRef.name: the Service has no selector"],
        ),
        (
            "another port",
            fixture().service(|service| other_port(&mut service.as_mut().unwrap().ports)),
            "ResolvedRefs",
            "False PortNotFound",
            &["spec.targetRef.port: the Service has no TCP port 8200 (it has: 443)"],
        ),
        (
            "no network",
            fixture().own(&subnet("corp", "open")),
            "ResolvedRefs",
            "False VirtualNetworkNotFound",
            &[
                "\nspec.virtualNetworkRules[0].subnet.virtualNetwork: there is no valid \
                 VirtualNetwork `corp`",
            ],
        ),
        (
            "no subnet",
            fixture().corp(&corp()).own(&subnet("corp", "other")),
            "ResolvedRefs",
            "False SubnetNotFound",
            &[
                "\nspec.virtualNetworkRules[0].subnet.name: VirtualNetwork `corp` has no subnet \
                 `other`",
            ],
        ),
        (
            "not opted in",
            fixture().corp(&corp()).own(&subnet("corp", "closed")),
            "ResolvedRefs",
            "False ServiceEndpointMissing",
            &["the owner of subnet `corp/closed` has not enabled the Vault service endpoint"],
        ),
        (
            "no namespace opted in",
            fixture().namespace("vault").own(&inline),
            "ResolvedRefs",
            "False NotOptedIn",
            &["the policy's own namespace has not opted in"],
        ),
        (
            "several, the gravest is the reason",
            fixture().corp(&corp()).own(&json!({"virtualNetworkRules": [
                {"subnet": {"virtualNetwork": "corp", "name": "closed"}},
                {"subnet": {"virtualNetwork": "corp", "name": "open"}},
                {"subnet": {"virtualNetwork": "none", "name": "open"}},
            ]})),
            "ResolvedRefs",
            "False VirtualNetworkNotFound",
            &[
                "2 references cannot be resolved; the other rules stay in force:",
                "\nspec.virtualNetworkRules[0].subnet: ",
                "\nspec.virtualNetworkRules[2].",
            ],
        ),
        (
            "of the earlier generation",
            fixture().own(&subnet("corp", "open")).own(&bad()),
            "ResolvedRefs",
            "False VirtualNetworkNotFound",
            &["1 reference of the last accepted generation cannot be resolved"],
        ),
        (
            "of no generation",
            limited(127).own(&bad()),
            "ResolvedRefs",
            "Unknown Invalid",
            &["see Accepted"],
        ),
        (
            "not evaluated",
            fixture().not_indexed(),
            "ResolvedRefs",
            "Unknown Pending",
            &[],
        ),
        // Programmed
        (
            "all",
            fixture(),
            "Programmed",
            "True Programmed",
            &["all 2 connected proxies enforce generation 1"],
        ),
        (
            "one",
            fixture()
                .with(|fixture| (fixture.proxies.connected, fixture.proxies.programmed) = (1, 1)),
            "Programmed",
            "True Programmed",
            &["the one connected proxy enforces generation 1"],
        ),
        (
            "some",
            fixture().with(|fixture| fixture.proxies.programmed = 1),
            "Programmed",
            "False Pending",
            &["1 of 2 connected proxies enforce generation 1"],
        ),
        (
            "all, but another version",
            fixture().with(|fixture| fixture.version = Some("v2")),
            "Programmed",
            "False Pending",
            &["0 of 2 connected proxies enforce"],
        ),
        (
            "not compiled",
            fixture().with(|fixture| fixture.version = None),
            "Programmed",
            "False Pending",
            &["0 of 2"],
        ),
        (
            "not evaluated",
            fixture().not_indexed(),
            "Programmed",
            "False Pending",
            &["has not evaluated"],
        ),
        (
            "none connected",
            fixture().with(no_proxies),
            "Programmed",
            "Unknown NoProxies",
            &[
                "no proxy is connected",
                "`kubectl -n vault describe pods -l vaultwall.dev/vault=openbao`",
            ],
        ),
        (
            "connected, but not behind the Service",
            fixture().with(|fixture| fixture.ready = Some(0)),
            "Programmed",
            "False NoEndpoints",
            &[
                "all 2 connected proxies enforce generation 1, but clients cannot connect yet",
                "behind the Service `openbao-firewall`",
            ],
        ),
        (
            "next to the operator",
            fixture().with(|fixture| fixture.ready = None),
            "Programmed",
            "True Programmed",
            &[],
        ),
        (
            "rejected",
            fixture().rejected("Proto constraint validation failed"),
            "Programmed",
            "False Rejected",
            &[
                "1 of 2 connected proxies enforce generation 1",
                "\nExtensionConfig vaultwall.ip-rules: Proto constraint validation failed",
            ],
        ),
        (
            "TLS is being enabled",
            fixture().rejected(
                "paths must refer to an existing path in the system: \
                 '/etc/envoy/sds-clients.json' does not exist",
            ),
            "Programmed",
            "False Pending",
            &[
                "1 of 2 connected proxies enforce generation 1; the others were started before \
                 TLS was enabled",
                "and are being replaced",
            ],
        ),
        (
            "TLS cannot be enabled",
            fixture()
                .rejected("'/etc/envoy/sds-vault.json' does not exist")
                .with(|fixture| fixture.stalled = Some("late")),
            "Programmed",
            "False Pending",
            &["keep their previous configuration, and their replacements do not become ready"],
        ),
        (
            "an older version was rejected",
            fixture()
                .rejected("no")
                .with(|fixture| fixture.version = Some("v2")),
            "Programmed",
            "False Pending",
            &[],
        ),
        (
            "an object cannot be written",
            fixture()
                .with(|fixture| fixture.apply_error = Some("deployments.apps is forbidden".into())),
            "Programmed",
            "False ApplyFailed",
            &[
                "could not be written; the operator retries",
                "\ndeployments.apps is forbidden",
            ],
        ),
        (
            "no Service",
            fixture().service(|service| *service = None),
            "Programmed",
            "False TargetNotFound",
            &[
                "generation 1 is not enforced: this policy protects no vault unless it did before",
                "\nspec.targetRef.name: ",
            ],
        ),
        (
            "an external Service",
            fixture().service(|service| service.as_mut().unwrap().selector.clear()),
            "Programmed",
            "False NoSelector",
            &[],
        ),
        (
            "another port",
            fixture().service(|service| other_port(&mut service.as_mut().unwrap().ports)),
            "Programmed",
            "False PortNotFound",
            &[],
        ),
        (
            "never was valid",
            limited(127).own(&bad()),
            "Programmed",
            "False Invalid",
            &[
                "generation 1 is not accepted (see Accepted), and nothing of this policy is in force",
            ],
        ),
        (
            "beyond a limit",
            limited(1)
                .older(&ip(&["203.0.113.1"]))
                .own(&ip(&["203.0.113.2"])),
            "Programmed",
            "False LimitExceeded",
            &["nothing of this policy is in force"],
        ),
        (
            "was valid",
            fixture().own(&bad()),
            "Programmed",
            "False EarlierFormInForce",
            &[
                "generation 2 is not accepted",
                "all 2 connected proxies enforce the last accepted generation of this policy",
            ],
        ),
        (
            "the subnet grew",
            beyond_drop(),
            "Programmed",
            "False EarlierFormInForce",
            &[],
        ),
        (
            "being deleted",
            fixture().with(|fixture| fixture.terminating = true),
            "Programmed",
            "False NamespaceTerminating",
            &["the policy's namespace is being deleted"],
        ),
        // Conflicted
        ("alone", fixture(), "Conflicted", "False NoConflicts", &[]),
        (
            "others agree",
            limited(127)
                .older(&ip(&["203.0.113.1"]))
                .own(&ip(&["203.0.113.2"])),
            "Conflicted",
            "False NoConflicts",
            &[],
        ),
        (
            "others differ",
            limited(127)
                .older(&ip(&["203.0.113.1"]))
                .own(&json!({"denial": "Drop",
                "accessLog": {"level": "Denied"}})),
            "Conflicted",
            "True SettingsDiffer",
            &[
                "overrides 2 settings of this one; the rules of this policy stay in force",
                "\nspec.denial: is not in force",
                "the policy `older`",
                "\nspec.accessLog.level: ",
            ],
        ),
        (
            "never was valid",
            limited(127).own(&bad()),
            "Conflicted",
            "Unknown Invalid",
            &["see Accepted"],
        ),
        (
            "beyond a limit",
            limited(1)
                .older(&ip(&["203.0.113.1"]))
                .own(&ip(&["203.0.113.2"])),
            "Conflicted",
            "Unknown LimitExceeded",
            &[],
        ),
        (
            "not evaluated",
            fixture().not_indexed(),
            "Conflicted",
            "Unknown Pending",
            &[],
        ),
    ]
}

/// With `Drop` and more blocks than a `NetworkPolicy` can have, the policy is not accepted any more, and its last
/// accepted generation stays in force.
pub(super) fn beyond_drop() -> Fixture {
    let before = limited(127).corp(&blocks(10)).own(&dropping());
    before.corp(&blocks(crate::limits::MAX_DROP_BLOCKS + 1))
}

/// Same as [`beyond_drop`], for an older policy.
fn older_beyond_drop() -> Fixture {
    let before = limited(127).corp(&blocks(10)).older(&dropping());
    before.corp(&blocks(crate::limits::MAX_DROP_BLOCKS + 1))
}

fn dropping() -> Value {
    let mut spec = subnet("corp", "dc");
    spec["denial"] = "Drop".into();
    spec
}

/// Returns a subnet of this number of single addresses, none of which are adjacent.
fn blocks(count: usize) -> Value {
    let address = |number| std::net::Ipv4Addr::from(0x0A00_0000 + 2 * number);
    let prefixes: Vec<String> = (0..u32::try_from(count).unwrap())
        .map(|number| format!("{}/32", address(number)))
        .collect();
    json!([{"name": "dc", "serviceEndpoints": ["Vault"], "addressPrefixes": prefixes}])
}

pub(super) fn other_port(ports: &mut [ServicePortFact]) {
    ports[0].port = 443;
}

pub(super) fn no_proxies(fixture: &mut Fixture) {
    (fixture.proxies.connected, fixture.proxies.programmed) = (0, 0);
}
