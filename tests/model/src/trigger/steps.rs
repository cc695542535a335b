//! The protocol itself, a call to DynamoDB or SQS at a time.

use super::state::{
    Burial, Event, Left, Message, OnHeld, Outcome, Release, Reset, Run, RunRecord, State, Status, Step, Worker,
};
use super::{Action, Mutant, Protocol};

impl Protocol {
    pub(super) fn step(&self, state: &mut State, trigger: usize) {
        let place = self.environments[trigger];
        let next = match state.triggers[trigger].step.clone() {
            Step::Begin => {
                state.triggers[trigger].stale = state.gone.clone();
                Step::Claim
            }
            Step::Claim => match state.keys[place] {
                Some(held) if held.open && held.run == trigger => {
                    Step::Send { run: trigger, number: held.number, cached: false }
                }
                Some(held) if held.open => Step::Read(held),
                _ => state.claim(trigger, place, self.releases),
            },
            Step::Read(held) => match state.runs[held.run] {
                None if self.mutant == Some(Mutant::NeverHelp) => state.answer(trigger, held.run, true),
                None if self.on_held[trigger] == OnHeld::Replace => Step::LookForOwn { held, there: false },
                None => Step::Send { run: held.run, number: held.number, cached: true },
                Some(run) if run.status.frees(self.release_seen(held.run, trigger)) => Step::Reclaim(held),
                Some(run) if run.replaced && self.mutant != Some(Mutant::ReplacedIsHeld) => Step::Reclaim(held),
                Some(run) if run.made_by != held.number && self.mutant != Some(Mutant::AnyClaimMade) => {
                    Step::Reclaim(held)
                }
                Some(run) if !run.status.is_final() && self.on_held[trigger] == OnHeld::Replace => {
                    Step::LookForOwn { held, there: true }
                }
                Some(_) => state.answer(trigger, held.run, true),
            },
            Step::LookForOwn { held, there } => match state.runs[trigger] {
                Some(_) if self.mutant != Some(Mutant::ReplaceSuccessor) => state.answer(trigger, trigger, false),
                _ if there => Step::ReportReplaced(held),
                _ if self.mutant == Some(Mutant::NoBar) => Step::Reclaim(held),
                _ => Step::Bar(held),
            },
            Step::ReportReplaced(held) => {
                let attempt = state.runs[held.run].map_or(1, |stored| stored.status.attempt());
                let outcome = Outcome::Replaced(trigger);
                state.events.insert(Event { run: held.run, attempt, outcome, left: Left::Move });
                Step::Displace(held)
            }
            Step::Displace(held) => {
                if let Some(stored) = state.runs[held.run].filter(|stored| !stored.status.is_final()) {
                    state.displace(held.run, trigger, stored.made_by);
                }
                if self.mutant == Some(Mutant::TakeUnseen) {
                    state.claim(trigger, place, self.releases)
                } else {
                    Step::Claim
                }
            }
            Step::Bar(held) => {
                if state.runs[held.run].is_none() {
                    state.displace(held.run, trigger, held.number);
                }
                Step::Claim
            }
            Step::Reclaim(dead) => match state.keys[place] {
                Some(held) if held.open && (held.run, held.number) != (dead.run, dead.number) => Step::Claim,
                _ => state.claim(trigger, place, self.releases),
            },
            Step::Send { run, number, cached } if self.mutant == Some(Mutant::PutBeforeSend) => {
                state.runs[run].get_or_insert(RunRecord::queued(number));
                Step::Put { run, number, cached }
            }
            Step::Send { run, number, cached } => {
                state.messages.insert(Message { run, attempt: 1, number });
                Step::Put { run, number, cached }
            }
            Step::Put { run, number, cached } => {
                if self.mutant == Some(Mutant::PutBeforeSend) {
                    state.messages.insert(Message { run, attempt: 1, number });
                }
                let there = *state.runs[run].get_or_insert(RunRecord::queued(number));
                if cached && there.made_by != number && self.mutant != Some(Mutant::HelpedAnyClaim) {
                    // Another claim made it meanwhile: the trigger is refused, and asked again.
                    Step::Claim
                } else {
                    state.answer(trigger, run, cached)
                }
            }
            Step::Answered | Step::Dead => return,
        };
        state.triggers[trigger].step = next;
    }

