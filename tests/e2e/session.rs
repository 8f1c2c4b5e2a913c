//! A person who pastes the commands of a page into a terminal: one shell runs all of them, and the terminal asks for
//! the vault's keys.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use regex::Regex;

use testkit::cluster::path;

/// Seconds after which the shell is ended.
const LIMIT: &str = "900";
/// Text with which `bao operator unseal` asks for a key.
const PROMPT: &str = "Unseal Key (will be hidden): ";
/// Keys that each pod of the vault needs.
const THRESHOLD: usize = 3;

/// A code block of a page.
pub struct Block {
    /// Words after the fence: the kind, and for some kinds `file=NAME`.
    pub words: String,
    /// Text, without the indentation of the list around it.
    pub text: String,
}

impl Block {
    /// Name of the file that the page asks for.
    pub fn file(&self) -> Option<&str> {
        self.words
            .split_whitespace()
            .find_map(|word| word.strip_prefix("file="))
    }
}

/// The code blocks of a page, up to a heading if one is given.
pub fn blocks(page: &str, end: Option<&str>) -> Vec<Block> {
    let page = fs::read_to_string(path(page)).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block)> = None;
    for line in page.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, None) if Some(line) == end => return blocks,
            (None, None) => {}
            (None, Some(words)) => {
                let block = Block {
                    words: words.to_owned(),
                    text: String::new(),
                };
                open = Some((line.len() - line.trim_start().len(), block));
            }
            (Some((indentation, block)), None) => {
                block.text += line.get(*indentation..).unwrap_or_default();
                block.text += "\n";
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
        }
    }
    assert_eq!(end, None, "the page has no such heading");
    blocks
}

/// The only block of a page with this text.
pub fn block(page: &str, text: &str) -> String {
    let mut found = blocks(page, None);
    found.retain(|block| block.text.contains(text));
    assert_eq!(found.len(), 1, "blocks of {page} with {text}");
    found.remove(0).text
}

/// Output of the commands, and the time that each took.
pub struct Transcript {
    pub output: String,
    /// Commands in the order of their start; the times of repeated ones are added.
    pub times: Vec<(String, Duration)>,
}

impl Transcript {
    /// Output without keys and tokens, for messages.
    pub fn shown(&self) -> String {
        without_secrets(&self.output)
    }

    /// The initial root token that `bao operator init` printed.
    pub fn root_token(&self) -> String {
        let token = Regex::new(r"Initial Root Token: (\S+)").unwrap();
        let found = token.captures(&self.output).expect("a root token");
        found[1].to_owned()
    }
}

/// Runs the commands unchanged, in a folder. Types the vault's keys, which the commands print, whenever the terminal
/// asks for one. The first command that fails ends the shell and the test, unless the commands switch that off.
pub fn paste(commands: &str, folder: &Path) -> Transcript {
    let script = format!(
        "exec 9>trace; BASH_XTRACEFD=9; PS4='+ $EPOCHREALTIME '\nset -eux\n{commands}\nset +x\n"
    );
    fs::write(folder.join("pasted.sh"), script).unwrap();
    let terminal = ["script", "--quiet", "--flush", "--return"];
    let mut shell = Command::new("timeout")
        .arg(LIMIT)
        .args(terminal)
        .args(["--command", "bash pasted.sh", "/dev/null"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("timeout, of coreutils");
    let mut keyboard = shell.stdin.take().expect("its input");
    let mut screen = shell.stdout.take().expect("its output");
    let (mut shown, mut typed, mut buffer) = (Vec::new(), 0, [0; 4096]);
    loop {
        let length = screen.read(&mut buffer).expect("the terminal's output");
        if length == 0 {
            break;
        }
        shown.extend_from_slice(&buffer[..length]);
        let output = String::from_utf8_lossy(&shown);
        if output.matches(PROMPT).count() > typed {
            let keys = keys(&output);
            writeln!(keyboard, "{}", keys[typed % THRESHOLD]).expect("the shell reads");
            typed += 1;
        }
    }
    let output = String::from_utf8_lossy(&shown).replace('\r', "");
    let status = shell.wait().expect("its end");
    let trace = fs::read_to_string(folder.join("trace")).expect("the trace");
    assert!(
        status.success(),
        "{status}\n{}\n{}",
        trace.lines().last().unwrap_or_default(),
        without_secrets(&output)
    );
    Transcript {
        times: times(&trace),
        output,
    }
}

fn keys(output: &str) -> Vec<String> {
    let key = Regex::new(r"Unseal Key \d: (\S+)").unwrap();
    let found = key.captures_iter(output);
    found.map(|found| found[1].to_owned()).collect()
}

fn without_secrets(output: &str) -> String {
    let secret = Regex::new(r"(Unseal Key \d|Initial Root Token): \S+").unwrap();
    secret.replace_all(output, "$1: …").into_owned()
}

/// Reads the shell's trace: each line has the time at which a command started. Of a command of several lines, the first
/// one counts.
fn times(trace: &str) -> Vec<(String, Duration)> {
    let line = Regex::new(r"^\++ (\d+)\.(\d+) (.*)$").unwrap();
    let starts: Vec<(Duration, &str)> = trace
        .lines()
        .filter_map(|text| {
            let found = line.captures(text)?;
            let seconds = Duration::from_secs(found[1].parse().ok()?);
            let rest = Duration::from_micros(found[2].parse().ok()?);
            Some((seconds + rest, found.get(3)?.as_str()))
        })
        .collect();
    let mut times: Vec<(String, Duration)> = Vec::new();
    for pair in starts.windows(2) {
        let ((start, command), (end, _)) = (pair[0], pair[1]);
        let time = end.saturating_sub(start);
        match times.iter_mut().find(|(known, _)| known == command) {
            Some((_, sum)) => *sum += time,
            None => times.push((command.to_owned(), time)),
        }
    }
    times
}
