//! The `plimsoll` program.

use std::process::ExitCode;

use plimsoll::{
    app,
    cli::{self, Failure, Hooks},
    config::{Config, Loaded},
    telemetry,
};

fn main() -> ExitCode {
    cli::run(&Hooks { serve: &serve, check_ledger: &check_ledger, adopt: &adopt })
}

fn serve(loaded: Loaded) -> Result<(), Failure> {
    let log = telemetry::init(&loaded.config.log)?;
    runtime(&loaded.config)?.block_on(app::serve(&loaded, &log))?;
    Ok(())
}

fn check_ledger(config: &Config) -> Result<String, Failure> {
    Ok(runtime(config)?.block_on(app::inspect_ledger(config))?)
}

fn adopt(config: &Config) -> Result<String, Failure> {
    Ok(runtime(config)?.block_on(app::adopt(config))?)
}

fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if config.server.threads > 0 {
        builder.worker_threads(config.server.threads as usize);
    }
    builder.enable_all().build()
}
