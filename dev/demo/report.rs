//! What the demo says, on stdout, and what it counts. Colours only for a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Columns that a line may have.
const WIDTH: usize = 120;

/// Where everything that is said goes through.
pub struct Report {
    out: io::Stdout,
    colours: bool,
    passed: u32,
    failed: u32,
}

impl Report {
    pub fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            out: io::stdout(),
            colours: io::stdout().is_terminal() && !plain,
            passed: 0,
            failed: 0,
        }
    }

    /// A line as it is. Lines of a running demo are flushed, for whoever reads through a pipe.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        writeln!(out, "{}", text.trim_end())?;
        out.flush()
    }

    pub fn heading(&self, text: &str) -> io::Result<()> {
        self.line("")?;
        self.line(&self.paint("1", text))
    }

    /// What others said, set off from what the demo says itself, and wrapped.
    pub fn quote(&self, text: &str) -> io::Result<()> {
        let bar = self.paint("2", "|");
        text.lines()
            .flat_map(|line| wrapped(line, WIDTH - 6))
            .try_for_each(|line| self.line(&format!("    {bar} {line}")))
    }

    /// A check, counted, with its mark in front.
    pub fn check(&mut self, held: bool, text: &str) -> io::Result<()> {
        self.count(held);
        let mark = if held {
            self.paint("32", "✓")
        } else {
            self.paint("31", "✗")
        };
        self.line(&format!("{mark} {text}"))
    }

    /// A check that is only counted.
    pub fn count(&mut self, held: bool) {
        if held {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Nothing may be said after it.
    pub fn close(&self) -> io::Result<()> {
        self.line(&format!("{} passed, {} failed", self.passed, self.failed))
    }

    /// Green for what passes, yellow for what is denied; the text and its width stay the same.
    pub fn verdict(&self, text: &str) -> String {
        let colour = if text.starts_with("pass") { "32" } else { "33" };
        self.paint(colour, text)
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// `6.1 ms`
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// A line in parts of at most so many columns, broken at spaces where there are any.
fn wrapped(line: &str, width: usize) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in line.split_inclusive(' ') {
        let fits = |part: &String| part.chars().count() + word.trim_end().chars().count() <= width;
        match parts.last_mut() {
            Some(part) if part.is_empty() || fits(part) => part.push_str(word),
            _ => parts.push(word.to_owned()),
        }
    }
    parts
}
