//! Files, and the violations of their objects as `kind name field Reason`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod offers;
mod readings;

use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::index::{Object, ObservedPolicy};
use crate::limits::Limits;
use crate::policy::ViolationReason;

fn parse(text: &str) -> FileContents {
    parse_file(Path::new("file.yaml"), text, &Limits::default()).unwrap()
}

fn listed(violations: &[LocatedViolation]) -> Vec<String> {
    violations.iter().map(|v| format!("{} {} {} {:?}", v.kind, v.name, v.field, v.reason)).collect()
}

/// A policy with these fields in `spec`, after a valid `targetRef`.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {{name: main, namespace: vault}}\n\
         spec:\n  targetRef: {{name: openbao, port: 8200}}\n  {spec}\n"
    )
}

/// Each row: fields in `spec`, and every `field Reason`.
fn check_policies(table: &[(&str, &[&str])]) {
    for (spec, expected) in table {
        let expected: Vec<String> = expected.iter().map(|e| format!("VaultNetworkPolicy main spec.{e}")).collect();
        let contents = parse(&policy(spec));
        assert_eq!(listed(&contents.violations), expected, "{spec}");
        assert_eq!(contents.objects.len(), 1, "{spec}");
        // An invalid policy is never a valid one, and its vault is still known.
        match &contents.objects[0].1 {
            Some(Object::VaultNetworkPolicy(ObservedPolicy::Valid(_))) => assert!(expected.is_empty(), "{spec}"),
            Some(Object::VaultNetworkPolicy(ObservedPolicy::Invalid(policy))) => {
                assert_eq!((policy.vault.to_string().as_str(), policy.port), ("vault/openbao", 8200));
                assert!(!expected.is_empty(), "{spec}");
            }
            other => panic!("{spec}: {other:?}"),
        }
    }
}

#[test]
fn wrong_types_and_unknown_fields_are_violations_with_their_path() {
    check_policies(&[
        ("", &[]),
        ("ipRules: [{value: 203.0.113.7}]", &[]),
        ("ipRules: [{value: 5}]", &["ipRules[0].value WrongType"]),
        ("ipRules: [{value: 1.5}]", &["ipRules[0].value WrongType"]),
        ("ipRules: [{value: true}]", &["ipRules[0].value WrongType"]),
        ("ipRules: [{value: [203.0.113.7]}]", &["ipRules[0].value WrongType"]),
        ("ipRules: [203.0.113.7]", &["ipRules[0] WrongType"]),
        ("ipRules: 203.0.113.7", &["ipRules WrongType"]),
        ("ipRules: {value: 203.0.113.7}", &["ipRules WrongType"]),
        ("ipRules: [null]", &["ipRules[0] WrongType"]),
        ("ipRules:", &[]),
        ("ipRules: [{value: 203.0.113.7, nmae: hq}]", &["ipRules[0].nmae UnknownField"]),
        ("ipRule: [{value: 203.0.113.7}]", &["ipRule UnknownField"]),
        ("mode: enforced", &["mode Invalid"]),
        ("mode: null", &[]),
        ("defaultAction: [Deny]", &["defaultAction WrongType"]),
        ("denial: Block", &["denial Invalid"]),
        ("vault: {engines: [{path: secret}]}", &["vault.engines[0].type Required"]),
        ("vault: {engines: [{path: secret, type: kv}]}", &["vault.engines[0].type Invalid"]),
        ("vault: {namespaces: {a: b}}", &["vault.namespaces WrongType"]),
        ("virtualNetworkRules: [{subnet: build}]", &["virtualNetworkRules[0].subnet WrongType"]),
        ("virtualNetworkRules: [{subnet: {name: build}}]", &["virtualNetworkRules[0].subnet.virtualNetwork Required"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {a: 1}}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels.a WrongType"]),
        ("virtualNetworkRules: [{pods: {podSelector: {app: web}}}]",
            &["virtualNetworkRules[0].pods.podSelector.app UnknownField"]),
        ("virtualNetworkRules: [{pods: {namespaceSelector: null}}]", &["virtualNetworkRules[0].pods Required"]),
        ("virtualNetworkRules: [{pods: {podSelector: {}}, ignoreMissingServiceEndpoint: \"true\"}]",
            &["virtualNetworkRules[0].ignoreMissingServiceEndpoint WrongType"]),
        ("management: {access: No}", &["management.access Ambiguous"]),
        // a source that cannot be read does not make the list wrong
        ("clientAddress: {source: XForwarded, trustedProxies: [10.0.0.1]}", &["clientAddress.source Invalid"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: 10.0.0.1}",
            &["clientAddress.trustedProxies WrongType"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: [7, true, ~, [], 10.0.0.1]}",
            &["clientAddress.trustedProxies[0] WrongType", "clientAddress.trustedProxies[1] WrongType",
              "clientAddress.trustedProxies[2] WrongType", "clientAddress.trustedProxies[3] WrongType"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: [{}, {pods: {}}, {pods: {namespaceSelector: {}}}]}",
            &["clientAddress.trustedProxies[0].pods Required", "clientAddress.trustedProxies[1].pods Required"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {}}, value: 10.0.0.1}]}",
            &["clientAddress.trustedProxies[0].value UnknownField"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {}, value: 10.0.0.1}}]}",
            &["clientAddress.trustedProxies[0].pods.value UnknownField"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {matchLabels: {a: ~}}}}]}",
            &["clientAddress.trustedProxies[0].pods.podSelector.matchLabels.a WrongType"]),
        ("clientAddress: {source: XForwardedFor, trustedProxies: [{pods: {podSelector: {matchLabels: {a: b c}}}}, 1]}",
            &["clientAddress.trustedProxies[1] WrongType",
              "clientAddress.trustedProxies[0].pods.podSelector.matchLabels.a Invalid"]),
    ]);
}

