//! `vaultwall trusted`: questions about trusted services, one file each.

mod check;
mod vault;

use super::outcome::Outcome;
use super::output::Output;

/// Check trusted services.
#[derive(clap::Args, Debug)]
pub(super) struct Trusted {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Check(Box<check::Check>),
}

impl Trusted {
    pub(super) fn run(self, output: &mut Output) -> Outcome {
        match self.command {
            Command::Check(command) => command.run(output),
        }
    }
}
