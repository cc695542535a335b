//! A delayed run whose start callers move, and die over it, while its schedules fire, are deleted late and made again.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// The last moment that there is; the run is first due at 2.
const END: u8 = 3;

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A schedule is named by its time alone, and not by how often the run was moved.
    NamedByTime,
    /// The schedule that is replaced is deleted before the new one is made.
    DeleteBeforeCreate,
    /// It is noted that the new start has a message under way before it has.
    NoteBeforeCreate,
    /// It is noted of a start that another has moved the run to since.
    NotedByTime,
    /// A move leaves the note of the start before it.
    KeepNote,
    /// A message whose run is due later is done with, and not sent on.
    DropWhatIsEarly,
    /// A message that is due starts the run, whatever its record says.
    StartByMessage,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NamedByTime,
        Self::DeleteBeforeCreate,
        Self::NoteBeforeCreate,
        Self::NotedByTime,
        Self::KeepNote,
        Self::DropWhatIsEarly,
        Self::StartByMessage,
    ];
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Delay {
    /// How many callers move the start, each to any moment.
    pub movers: usize,
    /// How many of them die.
    pub deaths: u8,
    /// How often Scheduler takes no schedule, so that a message hops.
    pub refusals: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// What carries the run to a start: when, and how often the run had been moved.
type Carrier = (u8, u8);

/// What a caller does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Step {
    /// Read the run.
    Read,
    /// Move its start; this carries it now.
    Move(Carrier),
    /// Have this carry it, where that did.
    Create(Carrier, Carrier),
    /// Note that this start has a message under way.
    Note(Carrier, Carrier),
    /// Delete the schedule that is replaced.
    Delete(Carrier, Carrier),
    /// Its caller has its answer.
    Done,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    is_started: bool,
    due: u8,
    moves: u8,
    carried_to: Option<u8>,
    schedules: BTreeSet<Carrier>,
    /// Messages, each until it is acknowledged.
    messages: BTreeSet<Carrier>,
    /// Those that a handler has found to be of no use, and will acknowledge.
    useless: BTreeSet<Carrier>,
    movers: Vec<Step>,
    deaths: u8,
    refusals: u8,
    /// Whether it was started before its time.
    is_early: bool,
}

impl State {
    fn is_replaced(&self, (due, _): Carrier) -> bool {
        self.carried_to == Some(self.due) && due != self.due
    }

    /// Whether something will bring the run to its start.
    fn is_carried(&self) -> bool {
        let messages = self.messages.difference(&self.useless);
        self.schedules.iter().chain(messages).any(|carrier| !self.is_replaced(*carrier))
    }
}

/// One call, or what happens to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Tick,
    /// A caller does what is next; to this moment, if it moves.
    Step(usize, u8),
    /// A caller dies.
    Die(usize),
    /// Scheduler takes no schedule: the caller sends a message.
    Refuse(usize),
    /// A schedule sends its message, and is gone.
    Fire(Carrier),
    /// A handler looks at a message.
    Handle(Carrier),
    /// It acknowledges one that is of no use.
    Acknowledge(Carrier),
}

impl Delay {
    /// The least in which this fault is found.
    #[must_use]
    pub fn planted(mutant: Mutant) -> Self {
        let deaths = if mutant == Mutant::NotedByTime { 2 } else { 1 };
        Self { movers: 3, deaths, refusals: 0, mutant: Some(mutant) }
    }

    fn named(&self, (due, moves): Carrier) -> Carrier {
        (due, if self.mutant == Some(Mutant::NamedByTime) { 0 } else { moves })
    }

    /// What comes first after the move, and what after that.
    fn after_move(&self, new: Carrier, old: Carrier) -> Step {
        match self.mutant {
            Some(Mutant::DeleteBeforeCreate) => Step::Delete(new, old),
            Some(Mutant::NoteBeforeCreate) => Step::Note(new, old),
            _ => Step::Create(new, old),
        }
    }

    fn next(&self, step: Step) -> Step {
        match (step, self.mutant) {
            (Step::Create(new, old), Some(Mutant::NoteBeforeCreate)) => Step::Delete(new, old),
            (Step::Create(new, old), _) => Step::Note(new, old),
            (Step::Note(new, old), Some(Mutant::NoteBeforeCreate)) => Step::Create(new, old),
            (Step::Note(..), Some(Mutant::DeleteBeforeCreate)) => Step::Done,
            (Step::Note(new, old), _) => Step::Delete(new, old),
            (Step::Delete(new, old), Some(Mutant::DeleteBeforeCreate)) => Step::Create(new, old),
            _ => Step::Done,
        }
    }

