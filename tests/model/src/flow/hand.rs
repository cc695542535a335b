//! Who frees a place, and hands it on.

use super::state::{Message, Process, Setting, Source, State, Status, Step, Turn};
use super::{Choice, Flow, Mutant};

impl Flow {
    /// The turn that is over, or the change, in whose name places are given.
    fn source(state: &State, message: Message) -> Source {
        match message {
            Message::Run(turn, _) | Message::Dead(turn, _) | Message::End(turn, _) => Source::Turn(turn),
            // It is final: it stays with this turn.
            Message::Cancel(run) => Source::Turn(state.runs[usize::from(run)].turn),
            Message::Change(generation) => Source::Change(generation),
            Message::Sweep => Source::Sweep,
        }
    }

    /// The steps that all kinds of messages have.
    pub(super) fn common(&self, state: &mut State, process: &Process, choice: Choice) -> Step {
        let source = Self::source(state, process.message);
        match process.step {
            Step::Put(turn, looks) => {
                let parked = state.parked.entry(turn.run).or_insert(turn);
                *parked = turn.max(*parked);
                if looks { Step::Look(false) } else { Step::Acknowledge }
            }
            Step::Drop => {
                if let Source::Turn(turn) = source {
                    Self::unpark(state, turn);
                }
                Step::Look(false)
            }
            Step::Look(again) => self.look(state, process, source, again, choice),
            Step::Write(to, limit) => self.write(state, process, source, (to, limit), choice),
            Step::Retry => {
                if let Source::Turn(turn) = source {
                    state.queue.insert(Message::Run(turn.next_attempt(), false));
                }
                Step::Acknowledge
            }
            step => step,
        }
    }

    /// When there is nothing to hand on, or it was handed on.
    fn after(process: &Process) -> Step {
        if process.retries { Step::Retry } else { Step::Acknowledge }
    }

    /// Looks at the places, the parked and the setting, all as they are now, and writes what follows at once, unless it stalls.
    fn look(&self, state: &mut State, process: &Process, source: Source, again: bool, choice: Choice) -> Step {
        let setting = if let Choice::Knows(cached) = choice { cached } else { state.setting };
        let own = self.freed(state, source);
        // Who has its place still has given none in its name, and where nobody is parked it looks no further.
        let has_place = !own.is_empty() || self.has(Mutant::NoSendAlone);
        let is_alone = state.parked.is_empty() && has_place && matches!(source, Source::Turn(_));
        if !again && !is_alone && !self.has(Mutant::NoSendTwice) {
            Self::send_again(state, source);
        }
        let to = self.next(state, source, setting);
        match (to, own.is_empty()) {
            (None, true) => Self::after(process),
            (None, false) => Step::Write(None, 0),
            (Some(_), _) if choice == Choice::Stalls => {
                state.stalls -= 1;
                Step::Write(to, setting.limit)
            }
            (Some(_), _) => self.write(state, process, source, (to, setting.limit), choice),
        }
    }

    /// Sends the message of each place that was given in this name and is not taken yet: who gave it may have died.
    fn send_again(state: &mut State, source: Source) {
        let State { places, queue, .. } = state;
        let given = places.iter().filter(|(_, place)| place.is_live && place.from == Some(source));
        queue.extend(given.map(|(turn, _)| Message::Run(*turn, true)));
    }

    /// The places that are freed in this name: one, if it is there.
    fn freed(&self, state: &State, source: Source) -> Vec<Turn> {
        let Source::Turn(turn) = source else { return Vec::new() };
        let record = state.runs[usize::from(turn.run)];
        let is_under_way = record.turn == turn && !matches!(record.status, Status::Final | Status::Waiting);
        if is_under_way && self.has(Mutant::ParkWithoutMove) {
            return Vec::new();
        }
        let is_freed = |of: &&Turn| **of == turn || of.run == turn.run && self.has(Mutant::FreeAnyTurn);
        state.places.keys().filter(is_freed).copied().collect()
    }

    /// Whose turn it is to have a place, if there is one.
    fn next(&self, state: &State, source: Source, setting: Setting) -> Option<Turn> {
        if self.has(Mutant::FreeWithoutHanding) || setting.is_paused {
            return None;
        }
        let is_without = |turn: &&Turn| match state.places.get(turn) {
            Some(place) => !place.is_live && !self.has(Mutant::ExpiredKeeps),
            None => true,
        };
        let has_room = self.has_room(state, source, setting.limit);
        state.parked.values().find(is_without).filter(|_| has_room).copied()
    }

    /// Whether there is room once what is freed in this name is free.
    fn has_room(&self, state: &State, source: Source, limit: u8) -> bool {
        let left = state.others(self.freed(state, source).first().copied());
        left < usize::from(limit) || self.has(Mutant::HandTwice)
    }

    /// Whoever comes in takes away what is over.
    pub(super) fn clear(&self, state: &mut State) {
        if !self.has(Mutant::TakeExpired) {
            state.places.retain(|_, place| place.is_live);
        }
    }

    /// One conditional write, which frees the place of the turn that is over, if it has one, and gives one to `to`; and the
    /// message of that.
    fn write(
        &self,
        state: &mut State,
        process: &Process,
        source: Source,
        (to, limit): (Option<Turn>, u8),
        choice: Choice,
    ) -> Step {
        if to.is_some_and(|to| state.has_place(to) || !self.has_room(state, source, limit)) {
            return Step::Look(true);
        }
        for turn in self.freed(state, source) {
            state.places.remove(&turn);
        }
        let Some(to) = to else {
            return if self.has(Mutant::NoSecondLook) { Self::after(process) } else { Step::Look(true) };
        };
        self.clear(state);
        state.add_place(to, Some(source), usize::from(limit));
        if self.has(Mutant::UnparkOnHand) {
            state.parked.remove(&to.run);
        }
        if choice == Choice::DiesUnsent {
            return Step::Dead;
        }
        state.queue.insert(Message::Run(to, true));
        // A change gives all that there is; of an end the next is another's business.
        if matches!(process.message, Message::Change(_) | Message::Sweep) {
            Step::Look(true)
        } else {
            Self::after(process)
        }
    }
}
