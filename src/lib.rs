pub mod auth;
pub mod clock;
pub mod config;
pub mod id;
pub mod telemetry;
