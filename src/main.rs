//! The waypost daemon and its commands; everything is in the library.

fn main() -> std::process::ExitCode {
    waypost::cli::main()
}
