//! Parses the arguments and starts; nothing else.

/// Half of what the operator does is to read and write JSON, in small pieces.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    vaultwall::cli::main()
}
