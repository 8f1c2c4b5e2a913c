//! Imports follow the map: a module uses only modules below it in the table of `src/lib.rs`, and files form no circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::paths::paths_of;
use super::{files, is_test, read, root};

/// Modules of `src/lib.rs`, from the top of its table to the bottom.
fn modules() -> Vec<String> {
    read(&root().join("src/lib.rs"))
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`")?.split_once("`] | "))
        .map(|(module, _)| module.to_owned())
        .collect()
}

#[test]
fn a_module_uses_only_modules_below_it() {
    let order = modules();
    let rank = |name: &str| order.iter().position(|module| module == name);
    assert!(order.len() > 10, "{order:?}");
    let mut wrong = BTreeSet::new();
    let mut seen = 0;
    for file in sources() {
        let path = module_path(&root().join("src"), &file);
        let Some(own) = path.first().and_then(|module| rank(module)) else {
            continue;
        };
        for used in paths_of(&read(&file)) {
            let segments: Vec<&str> = used.split("::").collect();
            if segments[0] == "crate"
                && let Some(other) = segments.get(1).and_then(|name| rank(name))
            {
                seen += 1;
                if other < own {
                    wrong.insert(format!("{}: {used}", shown(&file)));
                }
            }
        }
    }
    assert!(seen > 500, "only {seen} uses of modules were seen");
    assert!(
        wrong.is_empty(),
        "these use a module above their own:\n{}",
        list(&wrong)
    );
}

/// A circle makes every file of it a part of every other. A file may use its own parents; a parent may use its parts.
#[test]
fn files_form_no_circle() {
    let mut found = BTreeSet::new();
    let mut seen = 0;
    for folder in crates() {
        let uses = uses(&folder);
        seen += uses.values().map(BTreeSet::len).sum::<usize>();
        found.extend(circles(&uses).iter().map(|circle| circle.join(" → ")));
    }
    assert!(seen > 500, "only {seen} uses of other files were seen");
    assert!(found.is_empty(), "\n{}", list(&found));
}

/// Folders with the files of one crate each: the library, `testkit`, and every program and benchmark that has several
/// files. The roots of `tests` share their modules, so all of them count as one crate.
fn crates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = ["benches", "dev", "tests"]
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|folder| folder.join("main.rs").is_file())
        .collect();
    found.extend(["src", "crates/testkit/src", "tests"].map(|folder| root().join(folder)));
    found
}

/// A source file, as far as imports go.
struct Source {
    shown: String,
    paths: Vec<String>,
    /// Names of its public items.
    items: BTreeSet<String>,
}

impl Source {
    fn of(file: &Path) -> Self {
        let text = read(file);
        Self {
            shown: shown(file),
            paths: paths_of(&text),
            items: public_items(&text),
        }
    }
}

/// Rust files of `src` that are no tests.
fn sources() -> Vec<PathBuf> {
    files("src")
        .into_iter()
        .filter(|file| !is_test(file))
        .collect()
}

/// `src/policy/resolve/mod.rs` → `policy`, `resolve`; empty for the root of a crate.
fn module_path(folder: &Path, file: &Path) -> Vec<String> {
    let inside = file.strip_prefix(folder).unwrap().with_extension("");
    let mut path: Vec<String> = inside
        .iter()
        .map(|part| part.to_str().unwrap().to_owned())
        .collect();
    path.pop_if(|last| last == "mod");
    if path == ["lib"] || path == ["main"] {
        path.clear();
    }
    path
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

fn list(lines: &BTreeSet<String>) -> String {
    lines.iter().cloned().collect::<Vec<_>>().join("\n")
}

/// The files that each file of a crate uses, where neither is the other's parent.
fn uses(folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let of_library = folder.ends_with("src");
    let sources: BTreeMap<Vec<String>, Source> =
        files(folder.strip_prefix(root()).unwrap().to_str().unwrap())
            .into_iter()
            .filter(|file| !of_library || !is_test(file))
            .map(|file| (module_path(folder, &file), Source::of(&file)))
            .collect();
    let mut found = BTreeMap::new();
    for (module, source) in &sources {
        let mut targets = BTreeSet::new();
        for path in &source.paths {
            let segments: Vec<&str> = path.split("::").collect();
            let target = absolute(module, &segments).and_then(|path| defining(&sources, path));
            if let Some(target) = target
                && !module.starts_with(&target)
                && !target.starts_with(module)
            {
                targets.insert(sources[&target].shown.clone());
            }
        }
        found.insert(source.shown.clone(), targets);
    }
    found
}

/// A path from the crate's root on; nothing for paths of other crates.
fn absolute(module: &[String], segments: &[&str]) -> Option<Vec<String>> {
    let rest = |from: usize| segments[from..].iter().map(|segment| (*segment).to_owned());
    match segments[0] {
        "crate" => Some(rest(1).collect()),
        "self" => Some(module.iter().cloned().chain(rest(1)).collect()),
        "super" => {
            let up = segments
                .iter()
                .take_while(|segment| **segment == "super")
                .count();
            let parent = module.get(..module.len().checked_sub(up)?)?;
            Some(parent.iter().cloned().chain(rest(up)).collect())
        }
        _ => None,
    }
}

/// The module that defines what a path names: names that a module only exports again are looked up in its parts.
fn defining(sources: &BTreeMap<Vec<String>, Source>, mut path: Vec<String>) -> Option<Vec<String>> {
    let name = path.last().cloned()?;
    while !sources.contains_key(&path) {
        path.pop()?;
    }
    if sources[&path].items.contains(&name) {
        return Some(path);
    }
    let exported = sources.iter().find(|(part, source)| {
        part.len() == path.len() + 1 && part.starts_with(&path) && source.items.contains(&name)
    });
    Some(exported.map_or(path, |(part, _)| part.clone()))
}

fn public_items(text: &str) -> BTreeSet<String> {
    const ITEMS: [&str; 8] = [
        "struct", "enum", "fn", "const", "static", "trait", "type", "mod",
    ];
    let public = text.lines().filter(|line| line.starts_with("pub"));
    public
        .filter_map(|line| {
            let words: Vec<&str> = line
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .collect();
            let pair = words
                .windows(2)
                .find(|pair| ITEMS.contains(&pair[0]) && pair[1] != "fn")?;
            Some(pair[1].to_owned())
        })
        .collect()
}

/// Strongly connected groups of more than one file.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = uses
        .keys()
        .map(|file| (file, reachable(uses, file)))
        .collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (file, reached) in &reach {
        if reached.contains(file) {
            let group = reached
                .iter()
                .filter(|other| reach.get(*other).is_some_and(|back| back.contains(file)));
            found.insert(group.map(|file| (*file).clone()).collect());
        }
    }
    found.into_iter().collect()
}

fn reachable<'a>(
    uses: &'a BTreeMap<String, BTreeSet<String>>,
    from: &'a String,
) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        for next in uses.get(file).into_iter().flatten() {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}

#[test]
fn a_circle_is_found_and_a_chain_is_not() {
    let uses = |pairs: &[(&str, &str)]| {
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            uses.entry((*from).into()).or_default().insert((*to).into());
        }
        circles(&uses)
    };
    assert!(uses(&[("a", "b"), ("b", "c"), ("a", "c")]).is_empty());
    assert_eq!(
        uses(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]),
        [["a", "b", "c"]]
    );
}
