//! What workers do with the message of a turn, and who handles the event of its end.

use super::state::{Hold, Message, Outcome, Process, Setting, State, Status, Step, Turn};
use super::{Choice, Flow, Mutant};

impl Flow {
    /// Whether a worker is alive that took this turn's place: its lease outlasts it.
    pub(super) fn is_leased(&self, state: &State, turn: Turn) -> bool {
        state.processes.iter().any(|process| {
            let is_ours = matches!(process.message, Message::Run(of, _) if of == turn);
            is_ours && !matches!(process.step, Step::Begin | Step::Take(_) | Step::Put(..))
        })
    }

    pub(super) fn die(state: &mut State, number: usize) {
        let process = state.processes.remove(number);
        Self::bury(state, &process);
    }

    /// The lease of a worker that died is over sooner or later.
    fn bury(state: &mut State, process: &Process) {
        state.deaths -= 1;
        if let Message::Run(turn, _) = process.message
            && process.step == Step::Execute
        {
            let record = state.record(turn);
            if record.turn == turn && record.status == Status::Executing {
                record.status = Status::Abandoned;
            }
        }
        Self::leave(state, process);
    }

    /// The message is to come again.
    fn leave(state: &mut State, process: &Process) {
        match process.hold {
            Hold::Own => drop(state.queue.insert(process.message)),
            Hold::Twin => Self::let_go(state, process.message, Hold::Own),
            Hold::Lost => {}
        }
    }

    /// What the other one has of a message that two have.
    fn let_go(state: &mut State, message: Message, hold: Hold) {
        let twin = |process: &Process| process.message == message && process.hold == Hold::Twin;
        if let Some(at) = state.processes.iter().position(twin) {
            let other = state.processes.remove(at);
            state.add(Process { hold, ..other });
        }
    }

    /// The next step of a process, which may die before it has acknowledged its message.
    pub(super) fn go_on(&self, state: &mut State, process: Process, choice: Choice) {
        let mut next = Process { step: Step::Acknowledge, ..process.clone() };
        match self.step(state, &mut next, &process, choice) {
            None => Self::leave(state, &process),
            Some(Step::Dead) => Self::bury(state, &process),
            Some(Step::Acknowledge) if choice.dies() => Self::bury(state, &process),
            Some(Step::Acknowledge) if process.hold == Hold::Twin => Self::let_go(state, process.message, Hold::Lost),
            Some(Step::Acknowledge) => {}
            Some(step) => state.add(Process { step, ..next }),
        }
    }

    fn step(&self, state: &mut State, next: &mut Process, process: &Process, choice: Choice) -> Option<Step> {
        match process.message {
            Message::Run(turn, is_given) => self.run(state, process, (turn, is_given), choice),
            Message::Dead(turn, is_given) if process.step == Step::Begin => self.dead(state, turn, is_given),
            Message::End(turn, outcome) if process.step == Step::Begin => self.end(state, next, turn, outcome),
            Message::Cancel(run) if process.step == Step::Begin => {
                state.runs[usize::from(run)].status = Status::Final;
                Some(Step::Drop)
            }
            Message::Change(generation) if process.step == Step::Begin => {
                if state.generation < generation {
                    state.cached.insert(state.setting);
                    state.setting = self.settings[usize::from(generation)];
                    state.cached.remove(&state.setting);
                    state.generation = generation;
                } else if self.has(Mutant::ChangeOnce) {
                    return Some(Step::Acknowledge);
                }
                Some(Step::Look(false))
            }
            Message::Sweep if process.step == Step::Begin => Some(Step::Look(false)),
            _ => Some(self.common(state, process, choice)),
        }
    }

    /// The steps of a worker.
    fn run(&self, state: &mut State, process: &Process, message: (Turn, bool), choice: Choice) -> Option<Step> {
        let (turn, is_given) = message;
        Some(match (&process.step, choice) {
            // There is no such run, and nothing to make it from.
            (Step::Begin, _) if is_given && state.record(turn).status == Status::Absent => Step::Acknowledge,
            (Step::Begin, choice) => {
                let waits = |other: &Turn| other.run != turn.run && !state.has_place(*other);
                let has_place = self.has(Mutant::ParkWithoutMove) && state.has_place(turn);
                let others_first = !is_given && !has_place && state.parked.values().any(waits);
                match choice {
                    _ if others_first && !self.has(Mutant::Overtake) => return self.park(state, turn, is_given),
                    Choice::Stalls => {
                        state.stalls -= 1;
                        Step::Take(others_first)
                    }
                    _ => return self.take(state, message, others_first, choice),
                }
            }
            (Step::Take(others_first), choice) => return self.take(state, message, *others_first, choice),
            (Step::Unpark, _) => {
                Self::unpark(state, turn);
                Step::Start
            }
            (Step::Start, _) => {
                let record = state.record(turn);
                if record.turn != turn || !record.status.may_start() {
                    return self.refused(state, turn, is_given);
                }
                record.status = Status::Executing;
                Step::Execute
            }
            (Step::Execute, Choice::Suspends) => {
                let record = state.record(turn);
                if record.turn == turn && record.status == Status::Executing {
                    record.status = Status::Waiting;
                    record.suspensions -= 1;
                }
                if self.has(Mutant::WaitingKeepsPlace) { Step::Acknowledge } else { Step::Look(false) }
            }
            (Step::Execute, Choice::Ends(outcome, _)) => Self::report(state, turn, outcome),
            _ => self.common(state, process, choice),
        })
    }

