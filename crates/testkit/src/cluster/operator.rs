//! The operator, installed by its charts.

use super::{apply, helm, image_name, path, run, tag_image};

/// Namespace of the operator.
pub const NAMESPACE: &str = "vaultwall-system";

/// Permission of today's program that the charts of an earlier version do not grant.
const OF_TODAY: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: vaultwall-of-today}
rules:
- {apiGroups: [vaultwall.dev], resources: [trustedservices], verbs: [list, watch]}
- apiGroups: [vaultwall.dev]
  resources: [trustedservices/status, vaultnetworkpolicies/status, virtualnetworks/status]
  verbs: [update]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: vaultwall-of-today}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: vaultwall-of-today}
subjects:
- {kind: ServiceAccount, name: vaultwall, namespace: vaultwall-system}
";

/// Charts of one version, and their images.
pub struct Release {
    /// The chart of the definitions: a folder or a package.
    definitions: String,
    /// The chart of the operator: a folder or a package.
    chart: String,
    /// Tag of the operator's image; empty for the chart's default.
    tag: String,
    /// Name of the proxies' image.
    pub proxies: String,
}

impl Release {
    /// The release of this work tree.
    pub fn current() -> Self {
        Self {
            definitions: path("charts/vaultwall-crds"),
            chart: path("charts/vaultwall"),
            tag: String::new(),
            proxies: image_name("envoy"),
        }
    }

    /// Packaged charts of an earlier version. Its images have today's content under other names, so that an upgrade
    /// replaces all pods.
    pub fn earlier(version: &str) -> Self {
        apply(OF_TODAY);
        let packaged = |chart| path(&format!("tests/charts/earlier/{chart}-{version}.tgz"));
        let proxies = format!("vaultwall.local/envoy:of-{version}");
        tag_image(&image_name("vaultwall"), &format!("vaultwall:{version}"));
        tag_image(&image_name("envoy"), &proxies);
        Self {
            definitions: packaged("vaultwall-crds"),
            chart: packaged("vaultwall"),
            tag: version.to_owned(),
            proxies,
        }
    }

    /// Installs it, or upgrades to it, and waits until all replicas are ready.
    pub fn install(&self) {
        self.install_with(&[]);
    }

    /// The same with further values of the chart, `NAME=VALUE`.
    pub fn install_with(&self, values: &[&str]) {
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {{{}}}}}\n",
            super::RESTRICTED
        ));
        let namespace = ["--namespace", NAMESPACE];
        let upgrade = ["upgrade", "--install", "--wait", "--timeout=180s"];
        let definitions = ["vaultwall-crds", &self.definitions];
        helm(&[&upgrade[..], &namespace, &definitions].concat());
        // The tag is always the same: without this annotation, the pods of a kept cluster would not be replaced.
        let archive = run("sha256sum", &[&path("target/images/vaultwall.tar")]);
        let archive = archive.stdout.get(..16).expect("the operator's image");
        let further = values.iter().flat_map(|value| ["--set", *value]);
        let further: Vec<&str> = further.collect();
        let values = format!(
            "proxy.image={},image.tag={},podAnnotations.image-archive=a{archive}",
            self.proxies, self.tag
        );
        let values = ["--set-string", &values];
        helm(
            &[
                &upgrade[..],
                &namespace,
                &values,
                &further,
                &["vaultwall", &self.chart],
            ]
            .concat(),
        );
    }
}

/// Uninstalls the operator; definitions and policies stay.
pub fn uninstall() {
    helm(&["uninstall", "vaultwall", "--namespace", NAMESPACE, "--wait"]);
}

/// Rolls back to the previous release, as `docs/install.md` shows.
pub fn rollback() {
    helm(&[
        "rollback",
        "vaultwall",
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout=180s",
    ]);
}
