//! The catalog of trusted services: each manifest is valid, and has the scenario and the operations of this table. The
//! table is a copy on purpose: an operation that is added to a manifest widens what a service is trusted for.

pub mod manifests;

use std::collections::{BTreeMap, BTreeSet};

use vaultwall::policy::{ServiceIdentity, ValidatedTrustedService, validate_trusted_service};

use self::manifests::{Manifest, manifests};

/// Name, scenario and operations.
type Row = (&'static str, &'static str, &'static str);

/// Services of Azure in the documents of 2018 to 2022.
#[rustfmt::skip] // read by eye
const DOCUMENTED: [Row; 25] = [
    ("azure-virtual-machines-deployment", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-resource-manager-template-deployment", "pass-secure-values", "secrets/get"),
    ("azure-disk-encryption", "encrypt-volumes", "secrets/get secrets/set keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-backup", "back-up-and-restore", "keys/get keys/list keys/backup keys/restore secrets/get secrets/list secrets/backup secrets/restore"),
    ("exchange-online-sharepoint-online", "encrypt-storage", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-information-protection", "use-tenant-key", "keys/get keys/decrypt keys/sign"),
    ("azure-app-service", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-sql-database", "transparent-data-encryption", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-database-for-mysql", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-database-for-postgresql-single-server", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-storage", "encrypt-storage", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-data-lake-store", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey keys/encrypt keys/decrypt"),
    ("azure-synapse-analytics", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-databricks", "run-analytics", "secrets/get secrets/list keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-api-management", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-data-factory", "fetch-credentials", "secrets/get"),
    ("azure-event-hubs", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-service-bus", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-import-export", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-container-registry", "encrypt-registry", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-application-gateway", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-front-door", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-front-door-classic", "deploy-certificates", "secrets/get certificates/get"),
    ("microsoft-purview", "fetch-credentials", "secrets/get secrets/list"),
    ("azure-machine-learning", "run-workspace", "secrets/get secrets/list secrets/set keys/get keys/wrapKey keys/unwrapKey"),
];

/// Services that Azure added since.
#[rustfmt::skip] // read by eye
const LATER: [Row; 14] = [
    ("azure-ai-search", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-batch", "use-account-vault", "keys/get keys/wrapKey keys/unwrapKey secrets/get"),
    ("azure-bot-service", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-cdn", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-data-manager-for-agriculture", "keep-licence-keys", "secrets/get secrets/set"),
    ("azure-database-for-mysql-flexible-server", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-database-for-postgresql-flexible-server", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-disk-storage", "encrypt-disks", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-expressroute", "configure-macsec", "secrets/get"),
    ("azure-firewall-premium", "deploy-certificates", "secrets/get certificates/get"),
    ("azure-monitor", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-netapp-files", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
    ("azure-policy-scan", "scan-names", "secrets/list keys/list certificates/list"),
    ("microsoft-power-platform", "encrypt-data", "keys/get keys/wrapKey keys/unwrapKey"),
];

/// Services of Kubernetes, and the service account of each; empty if it has no usual one.
#[rustfmt::skip] // read by eye
const KUBERNETES: [(&str, &str, &str, &str); 9] = [
    ("external-secrets", "sync-secrets", "secrets/get", "external-secrets/external-secrets"),
    ("vault-secrets-operator", "sync-secrets", "secrets/get certificates/create", "vault-secrets-operator/vault-secrets-operator-controller-manager"),
    ("secrets-store-csi-provider", "mount-secrets", "secrets/get", "vault/vault-csi-provider"),
    ("vault-agent-injector", "render-secrets", "secrets/get", ""),
    ("cert-manager", "issue-certificates", "certificates/create", "cert-manager/cert-manager"),
    ("kms-plugin", "encrypt-data", "keys/encrypt keys/decrypt", ""),
    ("velero", "back-up-and-restore", "keys/list keys/backup keys/restore secrets/list secrets/backup secrets/restore", "velero/velero"),
    ("argocd-vault-plugin", "render-manifests", "secrets/get", "argocd/argocd-repo-server"),
    ("crossplane-provider-vault", "manage-secrets", "secrets/get secrets/set secrets/delete", ""),
];

fn validated(manifest: &Manifest) -> ValidatedTrustedService {
    validate_trusted_service(&manifest.service)
        .unwrap_or_else(|violations| panic!("{}: {violations:?}", manifest.path))
}

/// Name → scenario, operations and identities, of the manifests that `is_wanted` selects.
fn found(
    is_wanted: impl Fn(&Manifest) -> bool,
) -> BTreeMap<String, (String, BTreeSet<String>, Vec<ServiceIdentity>)> {
    let manifests = manifests();
    let wanted = manifests.iter().filter(|manifest| is_wanted(manifest));
    wanted
        .map(|manifest| {
            let service = validated(manifest);
            let [scenario] = &service.scenarios[..] else {
                panic!("{}: one scenario each", manifest.path)
            };
            let scenario = (
                scenario.name.clone(),
                scenario.operations.clone(),
                service.identities,
            );
            (service.name.to_string(), scenario)
        })
        .collect()
}

fn operations(text: &str) -> BTreeSet<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
fn azure_services_have_their_scenario_and_nobody_is_mapped() {
    for (table, listed) in [(&DOCUMENTED[..], "2018 to 2022"), (&LATER[..], "later")] {
        let expected: BTreeMap<_, _> = table
            .iter()
            .map(|(name, scenario, text)| {
                let scenario = ((*scenario).to_owned(), operations(text), Vec::new());
                ((*name).to_owned(), scenario)
            })
            .collect();
        assert_eq!(
            found(|manifest| manifest.listed() == Some(listed)),
            expected
        );
    }
    assert_eq!(found(|manifest| manifest.group == "azure").len(), 39);
}

#[test]
fn kubernetes_services_have_their_scenario_and_their_usual_account() {
    let expected: BTreeMap<_, _> = KUBERNETES
        .iter()
        .map(|(name, scenario, text, account)| {
            let account = account.parse().ok().map(ServiceIdentity::ServiceAccount);
            let scenario = (
                (*scenario).to_owned(),
                operations(text),
                account.into_iter().collect(),
            );
            ((*name).to_owned(), scenario)
        })
        .collect();
    assert_eq!(found(|manifest| manifest.group == "kubernetes"), expected);
    // One without an account says why.
    for manifest in manifests() {
        let needs_note =
            manifest.group == "kubernetes" && manifest.service.spec.identities.is_empty();
        assert!(
            !needs_note || manifest.note().is_some(),
            "{}",
            manifest.path
        );
    }
}

#[test]
fn a_manifest_is_named_like_its_file_and_says_what_it_is_for() {
    for manifest in manifests() {
        let service = &manifest.service;
        let file = format!("catalog/{}/{}.yaml", manifest.group, manifest.name());
        assert_eq!(manifest.path, file);
        let labels = service.metadata.labels.clone().unwrap_or_default();
        assert_eq!(
            labels.get("vaultwall.dev/catalog"),
            Some(&manifest.group),
            "{file}"
        );
        assert!(
            !manifest.trusted_for().is_empty() && service.spec.display_name.is_some(),
            "{file}"
        );
    }
}
