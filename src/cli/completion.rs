//! `vaultwall completion SHELL`.

use clap_complete::Shell;

use super::{Answer, Outcome, Output};

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
pub(super) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completion {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        let mut script = Vec::new();
        let name = output.called_as.clone();
        clap_complete::generate(self.shell, &mut super::parser(&name), name, &mut script);
        output.text(&String::from_utf8(script)?)?;
        Ok(Answer::Yes)
    }
}
