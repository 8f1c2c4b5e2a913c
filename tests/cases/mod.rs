//! The golden cases: one folder each under `tests/golden`, in the cluster that `tests/golden/cluster.yaml` describes.

use std::fs;
use std::path::{Path, PathBuf};

/// One case.
pub struct Case {
    /// Name of its folder.
    pub name: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl Case {
    /// All cases, by name.
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

    /// Path of one of its files.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}

/// The folder of all cases.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Reads a file, or says which one cannot be read.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