    /// The release that a trigger goes by when it finds the key held.
    fn release_seen(&self, holder: Run, trigger: usize) -> Release {
        match self.mutant {
            Some(Mutant::ReleaseOfWhoAsks) => self.releases[trigger],
            Some(Mutant::OnlyFailuresAreDead) => Release::OnFailure,
            _ => self.releases[holder],
        }
    }

    pub(super) fn deliver(state: &mut State, message: Message) {
        let Message { run, attempt, number } = message;
        match state.runs[run] {
            None if attempt == 1 => {
                state.runs[run] = Some(RunRecord { status: Status::Executing(1), ..RunRecord::queued(number) });
                state.workers.insert(Worker { message, told: true, reported: false });
            }
            Some(stored) if stored.status == Status::Queued(attempt) => {
                state.runs[run] = Some(RunRecord { status: Status::Executing(attempt), ..stored });
                state.workers.insert(Worker { message, told: true, reported: false });
            }
            Some(stored) if stored.status == Status::Abandoned(attempt) => {
                state.events.insert(Event { run, attempt, outcome: Outcome::Failed, left: Left::Move });
                state.messages.remove(&message);
            }
            Some(stored) if stored.status.attempt() > attempt => {
                state.messages.remove(&message);
            }
            // A live lease, or a move that is still to come: left in the queue.
            _ => {}
        }
    }

    /// The start that a delivered message asks for is written, and its answer lost.
    pub(super) fn deliver_unheard(state: &mut State, message: Message) {
        let before = state.workers.clone();
        Self::deliver(state, message);
        if let Some(worker) = state.workers.difference(&before).next().copied() {
            state.lost_answers -= 1;
            state.workers.remove(&worker);
            state.workers.insert(Worker { told: false, ..worker });
        }
    }

    /// A worker sends its start again, and is refused by the lease that it has.
    pub(super) fn ask_again(&self, state: &mut State, worker: Worker) {
        state.workers.remove(&worker);
        if self.mutant != Some(Mutant::OwnLeaseRefuses) {
            state.workers.insert(Worker { told: true, ..worker });
        }
    }

    /// A reset's delete, on condition of the claim that it meant.
    pub(super) fn delete(&self, state: &mut State) {
        let Some(reset) = state.reset.take() else { return };
        let Reset { place, meant, deletes } = reset;
        if let Some(held) = state.keys[place] {
            if held.number == meant {
                state.keys[place] = None;
                state.gone.insert(held.number);
                state.separators += u8::from(held.open);
            } else if self.mutant == Some(Mutant::ResetAnyClaim) {
                // Nobody asked for this: it is no reason for another run.
                state.keys[place] = None;
                state.lose(held, self.releases[held.run], None);
            }
        }
        state.reset = (deletes > 1).then_some(Reset { deletes: deletes - 1, ..reset });
    }

