//! What an operator sees: log lines, the audit log and metrics. None of them ever carries a secret, a token or a session id.

mod append_file;
mod audit;
mod logs;
mod metrics;

pub use audit::{Audit, AuditError, Event, Happened, Outcome};
pub use logs::{LogError, LogHandle, init};
pub use metrics::Metrics;
