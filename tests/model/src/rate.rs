//! The rate of a queue: turns take slots of one counter, and whoever's slot is yet to come is delayed until then. Messages come twice
//! and late, whoever handles them dies, and attempts fail.
//!
//! A slot a tick, and some at once. Time stands still while a handler makes its few calls.

use std::collections::BTreeMap;

use stateright::{Model, Property};

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A counter that was idle is set whatever it says by now.
    SetUnchecked,
    /// A slot is good however long ago it was.
    AnyAge,
    /// A slot is good for every attempt of its run.
    AnyAttempt,
    /// Who finds a turn delayed does not send its message again.
    SendOnce,
    /// What is left of a message that was delivered too often is of no use to a run that has moved on.
    DeadLetters,
    /// An event in the place of such a message is of no use to a run that has moved on since.
    LateEvents,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::SetUnchecked, Self::AnyAge, Self::AnyAttempt, Self::SendOnce, Self::DeadLetters, Self::LateEvents];

    /// The fault, planted where it shows.
    #[must_use]
    pub fn planted(self) -> Rate {
        let among = match self {
            Self::DeadLetters | Self::LateEvents => Rate::with_dead_letters(),
            _ => Rate::plain(),
        };
        Rate { mutant: Some(self), ..among }
    }
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Rate {
    /// How many runs there are.
    pub runs: usize,
    /// How many messages are handled at a time.
    pub handlers: usize,
    /// How many may start at once.
    pub burst: u8,
    /// How late a slot is good.
    pub grace: u8,
    /// How far the clock goes.
    pub until: u8,
    /// How many messages come once more than they were sent.
    pub duplicates: u8,
    /// How many handlers die.
    pub deaths: u8,
    /// How many attempts fail.
    pub failures: u8,
    /// How many messages are delivered too often.
    pub dead_letters: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// A slot: of which attempt, when it is due, and which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Slot {
    attempt: u8,
    due: u8,
    number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Turn {
    attempt: u8,
    resume: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Message {
    run: usize,
    turn: Turn,
    slot: Option<Slot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Queued,
    Executing,
    /// A worker died over it.
    Abandoned,
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    turn: Turn,
    status: Status,
    slot: Option<Slot>,
}

/// What a handler does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    /// It takes the next slot of a counter that is ahead.
    TakeNext(Message),
    /// It takes the first slot of a counter that is behind.
    TakeFirst(Message),
    Start(Message, Slot),
    Delay(Message, Slot),
    /// It sends the message of the run as that stands.
    Send(Message),
    /// It ends the attempt of one who died.
    Crash(Message),
    Execute(Message),
    Acknowledge(Message),
}

impl Step {
    fn message(self) -> Option<Message> {
        match self {
            Self::Idle => None,
            Self::TakeNext(message)
            | Self::TakeFirst(message)
            | Self::Start(message, _)
            | Self::Delay(message, _)
            | Self::Send(message)
            | Self::Crash(message)
            | Self::Execute(message)
            | Self::Acknowledge(message) => Some(message),
        }
    }
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    /// When the next slot would be, were there no burst.
    counter: u8,
    runs: Vec<Run>,
    messages: BTreeMap<Message, u8>,
    /// Messages that were delivered too often, and events that were sent in their place.
    dead: Vec<Message>,
    events: Vec<Message>,
    handlers: Vec<Step>,
    /// When something started, and by which slot.
    starts: Vec<(u8, u8)>,
    duplicates: u8,
    deaths: u8,
    failures: u8,
    dead_letters: u8,
}

/// One call, or what happens to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Tick,
    /// A message comes once more.
    Duplicate(usize),
    /// A handler is given one.
    Deliver(usize, usize),
    /// A handler does what is next.
    Handle(usize),
    /// The attempt that a handler is at fails.
    Fail(usize),
    /// A handler dies.
    Die(usize),
    /// A message is delivered too often.
    Bury(usize),
    /// A dead letter is looked at: is its turn still to come, an event says that its attempt crashed.
    Exhume(usize),
    /// Such an event is carried out.
    End(usize),
}

impl State {
    fn send(&mut self, run: usize) {
        let Run { turn, slot, .. } = self.runs[run];
        *self.messages.entry(Message { run, turn, slot }).or_default() += 1;
    }

    /// Messages that may be handled: their slot has come, and no other handler has them.
    fn available(&self) -> Vec<Message> {
        let held = |message: &Message| self.handlers.iter().filter(|step| step.message() == Some(*message)).count();
        let is_due = |message: &Message| message.slot.is_none_or(|slot| slot.due <= self.now);
        let waiting = self.messages.iter().filter(|(message, copies)| usize::from(**copies) > held(message));
        waiting.map(|(message, _)| *message).filter(is_due).collect()
    }

