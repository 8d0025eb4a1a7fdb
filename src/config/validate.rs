//! Checks of values that their types cannot make: bounds, and keys against each other.

use std::path::PathBuf;

use super::{
    AbuseBackend, BasePath, Config, Period, Secret, SessionBackend, Size,
    load::{Origins, Place, Problem, also_name},
};

struct Checks<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
}

impl Checks<'_> {
    fn place(&self, section: &str, key: &str) -> Place {
        let at = |key: &str| self.origins.get(&(section.to_owned(), key.to_owned()));
        at(key).or_else(|| at("")).cloned().unwrap_or(Place::Default)
    }

    fn fail(&mut self, section: &str, key: &str, wrong: String, accepted: &str, advice: &str) {
        let heading =
            if section.contains('.') { "[[slots.also]]".to_owned() } else { format!("[{section}]") };
        let place = self.place(section, key);
        let key = format!("{heading} {key}");
        self.problems.push(Problem {
            place,
            key,
            wrong,
            accepted: accepted.to_owned(),
            advice: advice.to_owned(),
        });
    }

    fn size(&mut self, (section, key): (&str, &str), value: Size, min: Size, max: Size) {
        if value < min || value > max {
            let accepted = format!("a size from {min} to {max}");
            self.fail(
                section,
                key,
                format!("{value} is out of range"),
                &accepted,
                "choose a size in this range",
            );
        }
    }

    fn not_zero(&mut self, (section, key): (&str, &str), value: Period) {
        if value.is_zero() {
            let advice = "choose a longer one, or remove the line for the default";
            self.fail(section, key, "no time at all".to_owned(), "a duration above zero", advice);
        }
    }
}

/// Every problem between keys; empty when the configuration can be run.
pub(super) fn validate(config: &Config, origins: &Origins) -> Vec<Problem> {
    let mut checks = Checks { origins, problems: Vec::new() };
    bounds(config, &mut checks);
    relations(config, &mut checks);
    slots(config, &mut checks);
    checks.problems
}

/// The ledger stores offsets as signed 64-bit numbers.
const LARGEST_FILE: Size = Size::of(i64::MAX.unsigned_abs());
/// The HTTP/1 parser refuses to work with less.
const SMALLEST_READ_BUFFER: Size = Size::kib(8);
/// RFC 9113 section 6.9.1.
const LARGEST_WINDOW: Size = Size::of((1 << 31) - 1);
/// RFC 9113 section 6.9.2: the window that every stream starts with.
const SMALLEST_WINDOW: Size = Size::of(65_535);
const MOST_THREADS: u32 = 1024;
/// Each open stream may hold a piece of an answer in memory.
const MOST_STREAMS: u32 = 1024;