#[test]
fn one_wrong_type_does_not_hide_the_other_violations() {
    check_policies(&[
        ("ipRules: [{value: 10.0.0.1}, 7, {value: 5}, {value: \"::1\", nmae: hq}, {value: 203.0.113.7/32}]",
            &["ipRules[1] WrongType", "ipRules[2].value WrongType", "ipRules[3].nmae UnknownField",
              "ipRules[0].value PrivateAddress", "ipRules[3].value OnlyIpv4", "ipRules[4].value PrefixTooLong"]),
        ("mode: Audti\n  vault: {location: {region: westindia}}\n  proxy: {replicas: many}",
            &["mode Invalid", "proxy.replicas WrongType", "vault.location NotSupportedYet"]),
    ]);
}

#[test]
fn violations_of_ports_and_the_target_have_their_path() {
    let of = |target: &str| {
        let text = policy("").replace("{name: openbao, port: 8200}", target);
        let violations = listed(&parse(&text).violations);
        violations.iter().map(|v| v.replace("VaultNetworkPolicy main spec.targetRef", "")).collect::<Vec<_>>()
    };
    let table: &[(&str, &[&str])] = &[
        ("{kind: Service, name: openbao, port: 8200}", &[]),
        ("{name: openbao, port: 0}", &[".port Invalid"]),
        ("{name: openbao, port: 70000}", &[".port Invalid"]),
        ("{name: openbao, port: -1}", &[".port Invalid"]),
        ("{name: openbao, port: \"8200\"}", &[".port WrongType"]),
        ("{name: openbao, port: 8200.0}", &[".port WrongType"]),
        ("{name: openbao, port: 8200.5}", &[".port WrongType"]),
        ("{name: openbao, port: 08200}", &[".port Ambiguous"]),
        ("{name: openbao, port: 8_200}", &[".port Ambiguous"]),
        ("{name: openbao}", &[".port Required"]),
        ("{port: 8200}", &[".name Required"]),
        ("{name: \"\", port: 8200}", &[".name Invalid"]),
        ("{kind: Pod, name: openbao, port: 8200}", &[".kind Invalid"]),
        ("openbao:8200", &[" WrongType"]),
        ("", &[" Required"]),
    ];
    for (target, expected) in table {
        assert_eq!(of(target), *expected, "{target}");
    }
    let without = "apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\nmetadata: {name: main}\nspec: {}";
    assert_eq!(listed(&parse(without).violations), ["VaultNetworkPolicy main spec.targetRef Required"]);
}