    fn next_attempt(&mut self, run: usize) {
        let run_now = &mut self.runs[run];
        run_now.turn.attempt += 1;
        run_now.status = Status::Queued;
        self.send(run);
    }
}

impl Rate {
    /// Two runs, a duplicate, a death, a failure, and three ticks.
    #[must_use]
    pub fn plain() -> Self {
        Self {
            runs: 2,
            handlers: 2,
            burst: 1,
            grace: 1,
            until: 4,
            duplicates: 1,
            deaths: 1,
            failures: 1,
            dead_letters: 0,
            mutant: None,
        }
    }

    /// The same with a message that is delivered too often, while somebody handles it or after they died.
    #[must_use]
    pub fn with_dead_letters() -> Self {
        Self { runs: 1, failures: 0, dead_letters: 1, until: 3, ..Self::plain() }
    }

    /// Sends the message of a run that has moved on from this turn, to wait for its slot.
    fn follow_on(state: &mut State, message: Message) {
        let run = &state.runs[message.run];
        if run.status == Status::Queued && run.turn == (Turn { resume: message.turn.resume + 1, ..message.turn }) {
            state.send(message.run);
        }
    }

    fn taken(&self, state: &State, message: Message) -> Step {
        let due = state.now.max(state.counter.saturating_sub(self.burst));
        let slot = Slot { attempt: message.turn.attempt, due, number: state.counter };
        if due <= state.now { Step::Start(message, slot) } else { Step::Delay(message, slot) }
    }

    fn begin(&self, state: &State, message: Message) -> Step {
        let is_good = |slot: &Slot| {
            (slot.attempt == message.turn.attempt || self.mutant == Some(Mutant::AnyAttempt))
                && (state.now - slot.due <= self.grace || self.mutant == Some(Mutant::AnyAge))
        };
        match message.slot.filter(is_good) {
            Some(slot) => Step::Start(message, slot),
            None => Step::TakeNext(message),
        }
    }

    /// What is to be done about a turn that cannot be started or delayed.
    fn refused(&self, state: &State, message: Message) -> Step {
        let run = &state.runs[message.run];
        let next = Turn { resume: message.turn.resume + 1, ..message.turn };
        match run.status {
            Status::Queued if run.turn == next && self.mutant != Some(Mutant::SendOnce) => Step::Send(message),
            Status::Abandoned if run.turn == message.turn => Step::Crash(message),
            _ => Step::Acknowledge(message),
        }
    }

    fn handle(&self, state: &mut State, step: Step) -> Step {
        match step {
            Step::Idle => Step::Idle,
            Step::TakeNext(message) => {
                if state.counter < state.now {
                    return Step::TakeFirst(message);
                }
                state.counter += 1;
                self.taken(state, message)
            }
            Step::TakeFirst(message) => {
                if state.counter >= state.now && self.mutant != Some(Mutant::SetUnchecked) {
                    return Step::TakeNext(message);
                }
                state.counter = state.now + 1;
                self.taken(state, message)
            }
            Step::Start(message, slot) => {
                let run = &mut state.runs[message.run];
                if run.status != Status::Queued || run.turn != message.turn {
                    return self.refused(state, message);
                }
                (run.status, run.slot) = (Status::Executing, None);
                if self.mutant == Some(Mutant::AnyAttempt) {
                    run.slot = Some(slot);
                }
                state.starts.push((state.now, slot.number));
                Step::Execute(message)
            }
            Step::Delay(message, slot) => {
                let run = &mut state.runs[message.run];
                if run.status != Status::Queued || run.turn != message.turn {
                    return self.refused(state, message);
                }
                run.turn.resume += 1;
                run.slot = Some(slot);
                Step::Send(message)
            }
            Step::Send(message) => {
                state.send(message.run);
                Step::Acknowledge(message)
            }
            Step::Crash(message) => {
                if state.runs[message.run].status == Status::Abandoned {
                    state.next_attempt(message.run);
                }
                Step::Acknowledge(message)
            }
            Step::Execute(message) => {
                state.runs[message.run].status = Status::Done;
                Step::Acknowledge(message)
            }
            Step::Acknowledge(message) => {
                if let Some(copies) = state.messages.get_mut(&message) {
                    *copies -= 1;
                    if *copies == 0 {
                        state.messages.remove(&message);
                    }
                }
                Step::Idle
            }
        }
    }
}

