//! A client of a vault, for pods of the local cluster: sends one request, or many and counts the answers. A development
//! fixture, never shipped.
//!
//! It replaces `curl`, because its image contains nothing else, and because it counts: during a rollout, an admitted
//! client must not lose a request, and a denied one must not get one through.

mod load;
mod question;

use std::process::ExitCode;

use clap::Parser;

use question::{Error, Question, causes};

/// A client of a vault.
#[derive(Parser)]
enum Command {
    /// Waits for SIGTERM, to keep a pod running
    Hold,
    /// Sends one request; prints the status code and the body, or `unreachable` and the cause
    Ask {
        #[command(flatten)]
        question: Question,
    },
    /// Sends requests until standard input ends; prints the number of each answer, as JSON
    Load {
        #[command(flatten)]
        question: Question,
        /// Number of parallel clients; every second one opens a connection for each request
        #[arg(long, default_value_t = 4)]
        clients: usize,
    },
}

async fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Hold => {
            // The first process of a container ignores signals that it does not handle.
            let mut end =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            end.recv().await;
        }
        Command::Ask { question } => {
            let client = question.client(false)?;
            match question.send(&client).await {
                Ok((status, body)) => {
                    println!("{status} {}", String::from_utf8_lossy(&body).trim());
                }
                Err(error) => println!("unreachable {}", causes(&error)),
            }
        }
        Command::Load { question, clients } => {
            let counts = load::load(&question, clients).await?;
            println!("{}", serde_json::to_string(&counts)?);
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Command::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {}", causes(&error));
            ExitCode::from(2)
        }
    }
}