fn bounds(config: &Config, checks: &mut Checks<'_>) {
    let Config { server, store, limits, slots, tus, session, abuse, redis, .. } = config;
    let byte = Size::of(1);
    checks.size(("store", "max_size"), store.max_size, byte, LARGEST_FILE);
    checks.size(("limits", "least_rate"), limits.least_rate, Size::of(0), Size::mib(1024));
    checks.size(("store", "reserve"), store.reserve, Size::of(0), LARGEST_FILE);
    checks.size(("store", "checkpoint_bytes"), store.checkpoint_bytes, Size::kib(64), LARGEST_FILE);
    if config.ledger.ballast.bytes() > 0 {
        checks.size(("ledger", "ballast"), config.ledger.ballast, Size::mib(1), Size::gib(1));
    }
    checks.size(("store", "buffer_memory"), store.buffer_memory, Size::mib(1), Size::gib(1024));
    checks.size(("server", "read_buffer"), server.read_buffer, SMALLEST_READ_BUFFER, Size::mib(64));
    checks.size(("server", "http2_window"), server.http2_window, SMALLEST_WINDOW, LARGEST_WINDOW);
    checks.size(("server", "max_head_size"), server.max_head_size, Size::kib(8), Size::mib(1));
    if server.http2_streams == 0 || server.http2_streams > MOST_STREAMS {
        let accepted = format!("a whole number from 1 to {MOST_STREAMS}");
        let wrong = format!("{} is out of range", server.http2_streams);
        checks.fail("server", "http2_streams", wrong, &accepted, "to do without HTTP/2 set http2 = false");
    }
    if server.threads > MOST_THREADS {
        let accepted = format!("a whole number from 0 to {MOST_THREADS}");
        let wrong = format!("{} is out of range", server.threads);
        checks.fail("server", "threads", wrong, &accepted, "use 0 for one thread a core");
    }
    if tus.creation_wait > Period::secs(60) {
        let wrong = format!("{} is out of range", tus.creation_wait);
        checks.fail(
            "tus",
            "creation_wait",
            wrong,
            "at most 60s",
            "clients and proxies give up waiting before that",
        );
    }
    if tus.max_parts == 0 {
        let advice = "to do without tus uploads set enabled = false";
        checks.fail("tus", "max_parts", "none at all".to_owned(), "a whole number above zero", advice);
    }
    for (section, key, period) in [
        ("server", "header_timeout", server.header_timeout),
        ("server", "keep_alive_timeout", server.keep_alive_timeout),
        ("server", "write_stall_timeout", server.write_stall_timeout),
        ("store", "checkpoint_interval", store.checkpoint_interval),
        ("slots", "token_lifetime", slots.token_lifetime),
        ("slots", "bearer_lifetime", slots.bearer_lifetime),
        ("slots", "bearer_resilient_lifetime", slots.bearer_resilient_lifetime),
        ("session", "max_age", session.max_age),
        ("session", "unclaimed_age", session.unclaimed_age),
        ("session", "token_lifetime", session.token_lifetime),
        ("session", "cleanup_interval", session.cleanup_interval),
        ("abuse", "failure_window", abuse.failure_window),
        ("abuse", "ban", abuse.ban),
        ("redis", "timeout", redis.timeout),
        ("tus", "grant_lifetime", tus.grant_lifetime),
        ("tus", "partial_expires", tus.partial_expires),
        ("tus", "forget_after", tus.forget_after),
        ("limits", "body_gap", limits.body_gap),
        ("limits", "incomplete_expires", limits.incomplete_expires),
        ("limits", "fence_timeout", limits.fence_timeout),
        ("limits", "silent_writer", limits.silent_writer),
        ("limits", "sweep_interval", limits.sweep_interval),
    ] {
        checks.not_zero((section, key), period);
    }
}

fn relations(config: &Config, checks: &mut Checks<'_>) {
    let Config { server, store, limits, metrics, .. } = config;
    let twice = Size::of(server.read_buffer.bytes().saturating_mul(2));
    if store.buffer_memory < twice {
        let wrong = format!("{} is less than two of [server] read_buffer", store.buffer_memory);
        let accepted = format!("at least {twice}");
        checks.fail("store", "buffer_memory", wrong, &accepted, "raise it, or lower read_buffer");
    }
    if limits.body_gap >= limits.incomplete_expires && !limits.incomplete_expires.is_zero() {
        let wrong = format!("{} is not longer than body_gap", limits.incomplete_expires);
        let accepted = format!("more than {}", limits.body_gap);
        let advice = "raise it: an upload would expire before its silence is noticed";
        checks.fail("limits", "incomplete_expires", wrong, &accepted, advice);
    }
    if limits.silent_writer > limits.body_gap && !limits.body_gap.is_zero() {
        let wrong = format!("{} is longer than body_gap", limits.silent_writer);
        let accepted = format!("at most {}", limits.body_gap);
        checks.fail("limits", "silent_writer", wrong, &accepted, "lower it: the body would be cut before");
    }
    for (section, counts, needs) in [
        ("session", "backend", config.session.enabled && config.session.backend == SessionBackend::Redis),
        ("abuse", "backend", config.abuse.backend == AbuseBackend::Redis),
    ] {
        if needs && config.redis.url.is_none() {
            let wrong = "\"redis\" asks for a Redis server, and [redis] url is not set".to_owned();
            checks.fail(
                section,
                counts,
                wrong,
                "another place, or \"redis\" with [redis] url",
                "set [redis] url",
            );
        }
    }
    for (key, count) in
        [("max_sessions", config.session.max_sessions), ("max_uploads", config.session.max_uploads)]
    {
        if count == 0 {
            let advice = "to do without sessions set enabled = false";
            checks.fail("session", key, "none at all".to_owned(), "a whole number above zero", advice);
        }
    }
    if config.cors.allow_credentials && config.cors.allow_origin.named().is_none() {
        let advice = "name the origins in allow_origin; browsers take no credentials together with \"*\"";
        checks.fail(
            "cors",
            "allow_credentials",
            "true beside allow_origin = \"*\"".to_owned(),
            "false",
            advice,
        );
    }
    let same_port = metrics.listen.port() == server.listen.port() && metrics.listen.port() != 0;
    let same_ip = metrics.listen.ip() == server.listen.ip()
        || metrics.listen.ip().is_unspecified()
        || server.listen.ip().is_unspecified();
    if metrics.enabled && same_port && same_ip && metrics.listen.is_ipv4() == server.listen.is_ipv4() {
        let wrong = format!("{} is taken by [server] listen", metrics.listen);
        checks.fail(
            "metrics",
            "listen",
            wrong,
            "a port of its own",
            "choose another port, or enabled = false",
        );
    }
}