impl Model for Rate {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let turn = Turn { attempt: 1, resume: 0 };
        let run = Run { turn, status: Status::Queued, slot: None };
        vec![State {
            now: 1,
            counter: 0,
            runs: vec![run; self.runs],
            messages: (0..self.runs).map(|run| (Message { run, turn, slot: None }, 1)).collect(),
            dead: Vec::new(),
            events: Vec::new(),
            handlers: vec![Step::Idle; self.handlers],
            starts: Vec::new(),
            duplicates: self.duplicates,
            deaths: self.deaths,
            failures: self.failures,
            dead_letters: self.dead_letters,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let is_quiet = |step: &Step| matches!(step, Step::Idle | Step::Execute(_));
        if state.now < self.until && state.handlers.iter().all(is_quiet) {
            actions.push(Action::Tick);
        }
        if state.duplicates > 0 {
            actions.extend((0..state.messages.len()).map(Action::Duplicate));
        }
        let available = state.available().len();
        if state.dead_letters > 0 {
            actions.extend((0..state.messages.len()).map(Action::Bury));
        }
        actions.extend((0..state.dead.len()).map(Action::Exhume));
        actions.extend((0..state.events.len()).map(Action::End));
        for (handler, step) in state.handlers.iter().enumerate() {
            if *step == Step::Idle {
                actions.extend((0..available).map(|message| Action::Deliver(handler, message)));
                continue;
            }
            actions.push(Action::Handle(handler));
            if matches!(step, Step::Execute(_)) && state.failures > 0 {
                actions.push(Action::Fail(handler));
            }
            if state.deaths > 0 {
                actions.push(Action::Die(handler));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Duplicate(at) => {
                state.duplicates -= 1;
                *state.messages.values_mut().nth(at)? += 1;
            }
            Action::Deliver(handler, at) => {
                let message = *state.available().get(at)?;
                state.handlers[handler] = self.begin(&state, message);
            }
            Action::Handle(handler) => {
                let step = state.handlers[handler];
                state.handlers[handler] = self.handle(&mut state, step);
            }
            Action::Fail(handler) => {
                let message = state.handlers[handler].message()?;
                state.failures -= 1;
                state.next_attempt(message.run);
                state.handlers[handler] = Step::Acknowledge(message);
            }
            Action::Die(handler) => {
                state.deaths -= 1;
                if let Step::Execute(message) = state.handlers[handler] {
                    state.runs[message.run].status = Status::Abandoned;
                }
                state.handlers[handler] = Step::Idle;
            }
            Action::Bury(at) => {
                let message = *state.messages.keys().nth(at)?;
                state.dead_letters -= 1;
                *state.messages.get_mut(&message)? -= 1;
                state.messages.retain(|_, copies| *copies > 0);
                state.dead.push(message);
            }
            Action::Exhume(at) => {
                let message = state.dead[at];
                match &state.runs[message.run] {
                    // Whoever is at work has a lease; it is looked at again when that is over.
                    Run { status: Status::Executing, turn, .. } if *turn == message.turn => return None,
                    Run { status: Status::Done, .. } => {}
                    run if run.turn == message.turn => state.events.push(message),
                    _ if self.mutant == Some(Mutant::DeadLetters) => {}
                    _ => Self::follow_on(&mut state, message),
                }
                state.dead.remove(at);
            }
            Action::End(at) => {
                let message = state.events[at];
                match &state.runs[message.run] {
                    Run { status: Status::Executing, turn, .. } if *turn == message.turn => return None,
                    Run { status: Status::Done, .. } => {}
                    run if run.turn == message.turn => state.next_attempt(message.run),
                    _ if self.mutant == Some(Mutant::LateEvents) => {}
                    _ => Self::follow_on(&mut state, message),
                }
                state.events.remove(at);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("R112: no slot is used twice", |_, state: &State| {
                state
                    .starts
                    .iter()
                    .enumerate()
                    .all(|(at, (_, slot))| state.starts.iter().skip(at + 1).all(|(_, other)| other != slot))
            }),
            Property::always(
                "R111: in no time do more start than the rate and the burst allow",
                |model: &Self, state: &State| {
                    let most = |from: u8, to: u8| usize::from(model.burst + model.grace + (to - from));
                    state.starts.iter().enumerate().all(|(at, (from, _))| {
                        state.starts[at..].iter().enumerate().all(|(more, (to, _))| more < most(*from, *to))
                    })
                },
            ),
            Property::always("R113: whose message is gone is done", |_, state: &State| {
                let told = || state.messages.keys().chain(&state.dead).chain(&state.events);
                let is_left = |run: usize| told().any(|message| message.run == run);
                state.runs.iter().enumerate().all(|(run, one)| one.status == Status::Done || is_left(run))
            }),
            Property::sometimes("all are done", |_, state: &State| {
                state.runs.iter().all(|run| run.status == Status::Done)
            }),
        ]
    }
}
