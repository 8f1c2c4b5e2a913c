//! Every file of `examples/` is valid by itself, and all of them are valid together.

use std::path::Path;
use std::process::Command;

use crate::files::files;
use crate::program::Run;

fn validate(path: &Path) -> Run {
    Run::of(
        Command::new(env!("CARGO_BIN_EXE_vaultwall"))
            .args(["validate", "-f"])
            .arg(path),
    )
}

#[test]
fn every_example_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let found = files(&folder);
    assert!(found.len() >= 6, "{found:?}");
    for path in found.iter().chain([&folder]) {
        let run = validate(path);
        let printed = run.stdout + &run.stderr;
        assert_eq!(run.code, Some(0), "{}:\n{printed}", path.display());
        assert!(printed.contains("valid: "), "{printed}");
        assert!(!printed.contains("ignored"), "{printed}");
    }
}
