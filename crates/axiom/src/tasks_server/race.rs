//! The tool `race`: several attempts at the same thing, of which the best one stays.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use serde_json::json;

use super::calls::{Answer, Asked, Given};
use super::lasting::Work;
use crate::tasks::{Desk, FoundRace, RACE_ARGUMENTS, Race, RaceResult, Refusal, WAIT_MAX, seconds};

/// How often a client is told at most.
const TELL: Duration = Duration::from_secs(1);

impl Asked<'_> {
    pub(super) async fn race(&self) -> Result<Answer, Refusal> {
        let arguments = self.arguments(RACE_ARGUMENTS)?;
        let wait = seconds(&arguments, "wait_s", WAIT_MAX)?;
        let wait = wait.unwrap_or_else(|| Duration::from_secs_f64(WAIT_MAX));
        if let Some(id) = arguments.text("race")? {
            let others = RACE_ARGUMENTS
                .iter()
                .filter(|name| !["race", "wait_s"].contains(name));
            if let Some(other) = others.into_iter().find(|name| arguments.get(name).is_some()) {
                let message = format!("`race` names one that there is, so `{other}` says nothing");
                return Err(Refusal::wrong(message).hint("leave one of them out"));
            }
            return match self.desk.race(id)? {
                FoundRace::Over(result) => Ok(Given::of_race(&result).into()),
                FoundRace::Running(race) if self.gets_handle(!wait.is_zero()) => {
                    Ok(self.lasting(Work::Race(race.id.clone())))
                }
                FoundRace::Running(race) => Ok(self.follow(&race, wait).await.into()),
            };
        }
        let race = self.desk.begin_race(&arguments, &self.who).await?;
        if self.gets_handle(!wait.is_zero()) {
            return Ok(self.lasting(Work::Race(race.id.clone())));
        }
        // A client that gives the call up does not want the race any more.
        let mut until_over = UntilOver {
            desk: self.desk,
            race: &race,
            is_wanted: false,
        };
        let given = self.follow(&race, wait).await;
        until_over.is_wanted = true;
        Ok(given.into())
    }

    /// Waits for a race, for so long, and tells how far it is.
    async fn follow(&self, race: &Arc<Race>, wait: Duration) -> Given {
        let mut stages = race.stages();
        let mut told = self.progress();
        let deadline = time::now() + wait;
        let mut tick = time::interval(TELL);
        loop {
            let stage = stages.borrow_and_update().clone();
            if let Some(result) = &stage.result {
                return Given::of_race(result);
            }
            if let Some(told) = &mut told {
                told.tell(stage.ended, stage.total, stage.words()).await;
            }
            let is_told = told.is_some();
            tokio::select! {
                // cancel-safe: a tick that was not taken comes with the next call. News come together with it.
                _ = tick.tick(), if is_told => {}
                // cancel-safe: a change that was not seen is seen by the next call.
                changed = stages.changed(), if !is_told => if changed.is_err() { return Given::of_stage(race); },
                // cancel-safe: it only waits.
                () = race.over(), if is_told => {}
                // cancel-safe: the value stays.
                () = self.desk.closed() => return Given::of_stage(race),
                // cancel-safe: a timer.
                () = time::sleep_until(deadline) => return Given::of_stage(race),
            }
        }
    }
}

impl Given {
    pub(super) fn of_race(result: &RaceResult) -> Given {
        Given {
            structured: result.structured.clone(),
            text: result.text.clone(),
            is_error: result.is_error,
        }
    }

    /// Of one that goes on.
    pub(super) fn of_stage(race: &Race) -> Given {
        let stage = race.stages().borrow().clone();
        if let Some(result) = &stage.result {
            return Given::of_race(result);
        }
        Given {
            structured: json!({"race": race.id, "is_done": false}),
            text: format!("race {} goes on: {}", race.id, stage.words()),
            is_error: false,
        }
    }
}

/// Ends a race with the call that began it, unless that was answered. When the gateway ends, races do not.
struct UntilOver<'a> {
    desk: &'a Arc<Desk>,
    race: &'a Race,
    is_wanted: bool,
}

impl Drop for UntilOver<'_> {
    fn drop(&mut self) {
        if !self.is_wanted && !self.desk.is_closing() {
            self.race.stop(self.desk, "its client gave the call up");
        }
    }
}
