//! Every object that a page shows is validated, and every command of a `console` block is run and its output compared.

use std::fs;

use crate::docs::charts;
use crate::docs::command::Folder;
use crate::docs::page::{Block, Kind, Page};
use crate::docs::shown::{Shown, commands, fits};

/// Object around the fields of a spec.
const AROUND_FIELDS: &str = "\
apiVersion: vaultwall.dev/v1alpha1
kind: VaultNetworkPolicy
metadata: {name: main, namespace: vault}
spec:
  targetRef: {name: openbao, port: 8200}
";

#[test]
fn examples_have_the_results_in_the_pages() {
    let mut problems = Vec::new();
    let mut counts = (0, 0, 0);
    for page in Page::all() {
        let folder = Folder::new();
        for block in &page.blocks {
            let result = match &block.kind {
                Kind::Objects {
                    fields_only,
                    refused,
                    file,
                } => {
                    counts.0 += 1;
                    let text = if *fields_only {
                        format!("{AROUND_FIELDS}{}", indented(&block.text))
                    } else {
                        block.text.clone()
                    };
                    validated(&folder, &text, *refused, file.as_deref())
                }
                Kind::Commands => {
                    counts.1 += 1;
                    run(&folder, block)
                }
                Kind::Values { chart } => {
                    counts.2 += 1;
                    charts::check_values(&block.text, chart.as_deref())
                }
                Kind::Server | Kind::Live | Kind::Shown => Ok(()),
            };
            if let Err(problem) = result {
                problems.push(format!("{}: {problem}", page.place(block)));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    assert!(
        counts.0 > 0 && counts.1 > 0 && counts.2 > 0,
        "no examples were found"
    );
    println!(
        "{} objects and {} files of values validated, {} blocks of commands run",
        counts.0, counts.2, counts.1
    );
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}\n")).collect();
    lines.concat()
}

fn validated(folder: &Folder, text: &str, refused: bool, file: Option<&str>) -> Result<(), String> {
    if !text.contains("apiVersion: ") {
        return Err("has no apiVersion; a block of fields is `yaml spec`".to_owned());
    }
    let name = file.unwrap_or("shown.yaml");
    fs::write(folder.path().join(name), text).unwrap();
    let (code, output) = folder.run(&format!("vaultwall validate -f {name}"));
    let expected = i32::from(refused);
    // Objects of Kubernetes alone are facts; `valid` is right for them, too.
    if code == Some(expected) {
        Ok(())
    } else {
        Err(format!(
            "validate ends with {code:?}, expected {expected}:\n{output}"
        ))
    }
}

/// One shell for the block, so that `$?` and variables go from one command to the next.
fn run(folder: &Folder, block: &Block) -> Result<(), String> {
    const END: char = '\u{1e}';
    let shown = commands(&block.text);
    let parts: Vec<String> = shown
        .iter()
        .map(|Shown { command, .. }| format!("{command}\ncode=$?; printf '\\036'; (exit $code)\n"))
        .collect();
    let (_, output) = folder.run(&parts.concat());
    let mut outputs = output.split(END);
    for Shown { command, output } in &shown {
        let real = outputs
            .next()
            .unwrap_or("(nothing: an earlier command ended the shell)");
        if !fits(output, real) {
            return Err(format!(
                "`{command}`\n--- shown\n{output}\n--- real\n{}",
                real.trim()
            ));
        }
    }
    Ok(())
}
