//! What an operator sees: log lines and metrics. Neither ever carries a secret, a token or a session id.

mod logs;
mod metrics;

pub use logs::{LogError, LogHandle, init};
pub use metrics::Metrics;
