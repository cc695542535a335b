//! What must hold in every state, and what must be reached.

use std::collections::BTreeSet;

use stateright::Property;

use super::Protocol;
use super::state::{Answer, Event, Run, State, Status, Trigger, Worker};

/// The invariants, by the numbers that `docs/guarantees.md` gives them.
pub(super) fn properties() -> Vec<Property<Protocol>> {
    vec![
        Property::always(
            "I1: different answers have an end that frees the key, an end of its window or a reset between them",
            |model: &Protocol, state: &State| {
                let answers = state.triggers.iter().flat_map(|asked| &asked.answers);
                let runs: BTreeSet<Run> = answers.map(|answer| answer.run).collect();
                let keys = BTreeSet::from(model.environments).len();
                runs.len() <= keys + usize::from(state.separators)
            },
        ),
        Property::always(
            "I2: an acknowledged trigger's run reaches a final status",
            |model: &Protocol, state: &State| {
                let ends = |answer: &Answer| state.runs[answer.run].is_some_and(|run| run.status.is_final());
                !model.is_settled(state) || state.triggers.iter().flat_map(|asked| &asked.answers).all(ends)
            },
        ),
        Property::always("I3: a request makes no run but its own, and is told so alike", |_, state: &State| {
            let own = |(request, asked): (usize, &Trigger)| {
                asked.answers.iter().all(|answer| answer.cached || answer.run == request)
            };
            state.triggers.iter().enumerate().all(own)
        }),
        Property::always("I4: clearing removes no other run's key", |_, state: &State| state.broken != Some("I4")),
        Property::always("I5: an end that its release keeps keeps the key", |_, state: &State| {
            state.broken != Some("I5")
        }),
        Property::always("R23, R30, R40: no answer is from before the key was freed", |_, state: &State| {
            state.broken.is_none_or(|broken| !broken.starts_with("R30"))
        }),
        Property::always("R76: no run is replaced by one that has made way itself", |_, state: &State| {
            state.broken != Some("R76")
        }),
        Property::always("R77: one run of a key is under way at a time", |model: &Protocol, state: &State| {
            let freed = model.resets + model.expiries > 0;
            let keys = BTreeSet::from(model.environments).len();
            let under_way = state.runs.iter().flatten().filter(|run| !run.status.is_final()).count();
            freed || under_way <= keys
        }),
        Property::always("I6: environments do not see each other's keys", |model: &Protocol, state: &State| {
            let own = |(request, asked): (usize, &Trigger)| {
                let place = model.environments[request];
                asked.answers.iter().all(|answer| model.environments[answer.run] == place)
            };
            state.triggers.iter().enumerate().all(own)
        }),
        Property::always("I8: no attempt is ended while its worker is at it", |_, state: &State| {
            state.broken != Some("I8")
        }),
        Property::always("I8: no attempt is taken up by nobody", |_, state: &State| {
            let at_it = |run: Run, attempt: u8| {
                let worker = |worker: &Worker| (worker.message.run, worker.message.attempt) == (run, attempt);
                let event = |event: &Event| (event.run, event.attempt) == (run, attempt);
                state.workers.iter().any(worker) || state.events.iter().any(event)
            };
            (0..state.runs.len()).all(|run| match state.runs[run].map(|stored| stored.status) {
                Some(Status::Executing(attempt)) => at_it(run, attempt),
                _ => true,
            })
        }),
        Property::always("I8: no run is left without an end", |model: &Protocol, state: &State| {
            !model.is_settled(state) || state.runs.iter().flatten().all(|run| run.status.is_final())
        }),
        Property::sometimes("every trigger is answered and every run ends", |model: &Protocol, state: &State| {
            let answered = state.triggers.iter().take(model.triggers).all(|asked| !asked.answers.is_empty());
            answered && model.is_settled(state)
        }),
    ]
}
