//! Turns HTTP into commands, and their outcomes into HTTP.

pub mod disposition;
pub mod download_plan;
