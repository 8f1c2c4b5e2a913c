//! The programs that `dev/tools install` brings.

use std::path::{Path, PathBuf};

/// The path of an installed program, unless the environment (`VAULTWALL_ENVOY`, …) names another.
pub fn tool(name: &str) -> PathBuf {
    let variable = format!("VAULTWALL_{}", name.to_uppercase().replace('-', "_"));
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin");
    let path = std::env::var_os(variable).map_or_else(|| tools.join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: run dev/tools install",
        path.display()
    );
    path
}
