//! Every file of `examples/` is valid by itself, and all of them are valid together.

use std::path::{Path, PathBuf};
use std::process::Command;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Exit code and all that was printed.
fn validate(path: &Path) -> (Option<i32>, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_vaultwall"))
        .args(["validate", "-f"])
        .arg(path)
        .output()
        .unwrap();
    let printed = [run.stdout, run.stderr].concat();
    (run.status.code(), String::from_utf8(printed).unwrap())
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let found = files(&folder);
    assert!(found.len() >= 6, "{found:?}");
    for path in found.iter().chain([&folder]) {
        let (code, printed) = validate(path);
        assert_eq!(code, Some(0), "{}:\n{printed}", path.display());
        assert!(printed.contains("valid: "), "{printed}");
        assert!(!printed.contains("ignored"), "{printed}");
    }
}
