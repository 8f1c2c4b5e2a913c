//! The program `vaultwall`: runs the command line of the library.

/// The operator spends half of its time on JSON, with many small allocations, for which this allocator is faster.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    vaultwall::cli::main()
}
