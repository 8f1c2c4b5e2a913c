//! The operator by its charts.

use super::{apply, helm, image_of, kubectl, path, run, tag_image};

/// Its namespace.
pub const NAMESPACE: &str = "vaultwall-system";

/// Charts, and the images that go with them.
pub struct Release {
    /// Each a folder or a packaged chart.
    definitions: String,
    chart: String,
    /// The operator's image: its tag, empty for that of the chart.
    tag: String,
    /// The proxies' image.
    pub proxies: String,
}

impl Release {
    /// Of this work tree.
    pub fn current() -> Self {
        Self {
            definitions: path("charts/vaultwall-crds"),
            chart: path("charts/vaultwall"),
            tag: String::new(),
            proxies: image_of("envoy"),
        }
    }

    /// Packaged charts of an earlier version. The images have the content of today's, by names of their own: so all pods
    /// are replaced on the way from the one to the other.
    pub fn earlier(version: &str) -> Self {
        let packaged = |chart| path(&format!("tests/charts/earlier/{chart}-{version}.tgz"));
        let proxies = format!("vaultwall.local/envoy:of-{version}");
        tag_image(&image_of("vaultwall"), &format!("vaultwall:{version}"));
        tag_image(&image_of("envoy"), &proxies);
        Self {
            definitions: packaged("vaultwall-crds"),
            chart: packaged("vaultwall"),
            tag: version.to_owned(),
            proxies,
        }
    }

    /// Installs it, or upgrades to it, and waits until all replicas serve.
    pub fn install(&self) {
        apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}, labels: {{{}}}}}\n",
            super::RESTRICTED
        ));
        let namespace = ["--namespace", NAMESPACE];
        let upgrade = ["upgrade", "--install", "--wait", "--timeout=180s"];
        let definitions = ["vaultwall-crds", &self.definitions];
        helm(&[&upgrade[..], &namespace, &definitions].concat());
        // The tag stays the same, and so would the pods of a cluster that was kept.
        let archive = run("sha256sum", &[&path("target/images/vaultwall.tar")]);
        let archive = archive.out.get(..16).expect("the operator's image");
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
                &["vaultwall", &self.chart],
            ]
            .concat(),
        );
    }
}

/// Takes the operator away; definitions and policies stay.
pub fn uninstall() {
    helm(&["uninstall", "vaultwall", "--namespace", NAMESPACE, "--wait"]);
}

/// Goes back to the release before, as `docs/install.md` shows it.
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

/// What its replicas log.
pub fn log() -> String {
    kubectl(&[
        "logs",
        "--namespace",
        NAMESPACE,
        "--selector=app.kubernetes.io/name=vaultwall",
        "--prefix",
        "--tail=-1",
    ])
}
