//! Prometheus metrics: names, units and meanings in one place.
//!
//! Labels take their values from the program, never from a client: a label that a client can choose would
//! let it grow the server's memory without bound.

use std::{fmt, sync::Arc, time::Duration};

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Every metric of the server. Counting is safe from any thread and never fails.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    received: IntCounter,
    sent: IntCounter,
    started: IntCounterVec,
    finished: IntCounterVec,
    resumed: IntCounterVec,
    taken_over: IntCounter,
    lost: IntCounter,
    cut: IntCounterVec,
    expired: IntCounter,
    removed: IntCounterVec,
    refused: IntCounterVec,
    upload_duration: HistogramVec,
    upload_size: HistogramVec,
    commit_duration: Histogram,
    commit_batch: Histogram,
    failed_commits: IntCounter,
    ledger_writable: IntGauge,
    sync_duration: Histogram,
    takeover_duration: Histogram,
    writers: IntGauge,
    buffered: IntGauge,
    faults: IntCounterVec,
    session_steps: IntCounterVec,
    sessions: IntGauge,
    network_changes: IntCounter,
    graced: IntCounterVec,
    bans: IntCounter,
    banned: IntGauge,
    rate_limited: IntCounterVec,
    unaudited: IntCounter,
    connections: IntGauge,
    connections_closed: IntCounterVec,
    connections_refused: IntCounterVec,
    redis_degraded: IntGaugeVec,
    redis_outages: IntCounterVec,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An upload lasts from a millisecond on a loopback to a day on a train.
const UPLOAD_SECONDS: [f64; 14] =
    [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 28_800.0, 86_400.0];
/// From 4 KiB to 64 GiB, finer where photos and films lie.
const UPLOAD_BYTES: [f64; 10] = [
    4_096.0,
    65_536.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
    268_435_456.0,
    1_073_741_824.0,
    4_294_967_296.0,
    68_719_476_736.0,
];
/// Disks and ledgers answer within 0.1 ms to some seconds.
const STORAGE_SECONDS: [f64; 14] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
const BATCH_SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// The methods that some dialect uses; a client may send any token.
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS"];

