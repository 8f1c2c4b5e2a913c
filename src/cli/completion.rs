//! `vaultwall completion SHELL`: prints a completion script.

use clap_complete::Shell;

use super::outcome::{Answer, Outcome};
use super::output::Output;

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
pub(super) struct Completion {
    /// Shell that the script is for.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    /// `parser` is that of the whole program, `name` the file name under which the program was started.
    pub(super) fn run(self, output: &mut Output, mut parser: clap::Command, name: &str) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut parser, name, &mut script);
        output.text(&String::from_utf8(script)?)?;
        Ok(Answer::Yes)
    }
}
