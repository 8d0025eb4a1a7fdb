//! Steps of a session, on the ledger's file.
#![allow(clippy::expect_used, reason = "a test may stop at what it does not expect")]

use std::{sync::Arc, time::Duration};

use plimsoll::{
    clock::{Clock, ManualClock, Timestamp},
    ledger::sqlite::SqliteLedger,
    network::AgentClass,
    session::{Covered, Keeper, Place, Policy, Step},
    telemetry::Metrics,
    upload::Name,
};

const HOUR: Duration = Duration::from_secs(3600);

fn place() -> Place {
    Place {
        address: "192.0.2.1".parse().expect("an address"),
        network: "other".into(),
        agent: "Gajim 1.9.3".into(),
        class: AgentClass::Desktop,
    }
}

fn covered(name: &str) -> Covered {
    Covered {
        name: Name(name.into()),
        id: None,
        size: Some(10),
        max_size: None,
        filename: None,
        content_type: None,
        retain_until: None,
        token_until: None,
        is_complete: false,
    }
}

/// `max_sessions` of the configuration: those go first that were not seen for longest.
#[tokio::test]
async fn a_session_in_use_outlives_one_that_is_not_when_there_are_too_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
    let ledger = SqliteLedger::open(&url, Metrics::new()).await.expect("a ledger");
    let policy = Policy {
        max_age: HOUR * 72,
        max_refreshes: 10,
        token_lifetime: HOUR,
        max_uploads: 10,
        max_sessions: 1,
        unclaimed_age: Duration::from_secs(3600),
    };
    let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
    let now: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let keeper = Keeper::new(Arc::new(ledger.sessions()), policy, now, Metrics::new());
    let open = async |name| {
        let opened = keeper.open(None, covered(name), place(), None, true).await;
        opened.expect("a session").0
    };
    let in_use = open("/upload/1/film.mp4").await;
    clock.advance(HOUR);
    let idle = open("/upload/2/film.mp4").await;
    clock.advance(HOUR);
    // From where it was before: nothing but the time has changed.
    let seen = keeper.step(&in_use, &Step::See, &place()).await.expect("a live session").session;
    assert_eq!((seen.version, seen.seen_at), (2, clock.now()));
    for _ in 0..100 {
        clock.advance(Duration::from_secs(1));
        let again = keeper.step(&in_use, &Step::See, &place()).await.expect("a live session").session;
        assert_eq!(again.version, 2, "a request costs no commit of its own");
    }
    assert_eq!(keeper.clean().await.expect("cleaned"), 1);
    keeper.live(&in_use).await.expect("the session in use is there");
    keeper.live(&idle).await.expect_err("the idle session is gone");
}