fn slots(config: &Config, checks: &mut Checks<'_>) {
    let mut taken: Vec<&BasePath> = vec![&config.slots.base_path];
    if config.tus.enabled {
        if config.tus.base_path.overlaps(&config.slots.base_path) {
            let wrong = format!("\"{}\" overlaps with [slots] base_path", config.tus.base_path);
            let advice = "choose paths of which none lies within the other";
            checks.fail("tus", "base_path", wrong, "a path of its own", advice);
        }
        taken.push(&config.tus.base_path);
    }
    if let Some(path) = &config.slots.download_path {
        alias("slots", path, &mut taken, checks);
    }
    for (at, also) in config.slots_also.iter().enumerate() {
        let section = also_name(at);
        match &also.base_path {
            None => {
                let advice = "add one, for example base_path = \"/upload-two\"";
                checks.fail(&section, "base_path", "this table has no base path".to_owned(), "", advice);
            }
            Some(path) => {
                if let Some(other) = taken.iter().find(|other| other.overlaps(path)) {
                    let wrong = format!("\"{path}\" overlaps with \"{other}\"");
                    let advice = "choose paths of which none lies within another";
                    checks.fail(&section, "base_path", wrong, "a path that no other secret guards", advice);
                }
                taken.push(path);
            }
        }
        if let Some(path) = &also.download_path {
            alias(&section, path, &mut taken, checks);
        }
        if !has_secret(also.secret.as_ref(), &also.secrets, also.secret_file.as_ref()) {
            let advice = "add secret, secrets or secret_file; one is generated for [slots] only";
            checks.fail(&section, "secret", "this table has no secret".to_owned(), "", advice);
        }
    }
}

/// Where files are read lies within no place where they are written, nor the other way round.
fn alias<'a>(section: &str, path: &'a BasePath, taken: &mut Vec<&'a BasePath>, checks: &mut Checks<'_>) {
    if let Some(other) = taken.iter().find(|other| other.overlaps(path)) {
        let wrong = format!("\"{path}\" overlaps with \"{other}\"");
        let advice = "choose paths of which none lies within another";
        checks.fail(section, "download_path", wrong, "a path of its own", advice);
    }
    taken.push(path);
}

