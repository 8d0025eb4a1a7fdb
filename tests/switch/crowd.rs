//! Many phones at once, and what came of them.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, future, stream};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{
    common::{
        Random,
        server::{Server, Setup},
    },
    line::{Line, metric},
    net::{Link, METRICS_PORT, Net, PORT},
    phone::{Figures, Phone, Recovery, World},
    roads::Roads,
    upload::{Upload, session_id},
};

/// Nobody waits longer for a crowd than this beyond the time that its pace asks for.
const GIVE_UP: Duration = Duration::from_secs(600);

/// A crowd.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    pub(crate) phones: usize,
    /// Bytes of a file.
    pub(crate) sizes: Range<u64>,
    pub(crate) cuts: Cuts,
    /// Bytes a second of one phone.
    pub(crate) pace: u64,
    pub(crate) seed: u64,
}

/// When the phones switch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cuts {
    /// Two to four times, anywhere in the file.
    AtRandom,
    /// So many times, evenly.
    Even(u64),
}

/// What happens to the server when half of all switches are done.
pub(crate) type Blow = Box<dyn FnOnce(Server) -> Server + Send>;

impl Plan {
    /// Where a phone with a file of `size` bytes switches.
    fn cuts(&self, size: u64, random: &mut Random) -> Vec<u64> {
        match self.cuts {
            Cuts::AtRandom => {
                // Not within the first slice, which is sent before anything else happens.
                let mut cuts: Vec<u64> =
                    (0..random.within(2..5)).map(|_| random.within(32 << 10..size - (8 << 10))).collect();
                cuts.sort_unstable();
                cuts
            }
            Cuts::Even(times) => (1..=times).map(|time| size * time / (times + 1)).collect(),
        }
    }

    fn phones(&self, token_life: Duration) -> Vec<Phone> {
        // Each file is another part of one pool: as good as bytes of its own, and much cheaper.
        const STEP: usize = 1021;
        let mut random = Random::new(self.seed);
        let pool: &'static [u8] = random.bytes(self.phones * STEP + self.sizes.end as usize).leak();
        (0..self.phones)
            .map(|number| {
                let size = random.within(self.sizes.clone());
                let cuts = self.cuts(size, &mut random);
                let data = &pool[number * STEP..][..size as usize];
                let upload =
                    Upload::new(&format!("{}-{number}", self.name.replace(' ', "-")), data, token_life);
                Phone::new(number, upload, cuts, Random::new(random.next()))
            })
            .collect()
    }
}

/// A server for a crowd, in its own namespace.
pub(crate) fn setup(net: &Net) -> Setup {
    Setup::new()
        .within(&net.server())
        .key("SERVER__LISTEN", format!("0.0.0.0:{PORT}"))
        .key("METRICS__ENABLED", "true")
        .key("METRICS__LISTEN", format!("0.0.0.0:{METRICS_PORT}"))
        // Silence is to be noticed by those who come back, and by nothing else.
        .key("LIMITS__BODY_GAP", "1h")
}

/// Let the crowd upload; every file has to arrive whole. Returns the server as it is then.
pub(crate) fn run(net: &Net, setup: &Setup, plan: &Plan, blow: Option<Blow>) -> Server {
    let token_life = Duration::from_secs(3);
    let server = setup.start();
    let began = Instant::now();
    let expected = Duration::from_secs(plan.sizes.end / plan.pace);
    let (gate_keeper, gate) = watch::channel(false);
    let (server, world, phones, uploaded) = net.among_phones(|| async {
        let world = World {
            figures: Figures::default(),
            roads: Roads::new(net.phones(), plan.phones),
            gate,
            pace: plan.pace,
            spread: Duration::from_secs(2),
            token_life,
        };
        let mut phones = plan.phones(token_life);
        let switches: usize = phones.iter().map(|phone| phone.cuts.len()).sum();
        let all = future::join_all(phones.iter_mut().map(|phone| phone.live(&world)));
        let life = future::join(direct(plan, switches, &world, gate_keeper, server, blow), all);
        let server = tokio::select! {
            (server, _) = life => server,
            () = world.roads.work() => unreachable!("works for ever"),
            () = progress(plan, switches, &world.figures) => unreachable!("watches for ever"),
            () = sleep(expected + GIVE_UP) => panic!("given up: {:?}", world.figures),
        };
        let uploaded = began.elapsed();
        compare(&phones).await;
        println!("{}: compared in {:.1} s", plan.name, (began.elapsed() - uploaded).as_secs_f64());
        (server, world.figures, phones, uploaded)
    });
    report(plan, &world, &phones, uploaded);
    server
}

/// Tell of long runs that they go on.
async fn progress(plan: &Plan, switches: usize, figures: &Figures) {
    loop {
        sleep(Duration::from_secs(15)).await;
        println!("{}: {} of {switches} switches", plan.name, figures.switches.get());
    }
}