    pub(super) fn handle(&self, state: &mut State, event: Event) {
        let Event { run, attempt, outcome, left } = event;
        state.events.remove(&event);
        let Some(stored) = state.runs[run] else { return };
        if left == Left::Move && outcome == Outcome::Buried && stored.status == Status::Executing(attempt) {
            if self.mutant != Some(Mutant::BuryUnderLease) {
                // A live lease: left in the queue.
                state.events.insert(event);
                return;
            }
            let at_it =
                |worker: &Worker| !worker.reported && (worker.message.run, worker.message.attempt) == (run, attempt);
            if state.workers.iter().any(at_it) {
                state.broken = Some("I8");
            }
        }
        let again = self.mutant != Some(Mutant::NoFollowUpTwice);
        let frees = |status: Status| status.frees(self.releases[run]);
        let mut go_on = |left| {
            state.events.insert(Event { left, ..event });
        };
        match (left, outcome, stored.status) {
            (Left::Move, Outcome::Replaced(by), status) if !status.is_final() => {
                if frees(Status::Canceled) {
                    go_on(Left::Clear);
                }
                state.displace(run, by, stored.made_by);
            }
            (Left::Move, Outcome::Canceled, status) if !status.is_final() => {
                if frees(Status::Canceled) {
                    go_on(Left::Clear);
                    state.separators += 1;
                    state.gone.insert(stored.made_by);
                }
                state.runs[run] = Some(RunRecord { status: Status::Canceled, ..stored });
            }
            (
                Left::Move,
                Outcome::Succeeded | Outcome::Failed | Outcome::Buried,
                Status::Executing(at) | Status::Abandoned(at) | Status::Queued(at),
            ) if at == attempt && (outcome != Outcome::Succeeded || !matches!(stored.status, Status::Queued(_))) => {
                let status = match outcome {
                    Outcome::Succeeded => Status::Completed,
                    _ if attempt < self.attempts => Status::Queued(attempt + 1),
                    _ => Status::Failed,
                };
                match status {
                    Status::Queued(_) => go_on(Left::SendRetry),
                    status if frees(status) => {
                        go_on(Left::Clear);
                        state.separators += 1;
                        state.gone.insert(stored.made_by);
                    }
                    _ => {}
                }
                state.runs[run] = Some(RunRecord { status, ..stored });
            }
            // Delivered again after its move: what follows may not have been done.
            (Left::Move, Outcome::Failed | Outcome::Buried, Status::Queued(at)) if at == attempt + 1 && again => {
                go_on(Left::SendRetry);
            }
            (Left::Move, Outcome::Failed | Outcome::Buried, Status::Failed)
                if attempt == self.attempts && frees(Status::Failed) && again =>
            {
                go_on(Left::Clear);
            }
            (Left::Move, Outcome::Succeeded, Status::Completed)
            | (Left::Move, Outcome::Canceled | Outcome::Replaced(_), Status::Canceled)
                if frees(stored.status) && again =>
            {
                go_on(Left::Clear);
            }
            (Left::Move, ..) => {}
            (Left::SendRetry, ..) => {
                state.messages.insert(Message { run, attempt: attempt + 1, number: stored.made_by });
            }
            (Left::Clear, ..) => {
                let place = self.environments[run];
                let anyone = self.mutant == Some(Mutant::ClearUnconditionally);
                if let Some(held) = state.keys[place].filter(|held| anyone || held.run == run) {
                    state.keys[place] = None;
                    state.lose(held, self.releases[held.run], Some(run));
                }
            }
        }
    }

    pub(super) fn bury(&self, state: &mut State, message: Message) {
        let Some(burial) = state.dead_letters.remove(&message) else { return };
        let Message { run, attempt, number } = message;
        let next = match burial {
            Burial::Put => {
                if attempt == 1 {
                    state.runs[run].get_or_insert(RunRecord::queued(number));
                }
                Burial::Look
            }
            Burial::Look => match state.runs[run] {
                // A live lease: left in the queue.
                Some(stored) if stored.status == Status::Executing(attempt) => Burial::Put,
                Some(stored) if stored.status.attempt() != attempt => Burial::Acknowledge,
                Some(stored) if self.mutant == Some(Mutant::BuryByMoving) && attempt < self.attempts => {
                    state.runs[run] = Some(RunRecord { status: Status::Queued(attempt + 1), ..stored });
                    Burial::SendRetry
                }
                Some(_) => Burial::Report,
                None => Burial::Acknowledge,
            },
            Burial::Report => {
                state.events.insert(Event { run, attempt, outcome: Outcome::Buried, left: Left::Move });
                Burial::Acknowledge
            }
            Burial::SendRetry => {
                state.messages.insert(Message { attempt: attempt + 1, ..message });
                Burial::Acknowledge
            }
            Burial::Acknowledge => return,
        };
        state.dead_letters.insert(message, next);
    }

    /// Whether nothing happens by itself any more.
    pub(super) fn is_settled(&self, state: &State) -> bool {
        if !state.workers.is_empty() || !state.events.is_empty() || !state.dead_letters.is_empty() {
            return false;
        }
        let mut actions = Vec::new();
        self.possible(state, &mut actions);
        let changes = |action: &Action| self.next(state, action.clone()).is_some_and(|next| next != *state);
        !actions.iter().any(|action| action.is_progress() && changes(action))
    }
}
