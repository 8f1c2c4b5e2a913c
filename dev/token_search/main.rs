//! Fails if a token is in what the tests write. See usage. `dev/run-tests` and `make e2e` run it.

use std::fs;
use std::io;
use std::process::{Command, ExitCode};

use testkit::token_search::{Found, during};

const USAGE: &str = "\
usage: token_search files FILE...      search files
       token_search cluster COMMAND... run a command, and search its output, and the logs and objects that the cluster
                                       of KUBECONFIG has meanwhile, without Secrets
exit:  cluster: that of the command, unless it is 0; 1: a token was found, or not everything was searched; 2: it could
       not be searched";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let searched = match &arguments[..] {
        ["files", files @ ..] if !files.is_empty() => search_files(files),
        ["cluster", program, arguments @ ..] => search_cluster(program, arguments),
        _ => Err(io::Error::other(USAGE)),
    };
    searched.unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::from(2)
    })
}

fn search_files(files: &[&str]) -> io::Result<ExitCode> {
    let mut found = Found::default();
    for file in files {
        let content = fs::read(file)
            .map_err(|error| io::Error::other(format!("{file} cannot be read: {error}")))?;
        for (index, line) in String::from_utf8_lossy(&content).lines().enumerate() {
            found.text(&format!("{file}, line {}", index + 1), line);
        }
    }
    for place in found.places() {
        println!("token search: a token in {place}");
    }
    Ok(exit_code(found.places().is_empty()))
}

fn search_cluster(program: &str, arguments: &[&str]) -> io::Result<ExitCode> {
    let mut command = Command::new(program);
    command.args(arguments);
    let (status, found) = during(command)?;
    println!("{found}");
    let gaps = found.gaps();
    for gap in &gaps {
        println!("token search: {gap}");
    }
    if status.success() {
        return Ok(exit_code(gaps.is_empty() && found.places().is_empty()));
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

fn exit_code(is_fine: bool) -> ExitCode {
    if is_fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
