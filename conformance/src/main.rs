//! `plimsoll-conformance --target URL`: see [`plimsoll_conformance::cli`].

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    plimsoll_conformance::cli::run().await
}