impl Metrics {
    /// All metrics at zero, in a registry of their own.
    #[must_use]
    #[allow(clippy::expect_used, reason = "names and labels are constants, and a test builds them")]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::build().expect("metric names are valid and differ"))
    }

    fn build() -> prometheus::Result<Self> {
        let make = Maker(Registry::new());
        make.build_info()?;
        Ok(Self {
            requests: make.counters(
                "http_requests_total",
                "Requests answered, by method, route and status code.",
                &["method", "route", "status"],
            )?,
            received: make.counter("received_bytes_total", "Bytes of upload bodies read from clients.")?,
            sent: make.counter("sent_bytes_total", "Bytes of download bodies written to clients.")?,
            started: make.counters(
                "uploads_started_total",
                "Uploads whose first byte was accepted, by dialect.",
                &["dialect"],
            )?,
            finished: make.counters(
                "uploads_finished_total",
                "Uploads that became complete, by the dialect that sent the end.",
                &["dialect"],
            )?,
            resumed: make.counters(
                "uploads_resumed_total",
                "Requests that went on with an incomplete upload, by dialect.",
                &["dialect"],
            )?,
            taken_over: make.counter(
                "uploads_taken_over_total",
                "Times that a newer writer ended an older one of the same upload.",
            )?,
            lost: make.counter(
                "blobs_lost_total",
                "Blobs that were found missing or shorter than the ledger says, each counted once.",
            )?,
            cut: make.counters(
                "uploads_cut_total",
                "Bodies that ended early and whose bytes were kept, by cause.",
                &["cause"],
            )?,
            expired: make.counter(
                "uploads_expired_total",
                "Incomplete uploads removed because they were not continued in time.",
            )?,
            removed: make.counters(
                "uploads_removed_total",
                "Uploads removed for another reason than expiry, by reason.",
                &["reason"],
            )?,
            refused: make.counters(
                "refusals_total",
                "Requests refused for a fault of the client, by dialect and reason.",
                &["dialect", "reason"],
            )?,
            upload_duration: make.histograms(
                "upload_duration_seconds",
                "Time from the start of an upload until it was complete, pauses included.",
                &UPLOAD_SECONDS,
                &["dialect"],
            )?,
            upload_size: make.histograms(
                "upload_size_bytes",
                "Size of complete uploads.",
                &UPLOAD_BYTES,
                &["dialect"],
            )?,
            commit_duration: make.histogram(
                "ledger_commit_duration_seconds",
                "Time that a writer waited for the ledger to commit its offset.",
                &STORAGE_SECONDS,
            )?,
            commit_batch: make.histogram(
                "ledger_commit_batch_size",
                "Operations that one ledger transaction committed together.",
                &BATCH_SIZES,
            )?,
            failed_commits: make.counter(
                "ledger_failed_transactions_total",
                "Transactions of the ledger that failed; each closes a connection, and none acknowledges anything.",
            )?,
            ledger_writable: make.gauge(
                "ledger_writable",
                "1 while the ledger takes changes, 0 while every change is refused.",
            )?,
            sync_duration: make.histogram(
                "sync_duration_seconds",
                "Time that the disk took to make the bytes of one checkpoint durable.",
                &STORAGE_SECONDS,
            )?,
            takeover_duration: make.histogram(
                "takeover_duration_seconds",
                "Time from a newer writer's request until the older writer had let go.",
                &STORAGE_SECONDS,
            )?,
            writers: make.gauge("open_writers", "Uploads that a connection is writing to now.")?,
            buffered: make.gauge("buffered_bytes", "Bytes received that wait in memory for the disk.")?,
            faults: make.counters(
                "faults_total",
                "Failures of the server's own parts, by component; each is logged at error level.",
                &["component"],
            )?,
            session_steps: make.counters(
                "session_steps_total",
                "Steps of sessions: opened, joined, recovered, refreshed, ended, refused.",
                &["step"],
            )?,
            sessions: make.gauge("sessions", "Sessions kept, as of the last cleanup.")?,
            network_changes: make.counter(
                "session_network_changes_total",
                "Times that a session was seen at another address, network or agent than before.",
            )?,
            graced: make.counters(
                "grace_total",
                "Requests served with an expired token within its grace, by class of client.",
                &["class"],
            )?,
            bans: make.counter("bans_total", "Addresses banned after too many failures.")?,
            banned: make.gauge(
                "banned_addresses",
                "Addresses banned now, as of the last request; of those that this node counts in memory.",
            )?,
            rate_limited: make.counters(
                "rate_limited_total",
                "Requests refused because their address or their subject sends too many.",
                &["by"],
            )?,
            unaudited: make
                .counter("audit_lost_total", "Events that could not be written to the audit log.")?,
            connections: make.gauge("connections", "Connections that are open.")?,
            connections_closed: make.counters(
                "connections_closed_total",
                "Connections closed, by reason: client, idle, slow-head, write-stall, drained, forced; and stream-stall for \
                 a single HTTP/2 stream.",
                &["reason"],
            )?,
            connections_refused: make.counters(
                "connections_refused_total",
                "Connections refused, by reason: address (too many of one), error (accept failed), and descriptors for \
                 a single HTTP/2 stream.",
                &["reason"],
            )?,
            redis_degraded: make.gauges(
                "redis_degraded",
                "1 while a part goes on in memory because Redis is away, by part.",
                &["part"],
            )?,
            redis_outages: make.counters(
                "redis_outages_total",
                "Times that a part began to go on in memory because Redis was away, by part.",
                &["part"],
            )?,
            registry: make.0,
        })
    }

    /// A request was answered. `route` names the pattern that matched, not the path.
    pub fn request(&self, method: &str, route: &'static str, status: u16) {
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("OTHER");
        let status = http::StatusCode::from_u16(status).unwrap_or_default();
        self.requests.with_label_values(&[method, route, status.as_str()]).inc();
    }

    /// Bytes of a body were read from a client.
    pub fn received(&self, bytes: u64) {
        self.received.inc_by(bytes);
    }

    /// Bytes of a download were written to a client.
    pub fn sent(&self, bytes: u64) {
        self.sent.inc_by(bytes);
    }

    /// An upload began.
    pub fn upload_started(&self, dialect: &'static str) {
        self.started.with_label_values(&[dialect]).inc();
    }

    /// An upload of `bytes` became complete, `took` after it began.
    pub fn upload_finished(&self, dialect: &'static str, took: Duration, bytes: u64) {
        self.finished.with_label_values(&[dialect]).inc();
        self.upload_duration.with_label_values(&[dialect]).observe(took.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
        self.upload_size.with_label_values(&[dialect]).observe(bytes as f64);
    }

    /// An incomplete upload goes on.
    pub fn upload_resumed(&self, dialect: &'static str) {
        self.resumed.with_label_values(&[dialect]).inc();
    }

    /// Bytes that were acknowledged are missing in the store.
    pub fn blob_lost(&self) {
        self.lost.inc();
    }

    /// A newer writer ended an older one.
    pub fn taken_over(&self) {
        self.taken_over.inc();
    }

    /// A body ended early; its bytes were kept.
    pub fn cut(&self, cause: &'static str) {
        self.cut.with_label_values(&[cause]).inc();
    }

    /// `n` incomplete uploads expired.
    pub fn expired(&self, n: u64) {
        self.expired.inc_by(n);
    }

    /// `n` uploads were removed.
    pub fn removed(&self, reason: &'static str, n: u64) {
        self.removed.with_label_values(&[reason]).inc_by(n);
    }

    /// A request was refused.
    pub fn refused(&self, dialect: &'static str, reason: &'static str) {
        self.refused.with_label_values(&[dialect, reason]).inc();
    }

    /// A writer waited for its commit.
    pub fn commit(&self, took: Duration) {
        self.commit_duration.observe(took.as_secs_f64());
    }

    /// One transaction committed `size` operations.
    pub fn commit_batch(&self, size: usize) {
        #[allow(clippy::cast_precision_loss, reason = "a histogram's sum is a float")]
        self.commit_batch.observe(size as f64);
    }

    /// The disk made a checkpoint durable.
    pub fn sync(&self, took: Duration) {
        self.sync_duration.observe(took.as_secs_f64());
    }

    /// An older writer let go.
    pub fn takeover(&self, took: Duration) {
        self.takeover_duration.observe(took.as_secs_f64());
    }

    /// Writers were opened (positive) or closed (negative).
    pub fn writers_delta(&self, d: i64) {
        self.writers.add(d);
    }

    /// Bytes went into memory (positive) or left it (negative).
    pub fn buffered(&self, delta: i64) {
        self.buffered.add(delta);
    }

    /// A transaction of the ledger failed.
    pub fn commit_failed(&self) {
        self.failed_commits.inc();
    }

    /// Whether the ledger takes changes.
    pub fn ledger_writable(&self, is_writable: bool) {
        self.ledger_writable.set(i64::from(is_writable));
    }

    /// A part of the server failed.
    pub fn fault(&self, component: &'static str) {
        self.faults.with_label_values(&[component]).inc();
    }

    /// A session took a step.
    pub fn session(&self, step: &'static str) {
        self.session_steps.with_label_values(&[step]).inc();
    }

    /// So many sessions are kept.
    pub fn sessions(&self, count: u64) {
        self.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A session was seen at another place.
    pub fn network_changed(&self) {
        self.network_changes.inc();
    }

    /// A request was served within the grace of its token.
    pub fn graced(&self, class: &'static str) {
        self.graced.with_label_values(&[class]).inc();
    }

    /// An address was banned.
    pub fn banned(&self) {
        self.bans.inc();
    }

    /// So many addresses are banned.
    pub fn banned_addresses(&self, count: usize) {
        self.banned.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A request was one too many, of its `address` or its `subject`.
    pub fn rate_limited(&self, by: &'static str) {
        self.rate_limited.with_label_values(&[by]).inc();
    }

    /// An event is missing in the audit log.
    pub fn audit_lost(&self) {
        self.unaudited.inc();
    }

    /// Connections were opened (positive) or closed (negative).
    pub fn connections(&self, delta: i64) {
        self.connections.add(delta);
    }

    /// A connection ended, or one of its streams.
    pub fn connection_closed(&self, reason: &'static str) {
        self.connections_closed.with_label_values(&[reason]).inc();
    }

    /// A connection was not served, or one of its streams.
    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    /// A part goes on in memory because Redis is away, or no longer does.
    pub fn redis_degraded(&self, part: &'static str, is_degraded: bool) {
        self.redis_degraded.with_label_values(&[part]).set(i64::from(is_degraded));
    }

    /// A part began to go on in memory.
    pub fn redis_outage(&self, part: &'static str) {
        self.redis_outages.with_label_values(&[part]).inc();
    }

    /// The text exposition format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

/// Makes metrics under our prefix and registers them.
struct Maker(Registry);

impl Maker {
    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: M) -> prometheus::Result<M> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn name(name: &str) -> String {
        format!("plimsoll_{name}")
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.register(IntCounter::new(Self::name(name), help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
        self.register(IntCounterVec::new(Opts::new(Self::name(name), help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.register(IntGauge::new(Self::name(name), help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
        self.register(IntGaugeVec::new(Opts::new(Self::name(name), help), labels)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        let opts = HistogramOpts::new(Self::name(name), help).buckets(buckets.to_vec());
        self.register(Histogram::with_opts(opts)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        buckets: &[f64],
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let opts = HistogramOpts::new(Self::name(name), help).buckets(buckets.to_vec());
        self.register(HistogramVec::new(opts, labels)?)
    }

    fn build_info(&self) -> prometheus::Result<()> {
        let opts = Opts::new(Self::name("build_info"), "Always 1; the label names the version that runs.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        self.register(IntGauge::with_opts(opts)?)?.set(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls every method once, so that every metric shows.
    fn everything() -> Arc<Metrics> {
        let metrics = Metrics::new();
        metrics.request("PUT", "slot", 201);
        metrics.received(7);
        metrics.sent(8);
        metrics.upload_started("xep0363");
        metrics.upload_finished("xep0363", Duration::from_millis(20), 5_000_000);
        metrics.upload_resumed("content-range");
        metrics.taken_over();
        metrics.blob_lost();
        metrics.cut("reset");
        metrics.expired(3);
        metrics.removed("retention", 4);
        metrics.refused("xep0363", "too-large");
        metrics.commit(Duration::from_micros(300));
        metrics.commit_batch(3);
        metrics.commit_failed();
        metrics.ledger_writable(true);
        metrics.sync(Duration::from_millis(4));
        metrics.takeover(Duration::from_millis(2));
        metrics.writers_delta(5);
        metrics.writers_delta(-2);
        metrics.buffered(4096);
        metrics.buffered(-96);
        metrics.fault("ledger");
        metrics.session("opened");
        metrics.sessions(6);
        metrics.network_changed();
        metrics.graced("desktop");
        metrics.banned();
        metrics.banned_addresses(6);
        metrics.rate_limited("subject");
        metrics.audit_lost();
        metrics.connections(2);
        metrics.connection_closed("idle");
        metrics.connection_refused("address");
        metrics.redis_degraded("sessions", true);
        metrics.redis_outage("sessions");
        metrics
    }

    #[test]
    fn every_method_reaches_its_metric() {
        let text = everything().render();
        for line in [
            r#"plimsoll_http_requests_total{method="PUT",route="slot",status="201"} 1"#,
            "plimsoll_received_bytes_total 7",
            "plimsoll_sent_bytes_total 8",
            r#"plimsoll_uploads_started_total{dialect="xep0363"} 1"#,
            r#"plimsoll_uploads_finished_total{dialect="xep0363"} 1"#,
            r#"plimsoll_uploads_resumed_total{dialect="content-range"} 1"#,
            "plimsoll_uploads_taken_over_total 1",
            "plimsoll_blobs_lost_total 1",
            r#"plimsoll_uploads_cut_total{cause="reset"} 1"#,
            "plimsoll_uploads_expired_total 3",
            r#"plimsoll_uploads_removed_total{reason="retention"} 4"#,
            r#"plimsoll_refusals_total{dialect="xep0363",reason="too-large"} 1"#,
            r#"plimsoll_upload_duration_seconds_bucket{dialect="xep0363",le="0.005"} 0"#,
            r#"plimsoll_upload_duration_seconds_bucket{dialect="xep0363",le="0.025"} 1"#,
            r#"plimsoll_upload_size_bytes_sum{dialect="xep0363"} 5000000"#,
            "plimsoll_ledger_commit_duration_seconds_count 1",
            "plimsoll_ledger_commit_batch_size_sum 3",
            "plimsoll_ledger_failed_transactions_total 1",
            "plimsoll_ledger_writable 1",
            "plimsoll_sync_duration_seconds_sum 0.004",
            "plimsoll_takeover_duration_seconds_sum 0.002",
            "plimsoll_open_writers 3",
            "plimsoll_buffered_bytes 4000",
            r#"plimsoll_faults_total{component="ledger"} 1"#,
            r#"plimsoll_session_steps_total{step="opened"} 1"#,
            "plimsoll_sessions 6",
            "plimsoll_session_network_changes_total 1",
            r#"plimsoll_grace_total{class="desktop"} 1"#,
            "plimsoll_bans_total 1",
            "plimsoll_banned_addresses 6",
            r#"plimsoll_rate_limited_total{by="subject"} 1"#,
            "plimsoll_audit_lost_total 1",
            "plimsoll_connections 2",
            r#"plimsoll_connections_closed_total{reason="idle"} 1"#,
            r#"plimsoll_connections_refused_total{reason="address"} 1"#,
            r#"plimsoll_redis_degraded{part="sessions"} 1"#,
            r#"plimsoll_redis_outages_total{part="sessions"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn every_metric_has_help_that_is_a_sentence_and_a_conventional_name() {
        for family in everything().registry.gather() {
            let (name, kind) = (family.name(), family.get_field_type());
            assert!(name.starts_with("plimsoll_"), "{name}");
            assert!(family.help().ends_with('.'), "{name}: {}", family.help());
            assert_eq!(name.ends_with("_total"), kind == prometheus::proto::MetricType::COUNTER, "{name}");
        }
    }

    #[test]
    fn a_client_cannot_make_labels() {
        let metrics = Metrics::new();
        for method in ["BREW", "put", "", "GET\n", "🫖"] {
            metrics.request(method, "slot", 405);
        }
        metrics.request("GET", "slot", 0);
        let text = metrics.render();
        assert!(text.contains(r#"{method="OTHER",route="slot",status="405"} 5"#), "{text}");
        assert!(!text.contains("BREW") && !text.contains("put"), "{text}");
    }

    #[test]
    fn two_sets_of_metrics_do_not_share_counts() {
        let (one, two) = (Metrics::new(), Metrics::new());
        one.received(1);
        assert!(two.render().contains("plimsoll_received_bytes_total 0"));
    }
}