pub(super) fn has_secret(secret: Option<&Secret>, secrets: &[Secret], file: Option<&PathBuf>) -> bool {
    secret.is_some() || !secrets.is_empty() || file.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        validate(&config, &Origins::new()).into_iter().map(|p| p.key).collect()
    }

    #[test]
    fn the_default_is_valid() {
        assert!(check(|_| ()).is_empty());
    }

    #[test]
    fn sizes_out_of_range_are_refused() {
        for (wrong, key) in [
            (check(|c| c.store.max_size = Size::of(0)), "[store] max_size"),
            (check(|c| c.store.max_size = Size::of(u64::MAX)), "[store] max_size"),
            (check(|c| c.store.reserve = Size::of(u64::MAX)), "[store] reserve"),
            (check(|c| c.store.checkpoint_bytes = Size::of(0)), "[store] checkpoint_bytes"),
            (check(|c| c.store.buffer_memory = Size::of(0)), "[store] buffer_memory"),
            (check(|c| c.ledger.ballast = Size::of(1)), "[ledger] ballast"),
            (check(|c| c.server.read_buffer = Size::of(8191)), "[server] read_buffer"),
            (check(|c| c.server.http2_window = Size::gib(2)), "[server] http2_window"),
            (check(|c| c.server.threads = 1025), "[server] threads"),
            (check(|c| c.limits.least_rate = Size::gib(2)), "[limits] least_rate"),
            (check(|c| c.tus.max_parts = 0), "[tus] max_parts"),
            (check(|c| c.server.max_head_size = Size::kib(4)), "[server] max_head_size"),
            (check(|c| c.server.http2_streams = 0), "[server] http2_streams"),
        ] {
            assert!(wrong.iter().any(|w| w == key), "{key}: {wrong:?}");
        }
        assert!(check(|c| c.store.reserve = Size::of(0)).is_empty(), "no reserve is a choice");
    }

    #[test]
    fn durations_that_must_pass_cannot_be_zero() {
        assert_eq!(check(|c| c.limits.body_gap = Period::ZERO), ["[limits] body_gap"]);
        assert_eq!(check(|c| c.limits.incomplete_expires = Period::ZERO), ["[limits] incomplete_expires"]);
        assert_eq!(check(|c| c.limits.sweep_interval = Period::ZERO), ["[limits] sweep_interval"]);
        assert_eq!(check(|c| c.server.header_timeout = Period::ZERO), ["[server] header_timeout"]);
        assert_eq!(check(|c| c.server.keep_alive_timeout = Period::ZERO), ["[server] keep_alive_timeout"]);
        assert_eq!(check(|c| c.server.write_stall_timeout = Period::ZERO), ["[server] write_stall_timeout"]);
        assert!(check(|c| c.server.drain_timeout = Period::ZERO).is_empty(), "to cut at once is a choice");
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        let contradiction = |c: &mut Config| {
            c.limits.body_gap = Period::hours(72);
        };
        assert_eq!(check(contradiction), ["[limits] incomplete_expires"]);
        assert_eq!(check(|c| c.limits.silent_writer = Period::secs(61)), ["[limits] silent_writer"]);
        assert_eq!(check(|c| c.server.read_buffer = Size::mib(64 + 1)).len(), 2);
    }

    #[test]
    fn credentials_of_pages_need_named_origins() {
        assert_eq!(check(|c| c.cors.allow_credentials = true), ["[cors] allow_credentials"]);
    }

    #[test]
    fn files_are_read_at_a_path_of_their_own() {
        let path = |text: &str| BasePath::parse(text).unwrap();
        assert!(check(|c| c.slots.download_path = Some(path("/download"))).is_empty());
        for taken in ["/upload", "/upload/x", "/files"] {
            assert_eq!(check(|c| c.slots.download_path = Some(path(taken))), ["[slots] download_path"]);
        }
        // The root has what belongs to no other.
        let root = |c: &mut Config| {
            c.slots.base_path = path("/");
            c.slots.download_path = Some(path("/download"));
        };
        assert!(check(root).is_empty());
        assert_eq!(
            check(|c| {
                root(c);
                c.tus.base_path = path("/")
            }),
            ["[tus] base_path"]
        );
    }

    #[test]
    fn two_listeners_on_one_address_are_refused() {
        let same = |c: &mut Config| c.metrics.listen = c.server.listen;
        assert_eq!(check(same), ["[metrics] listen"]);
        assert_eq!(check(|c| c.metrics.listen = "0.0.0.0:8080".parse().unwrap()), ["[metrics] listen"]);
        assert!(check(|c| c.metrics.listen = "127.0.0.2:8080".parse().unwrap()).is_empty());
        let switched_off = |c: &mut Config| {
            c.metrics.listen = c.server.listen;
            c.metrics.enabled = false;
        };
        assert!(check(switched_off).is_empty());
        let free_ports = |c: &mut Config| {
            c.server.listen = "127.0.0.1:0".parse().unwrap();
            c.metrics.listen = c.server.listen;
        };
        assert!(check(free_ports).is_empty());
    }
}
