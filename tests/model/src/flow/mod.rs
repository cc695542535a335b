//! Runs of a queue and key of which no more than its limit execute at a time.
//!
//! **Places.** One item for each queue and key holds the places. Each names the turn that has it and the end of its lease; one that was
//! given names who gave it too, until it is taken. A worker takes one before it starts the run: one conditional write, which
//! finds the turn's own place live, or room. Whatever comes in takes away what is over. What is cached of the setting may let
//! somebody in, and keeps nobody out: who would be kept out reads it first.
//!
//! **Parking.** Where others are parked, or there is no room, the run is moved on to its next resume: one conditional write,
//! which makes the run if it is absent. So a copy of the message can neither start what is parked nor park what has started, and a
//! message is acknowledged only when its turn is over, as everywhere. Then the parked item is put, one a run, which names that
//! turn, and then the parker looks.
//!
//! **Freeing and handing on** are one step, of everybody who finds a turn over: its end, its cancellation, a suspension, a
//! message or an event that comes too late, a dead letter, and who has parked it. On the first look it sends the
//! message of each place again that it gave in the name of this turn and that is not taken yet. Then one conditional write frees the
//! turn's place, and gives one to the first parked that has no live one, if there is room. Who has only freed looks again, as
//! somebody may have been parked in between. The places, the parked and the setting are read as they are now.
//!
//! **A place that was given** is taken by the message that says so; its parked item is deleted then, before the start. If its
//! reservation is over, others come in, and the message parks the run once more, on yet another turn.
//!
//! **A change** is an event, which writes the setting if that is newer, and then hands on until there is no room, however
//! often it comes.
//!
//! **Twins**, one message in two hands of which one acknowledges it for both, may leave a place to nobody when the other one dies
//! between two calls: an idle queue then waits for whoever parks next, or for a sweep. All else holds without.

mod hand;
mod mutant;
mod properties;
mod state;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

pub use self::mutant::Mutant;
use self::state::{Hold, Process, Record, Status, Step};
pub use self::state::{Message, Outcome, Setting, Source, State, Turn};

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Runs of the queue and key.
    pub runs: u8,
    /// Attempts of a run.
    pub attempts: u8,
    /// How often a run may suspend.
    pub suspensions: u8,
    /// The settings of the queue, one after the other.
    pub settings: Vec<Setting>,
    /// How often a process dies.
    pub deaths: u8,
    /// How often a message is there twice, each with an acknowledgement of its own.
    pub duplicates: u8,
    /// How often a message is in two hands of which one acknowledges it for both.
    pub twins: u8,
    /// How often somebody looks at the queue of whom nobody told of anything.
    pub sweeps: u8,
    /// How often somebody cancels a run.
    pub cancels: u8,
    /// How many messages are delivered too often, and so dead-lettered.
    pub dead_letters: u8,
    /// How many leases and reservations end.
    pub ends: u8,
    /// How often somebody writes what it decided upon a look that others have overtaken.
    pub stalls: u8,
    /// How many processes are at work at a time.
    pub hands: usize,
    /// The fault.
    pub mutant: Option<Mutant>,
}

impl Flow {
    /// Two runs for one place; nothing happens to them.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            runs: 2,
            attempts: 1,
            suspensions: 0,
            settings: vec![Setting::limit(1)],
            deaths: 0,
            duplicates: 0,
            twins: 0,
            sweeps: 0,
            cancels: 0,
            dead_letters: 0,
            ends: 0,
            stalls: 0,
            hands: 3,
            mutant: None,
        }
    }

    fn has(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message is delivered, and looked at.
    Deliver(Message, Choice),
    /// It is delivered to two at once; whether one acknowledges it for both.
    DeliverTwice(Message, bool),
    /// It was delivered too often.
    DeadLetter(Message),
    /// The next step of a process.
    Step(usize, Choice),
    /// A process dies.
    Die(usize),
    /// What a run waits for comes.
    Wake(u8),
    /// A lease or a reservation is over, and nobody is told.
    End(Turn),
    /// Somebody cancels a run.
    Cancel(u8),
    /// Somebody changes the setting.
    Change,
    /// The setting is known to all.
    Forget,
    /// Somebody looks at the queue of whom nobody told of anything.
    Sweep,
}

/// What is left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    None,
    /// It goes by this setting, which may be cached.
    Knows(Setting),
    /// It writes later what it decides now.
    Stalls,
    /// It dies having given a place, before it sends the message of it.
    DiesUnsent,
    /// It dies before it acknowledges its message.
    Dies,
    /// The task returns or fails, and whether its worker dies before it acknowledges its message.
    Ends(Outcome, bool),
    /// The task waits.
    Suspends,
}

impl Choice {
    fn dies(self) -> bool {
        matches!(self, Self::Dies | Self::Ends(_, true))
    }
}

impl Flow {
    /// The ways that a process may take from this step.
    fn ways(&self, state: &State, message: Message, step: Step) -> Vec<Choice> {
        let mut ways = Vec::new();
        match (step, message) {
            (Step::Execute, Message::Run(turn, _)) => {
                let is_retried = turn.attempt + 1 < self.attempts;
                for outcome in [Outcome::Success, Outcome::Failure].into_iter().take(1 + usize::from(is_retried)) {
                    ways.extend([Choice::Ends(outcome, false), Choice::Ends(outcome, true)]);
                }
                ways.extend((state.runs[usize::from(turn.run)].suspensions > 0).then_some(Choice::Suspends));
            }
            (Step::Begin | Step::Take(_), Message::Run(..)) => {
                ways.extend(state.cached.iter().chain([&state.setting]).map(|setting| Choice::Knows(*setting)));
                ways.extend([Choice::Stalls, Choice::Dies]);
            }
            (Step::Look(_), _) => {
                if self.has(Mutant::LookCached) {
                    ways.extend(state.cached.iter().map(|setting| Choice::Knows(*setting)));
                }
                ways.extend([Choice::None, Choice::Stalls, Choice::DiesUnsent, Choice::Dies]);
            }
            (Step::Write(..), _) => ways.extend([Choice::None, Choice::DiesUnsent, Choice::Dies]),
            _ => ways.extend([Choice::None, Choice::Dies]),
        }
        ways
    }
}

