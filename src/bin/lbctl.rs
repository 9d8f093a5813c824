//! Operates lbd: one command line, a request or a few, one exit code.

use std::process::ExitCode;

use lbd::cli::{self, Exit};

fn main() -> ExitCode {
    // The shell asks for completions: answered here, and the process ends.
    cli::complete();
    let cli = match cli::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(cli::run(cli)),
        Err(error) => {
            eprintln!("lbctl: cannot start: {error}");
            Exit::Failed.into()
        }
    }
}
