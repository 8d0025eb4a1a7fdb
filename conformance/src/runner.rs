//! Runs cases, a few at a time, and gathers an outcome for each requirement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::{Allowance, Case, Failure, Profile, within};
use crate::ctx::Ctx;

/// How the cases of a requirement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Every case that ran passed, and one did run.
    Passed,
    /// What was expected and seen, of each failing case.
    Failed(String),
    /// No case ran; what the target did not announce.
    NotAnnounced(String),
}

/// An ID, its profile, the title of its first case, and how it ended.
pub type Outcome = (&'static str, Profile, &'static str, Fate);

/// Runs every case under its time-out and merges the results by ID, in the order of the table. A requirement holds
/// when all its cases pass; a case that panics has failed.
pub async fn run(ctx: Arc<Ctx>, cases: Vec<(Profile, Case)>, jobs: usize, timeout: Duration) -> Vec<Outcome> {
    let gate = Arc::new(Semaphore::new(jobs.max(1)));
    let mut running = JoinSet::new();
    let mut places = BTreeMap::new();
    let mut results: BTreeMap<usize, Fate> = BTreeMap::new();
    for (index, (_, case)) in cases.iter().enumerate() {
        if let Some(missing) = ctx.missing(case.needs) {
            results.insert(index, Fate::NotAnnounced(missing));
            continue;
        }
        let (ctx, gate, case) = (Arc::clone(&ctx), Arc::clone(&gate), *case);
        let limit = match case.allowance {
            Allowance::Standard => timeout,
            Allowance::BodyGap => timeout + ctx.body_gap,
            Allowance::HeaderTimeout => timeout + ctx.header_timeout,
            Allowance::Expiry => timeout + ctx.tus.expires.unwrap_or_default(),
            Allowance::SessionAge => timeout + ctx.session.max_age.unwrap_or_default(),
        };
        let handle = running.spawn(async move {
            // A case that mostly waits takes no place from those that work.
            let _place = match case.allowance {
                Allowance::Standard => gate.acquire().await.ok(),
                Allowance::BodyGap | Allowance::HeaderTimeout | Allowance::Expiry | Allowance::SessionAge => {
                    None
                }
            };
            within(limit, "the case to end", (case.run)(&ctx)).await
        });
        places.insert(handle.id(), index);
    }
    while let Some(joined) = running.join_next_with_id().await {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(Failure::because(format_args!("the case broke off: {error}")))),
        };
        if let Some(index) = places.get(&id) {
            let fate = result.map_or_else(|failure| Fate::Failed(failure.to_string()), |()| Fate::Passed);
            results.insert(*index, fate);
        }
    }
    merge(&cases, &results)
}

fn merge(cases: &[(Profile, Case)], results: &BTreeMap<usize, Fate>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (index, (profile, case)) in cases.iter().enumerate() {
        let fate = results.get(&index).cloned();
        let fate = fate.unwrap_or_else(|| Fate::Failed("the case never ended".to_owned()));
        for id in case.ids {
            match outcomes.iter_mut().find(|(known, ..)| known == id) {
                Some((_, _, _, so_far)) => *so_far = so_far.clone().and(fate.clone()),
                None => outcomes.push((id, *profile, case.title, fate.clone())),
            }
        }
    }
    outcomes
}

impl Fate {
    /// The fate of a requirement whose cases ended so: one failure is enough, one case that ran speaks for those that
    /// had nothing to ask.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Failed(one), Self::Failed(two)) => Self::Failed(format!("{one}; {two}")),
            (failed @ Self::Failed(_), _) | (_, failed @ Self::Failed(_)) => failed,
            (missing @ Self::NotAnnounced(_), Self::NotAnnounced(_)) => missing,
            (Self::Passed | Self::NotAnnounced(_), Self::Passed | Self::NotAnnounced(_)) => Self::Passed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{CaseResult, Need, case};
    use crate::session::SessionTarget;
    use crate::tus::TusTarget;

    async fn passes(_: &Ctx) -> CaseResult {
        Ok(())
    }
    async fn fails(_: &Ctx) -> CaseResult {
        Err(Failure::new("201", "500"))
    }
    async fn breaks(_: &Ctx) -> CaseResult {
        panic!("a bug in the case")
    }
    async fn hangs(_: &Ctx) -> CaseResult {
        std::future::pending().await
    }

    async fn outcomes(cases: Vec<Case>) -> Vec<Outcome> {
        let ctx = Ctx {
            authority: "127.0.0.1:1".into(),
            base: String::new(),
            secret: None,
            body_gap: Duration::ZERO,
            header_timeout: Duration::ZERO,
            tus: TusTarget::default(),
            session: SessionTarget::default(),
        };
        let cases = cases.into_iter().map(|case| (Profile::Xep0363, case)).collect();
        run(Arc::new(ctx), cases, 2, Duration::from_millis(50)).await
    }

    #[tokio::test]
    async fn a_requirement_holds_only_when_all_its_cases_pass() {
        let seen = outcomes(vec![
            case!(["A", "B"], "both", passes),
            case!(["B"], "b again", fails),
            case!(["C"], "c", passes),
        ])
        .await;
        let seen: Vec<_> =
            seen.iter().map(|(id, _, title, outcome)| (*id, *title, *outcome == Fate::Passed)).collect();
        assert_eq!(seen, [("A", "both", true), ("B", "both", false), ("C", "c", true)]);
    }

    #[tokio::test]
    async fn a_case_that_breaks_or_hangs_has_failed() {
        let seen =
            outcomes(vec![case!(["A"], "a", breaks), case!(["B"], "b", hangs), case!(["C"], "c", passes)])
                .await;
        let reasons: Vec<_> = seen.iter().map(|(.., outcome)| outcome.clone()).collect();
        assert!(matches!(&reasons[0], Fate::Failed(why) if why.contains("broke off")), "{:?}", reasons[0]);
        assert!(
            matches!(&reasons[1], Fate::Failed(why) if why.contains("nothing for 50 ms")),
            "{:?}",
            reasons[1]
        );
        assert_eq!(reasons[2], Fate::Passed);
    }

    #[tokio::test]
    async fn a_case_that_needs_what_is_not_announced_neither_runs_nor_passes() {
        const CHECKSUM: &[Need] = &[Need::Extension("checksum")];
        let seen = outcomes(vec![
            case!(["A"], "a", breaks, needs CHECKSUM),
            case!(["B"], "b", passes),
            case!(["B"], "b with checksum", breaks, needs CHECKSUM),
            case!(["C"], "c with checksum", breaks, needs CHECKSUM),
            case!(["C"], "c", fails),
        ])
        .await;
        let fates: Vec<_> = seen.into_iter().map(|(.., fate)| fate).collect();
        assert!(matches!(&fates[0], Fate::NotAnnounced(what) if what.contains("checksum")), "{:?}", fates[0]);
        assert_eq!(fates[1], Fate::Passed, "the case that ran speaks for B");
        assert!(matches!(&fates[2], Fate::Failed(_)), "{:?}", fates[2]);
    }
}