/// Hold everybody until all uploads are under way at once, and strike in the middle.
async fn direct(
    plan: &Plan,
    switches: usize,
    world: &World,
    gate: watch::Sender<bool>,
    server: Server,
    blow: Option<Blow>,
) -> Server {
    while world.figures.begun.get() < plan.phones as u64
        || metric(Link::Wifi, "plimsoll_open_writers").await < plan.phones as f64
    {
        sleep(Duration::from_millis(200)).await;
    }
    println!("{}: {} uploads under way at the same time", plan.name, plan.phones);
    gate.send_replace(true);
    let Some(blow) = blow else { return server };
    while world.figures.switches.get() * 2 < switches as u64 {
        sleep(Duration::from_millis(20)).await;
    }
    let result = spawn_blocking(move || blow(server)).await;
    result.unwrap_or_else(|cause| std::panic::resume_unwind(cause.into_panic()))
}

/// Every file is downloaded and is what its phone had, and every session tells of the moves that it has seen.
async fn compare(phones: &[Phone]) {
    let at_once = 8;
    let downloads = stream::iter(phones).map(|phone| async move {
        let mut line = Line::open(Link::Wifi.near(), Link::Wifi.server(PORT)).await.expect("it listens");
        let answer = line.get(&phone.upload.path, &[]).await.expect("a download").expect(200);
        assert!(answer.body == phone.upload.data, "{} differs from what was sent", phone.upload.path);
        let id = phone.session.as_deref().expect("each phone has a session");
        let session = line.get("/session", &[session_id(id)]).await.expect("an answer").expect(200);
        let session: serde_json::Value = serde_json::from_slice(&session.body).expect("JSON");
        let changes = session["changes"].as_u64().expect("a number of changes");
        assert!(changes >= phone.moves, "{} moves of {}: {session}", phone.moves, phone.upload.path);
    });
    downloads.buffer_unordered(at_once).collect::<()>().await;
}

fn report(plan: &Plan, figures: &Figures, phones: &[Phone], uploaded: Duration) {
    let total: u64 = phones.iter().map(|phone| phone.upload.size()).sum();
    let planned: usize = phones.iter().map(|phone| phone.cuts.len()).sum();
    let f = figures;
    println!(
        "{}: {} uploads of {total} bytes in {:.1} s: all complete, all byte-identical; {} bytes sent more than once \
         ({:.2} %); {} switches ({} silent, {} by reset, {} by close); continued by the session {} times, by a fresh \
         token {}, by the slot's token {}; {} sessions, {} fresh tokens; {} attempts broken by the server's \
         absence, {} put off, {} tokens minted again",
        plan.name,
        plan.phones,
        uploaded.as_secs_f64(),
        f.sent_again.get(),
        f.sent_again.get() as f64 * 100.0 / total as f64,
        f.switches.get(),
        f.silent.get(),
        f.resets.get(),
        f.closes.get(),
        f.by_session.get(),
        f.by_fresh_token.get(),
        f.by_token.get(),
        f.sessions.get(),
        f.fresh_tokens.get(),
        f.broken.get(),
        f.put_off.get(),
        f.minted_again.get(),
    );
    // Who comes back while everybody else does, because the server was away, waits for them too.
    let recoveries = f.recoveries.borrow();
    let broken = || recoveries.iter().filter(|recovery| recovery.was_broken);
    let window = broken().map(|r| r.began).min().zip(broken().map(|r| r.ended).max());
    let is_within = |r: &Recovery| window.is_some_and(|(began, ended)| r.began <= ended && r.ended >= began);
    let (during, usual): (Vec<Recovery>, Vec<Recovery>) = recoveries.iter().partition(|r| is_within(r));
    println!("{}: from coming back to being let in: {}", plan.name, spread(&usual));
    if !during.is_empty() {
        println!("{}: the same while the server was away or just back: {}", plan.name, spread(&during));
    }
    assert_eq!(f.switches.get(), planned as u64);
    assert!(f.silent.get() > 0 && f.resets.get() > 0 && f.closes.get() > 0, "each kind of switch: {f:?}");
    assert!(f.by_session.get() > 0 && f.by_fresh_token.get() > 0, "nobody needed a session: {f:?}");
    assert!(f.fresh_tokens.get() > 0, "no fresh token: {f:?}");
    assert_eq!(f.sessions.get(), plan.phones as u64, "each phone keeps its one session");
    assert!(phones.iter().any(|phone| phone.moves > 1), "no session saw its phone move twice");
}

/// Median, 99th percentile and maximum.
fn spread(recoveries: &[Recovery]) -> String {
    let mut times: Vec<f64> = recoveries.iter().map(|r| (r.ended - r.began).as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    let at = |hundredth: usize| times.get((times.len() * hundredth / 100).min(times.len().saturating_sub(1)));
    match (at(50), at(99), at(100)) {
        (Some(median), Some(p99), Some(most)) => {
            format!("{} times, median {median:.1} ms, p99 {p99:.1} ms, most {most:.1} ms", times.len())
        }
        _ => "never".to_owned(),
    }
}
