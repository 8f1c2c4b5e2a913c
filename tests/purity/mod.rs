//! The house keeps its shape: pure modules stay pure, files stay short, the map names every module.

mod paths;
mod structure;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

use paths::paths_of;

/// Folders that know no I/O, no clock, no client and no runtime.
const PURE: [&str; 5] = [
    "src/address",
    "src/compile",
    "src/index",
    "src/policy",
    "src/vault_api",
];
/// Crates that they may use: plain data, text, curves of public keys, and the wire types of Kubernetes and Envoy.
const CRATES: [&str; 25] = [
    "std",
    "core",
    "alloc",
    "crate",
    "self",
    "super",
    "base64",
    "envoy_types",
    "hcl",
    "ipnet",
    "k8s_openapi",
    "p256",
    "p384",
    "p521",
    "prost",
    "prost_reflect",
    "prost_types",
    "regex",
    "serde",
    "serde_json",
    "serde_saphyr",
    "sha2",
    "strsim",
    "thiserror",
    "url",
];
/// Modules of this crate that they may use.
const MODULES: [&str; 7] = [
    "address",
    "api",
    "compile",
    "index",
    "limits",
    "policy",
    "vault_api",
];
/// Paths of `std` and of this crate that they may not use, with everything below.
const FORBIDDEN: [&str; 8] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
];
/// Names that they may not even mention, however they came to be known: clocks and sockets.
const NAMES: [&str; 9] = [
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "ToSocketAddrs",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "block_on",
];
/// Longest file, in lines.
const LONGEST: usize = 500;

#[test]
fn pure_modules_are_pure() {
    let dependencies = dependencies();
    assert!(
        dependencies.contains(&"tokio".to_owned()) && dependencies.contains(&"kube".to_owned())
    );
    let mut wrong = Vec::new();
    let mut seen = 0;
    for file in PURE.iter().flat_map(|folder| files(folder)) {
        for path in paths_of(&read(&file)) {
            seen += 1;
            if let Some(why) = impure(&path, &dependencies) {
                wrong.push(format!("{}: {path}: {why}", file.display()));
            }
        }
    }
    assert!(seen > 1000, "only {seen} paths were seen");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Why a path does not belong into a pure module.
fn impure(path: &str, dependencies: &[String]) -> Option<&'static str> {
    let mut segments = path.split("::");
    let first = segments.next().unwrap_or_default();
    let second = segments.next();
    if first == "std" && second.is_none() {
        return Some("all of std under another name");
    }
    if dependencies.iter().any(|name| name == first) && !CRATES.contains(&first) {
        return Some("not one of the crates of pure modules");
    }
    if first == "crate"
        && second.is_some_and(|module| is_module(module) && !MODULES.contains(&module))
    {
        return Some("not one of the modules that pure modules may use");
    }
    if FORBIDDEN
        .iter()
        .any(|forbidden| path == *forbidden || path.starts_with(&format!("{forbidden}::")))
    {
        return Some("I/O, a clock or the environment");
    }
    if path.split("::").any(|segment| NAMES.contains(&segment)) {
        return Some("a clock or a socket");
    }
    None
}

#[test]
fn impure_paths_are_found() {
    let dependencies = dependencies();
    for (source, is_impure) in [
        ("use kube::Api;", true),
        ("use std::{fmt, fs as files};", true),
        (
            "use std::{collections::BTreeMap, time::{Duration, SystemTime}};",
            true,
        ),
        ("fn f() { std::process::exit(1) }", true),
        ("use std as s;", true),
        ("use std::time; fn f() { time::Instant::now(); }", true),
        ("fn f() { let _ = ::tokio::spawn(g()); }", true),
        ("use crate::{policy::Firewall, xds};", true),
        ("use crate::objects::LoadedObjects;", true),
        ("#[derive(Debug, kube::CustomResource)] struct S;", true),
        ("use std::net::TcpStream;", true),
        ("use reqwest_not_a_dependency::X;", false),
        ("// use kube::Api;\n/* std::fs */ use std::fmt;", false),
        (
            "const S: &str = \"std::fs::read\"; const R: &str = r#\"kube::Api\"#; const C: char = '\"';",
            false,
        ),
        (
            "use std::net::{IpAddr, Ipv4Addr}; use std::time::Duration;",
            false,
        ),
        (
            "fn f<'a>(s: &'a str) -> Option<&'a crate::policy::Firewall> { None }",
            false,
        ),
        (
            "#[cfg(test)]\nmod tests { use std::fs; fn f() { if true { kube::x() } } }",
            false,
        ),
        ("#[cfg(test)]\nmod tests { fn f() {} }\nuse std::fs;", true),
    ] {
        let found = paths_of(source)
            .iter()
            .any(|path| impure(path, &dependencies).is_some());
        assert_eq!(found, is_impure, "{source}: {:?}", paths_of(source));
    }
}

