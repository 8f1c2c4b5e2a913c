//! A page of Markdown: its blocks of code, and its prose without them.

use std::fs;
use std::path::{Path, PathBuf};

/// Kind of a block, by the words after its fence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `yaml`: objects, or with `spec` some fields of a policy's spec. Valid, or with `refused` invalid. `file=NAME`
    /// keeps them for the page's commands.
    Objects {
        fields_only: bool,
        refused: bool,
        file: Option<String>,
    },
    /// `yaml values`: values for a Helm chart of others, perhaps with `file=NAME`.
    /// `values=NAME`: for the chart in `charts/NAME`, whose schema
    /// they keep to.
    Values { chart: Option<String> },
    /// `console`: commands after `$ `, each with its output; `…` stands for anything. Run in order.
    Commands,
    /// `console server`: one command that runs until the page ends.
    Server,
    /// `console live`: commands that are asked again until their output fits, because something else takes effect.
    Live,
    /// `sh`, `text`, `json`, `ini`: for people. Flags are looked up, nothing is run.
    Shown,
}

/// A block of code.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Number of its first line.
    pub line: usize,
    pub kind: Kind,
    pub text: String,
}

/// A page.
pub(crate) struct Page {
    /// Path in the repository.
    pub path: PathBuf,
    pub blocks: Vec<Block>,
    /// Lines outside of blocks, with their numbers.
    pub prose: Vec<(usize, String)>,
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Page {
    /// Every page of the repository that people read.
    pub(crate) fn all() -> Vec<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(root()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "md") {
                files.push(path);
            }
        }
        for folder in ["docs", "examples", "dev", ".github"] {
            collect(&root().join(folder), &mut files);
        }
        files.sort();
        assert!(files.len() > 5, "the pages are not where they were");
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let path = file.strip_prefix(root()).unwrap().to_owned();
        let text = fs::read_to_string(file).unwrap();
        let mut page = Self {
            path,
            blocks: Vec::new(),
            prose: Vec::new(),
        };
        let mut open: Option<Block> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let fence = line.trim_start().strip_prefix("```");
            match (fence, &mut open) {
                (Some(_), Some(_)) => page.blocks.extend(open.take()),
                (Some(words), None) => {
                    open = Some(Block {
                        line: number + 1,
                        kind: page.kind(number, words),
                        text: String::new(),
                    });
                }
                (None, Some(block)) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                }
                (None, None) => page.prose.push((number, line.to_owned())),
            }
        }
        assert!(
            open.is_none(),
            "{}: a block has no end",
            page.path.display()
        );
        page
    }

    fn kind(&self, line: usize, words: &str) -> Kind {
        let mut words = words.split_whitespace();
        let first = words.next().unwrap_or_default();
        let rest: Vec<&str> = words.collect();
        let flag = |name: &str| rest.contains(&name);
        let file = rest.iter().find_map(|word| word.strip_prefix("file="));
        let known = |names: &[&str]| {
            rest.iter()
                .all(|word| names.contains(word) || first == "yaml" && word.starts_with("file="))
        };
        match first {
            "yaml" if rest.first() == Some(&"values") && known(&["values"]) => {
                Kind::Values { chart: None }
            }
            "yaml" if rest.len() == 1 && rest[0].starts_with("values=") => Kind::Values {
                chart: rest[0].strip_prefix("values=").map(str::to_owned),
            },
            "yaml" if known(&["spec", "refused"]) => Kind::Objects {
                fields_only: flag("spec"),
                refused: flag("refused"),
                file: file.map(str::to_owned),
            },
            "console" if rest.is_empty() => Kind::Commands,
            "console" if rest == ["server"] => Kind::Server,
            "console" if rest == ["live"] => Kind::Live,
            "sh" | "text" | "json" | "ini" if rest.is_empty() => Kind::Shown,
            _ => panic!(
                "{}:{line}: nobody knows what a block of `{first} {}` is",
                self.path.display(),
                rest.join(" ")
            ),
        }
    }

    /// Where a block is, for messages.
    pub(crate) fn place(&self, block: &Block) -> String {
        format!("{}:{}", self.path.display(), block.line)
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "md") {
            files.push(path);
        }
    }
}
