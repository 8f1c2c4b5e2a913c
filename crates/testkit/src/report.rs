//! Output of a demo on stdout: lines, checks and their count. Colours are for a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Largest number of columns of a line.
const WIDTH: usize = 120;

/// Writer of all lines of a demo, and counter of its checks.
pub struct Report {
    out: io::Stdout,
    colours: bool,
    passed: u32,
    failed: u32,
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

impl Report {
    /// Returns a report without checks. `NO_COLOR` and `TERM=dumb` turn colours off.
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

    /// Prints a line. It is flushed, so that a reader of a pipe sees it at once.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let mut out = self.out.lock();
        writeln!(out, "{}", text.trim_end())?;
        out.flush()
    }

    /// Prints a heading after an empty line.
    pub fn heading(&self, text: &str) -> io::Result<()> {
        self.line("")?;
        self.line(&self.paint("1", text))
    }

    /// Prints the output of a program, indented and wrapped.
    pub fn quote(&self, text: &str) -> io::Result<()> {
        let bar = self.paint("2", "|");
        text.lines()
            .flat_map(|line| wrapped(line, WIDTH - 6))
            .try_for_each(|line| self.line(&format!("    {bar} {line}")))
    }

    /// Prints and counts a check, with a mark in front.
    pub fn check(&mut self, held: bool, text: &str) -> io::Result<()> {
        self.count(held);
        let mark = if held {
            self.paint("32", "✓")
        } else {
            self.paint("31", "✗")
        };
        self.line(&format!("{mark} {text}"))
    }

    /// Counts a check without a line.
    pub fn count(&mut self, held: bool) {
        if held {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Returns the number of failed checks.
    pub fn failed(&self) -> u32 {
        self.failed
    }

    /// Prints the summary, which has to be the last line.
    pub fn close(&self) -> io::Result<()> {
        self.line(&format!("{} passed, {} failed", self.passed, self.failed))
    }

    /// Colours a verdict: green if it begins with `pass`, else yellow. The width of the text stays the same.
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

/// Formats a duration as `6.1 ms`.
pub fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Breaks a line into parts of at most `width` columns, at spaces where there are any.
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