#[test]
fn files_are_short() {
    let all = all_files();
    let long: Vec<String> = all
        .iter()
        .map(|file| (file, read(file).lines().count()))
        .filter(|(_, lines)| *lines >= LONGEST)
        .map(|(file, lines)| format!("{}: {lines} lines, {LONGEST} are too many", file.display()))
        .collect();
    assert!(all.len() > 300, "{all:?}");
    assert!(long.is_empty(), "\n{}", long.join("\n"));
}

#[test]
fn the_map_names_every_module() {
    let lib = read(&root().join("src/lib.rs"));
    let declared: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    let mut named: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`] | "))
        .filter(|(_, what)| what.len() > 10)
        .map(|(module, _)| module)
        .collect();
    named.sort_unstable();
    assert_eq!(declared, named, "modules of src/lib.rs and rows of its map");
    let mut present: Vec<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .filter(|name| name != "lib" && name != "main")
        .collect();
    present.sort();
    present.dedup();
    assert_eq!(
        present, declared,
        "what is in src/, and modules of src/lib.rs"
    );
}

/// Each file states its purpose in its first lines.
#[test]
fn files_state_their_purpose() {
    // Tests are about the module that they belong to.
    let silent: Vec<String> = all_files()
        .iter()
        .filter(|file| !file.starts_with(root().join("src")) || !is_test(file))
        .filter(|file| {
            let text = read(file);
            !text.lines().take(12).any(|line| line.starts_with("//! "))
        })
        .map(|file| file.display().to_string())
        .collect();
    assert!(silent.is_empty(), "\n{}", silent.join("\n"));
}

/// `autotests = false`: a file that no root declares would never run.
#[test]
fn every_test_file_is_part_of_a_binary() {
    let manifest = read(&root().join("Cargo.toml"));
    let (roots, modules): (Vec<PathBuf>, Vec<PathBuf>) =
        files("tests").into_iter().partition(|file| {
            let path = file.strip_prefix(root()).unwrap().display();
            manifest.contains(&format!("path = \"{path}\""))
        });
    assert!(roots.len() > 3 && modules.len() > 80, "{roots:?}");
    let lost: Vec<&PathBuf> = modules
        .iter()
        .filter(|file| !is_declared(file, &roots))
        .collect();
    assert!(lost.is_empty(), "no root declares {lost:?}");
}

/// Whether the parent of a module has a line `mod NAME;`. The parent is the file of the folder, or a root: a root
/// declares the modules of `tests`, and can list parts of a folder in `mod FOLDER { … }`.
fn is_declared(file: &Path, roots: &[PathBuf]) -> bool {
    let module = if file.ends_with("mod.rs") {
        file.parent().unwrap().to_owned()
    } else {
        file.with_extension("")
    };
    let folder = module.parent().unwrap();
    let declaration = format!("mod {};", module.file_name().unwrap().display());
    let part = format!("mod {} {{", folder.file_name().unwrap().display());
    let is_top = folder == root().join("tests");
    let own = ["mod.rs", "main.rs"].map(|name| folder.join(name));
    let own = own
        .iter()
        .filter(|file| file.is_file())
        .map(|file| read(file));
    let of_roots = roots
        .iter()
        .map(|file| read(file))
        .filter(|text| is_top || text.contains(&part));
    own.chain(of_roots).any(|text| {
        let mut lines = text.lines();
        lines.any(|line| {
            let line = line.trim();
            let public = ["pub ", "pub(crate) "]
                .iter()
                .find_map(|word| line.strip_prefix(word));
            public.unwrap_or(line) == declaration
        })
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn is_module(name: &str) -> bool {
    let source = root().join("src");
    source.join(name).is_dir() || source.join(format!("{name}.rs")).is_file()
}

/// Crates of Cargo.toml by their names in code.
fn dependencies() -> Vec<String> {
    let manifest = read(&root().join("Cargo.toml"));
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") {
            found.extend(
                line.split_once('=')
                    .map(|(name, _)| name.trim().replace('-', "_")),
            );
        }
    }
    found
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The Rust files of all folders that have any.
fn all_files() -> Vec<PathBuf> {
    let folders = ["src", "crates", "tests", "benches", "dev"];
    folders.iter().flat_map(|folder| files(folder)).collect()
}

/// The Rust files of a folder; of the pure ones without those that hold nothing but tests.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    if PURE.contains(&folder) {
        found.retain(|path| !is_test(path));
    }
    found.sort();
    found
}

fn is_test(path: &Path) -> bool {
    let inside = path.strip_prefix(root()).unwrap();
    inside.components().any(|part| {
        let name = part.as_os_str().to_str().unwrap();
        let name = name.trim_end_matches(".rs");
        name == "tests" || name.ends_with("_tests") || name == "fixtures"
    })
}
