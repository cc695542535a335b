//! What can happen, when, and what comes of it.

use super::Protocol;
use super::state::{Burial, Claim, Event, Left, Message, Outcome, Reset, Run, State, Status, Step, TRIGGERS, Worker};

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A trigger takes its next step.
    Step(usize),
    /// A trigger's process dies.
    Die(usize),
    /// A request is sent again.
    Resend(usize),
    /// A message is delivered.
    Deliver(Message),
    /// A message is delivered, and the answer to its start is lost.
    DeliverUnheard(Message),
    /// A worker sends a start again that was not answered.
    AskAgain(Worker),
    /// A worker's task returns, or fails.
    Report(Worker, bool),
    /// A worker acknowledges its message.
    Acknowledge(Worker),
    /// A worker dies.
    WorkerDies(Worker),
    /// The next step of an event.
    Handle(Event),
    /// The handler of an event died: it is delivered again.
    Redeliver(Event),
    /// A message was delivered too often.
    DeadLetter(Message),
    /// The next step of a dead-lettered message.
    Bury(Message),
    /// The handler of a dead-lettered message died: it is delivered again.
    BuryAgain(Message),
    /// Somebody who resets the key looks whose it is.
    Reset(usize),
    /// The delete of a reset.
    Delete,
    /// The key's window ends; the item stays.
    Expire(usize),
    /// Somebody cancels a run.
    Cancel(Run),
}

impl Action {
    /// Whether it happens by itself sooner or later, unlike deaths and what people do.
    pub(super) fn is_progress(&self) -> bool {
        !matches!(
            self,
            Self::Die(_)
                | Self::Resend(_)
                | Self::WorkerDies(_)
                | Self::Redeliver(_)
                | Self::DeadLetter(_)
                | Self::BuryAgain(_)
                | Self::DeliverUnheard(_)
                | Self::Reset(_)
                | Self::Delete
                | Self::Expire(_)
                | Self::Cancel(_)
        )
    }
}

impl Protocol {
    /// What can happen in a state.
    pub(super) fn possible(&self, state: &State, actions: &mut Vec<Action>) {
        for (trigger, asked) in state.triggers.iter().enumerate().take(self.triggers) {
            match asked.step {
                Step::Answered | Step::Dead if state.resends > 0 => actions.push(Action::Resend(trigger)),
                Step::Answered | Step::Dead => {}
                Step::Begin => actions.push(Action::Step(trigger)),
                _ => actions.extend([Action::Step(trigger), Action::Die(trigger)]),
            }
        }
        actions.extend(state.messages.iter().map(|message| Action::Deliver(*message)));
        if state.lost_answers > 0 {
            actions.extend(state.messages.iter().map(|message| Action::DeliverUnheard(*message)));
        }
        if state.poisonous > 0 {
            actions.extend(state.messages.iter().map(|message| Action::DeadLetter(*message)));
        }
        for (message, burial) in &state.dead_letters {
            actions.push(Action::Bury(*message));
            if *burial != Burial::Put {
                actions.push(Action::BuryAgain(*message));
            }
        }
        for worker in &state.workers {
            match worker.reported {
                false if !worker.told => actions.push(Action::AskAgain(*worker)),
                false => actions.extend([Action::Report(*worker, true), Action::Report(*worker, false)]),
                true => actions.push(Action::Acknowledge(*worker)),
            }
            actions.push(Action::WorkerDies(*worker));
        }
        for event in &state.events {
            actions.push(Action::Handle(*event));
            if event.left != Left::Move {
                actions.push(Action::Redeliver(*event));
            }
        }
        if state.reset.is_some() {
            actions.push(Action::Delete);
        }
        for place in 0..state.keys.len() {
            if state.keys[place].is_some() && state.resets > 0 && state.reset.is_none() {
                actions.push(Action::Reset(place));
            }
            if state.keys[place].is_some_and(|claim| claim.open) && state.expiries > 0 {
                actions.push(Action::Expire(place));
            }
        }
        for run in 0..TRIGGERS {
            if state.runs[run].is_some_and(|run| !run.status.is_final()) && state.cancels > 0 {
                actions.push(Action::Cancel(run));
            }
        }
    }

    /// The state after an action; none if it changes nothing.
    pub(super) fn next(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Step(trigger) => self.step(&mut state, trigger),
            Action::Die(trigger) => state.triggers[trigger].step = Step::Dead,
            Action::Resend(trigger) => {
                state.resends -= 1;
                state.triggers[trigger].step = Step::Begin;
            }
            Action::Deliver(message) => Self::deliver(&mut state, message),
            Action::DeliverUnheard(message) => Self::deliver_unheard(&mut state, message),
            Action::AskAgain(worker) => self.ask_again(&mut state, worker),
            Action::Report(worker, succeeded) => {
                let Message { run, attempt, .. } = worker.message;
                let outcome = if succeeded { Outcome::Succeeded } else { Outcome::Failed };
                state.events.insert(Event { run, attempt, outcome, left: Left::Move });
                state.workers.remove(&worker);
                state.workers.insert(Worker { reported: true, ..worker });
            }
            Action::Acknowledge(worker) => {
                state.workers.remove(&worker);
                state.messages.remove(&worker.message);
            }
            Action::WorkerDies(worker) => {
                state.workers.remove(&worker);
                let Message { run, attempt, .. } = worker.message;
                if let Some(stored) = state.runs[run].as_mut().filter(|run| run.status == Status::Executing(attempt)) {
                    stored.status = Status::Abandoned(attempt);
                }
            }
            Action::Handle(event) => self.handle(&mut state, event),
            Action::Redeliver(event) => {
                state.events.remove(&event);
                state.events.insert(Event { left: Left::Move, ..event });
            }
            Action::DeadLetter(message) => {
                state.poisonous -= 1;
                state.messages.remove(&message);
                state.dead_letters.insert(message, Burial::Put);
            }
            Action::Bury(message) => self.bury(&mut state, message),
            Action::BuryAgain(message) => {
                state.dead_letters.insert(message, Burial::Put);
            }
            Action::Reset(place) => {
                state.resets -= 1;
                let reset = |held: Claim| Reset { place, meant: held.number, deletes: self.deletes };
                state.reset = state.keys[place].map(reset);
            }
            Action::Delete => self.delete(&mut state),
            Action::Expire(place) => {
                state.expiries -= 1;
                state.separators += 1;
                if let Some(claim) = state.keys[place].as_mut() {
                    claim.open = false;
                    state.gone.insert(claim.number);
                }
            }
            Action::Cancel(run) => {
                state.cancels -= 1;
                let attempt = state.runs[run].map_or(1, |stored| stored.status.attempt());
                state.events.insert(Event { run, attempt, outcome: Outcome::Canceled, left: Left::Move });
            }
        }
        (state != *before).then_some(state)
    }
}
