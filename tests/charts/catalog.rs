//! Trusted services that the chart installs from the catalog: those that the values list, as they are in the manifests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use testkit::ApiServer;

use crate::catalog::manifests::manifests;
use crate::charts::helm::{OPERATOR, chart, helm, objects};

/// Spec of each trusted service that is rendered with a value.
fn rendered(value: &str) -> BTreeMap<String, Value> {
    let all = objects(OPERATOR, &["--set-json", value]);
    let services = all
        .into_iter()
        .filter(|object| object["kind"] == "TrustedService");
    services
        .map(|service| {
            let name = service["metadata"]["name"].as_str().unwrap().to_owned();
            (name, service["spec"].clone())
        })
        .collect()
}

#[test]
fn the_listed_services_are_installed_and_no_others() {
    let specs = |group: &str| -> BTreeMap<String, Value> {
        let manifests = manifests().into_iter();
        let of_group = manifests.filter(|manifest| manifest.group == group);
        of_group
            .map(|manifest| {
                (
                    manifest.name().to_owned(),
                    manifest.document["spec"].clone(),
                )
            })
            .collect()
    };
    let (azure, kubernetes) = (specs("azure"), specs("kubernetes"));
    assert_eq!((azure.len(), kubernetes.len()), (39, 9));
    assert_eq!(rendered("catalog={}"), BTreeMap::new());
    for (group, specs) in [("azure", &azure), ("kubernetes", &kubernetes)] {
        let names: Vec<&String> = specs.keys().collect();
        assert_eq!(
            rendered(&format!("catalog.{group}={}", json!(names))),
            *specs
        );
        let (name, spec) = specs.first_key_value().unwrap();
        let one = rendered(&format!("catalog.{group}={}", json!([name])));
        assert_eq!(one, BTreeMap::from([(name.clone(), spec.clone())]));
    }
    let all = azure.into_iter().chain(kubernetes).collect();
    assert_eq!(rendered(r#"catalog={"all": true}"#), all);
}

#[test]
fn identities_are_set_by_value() {
    let account = json!([{"serviceAccount": {"namespace": "backup", "name": "agent"}}]);
    let identities = json!({"azure-backup": account, "velero": []});
    let catalog = json!({
        "azure": ["azure-backup", "azure-batch"], "kubernetes": ["velero"], "identities": identities,
    });
    let found = rendered(&format!("catalog={catalog}"));
    assert_eq!(found["azure-backup"]["identities"], account);
    assert_eq!(found["velero"]["identities"], json!([]));
    assert_eq!(found["azure-batch"]["identities"], json!([]));
    assert_eq!(found.len(), 3);
}

#[test]
fn a_misspelled_name_is_refused() {
    for (value, expected) in [
        (r#"catalog.azure=["azure-bakcup"]"#, "value must be one of"),
        (r#"catalog.azure=["velero"]"#, "value must be one of"),
        (
            r#"catalog={"azure": ["azure-batch"], "identities": {"azure-backup": []}}"#,
            "catalog.identities has azure-backup, which is not installed",
        ),
    ] {
        let folder = chart(OPERATOR);
        let folder = folder.to_str().unwrap();
        let output = helm(&["template", OPERATOR, folder, "--set-json", value]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && message.contains(expected),
            "{value}: {message}"
        );
    }
}

#[test]
fn the_api_server_accepts_every_manifest() {
    let server = ApiServer::start();
    server.install_crds();
    let documents: Vec<String> = manifests()
        .iter()
        .map(|manifest| manifest.document.to_string())
        .collect();
    server.apply(&documents.join("\n---\n"));
    let printed = server.kubectl_prints(&[
        "get",
        "ts",
        "-o",
        "name",
        "--selector=vaultwall.dev/catalog",
    ]);
    assert_eq!(printed.lines().count(), documents.len(), "{printed}");
}