#[test]
fn metadata_that_kubectl_prints_is_valid_and_mistakes_in_it_are_violations() {
    let of = |metadata: &str| {
        let text = policy("").replace("{name: main, namespace: vault}", metadata);
        let contents = parse(&text);
        (listed(&contents.violations), contents)
    };
    for good in [
        "{name: main, namespace: vault, creationTimestamp: null}",
        "{name: main, creationTimestamp: \"2026-01-02T03:04:05Z\", generation: 3, uid: abc, resourceVersion: \"7\"}",
        "{name: main, labels: {a: b}, annotations: {c: d}, \
          managedFields: [{manager: kubectl, fieldsV1: {\"f:spec\": {}}}]}",
    ] {
        assert_eq!(of(good).0, [""; 0], "{good}");
    }
    let table: &[(&str, &str)] = &[
        ("{namespace: vault}", "VaultNetworkPolicy  metadata.name Required"),
        ("", "VaultNetworkPolicy  metadata Required"),
        ("{name: 5}", "VaultNetworkPolicy  metadata.name WrongType"),
        ("{name: main, lables: {a: b}}", "VaultNetworkPolicy main metadata.lables UnknownField"),
        ("{name: main, labels: {a: 5}}", "VaultNetworkPolicy main metadata.labels.a WrongType"),
        ("{name: main, creationTimestamp: yesterday}", "VaultNetworkPolicy main metadata.creationTimestamp WrongType"),
    ];
    for (metadata, expected) in table {
        assert_eq!(of(metadata).0, [*expected], "{metadata}");
    }
    // the default namespace, as kubectl sets it
    let contents = of("{name: main}").1;
    let policy = contents.objects[0].1.as_ref().and_then(Object::policy).expect("a valid policy");
    assert_eq!(policy.vault.namespace, "default");
}

#[test]
fn status_is_not_read() {
    let text = policy("ipRules: []") + "status: {conditions: 5, anything: {}}\n";
    assert_eq!(listed(&parse(&text).violations), [""; 0]);
    let text = policy("ipRules: []") + "sttaus: {}\n";
    assert_eq!(listed(&parse(&text).violations), ["VaultNetworkPolicy main sttaus UnknownField"]);
}

#[test]
fn kinds_of_our_group_are_read_or_refused_and_others_are_ignored() {
    let table: &[(&str, &str, &[&str])] = &[
        ("vaultwall.dev/v1alpha1", "ServiceTag", &["ServiceTag x kind NotSupportedYet"]),
        ("vaultwall.dev/v1alpha1", "VaultBackup", &["VaultBackup x kind UnknownKind"]),
        ("vaultwall.dev/v1alpha1", "vaultnetworkpolicy", &["vaultnetworkpolicy x kind UnknownKind"]),
        ("vaultwall.dev/v1", "VaultNetworkPolicy", &["VaultNetworkPolicy x apiVersion UnknownKind"]),
        ("vaultwall.dev", "VirtualNetwork", &["VirtualNetwork x apiVersion UnknownKind"]),
        ("vaultwall.io/v1alpha1", "VaultNetworkPolicy", &["VaultNetworkPolicy x apiVersion UnknownKind"]),
        ("v1", "VaultNetworkPolicy", &["VaultNetworkPolicy x apiVersion UnknownKind"]),
        // kinds of other groups
        ("v1", "ConfigMap", &[]),
        ("azure.example.org/v1", "VirtualNetwork", &[]),
        ("serving.knative.dev/v1", "Service", &[]),
    ];
    for (version, kind, expected) in table {
        let contents = parse(&format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\n"));
        assert_eq!(listed(&contents.violations), *expected, "{version} {kind}");
        assert_eq!(contents.ignored.contains_key(*kind), expected.is_empty(), "{version} {kind}");
        assert!(contents.objects.is_empty());
    }
}

#[test]
fn documents_that_are_not_objects_are_violations() {
    let table: &[(&str, &[&str])] = &[
        ("", &[]),
        ("---\n---\n# nothing\n", &[]),
        ("hello", &["   WrongType"]),
        ("[a, b]", &["   WrongType"]),
        ("a: b", &["  apiVersion Required", "  kind Required"]),
        ("kind: Pod\nmetadata: {name: x}", &["Pod x apiVersion Required"]),
        ("apiVersion: 1\nkind: [Pod]", &["  apiVersion WrongType", "  kind WrongType"]),
        ("apiVersion: v1\nkind: List\nitems: {}", &["List  items WrongType"]),
        ("apiVersion: v1\nkind: List\nitems: [5, {kind: Pod}]", &["   WrongType", "Pod  apiVersion Required"]),
    ];
    for (text, expected) in table {
        assert_eq!(listed(&parse(text).violations), *expected, "{text}");
    }
}

#[test]
fn facts_are_read_from_documents_and_lists() {
    let text = r"
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {vaultwall.dev/service-endpoint: enabled}}
---
apiVersion: v1
kind: List
metadata: {resourceVersion: ''}
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: web, namespace: shop, labels: {app: web}}
  spec: {containers: [{name: web, image: nginx}]}
  status: {phase: Running, podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]}
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}
---
apiVersion: v1
kind: ServiceList
items:
- {metadata: {name: openbao, namespace: vault}, spec: {ports: [{port: 8200}], selector: {app: openbao}}}
";
    let contents = parse(text);
    assert_eq!(listed(&contents.violations), [""; 0]);
    let keys: Vec<String> = contents.objects.iter().map(|(key, _)| key.to_string()).collect();
    assert_eq!(keys, ["Namespace shop", "Pod shop/web", "ServiceAccount shop/web", "Service vault/openbao"]);
    let loaded = LoadedObjects::of([contents]);
    assert_eq!((loaded.facts(), loaded.objects.len()), (4, 4));
}

