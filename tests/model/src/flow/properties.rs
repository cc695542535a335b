//! What must hold in every state, and what must be reached.

use stateright::Property;

use super::Flow;
use super::state::{Message, Record, State, Status, Step, Turn};

/// How often no run is parked.
const OFTEN: u8 = 6;

fn all_final(state: &State) -> bool {
    state.runs.iter().all(|record| record.status == Status::Final)
}

/// Whether somebody executes this turn, or has reported how it ended.
fn is_in_hand(state: &State, turn: Turn) -> bool {
    let reports = |message: &Message| matches!(message, Message::End(of, _) if *of == turn);
    let is_at_it = |step: &Step| *step == Step::Execute;
    state.queue.iter().any(reports)
        || state.processes.iter().any(|process| match process.message {
            Message::Run(of, _) => of == turn && is_at_it(&process.step),
            message => reports(&message),
        })
}

/// The invariants, by the numbers that `docs/guarantees.md` gives them.
pub(super) fn properties() -> Vec<Property<Flow>> {
    vec![
        Property::always("I11: no more turns are at work than the queue allows", |model: &Flow, state: &State| {
            let most = model.settings.iter().map(|setting| usize::from(setting.limit)).max();
            state.broken != Some("I11") && state.at_work().count() <= most.unwrap_or_default()
        }),
        Property::always("I11: every turn that is at work has a place", |_, state: &State| {
            state.at_work().all(|turn| state.has_place(turn))
        }),
        Property::always("I12: a run is started once there is room", |_, state: &State| {
            !state.is_settled() || state.setting.places() == 0 || all_final(state)
        }),
        Property::always("I12: no run is lost while there is none", |_, state: &State| {
            let is_kept = |record: &Record| match record.status {
                Status::Final => true,
                Status::Parked => state.parked.get(&record.turn.run) == Some(&record.turn),
                _ => false,
            };
            !state.is_settled() || state.runs.iter().all(is_kept)
        }),
        Property::always("I13: a paused queue starts nothing", |_, state: &State| state.broken != Some("I13")),
        Property::always("I8: no attempt is taken up by nobody", |_, state: &State| {
            let is_executing = |record: &&Record| record.status == Status::Executing;
            state.runs.iter().filter(is_executing).all(|record| is_in_hand(state, record.turn))
        }),
        Property::always("I8: whose worker died is found without a sweep", |_, state: &State| {
            let is_at_work = |record: &Record| matches!(record.status, Status::Executing | Status::Abandoned);
            !state.is_quiet() || !state.runs.iter().any(is_at_work)
        }),
        Property::always("order: nobody comes in before who is parked", |_, state: &State| {
            state.broken != Some("order")
        }),
        Property::always("I12: no run is parked over and over", |_, state: &State| {
            state.runs.iter().all(|record| record.turn.resume < OFTEN)
        }),
        Property::always("I12: no place is left when nothing happens any more", |_, state: &State| {
            !state.is_settled() || state.places.values().all(|place| !place.is_live)
        }),
        Property::always("I12: no item is left of a run that is over", |_, state: &State| {
            !state.is_settled() || state.setting.places() == 0 || state.parked.is_empty()
        }),
        Property::sometimes("a run that was parked is at work", |_, state: &State| {
            state.at_work().any(|turn| turn.resume > 0)
        }),
        Property::sometimes("all end", |_, state: &State| state.is_settled() && all_final(state)),
    ]
}
