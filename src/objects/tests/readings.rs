//! Spellings with two readings, and null.

use std::path::Path;

use super::{check_policies, listed, parse, policy};
use crate::index::Object;
use crate::limits::Limits;
use crate::objects::{LoadError, parse_file, read_from_cluster};

#[test]
fn words_that_kubectl_reads_as_booleans_are_refused_without_quotes() {
    check_policies(&[
        ("ipRules: [{name: no, value: 203.0.113.7}]", &["ipRules[0].name Ambiguous"]),
        ("ipRules: [{name: \"no\", value: 203.0.113.7}]", &[]),
        ("ipRules: [{name: 'on', value: 203.0.113.7}]", &[]),
        ("ipRules: [{name: \"no\", value: 203.0.113.7}, {name: off, value: 203.0.113.8}]",
            &["ipRules[1].name Ambiguous"]),
        ("virtualNetworkRules: [{pods: {podSelector: {}}, ignoreMissingServiceEndpoint: yes}]",
            &["virtualNetworkRules[0].ignoreMissingServiceEndpoint Ambiguous"]),
        ("virtualNetworkRules: [{pods: {podSelector: {}}, ignoreMissingServiceEndpoint: true}]", &[]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {a: y}}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels.a Ambiguous"]),
    ]);
    let item = policy("ipRules: [{name: no, value: 203.0.113.7}]").replace('\n', "\n  ");
    let list = format!("kind: List\napiVersion: v1\nitems:\n- {item}");
    assert_eq!(listed(&parse(&list).violations), ["VaultNetworkPolicy main spec.ipRules[0].name Ambiguous"]);
}


#[test]
fn numbers_tags_and_keys_with_two_readings_are_refused() {
    check_policies(&[
        ("ipRules: [{name: 007, value: 203.0.113.7}]", &["ipRules[0].name Ambiguous"]),
        ("ipRules: [{name: \"007\", value: 203.0.113.7}]", &[]),
        ("ipRules: [{name: 1_000, value: 203.0.113.7}]", &["ipRules[0].name Ambiguous"]),
        ("ipRules: [{name: 0x1F, value: 203.0.113.7}]", &["ipRules[0].name Ambiguous"]),
        ("ipRules: [{name: inf, value: 203.0.113.7}]", &["ipRules[0].name Ambiguous"]),
        ("ipRules: [{name: 7, value: 203.0.113.7}]", &["ipRules[0].name WrongType"]),
        ("ipRules: [{name: !!str 7, value: 203.0.113.7}]", &["ipRules[0].name Ambiguous"]),
        ("proxy: {replicas: 010}", &["proxy.replicas Ambiguous"]),
        ("proxy: {replicas: +2}", &["proxy.replicas Ambiguous"]),
        ("proxy: {resources: {limits: {cpu: 010}}}", &["proxy.resources.limits.cpu Ambiguous"]),
        ("proxy: {resources: {limits: {cpu: \"010\"}}}", &[]),
        ("proxy: {resources: {limits: {cpu: 2}}}", &[]),
        ("proxy: {resources: {limits: {cpu: 0.5}}}", &["proxy.resources.limits.cpu WrongType"]),
        ("proxy: {resources: {limits: {cpu: \"0.5\"}}}", &[]),
        ("proxy: {resources: {limits: {cpu: true}}}", &["proxy.resources.limits.cpu WrongType"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {010: a}}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels.010 Ambiguous"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {1.10: a}}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels[1.10] Ambiguous"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {yes: a}}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels.yes Ambiguous"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {\"1.10\": a, '010': b, \"yes\": c}}}}]", &[]),
    ]);
}

#[test]
fn a_merge_key_is_the_first_of_its_object() {
    check_policies(&[
        ("vault: {namespaces: [a], <<: {namespaces: [b]}}", &["vault[<<] Ambiguous"]),
        ("vault: {<<: {namespaces: [b]}, namespaces: [a]}", &[]),
        ("vault: {\"<<\": {namespaces: [b]}, namespaces: [a]}", &["vault[<<] Ambiguous"]),
        ("vault: {<<: ~, namespaces: [a]}", &["vault[<<] Ambiguous"]),
        ("vault: {<<: [~], namespaces: [a]}", &["vault[<<][0] Ambiguous"]),
        ("denial: &a-b_1 Drop", &[]),
    ]);
    // It may give an object of another kind ours.
    let text = "x: &x {kind: VaultNetworkPolicy}\napiVersion: vaultwall.dev/v1alpha1\nkind: Other\n<<: *x\n";
    assert_eq!(listed(&parse(text).violations), ["Other  kind UnknownKind"]);
    let text = text.replace("vaultwall.dev/v1alpha1", "v1");
    assert_eq!(listed(&parse(&text).violations), ["Other  [<<] Ambiguous"]);
    // Inside an object of another kind it is not our concern.
    let text = "apiVersion: v1\nkind: ConfigMap\ndata: {a: b, <<: {a: c}, e: yes, 010: 007}\n";
    assert_eq!(listed(&parse(text).violations), [""; 0]);
    // Unless it stands for a part of an object of ours.
    let ours = policy("vault: {namespaces: *n}").replace('\n', "\n  ");
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {{apiVersion: v1, kind: ConfigMap, data: {{names: &n [007]}}}}\n- {ours}"
    );
    assert_eq!(listed(&parse(&list).violations), ["ConfigMap  data.names[0] Ambiguous"]);
}

