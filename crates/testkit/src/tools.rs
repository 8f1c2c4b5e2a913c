//! Paths of the programs that the tests run.

use std::path::{Path, PathBuf};

/// Returns the path of a program that `dev/tools install` has installed, unless the environment names another
/// (`VAULTWALL_ENVOY` for `envoy`, and so on).
///
/// # Panics
///
/// If there is no such file.
pub fn tool(name: &str) -> PathBuf {
    let variable = format!("VAULTWALL_{}", name.to_uppercase().replace('-', "_"));
    let tools = repository().join(".tools/bin");
    let path = std::env::var_os(variable).map_or_else(|| tools.join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing: run dev/tools install",
        path.display()
    );
    path
}

/// Returns the path of the `vaultwall` program that was built with the running test, benchmark or example.
///
/// # Panics
///
/// If there is no such file.
pub fn vaultwall() -> PathBuf {
    // Cargo puts tests, benchmarks and examples in a folder next to the binaries.
    let running = std::env::current_exe().unwrap();
    let folder = running.parent().and_then(Path::parent).unwrap();
    let path = folder.join("vaultwall");
    assert!(
        path.is_file(),
        "{} is missing: run cargo build --bin vaultwall",
        path.display()
    );
    path
}

/// Returns the root folder of the repository.
pub fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