#[test]
fn objects_that_cannot_be_facts_are_violations() {
    let table: &[(&str, &[&str])] = &[
        ("kind: Pod\nmetadata: {name: web, namespace: shop}\nspec: {hostNetwork: 5}",
            &["Pod web spec.hostNetwork WrongType"]),
        ("kind: Pod\nmetadata: {name: web}", &["Pod web metadata.namespace Invalid"]),
        ("kind: Namespace\nmetadata: {labels: {a: b}}", &["Namespace  metadata.name Invalid"]),
        ("kind: Service\nmetadata: {name: b, namespace: v}\nspec: {ports: [{port: 70000}]}",
            &["Service b spec.ports[0].port Invalid"]),
        ("kind: Pod\nmetadata: {name: web, namespace: shop}\nstatus: {phase: Running, podIP: 10.1}",
            &["Pod web status.podIP WrongType"]),
    ];
    for (text, expected) in table {
        assert_eq!(listed(&parse(&format!("apiVersion: v1\n{text}")).violations), *expected, "{text}");
    }
}

#[test]
fn a_file_that_cannot_be_parsed_is_an_error_with_its_line() {
    let bomb = "a: &a [1,1,1,1,1,1,1,1,1,1]\n".to_owned()
        + &('b'..='h').fold((String::new(), 'a'), |(text, last), name| {
            let aliases = vec![format!("*{last}"); 10].join(",");
            (format!("{text}{name}: &{name} [{aliases}]\n"), name)
        }).0;
    let deep = "[".repeat(10_000);
    // text | line, if the parser has one | a word of the message
    let table: &[(&str, Option<u64>, &str)] = &[
        ("a: [1\nb: 2", Some(2), ""),
        ("a: 1\n b: 2", Some(2), ""),
        ("apiVersion: v1\nkind: Pod\n\tmetadata: {}", Some(2), "tab"),
        ("a: 1\na: 2", Some(2), "duplicate"),
        ("a: \"unfinished", Some(1), ""),
        ("{\"a\": 1,}}", Some(1), ""),
        ("a: *nowhere", Some(1), ""),
        ("a: !!python/object x", Some(1), "tag"),
        ("a: .nan", Some(1), ""),
        (&bomb, None, "too complex"),
        (&deep, Some(1), ""),
    ];
    for (text, line, word) in table {
        let error = parse_file(Path::new("dir/x.yaml"), text, &Limits::default()).unwrap_err();
        let LoadError::Syntax { line: found, .. } = &error else { panic!("{error}") };
        if line.is_some() {
            assert_eq!(found, line, "{error}");
        }
        let message = error.to_string();
        assert!(message.starts_with("dir/x.yaml:") && message.contains(word), "{message}");
        assert!(!message.contains('\n') && message.len() < 400, "{message}");
    }
}

