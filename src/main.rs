//! The `plimsoll` program.

fn main() {
    let loaded = plimsoll::config::load(None, std::env::vars_os()).unwrap();
    let _log = plimsoll::telemetry::init(&loaded.config.log).unwrap();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(plimsoll::app::serve(&loaded.config))
        .unwrap();
}
