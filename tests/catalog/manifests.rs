//! Manifests of the catalog, as the tests and the generated files read them.

use std::fs;
use std::path::Path;

use serde_json::Value;
use vaultwall::api::TrustedService;
use vaultwall::limits::Limits;
use vaultwall::objects::load_file;

/// Groups of the catalog, which are its folders.
pub const GROUPS: [&str; 2] = ["azure", "kubernetes"];

/// A manifest.
pub struct Manifest {
    /// Path in the repository.
    pub path: String,
    /// Group of the service.
    pub group: String,
    /// The object as it is written.
    pub document: Value,
    /// The object.
    pub service: TrustedService,
}

impl Manifest {
    /// Name of the service.
    pub fn name(&self) -> &str {
        self.service.metadata.name.as_deref().unwrap()
    }

    fn annotation(&self, name: &str) -> Option<&str> {
        let annotations = self.service.metadata.annotations.as_ref()?;
        let value = annotations.get(&format!("vaultwall.dev/{name}"))?;
        Some(value.as_str())
    }

    /// Purpose, for people.
    pub fn trusted_for(&self) -> &str {
        self.annotation("trusted-for").unwrap()
    }

    /// Documents that list a service of Azure.
    pub fn listed(&self) -> Option<&str> {
        self.annotation("listed")
    }

    /// Advice for the mapping.
    pub fn note(&self) -> Option<&str> {
        self.annotation("note")
    }
}

/// All manifests, sorted by group and name.
///
/// # Panics
///
/// If a file is not one valid object.
pub fn manifests() -> Vec<Manifest> {
    GROUPS.into_iter().flat_map(of_group).collect()
}

fn of_group(group: &str) -> Vec<Manifest> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("catalog")
        .join(group);
    let files = fs::read_dir(&folder).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let file = folder.join(&name);
            let contents = load_file(&file, &Limits::default()).unwrap();
            assert!(
                contents.violations.is_empty(),
                "{name}: {:?}",
                contents.violations
            );
            let document: Value =
                serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
            Manifest {
                path: format!("catalog/{group}/{name}"),
                group: group.to_owned(),
                service: serde_json::from_value(document.clone()).unwrap(),
                document,
            }
        })
        .collect()
}