    /// Takes a place: one conditional write. Where there is none, the run is parked.
    fn take(&self, state: &mut State, message: (Turn, bool), overtakes: bool, choice: Choice) -> Option<Step> {
        let (turn, is_given) = message;
        let has_place =
            |known: Setting| !known.is_paused && (state.has_place(turn) || state.others(None) < known.places());
        // What is cached may let somebody in, but keep nobody out.
        let known = match choice {
            Choice::Knows(cached) if has_place(cached) || self.has(Mutant::RefuseCached) => cached,
            _ => state.setting,
        };
        let next = if is_given { Step::Unpark } else { Step::Start };
        let own = state.places.get(&turn).copied();
        let is_reserved = own.is_some_and(|place| place.is_live && place.from.is_some());
        if known.is_paused && !(is_reserved && self.has(Mutant::StartGiven)) {
            return self.park(state, turn, is_given);
        }
        if own.is_some_and(|place| place.is_live || self.has(Mutant::TakeExpired)) {
            let limit = if own.is_some_and(|place| place.is_live) { usize::MAX } else { known.places() };
            self.clear(state);
            state.add_place(turn, None, limit);
            if known.is_paused {
                state.broken = Some("I13");
            }
            return Some(next);
        }
        if state.others(None) >= known.places() {
            return self.park(state, turn, is_given);
        }
        self.clear(state);
        state.add_place(turn, None, known.places());
        if overtakes && self.has(Mutant::Overtake) {
            state.broken = Some("order");
        }
        Some(next)
    }

    /// Moves the run on to a turn that is parked: one conditional write, which makes the run if it is absent.
    fn park(&self, state: &mut State, turn: Turn, is_given: bool) -> Option<Step> {
        let has_room = state.others(None) < state.setting.places();
        let record = state.record(turn);
        if record.turn != turn || !record.status.may_start() {
            return self.refused(state, turn, is_given);
        }
        if !self.has(Mutant::ParkWithoutMove) {
            record.turn = turn.next_resume();
        }
        if !(record.status == Status::Absent && self.has(Mutant::ParkAbsent)) {
            record.status = Status::Parked;
        }
        Some(Step::Put(record.turn, !self.has(Mutant::LookBeforePut) || has_room))
    }

    /// Sends the event of the turn's end; its message is acknowledged then.
    fn report(state: &mut State, turn: Turn, outcome: Outcome) -> Step {
        state.queue.insert(Message::End(turn, outcome));
        Step::Acknowledge
    }

    pub(super) fn unpark(state: &mut State, turn: Turn) {
        if state.parked.get(&turn.run).is_some_and(|parked| *parked <= turn) {
            state.parked.remove(&turn.run);
        }
    }

    /// What is to be done about a turn that can be neither started nor parked.
    fn refused(&self, state: &mut State, turn: Turn, is_given: bool) -> Option<Step> {
        let record = *state.record(turn);
        match record.status {
            Status::Executing if record.turn == turn => None,
            Status::Abandoned if record.turn == turn => Some(Self::report(state, turn, Outcome::Failure)),
            // Who moved it on may have died before it had put the item.
            Status::Parked if record.turn == turn.next_resume() && !self.has(Mutant::ParkOnce) => {
                Some(Step::Put(record.turn, true))
            }
            _ if self.has(Mutant::StaleMessageLeavesPlace) => Some(Step::Acknowledge),
            _ if is_given => Some(Step::Drop),
            _ => Some(Step::Look(false)),
        }
    }

    /// A message that was delivered too often.
    fn dead(&self, state: &mut State, turn: Turn, is_given: bool) -> Option<Step> {
        let record = state.record(turn);
        if record.turn != turn || record.status != Status::Abandoned && !record.status.may_start() {
            return self.refused(state, turn, is_given);
        }
        if record.status == Status::Absent {
            record.status = Status::Queued;
        }
        Some(Self::report(state, turn, Outcome::Dead))
    }

    /// The move that an event asks for, and what follows.
    fn end(&self, state: &mut State, process: &mut Process, turn: Turn, outcome: Outcome) -> Option<Step> {
        let record = state.record(turn);
        let is_at_work = matches!(record.status, Status::Executing | Status::Abandoned);
        let is_allowed = record.turn == turn
            && match outcome {
                Outcome::Success => is_at_work,
                Outcome::Failure => is_at_work || record.status.may_start(),
                Outcome::Dead => record.status == Status::Abandoned || record.status.may_start(),
            };
        let is_retried = outcome != Outcome::Success && turn.attempt + 1 < self.attempts;
        if is_allowed && is_retried {
            record.turn = turn.next_attempt();
            record.status = Status::Queued;
        } else if is_allowed {
            record.status = Status::Final;
        } else if outcome == Outcome::Dead && record.turn == turn && record.status == Status::Executing {
            return None;
        }
        // Also when the event comes again, and its move was made.
        process.retries = is_retried && record.turn == turn.next_attempt() && record.status == Status::Queued;
        let is_reached = process.retries || record.status == Status::Final && record.turn == turn;
        // Who moved it on may have died before it had put the item, and the message of the turn is gone.
        if !is_reached && record.status == Status::Parked && record.turn == turn.next_resume() {
            return Some(Step::Put(record.turn, true));
        }
        if self.has(Mutant::StaleEventLeavesPlace) && !is_reached {
            return Some(Step::Acknowledge);
        }
        Some(if outcome == Outcome::Dead { Step::Drop } else { Step::Look(false) })
    }
}
