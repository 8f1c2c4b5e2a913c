//! The golden cases: one folder each in `tests/golden`, and the cluster in `tests/golden/cluster.yaml`.

use std::fs;
use std::path::{Path, PathBuf};

use vaultwall::compile::envoy::Proxy;
use vaultwall::compile::kubernetes::protected_service::ProtectedService;
use vaultwall::compile::kubernetes::proxies;
use vaultwall::limits::Limits;
use vaultwall::objects::LoadedObjects;
use vaultwall::policy::{Firewall, ProxySettings, VaultId};

/// One case: objects, and the files that they render to.
pub struct Case {
    /// Name of its folder, unique in `tests/golden`.
    pub name: String,
    /// Absolute path of its folder.
    pub folder: PathBuf,
}

impl Case {
    /// Returns all cases, sorted by name.
    pub fn all() -> Vec<Self> {
        let mut cases: Vec<_> = fs::read_dir(root())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir())
            .map(|folder| {
                let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
                Self { name, folder }
            })
            .collect();
        cases.sort_by(|one, other| one.name.cmp(&other.name));
        assert!(!cases.is_empty());
        cases
    }

    /// Returns the path of a file in its folder.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}

/// Returns the folder of all cases.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Reads a file, or fails with its path.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the objects of a case and of the cluster.
pub fn load(case: &Case) -> LoadedObjects {
    let loaded = LoadedObjects::load(
        &[root().join("cluster.yaml"), case.path("in.yaml")],
        &Limits::default(),
    );
    assert!(loaded.errors.is_empty(), "{:?}", loaded.errors);
    assert!(loaded.violations.is_empty(), "{:#?}", loaded.violations);
    loaded
}

/// Returns the firewalls of a case, by the name of the vault.
pub fn firewalls(loaded: LoadedObjects) -> Vec<(Firewall, ProtectedService, ProxySettings)> {
    let mut index = loaded.into_index(Limits::default());
    let vaults: Vec<_> = index.vaults().cloned().collect();
    let resolve = |vault: VaultId| {
        let resolved = index.resolve(&vault).unwrap().resolution;
        assert!(resolved.refused.is_empty(), "{:#?}", resolved.refused);
        let service = ProtectedService::of(index.service(&vault).unwrap(), resolved.firewall.port);
        (resolved.firewall, service.unwrap(), resolved.proxy)
    };
    vaults.into_iter().map(resolve).collect()
}

/// Returns the proxy of a firewall as it is set up in a cluster.
pub fn proxy(firewall: &Firewall, settings: &ProxySettings) -> Proxy {
    Proxy::in_cluster(
        firewall,
        proxies::tls(&firewall.vault, settings),
        settings.http2,
    )
}