impl Model for Flow {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let first = |run| Turn { run, attempt: 0, resume: 0 };
        vec![State {
            runs: (0..self.runs)
                .map(|run| Record { status: Status::Absent, turn: first(run), suspensions: self.suspensions })
                .collect(),
            places: BTreeMap::new(),
            parked: BTreeMap::new(),
            setting: self.settings[0],
            generation: 0,
            cached: BTreeSet::new(),
            changes: 0,
            queue: (0..self.runs).map(|run| Message::Run(first(run), false)).collect(),
            processes: Vec::new(),
            deaths: self.deaths,
            duplicates: self.duplicates,
            twins: self.twins,
            sweeps: self.sweeps,
            cancels: self.cancels,
            dead_letters: self.dead_letters,
            ends: self.ends,
            stalls: self.stalls,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let hands = self.hands.saturating_sub(state.processes.len());
        for message in state.queue.iter().filter(|_| hands > 0) {
            let ways = self.ways(state, *message, Step::Begin).into_iter();
            actions.extend(ways.map(|way| Action::Deliver(*message, way)));
            if state.duplicates > 0 && hands > 1 {
                actions.push(Action::DeliverTwice(*message, false));
            }
            if state.twins > 0 && hands > 1 {
                actions.push(Action::DeliverTwice(*message, true));
            }
            if state.dead_letters > 0 && matches!(message, Message::Run(..)) {
                actions.push(Action::DeadLetter(*message));
            }
        }
        for (number, process) in state.processes.iter().enumerate() {
            // Equal ones do the same.
            if number > 0 && state.processes[number - 1] == *process {
                continue;
            }
            let ways = self.ways(state, process.message, process.step).into_iter();
            actions.extend(ways.map(|way| Action::Step(number, way)));
            if state.deaths > 0 && process.step != Step::Begin {
                actions.push(Action::Die(number));
            }
        }
        for (run, record) in (0..).zip(&state.runs) {
            if record.status == Status::Waiting {
                actions.push(Action::Wake(run));
            }
            if state.cancels > 0 && !matches!(record.status, Status::Final | Status::Absent) {
                actions.push(Action::Cancel(run));
            }
        }
        if state.ends > 0 {
            let live = state.places.iter().filter(|(turn, place)| place.is_live && !self.is_leased(state, **turn));
            actions.extend(live.map(|(turn, _)| Action::End(*turn)));
        }
        if usize::from(state.changes) + 1 < self.settings.len() {
            actions.push(Action::Change);
        }
        if state.sweeps > 0 && state.is_quiet() {
            actions.push(Action::Sweep);
        }
        if !state.cached.is_empty() {
            actions.push(Action::Forget);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let process = |message, hold| Process { message, hold, step: Step::Begin, retries: false };
        let (mut stalls, mut dies) = (false, false);
        if let Action::Deliver(_, choice) | Action::Step(_, choice) = action {
            stalls = choice == Choice::Stalls;
            dies = choice.dies() || choice == Choice::DiesUnsent;
        }
        if stalls && state.stalls == 0 || dies && state.deaths == 0 {
            return None;
        }
        match action {
            Action::Deliver(message, choice) => {
                state.queue.remove(&message);
                self.go_on(&mut state, process(message, Hold::Own), choice);
            }
            Action::Step(number, choice) => {
                let process = state.processes.remove(number);
                self.go_on(&mut state, process, choice);
            }
            Action::DeliverTwice(message, are_twins) => {
                let (left, hold) =
                    if are_twins { (&mut state.twins, Hold::Twin) } else { (&mut state.duplicates, Hold::Own) };
                *left -= 1;
                state.queue.remove(&message);
                state.add(process(message, hold));
                state.add(process(message, hold));
            }
            Action::Sweep => {
                state.sweeps -= 1;
                // Hours later no lease is left of who died.
                state.places.values_mut().for_each(|place| place.is_live = false);
                state.add(process(Message::Sweep, Hold::Own));
            }
            Action::DeadLetter(message) => {
                state.dead_letters -= 1;
                state.queue.remove(&message);
                if let Message::Run(turn, is_given) = message {
                    state.queue.insert(Message::Dead(turn, is_given));
                }
            }
            Action::Die(number) => Self::die(&mut state, number),
            Action::Wake(run) => {
                let record = &mut state.runs[usize::from(run)];
                record.turn = record.turn.next_resume();
                record.status = Status::Queued;
                let message = Message::Run(record.turn, false);
                state.queue.insert(message);
            }
            Action::End(turn) => {
                state.ends -= 1;
                state.places.entry(turn).and_modify(|place| place.is_live = false);
            }
            Action::Cancel(run) => {
                state.cancels -= 1;
                state.queue.insert(Message::Cancel(run));
            }
            Action::Change => {
                state.changes += 1;
                let change = Message::Change(state.changes);
                match self.has(Mutant::ChangeWithoutEvent) {
                    true => state.add(process(change, Hold::Lost)),
                    false => drop(state.queue.insert(change)),
                }
            }
            Action::Forget => state.cached.clear(),
        }
        // What was chosen may have had no occasion.
        let is_idle = stalls && state.stalls == before.stalls || dies && state.deaths == before.deaths;
        (state != *before && !is_idle).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }
}
