//! Parses the arguments and starts; nothing else.

fn main() -> std::process::ExitCode {
    vaultwall::cli::main()
}
