//! Runs cases, a few at a time, and gathers an outcome for each requirement.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::case::{Allowance, Case, Failure, Profile, within};
use crate::ctx::Ctx;

/// An ID, its profile, the title of its first case, and the reasons of all that failed.
pub type Outcome = (&'static str, Profile, &'static str, Result<(), String>);

/// Runs every case under its time-out and merges the results by ID, in the order of the table. A requirement holds
/// when all its cases pass; a case that panics has failed.
pub async fn run(ctx: Arc<Ctx>, cases: Vec<(Profile, Case)>, jobs: usize, timeout: Duration) -> Vec<Outcome> {
    let gate = Arc::new(Semaphore::new(jobs.max(1)));
    let mut running = JoinSet::new();
    let mut places = BTreeMap::new();
    for (index, (_, case)) in cases.iter().enumerate() {
        let (ctx, gate, case) = (Arc::clone(&ctx), Arc::clone(&gate), *case);
        let limit = match case.allowance {
            Allowance::Standard => timeout,
            Allowance::BodyGap => timeout + ctx.body_gap,
            Allowance::HeaderTimeout => timeout + ctx.header_timeout,
        };
        let handle = running.spawn(async move {
            // A case that mostly waits takes no place from those that work.
            let _place = match case.allowance {
                Allowance::Standard => gate.acquire().await.ok(),
                Allowance::BodyGap | Allowance::HeaderTimeout => None,
            };
            within(limit, "the case to end", (case.run)(&ctx)).await
        });
        places.insert(handle.id(), index);
    }
    let mut results: BTreeMap<usize, Result<(), Failure>> = BTreeMap::new();
    while let Some(joined) = running.join_next_with_id().await {
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Err(Failure::because(format_args!("the case broke off: {error}")))),
        };
        if let Some(index) = places.get(&id) {
            results.insert(*index, result);
        }
    }
    merge(&cases, &results)
}

fn merge(cases: &[(Profile, Case)], results: &BTreeMap<usize, Result<(), Failure>>) -> Vec<Outcome> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    for (index, (profile, case)) in cases.iter().enumerate() {
        let reason = match results.get(&index) {
            Some(Ok(())) => None,
            Some(Err(failure)) => Some(failure.to_string()),
            None => Some("the case never ended".to_owned()),
        };
        for id in case.ids {
            let place = outcomes.iter().position(|(known, ..)| known == id);
            let place = place.unwrap_or_else(|| {
                outcomes.push((id, *profile, case.title, Ok(())));
                outcomes.len() - 1
            });
            if let (Some(reason), Some((_, _, _, outcome))) = (&reason, outcomes.get_mut(place)) {
                match outcome {
                    Ok(()) => *outcome = Err(reason.clone()),
                    Err(reasons) => *reasons = format!("{reasons}; {reason}"),
                }
            }
        }
    }
    outcomes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{CaseResult, case};

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
            seen.iter().map(|(id, _, title, outcome)| (*id, *title, outcome.is_ok())).collect();
        assert_eq!(seen, [("A", "both", true), ("B", "both", false), ("C", "c", true)]);
    }

    #[tokio::test]
    async fn a_case_that_breaks_or_hangs_has_failed() {
        let seen =
            outcomes(vec![case!(["A"], "a", breaks), case!(["B"], "b", hangs), case!(["C"], "c", passes)])
                .await;
        let reasons: Vec<_> = seen.iter().map(|(.., outcome)| outcome.clone()).collect();
        assert!(reasons[0].as_ref().unwrap_err().contains("broke off"));
        assert!(reasons[1].as_ref().unwrap_err().contains("nothing for 50 ms"));
        assert_eq!(reasons[2], Ok(()));
    }
}