#[test]
fn json_is_read_as_well() {
    let text = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Namespace\",\n\t\"metadata\": {\"name\": \"shop\", \
                \"annotations\": {\"a\": \"\\u003cb\\/\\n\", \"b\": \"\\ud83d\\ude00\"}}\n}\n";
    let contents = parse_file(Path::new("x.json"), text, &Limits::default()).unwrap();
    assert_eq!((contents.objects.len(), contents.violations.len()), (1, 0));
}

#[test]
fn an_object_in_two_files_is_a_violation_and_not_used() {
    let one = FileContents { file: "one.yaml".into(), ..parse(&policy("ipRules: []")) };
    let two = FileContents { file: "two.yaml".into(), ..parse(&policy("mode: Audit")) };
    let elsewhere = parse(&policy("ipRules: []").replace("namespace: vault", "namespace: other"));
    let loaded = LoadedObjects::of([one.clone(), two, elsewhere]);
    let found = loaded.violations.iter().find(|v| v.reason == ViolationReason::Duplicate).unwrap();
    let place = (found.file.as_str(), found.kind.as_str(), found.name.as_str());
    assert_eq!(place, ("two.yaml", "VaultNetworkPolicy", "main"));
    assert!(found.message.contains("in one.yaml"), "{}", found.message);
    let used: Vec<String> = loaded.policies().map(|(_, policy)| policy.vault.to_string()).collect();
    assert_eq!(used, ["other/openbao"]);
    assert_eq!(invalid_policies(&loaded), ["vault/openbao", "vault/openbao"]);
    // twice in one file
    let twice = parse(&format!("{}---\n{}", policy("ipRules: []"), policy("ipRules: []")));
    let loaded = LoadedObjects::of([twice]);
    assert_eq!(listed(&loaded.violations), ["VaultNetworkPolicy main  Duplicate"]);
    assert_eq!(loaded.policies().count(), 0);
    assert_eq!(LoadedObjects::of([one]).policies().count(), 1);
}

#[test]
fn folders_are_read_in_order_and_each_file_once() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir_all(at("sub/deeper")).unwrap();
    fs::create_dir_all(at("..versions")).unwrap();
    for name in [
        "b.yaml", "a.json", "c.yml", "sub/deeper/d.yaml", "notes.txt", ".hidden.yaml", "b.yaml~", "..versions/x.yaml",
        "Z.YAML",
    ] {
        fs::write(at(name), "").unwrap();
    }
    #[cfg(unix)]
    {
        // a cycle, and a second path to the same file
        std::os::unix::fs::symlink(dir.path(), at("sub/circle")).unwrap();
        std::os::unix::fs::symlink(at("b.yaml"), at("zz.yaml")).unwrap();
    }
    let names = |paths: &[PathBuf]| {
        let (files, errors) = files_of(paths);
        assert!(errors.is_empty(), "{errors:?}");
        files.iter().map(|f| f.strip_prefix(dir.path()).unwrap().display().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[dir.path().into()]), ["a.json", "b.yaml", "c.yml", "sub/deeper/d.yaml"]);
    let several = names(&[at("c.yml"), dir.path().into(), at("notes.txt")]);
    assert_eq!(several, ["c.yml", "a.json", "b.yaml", "sub/deeper/d.yaml", "notes.txt"]);
    let (files, errors) = files_of(&[at("nothere.yaml"), at("b.yaml")]);
    assert_eq!(files.len(), 1);
    assert!(errors[0].to_string().contains("nothere.yaml"), "{}", errors[0]);
}

/// Vaults of the policies that must not be used.
fn invalid_policies(loaded: &LoadedObjects) -> Vec<String> {
    let invalid = loaded.objects.iter().filter_map(|located| match &located.object {
        Object::VaultNetworkPolicy(ObservedPolicy::Invalid(policy)) => Some(policy.vault.to_string()),
        _ => None,
    });
    invalid.collect()
}

#[test]
fn the_schema_of_each_custom_kind_compiles() {
    for info in infos().filter(|info| info.is_custom()) {
        assert_eq!(schema::schema_of(info.kind.name()).err(), None, "{}", info.kind);
    }
    assert_eq!(infos().filter(|info| info.is_custom()).count(), crate::api::custom_resource_definitions().len());
}
