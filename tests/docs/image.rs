//! The Dockerfile makes the image that `dev/image` makes, and the charts run it as that.

use std::fs;

use regex::Regex;

use crate::docs::page::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The one thing that a pattern finds in a file.
fn found(path: &str, pattern: &str) -> String {
    let text = read(path);
    let pattern = Regex::new(pattern).unwrap();
    let all: Vec<&str> = pattern
        .captures_iter(&text)
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    assert!(
        all.len() == 1 || all.iter().all(|one| *one == all[0]) && !all.is_empty(),
        "{path}: {pattern} finds {all:?}"
    );
    all[0].to_owned()
}

#[test]
fn the_dockerfile_makes_the_image_of_dev_image() {
    // what | in the Dockerfile | elsewhere
    for (what, here, (elsewhere, there)) in [
        (
            "Rust",
            r"(?m)^FROM rust:([0-9.]+)-",
            ("rust-toolchain.toml", r#"channel = "([0-9.]+)""#),
        ),
        (
            "entrypoint",
            r#"(?m)^ENTRYPOINT \["(.+)"\]$"#,
            ("dev/image", r"name=vaultwall:.* entrypoint=(/\S+)"),
        ),
        (
            "user",
            r"(?m)^USER (\d+)$",
            ("dev/image", r"entrypoint user=(\d+)"),
        ),
        (
            "user of the pods",
            r"(?m)^USER (\d+)$",
            (
                "charts/vaultwall/templates/deployment.yaml",
                r"runAsUser: (\d+)",
            ),
        ),
        (
            "linking",
            r#"--config "target\.\$target\.(rustflags=.*)""#,
            (
                "dev/image",
                r#"--config "target\.\$target\.(rustflags=.*)""#,
            ),
        ),
        (
            "target",
            r#"target="\$\(uname -m\)(\S+)""#,
            ("dev/image", r"(?m)^target=\$machine(\S+)$"),
        ),
        (
            "name and version",
            r"docker build --tag (\S+) \.",
            ("docs/install.md", r"docker build --tag (\S+) \."),
        ),
    ] {
        assert_eq!(
            found("Dockerfile", here),
            found(elsewhere, there),
            "{what} differs from {elsewhere}"
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    let tag = found("Dockerfile", r"docker build --tag (\S+) \.");
    assert_eq!(tag, format!("vaultwall:{version}"));
    let app_version = r"(?m)^appVersion: (\S+)$";
    assert_eq!(found("charts/vaultwall/Chart.yaml", app_version), version);
    // Nothing of the last stage but the program.
    let last = read("Dockerfile");
    let (_, last) = last.split_once("FROM scratch\n").unwrap();
    let copies = last.matches("COPY").count() + last.matches("ADD").count();
    assert_eq!(copies, 1, "{last}");
}

/// The build must not read files that Docker does not receive: Cargo looks for every target of the manifest, and the
/// sources of the program include files of the repository.
#[test]
fn docker_receives_the_files_that_the_build_reads() {
    let ignored: Vec<String> = read(".dockerignore")
        .lines()
        .filter_map(|line| line.strip_prefix('/').map(str::to_owned))
        .collect();
    assert!(
        ignored.len() > 5,
        "every line begins at the root: {ignored:?}"
    );
    let path = Regex::new(r#"(?m)^path = "(.+)""#).unwrap();
    let manifest = read("Cargo.toml");
    let named = path
        .captures_iter(&manifest)
        .map(|found| found[1].to_owned());
    let always = ["Cargo.toml", "Cargo.lock", "src", "benches", "tests"].map(str::to_owned);
    for needed in named.chain(always) {
        let first = needed.split('/').next().unwrap().to_owned();
        assert!(!ignored.contains(&first), "{needed} is in .dockerignore");
    }
}