    fn step(&self, state: &mut State, mover: usize, to: u8) {
        let step = state.movers[mover].clone();
        state.movers[mover] = match step.clone() {
            Step::Read if state.is_started => Step::Done,
            Step::Read => Step::Move((state.due, state.moves)),
            // It is not delayed any more: a refusal.
            Step::Move(_) if state.is_started => Step::Done,
            Step::Move(old) => {
                state.due = to;
                state.moves += 1;
                if self.mutant != Some(Mutant::KeepNote) {
                    state.carried_to = None;
                }
                self.after_move((to, state.moves), old)
            }
            Step::Create(new, _) => {
                // One that is due soon is a message at once.
                let soon = new.0 <= state.now + 1;
                let of = if soon { &mut state.messages } else { &mut state.schedules };
                of.insert(if soon { new } else { self.named(new) });
                self.next(step)
            }
            Step::Note(new, _) => {
                let is_its_move = self.mutant == Some(Mutant::NotedByTime) || state.moves == new.1;
                if state.due == new.0 && is_its_move && !state.is_started {
                    state.carried_to = Some(new.0);
                }
                self.next(step)
            }
            Step::Delete(_, old) => {
                state.schedules.remove(&self.named(old));
                self.next(step)
            }
            Step::Done => Step::Done,
        };
    }

    fn handle(&self, state: &mut State, message: Carrier) {
        let (due, moves) = message;
        if state.is_started || state.is_replaced(message) {
            state.useless.insert(message);
        } else if state.due <= state.now || (self.mutant == Some(Mutant::StartByMessage) && due <= state.now) {
            state.is_early = state.due > state.now;
            state.is_started = true;
            state.messages.remove(&message);
        } else if due <= state.now {
            // It goes on to the start that is stored.
            if self.mutant != Some(Mutant::DropWhatIsEarly) {
                state.schedules.insert(self.named((state.due, moves)));
            }
            state.messages.remove(&message);
        }
        // Else it is sent on, and is there as before.
    }
}

impl Model for Delay {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            is_started: false,
            due: 2,
            moves: 0,
            carried_to: None,
            schedules: BTreeSet::from([(2, 0)]),
            messages: BTreeSet::new(),
            useless: BTreeSet::new(),
            movers: vec![Step::Read; self.movers],
            deaths: self.deaths,
            refusals: self.refusals,
            is_early: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < END {
            actions.push(Action::Tick);
        }
        for (mover, step) in state.movers.iter().enumerate() {
            match step {
                Step::Done => continue,
                Step::Move(_) => actions.extend((1..=END).map(|to| Action::Step(mover, to))),
                Step::Create(..) if state.refusals > 0 => {
                    actions.extend([Action::Step(mover, 0), Action::Refuse(mover)]);
                }
                _ => actions.push(Action::Step(mover, 0)),
            }
            if state.deaths > 0 {
                actions.push(Action::Die(mover));
            }
        }
        // Early, so that a last delay makes it exact.
        actions.extend(state.schedules.iter().filter(|(due, _)| *due <= state.now + 1).copied().map(Action::Fire));
        actions.extend(state.messages.difference(&state.useless).copied().map(Action::Handle));
        actions.extend(state.useless.iter().copied().map(Action::Acknowledge));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Step(mover, to) => self.step(&mut state, mover, to),
            Action::Die(mover) => {
                state.movers[mover] = Step::Done;
                state.deaths -= 1;
            }
            Action::Refuse(mover) => {
                let step = state.movers[mover].clone();
                if let Step::Create(new, _) = step {
                    state.messages.insert(new);
                }
                state.movers[mover] = self.next(step);
                state.refusals -= 1;
            }
            Action::Fire(schedule) => {
                state.schedules.remove(&schedule);
                state.messages.insert(schedule);
            }
            Action::Handle(message) => self.handle(&mut state, message),
            Action::Acknowledge(message) => {
                state.useless.remove(&message);
                state.messages.remove(&message);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I8: a delayed run has something that brings it to its start", |_, state: &State| {
                let is_moved = state
                    .movers
                    .iter()
                    .any(|mover| matches!(mover, Step::Create(..) | Step::Note(..) | Step::Delete(..)));
                state.is_started || is_moved || state.is_carried()
            }),
            Property::always("no run starts before its time", |_, state: &State| !state.is_early),
            Property::sometimes("a run that was moved starts", |_, state: &State| state.is_started && state.moves > 0),
        ]
    }
}