#[test]
fn findings_name_line_and_remedy() {
    let of = |spec: &str| parse(&policy(spec)).violations.remove(0).message;
    for (spec, line, remedy) in [
        ("ipRules: [{name: no, value: 203.0.113.7}]", "line 6: ", "put a text in quotes"),
        ("vault:\n    namespaces: [a]\n    <<: {namespaces: [b]}", "line 8: ", "write << as the first key"),
        ("proxy:\n    resources:\n      limits: {010: a}", "line 8: ", "put it in quotes"),
        ("proxy:\n    replicas: 010", "line 7: ", "without leading zeros"),
        ("proxy:\n    replicas: !!int 2", "line 7: ", "remove it"),
    ] {
        let message = of(spec);
        assert!(message.starts_with(line) && message.contains(remedy), "{message}");
    }
}

#[test]
fn a_file_with_two_readings_is_an_error_with_its_line() {
    let ours = policy("mode: Enforced");
    let lines = ours.lines().count();
    // text | line | a word of the remedy
    let table = [
        (format!("{ours}  # note\u{85}  defaultAction: Allow\n"), lines + 1, "\\u0085"),
        (format!("{ours}  # note\u{2028}  defaultAction: Allow\n"), lines + 1, "\\u2028"),
        (format!("{ours}  # note\u{2029}  defaultAction: Allow\n"), lines + 1, "\\u2029"),
        (format!("{ours}  # note\r  defaultAction: Allow\n"), lines + 1, "line feed"),
        (format!("{ours}  # note\u{1}\n"), lines + 1, "remove it"),
        (format!("# note\n\u{feff}{ours}"), 2, "start of a file"),
        (format!("{ours}...\n{ours}"), lines + 2, "write ---"),
        (format!("{ours}...\n# note\n{ours}"), lines + 3, "write ---"),
        (format!("{ours}---# note\n{ours}"), lines + 1, "next line"),
        (format!("{ours}--- {{apiVersion: v1, kind: Pod}}\n"), lines + 1, "next line"),
        (format!("{ours}\t# note\n"), lines + 1, "write spaces"),
        (format!("{ours}  ipRules:\n  -\tvalue: 203.0.113.7\n"), lines + 2, "write spaces"),
        (format!("%YAML 1.1\n---\n{ours}"), 1, "directives"),
    ];
    for (text, line, word) in table {
        let error = parse_file(Path::new("x.yaml"), &text, &Limits::default()).unwrap_err();
        let LoadError::TwoReadings { line: found, .. } = &error else { panic!("{error}") };
        assert_eq!(*found, line, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    for good in [
        format!("\u{feff}{ours}"),
        ours.replace('\n', "\r\n"),
        format!("---\n{ours}...\n---\n# nothing\n--- # note\nnull\n---\n~\n---\n"),
        format!("{ours}  denial: \"Re\\u006aect\"\n"),
    ] {
        assert_eq!(listed(&parse(&good).violations), [""; 0], "{good:?}");
        assert_eq!(parse(&good).objects.len(), 1, "{good:?}");
    }
}

#[test]
fn null_is_absent_and_never_a_value_of_a_map_or_list() {
    check_policies(&[
        ("proxy: null", &[]),
        ("proxy: {replicas: ~, service: {type: Null, annotations: null}}", &[]),
        ("defaultAction:", &[]),
        ("bypass: ~\n  clientAddress: {source: null, trustedProxies: ~}", &[]),
        ("ipRules: [{name: ~, value: 203.0.113.7}]", &[]),
        ("ipRules: [{value: ~}]", &["ipRules[0] Required"]),
        ("ipRules: [~]", &["ipRules[0] WrongType"]),
        ("vault: {namespaces: [~]}", &["vault.namespaces[0] WrongType"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {team: null}}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels.team WrongType"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {team: }}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchLabels.team WrongType"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchLabels: {team: \"\"}}}}]", &[]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchExpressions: [{key: a, operator: In, values: ~}]}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchExpressions[0].values Required"]),
        ("virtualNetworkRules: [{pods: {podSelector: {matchExpressions: [{key: a, operator: In, values: [~]}]}}}]",
            &["virtualNetworkRules[0].pods.podSelector.matchExpressions[0].values[0] WrongType"]),
        ("proxy: {service: {annotations: {a: null}}}", &["proxy.service.annotations.a WrongType"]),
        ("proxy: {resources: {limits: {cpu: null}}}", &["proxy.resources.limits.cpu WrongType"]),
        ("nothing: null", &["nothing UnknownField"]),
    ]);
    for (text, expected) in [
        ("metadata: {name: a}\nspec: null", "VaultNetworkPolicy a spec Required"),
        ("metadata: null\nspec: {targetRef: {name: openbao, port: 8200}}", "VaultNetworkPolicy  metadata Required"),
        ("metadata: {name: a}\nspec: {targetRef: null}", "VaultNetworkPolicy a spec.targetRef Required"),
    ] {
        let text = format!("apiVersion: vaultwall.dev/v1alpha1\nkind: VaultNetworkPolicy\n{text}\n");
        assert_eq!(listed(&parse(&text).violations), [expected], "{text}");
    }
    let json = r#"{"apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy", "metadata": {"name": "a"},
        "spec": {"targetRef": {"name": "openbao", "port": 8200}, "virtualNetworkRules": [
            {"pods": {"podSelector": {"matchLabels": {"team": null}}}}]}}"#;
    let place = "VaultNetworkPolicy a spec.virtualNetworkRules[0].pods.podSelector.matchLabels.team WrongType";
    assert_eq!(listed(&parse(json).violations), [place]);
}

/// Earlier definitions let the API server store them.
#[test]
fn null_in_stored_objects_is_absent() {
    let object = serde_json::json!({
        "apiVersion": "vaultwall.dev/v1alpha1", "kind": "VaultNetworkPolicy",
        "metadata": {"name": "main", "namespace": "vault"},
        "spec": {
            "targetRef": {"name": "openbao", "port": 8200}, "proxy": null, "trustedServices": null,
            "ipRules": [{"name": null, "value": "203.0.113.7", "serviceTag": null}],
            "virtualNetworkRules": [{"subnet": null, "pods": {"podSelector": {"matchLabels": null}}}],
        },
    });
    let contents = read_from_cluster(object, &Limits::default());
    assert_eq!(listed(&contents.violations), [""; 0]);
    assert!(contents.objects[0].1.as_ref().and_then(Object::policy).is_some());
}

#[test]
fn facts_have_one_reading_as_well() {
    for (text, expected) in [
        ("kind: Namespace\nmetadata: {name: shop, labels: {team: web}}", ""),
        ("kind: Namespace\nmetadata: {name: shop, labels: {team: ~}}", "Namespace shop metadata.labels.team WrongType"),
        ("kind: Namespace\nmetadata: {name: shop, labels: {team: 007}}", "Namespace shop metadata.labels.team Ambiguous"),
        ("kind: Namespace\nmetadata: {name: shop, labels: {yes: a}}", "Namespace shop metadata.labels.yes Ambiguous"),
        ("kind: Service\nmetadata: {name: a, namespace: b}\nspec: {selector: {app: ~}, ports: [{port: 1}]}",
            "Service a spec.selector.app WrongType"),
    ] {
        let found = listed(&parse(&format!("apiVersion: v1\n{text}\n")).violations);
        assert_eq!(found.join(" "), expected, "{text}");
    }
}

#[test]
fn an_assumed_namespace_is_reported() {
    for (metadata, assumed) in [
        ("{name: main, namespace: vault}", 0),
        ("{name: main}", 1),
        ("{name: main, namespace: ~}", 1),
        ("{name: main, namespace: \"\"}", 1),
    ] {
        let contents = parse(&policy("").replace("{name: main, namespace: vault}", metadata));
        let keys: Vec<String> = contents.assumed.iter().map(ToString::to_string).collect();
        assert_eq!(keys, vec!["VaultNetworkPolicy default/main"; assumed], "{metadata}");
        assert_eq!(listed(&contents.violations), [""; 0], "{metadata}");
    }
}

#[test]
fn members_of_a_list_that_is_none_are_not_ignored() {
    let ours = policy("ipRules: [5]").replace('\n', "\n  ");
    let member = "VaultNetworkPolicy main spec.ipRules[0] WrongType";
    for (kind, expected) in [
        ("List", vec![member]),
        ("PodList", vec![member]),
        ("Other", vec!["Other x kind UnknownKind", member]),
        ("Pod", vec!["Pod x kind UnknownKind", member]),
    ] {
        let text = format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}\nitems:\n- {ours}");
        assert_eq!(listed(&parse(&text).violations), expected, "{kind}");
    }
    let text = policy("") + "items: []\n";
    assert_eq!(listed(&parse(&text).violations), ["VaultNetworkPolicy main items UnknownField"]);
    let text = "apiVersion: example.org/v1\nkind: Menu\nmetadata: {name: x}\nitems: [{dish: soup}]\n";
    assert_eq!(listed(&parse(text).violations), [""; 0]);
}
