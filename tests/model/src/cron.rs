//! A cron schedule that ticks at every moment, while it is stopped, started and made again, and its handlers die.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// The last moment that there is.
const END: u8 = 3;

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The next tick is noted before it is sent.
    NoteBeforeSend,
    /// A tick triggers by a request of its own each time it is delivered.
    FreshRequest,
    /// A tick is carried out whatever has become of its schedule.
    AnyGeneration,
    /// A tick is noted whatever has become of its schedule.
    NoteUnconditionally,
    /// A tick sends the next one if the schedule notes it to be under way, and not if an earlier one.
    OnlyTheNoted,
    /// A tick is dropped if the schedule notes a later one to be under way.
    DropTheOvertaken,
    /// A message is acknowledged before the next one is sent.
    AcknowledgeFirst,
    /// Who changes a schedule sends its first tick before that is written.
    SendBeforeWrite,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NoteBeforeSend,
        Self::FreshRequest,
        Self::AnyGeneration,
        Self::NoteUnconditionally,
        Self::OnlyTheNoted,
        Self::DropTheOvertaken,
        Self::AcknowledgeFirst,
        Self::SendBeforeWrite,
    ];
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Cron {
    /// How many deliveries are handled at a time.
    pub handlers: usize,
    /// How often the schedule is stopped, started or made again.
    pub changes: u8,
    /// How many handlers and callers die.
    pub deaths: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// A tick's message: the generation of its schedule, its time, and who sent it.
type Tick = (u8, u8, u8);
/// The caller, as the one who sent a message.
const CALLER: u8 = u8::MAX;

/// What a handler does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// It waits for a message.
    Idle,
    /// It has one, and sends the next, at this time, if it is to.
    Send(Tick, Option<u8>),
    /// It triggers.
    Trigger(Tick, Option<u8>),
    /// It notes the next.
    Note(Tick, Option<u8>),
    /// It acknowledges.
    Acknowledge(Tick),
}

/// What the caller who changes the schedule does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Caller {
    /// Nothing that it has begun is open.
    Idle,
    /// It writes that the schedule is active.
    Write(Tick),
    /// It sends the first tick of what it has written.
    Send(Tick),
    /// It has had no answer, and asks again.
    Again,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    is_active: bool,
    generation: u8,
    next_at: u8,
    /// Whose message of that tick goes on.
    link: u8,
    messages: BTreeSet<Tick>,
    handlers: Vec<Step>,
    caller: Caller,
    changes: u8,
    deaths: u8,
    /// How many runs each moment has.
    runs: [u8; END as usize + 1],
    /// Whether a tick was carried out that was found not to be of the schedule as it stood.
    is_stray: bool,
    /// Whether one that was to be carried out was not.
    is_lost: bool,
}

/// One call, or what happens to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Pass,
    /// A handler is given a message that is due, and reads its schedule.
    Deliver(usize, Tick),
    /// A handler does what is next.
    Handle(usize),
    /// A handler dies.
    Die(usize),
    /// The schedule is made again, or started.
    Make,
    /// It is stopped.
    Stop,
    /// The caller does what is next.
    Call,
    /// The caller dies, or its answer is lost.
    CallerDies,
}

impl Cron {
    fn deliver(&self, state: &mut State, tick: Tick) -> Step {
        let (generation, at, link) = tick;
        let is_overtaken = at < state.next_at;
        let drops = is_overtaken && self.mutant == Some(Mutant::DropTheOvertaken);
        let is_current = state.is_active && generation == state.generation && !drops;
        if !is_current && self.mutant != Some(Mutant::AnyGeneration) {
            return Step::Acknowledge(tick);
        }
        state.is_stray |= generation != state.generation || !state.is_active;
        let is_missed = at < state.now;
        let next = if is_missed { state.now } else { at } + 1;
        let is_twin = at == state.next_at && link != state.link;
        let later_ones = self.mutant != Some(Mutant::OnlyTheNoted);
        let sends = !is_twin && (at == state.next_at || (later_ones && !is_overtaken));
        let next = sends.then_some(next);
        if self.mutant == Some(Mutant::AcknowledgeFirst) {
            state.messages.remove(&tick);
        }
        self.first(tick, next)
    }

    fn first(&self, tick: Tick, next: Option<u8>) -> Step {
        match self.mutant {
            Some(Mutant::NoteBeforeSend) => Step::Note(tick, next),
            _ => Step::Send(tick, next),
        }
    }

    fn handle(&self, state: &mut State, who: u8, step: Step) -> Step {
        let note_first = self.mutant == Some(Mutant::NoteBeforeSend);
        match step {
            Step::Idle => Step::Idle,
            Step::Send(tick, next) => {
                state.messages.extend(next.map(|next| (tick.0, next, who)));
                Step::Trigger(tick, next)
            }
            Step::Trigger(tick, next) => {
                let runs = &mut state.runs[usize::from(tick.1)];
                *runs = if self.mutant == Some(Mutant::FreshRequest) { (*runs + 1).min(2) } else { 1 };
                if note_first { Step::Acknowledge(tick) } else { Step::Note(tick, next) }
            }
            Step::Note(tick, next) => {
                let holds = state.generation == tick.0 && state.next_at <= tick.1;
                if let Some(next) = next.filter(|_| holds || self.mutant == Some(Mutant::NoteUnconditionally)) {
                    (state.next_at, state.link) = (next, who);
                }
                if note_first { Step::Send(tick, next) } else { Step::Acknowledge(tick) }
            }
            Step::Acknowledge(tick) => {
                let is_current = state.is_active && tick.0 == state.generation;
                state.is_lost |= is_current && state.runs[usize::from(tick.1)] == 0;
                state.messages.remove(&tick);
                Step::Idle
            }
        }
    }

    /// What begins a change to an active schedule.
    fn make(&self, state: &State) -> Caller {
        let tick = (state.generation + 1, state.now + 1, CALLER);
        if self.mutant == Some(Mutant::SendBeforeWrite) { Caller::Send(tick) } else { Caller::Write(tick) }
    }

    fn call(&self, state: &mut State) {
        let send_first = self.mutant == Some(Mutant::SendBeforeWrite);
        state.caller = match state.caller {
            Caller::Idle => Caller::Idle,
            Caller::Write(tick) => {
                (state.is_active, state.generation, state.next_at, state.link) = (true, tick.0, tick.1, tick.2);
                if send_first { Caller::Idle } else { Caller::Send(tick) }
            }
            Caller::Send(tick) => {
                state.messages.insert(tick);
                if send_first { Caller::Write(tick) } else { Caller::Idle }
            }
            // It is as it is to be: its tick is sent once more.
            Caller::Again if state.is_active && state.next_at > state.now => {
                Caller::Send((state.generation, state.next_at, state.link))
            }
            Caller::Again => self.make(state),
        };
    }
}

impl Model for Cron {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            is_active: true,
            generation: 0,
            next_at: 1,
            link: CALLER,
            messages: BTreeSet::from([(0, 1, CALLER)]),
            handlers: vec![Step::Idle; self.handlers],
            caller: Caller::Idle,
            changes: self.changes,
            deaths: self.deaths,
            runs: [0; END as usize + 1],
            is_stray: false,
            is_lost: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now < END {
            actions.push(Action::Pass);
        }
        for (handler, step) in state.handlers.iter().enumerate() {
            if *step == Step::Idle {
                let due = state.messages.iter().filter(|(_, at, _)| *at <= state.now);
                actions.extend(due.map(|tick| Action::Deliver(handler, *tick)));
                continue;
            }
            actions.push(Action::Handle(handler));
            if state.deaths > 0 {
                actions.push(Action::Die(handler));
            }
        }
        if state.caller != Caller::Idle {
            actions.push(Action::Call);
            if state.deaths > 0 && state.caller != Caller::Again {
                actions.push(Action::CallerDies);
            }
        } else if state.changes > 0 {
            actions.push(Action::Make);
            if state.is_active {
                actions.push(Action::Stop);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Pass => state.now += 1,
            Action::Deliver(handler, tick) => state.handlers[handler] = self.deliver(&mut state, tick),
            Action::Handle(handler) => {
                let step = state.handlers[handler];
                state.handlers[handler] = self.handle(&mut state, handler as u8, step);
            }
            Action::Die(handler) => {
                state.handlers[handler] = Step::Idle;
                state.deaths -= 1;
            }
            Action::Make => {
                state.changes -= 1;
                state.caller = self.make(&state);
            }
            Action::Stop => {
                state.changes -= 1;
                state.is_active = false;
                state.generation += 1;
            }
            Action::Call => self.call(&mut state),
            Action::CallerDies => {
                state.caller = Caller::Again;
                state.deaths -= 1;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("R82: a tick makes one run", |_, state: &State| state.runs.iter().all(|runs| *runs <= 1)),
            Property::always("R81: an active schedule has its next tick under way", |_, state: &State| {
                let is_being_changed = state.caller != Caller::Idle;
                let tick = (state.generation, state.next_at, state.link);
                !state.is_active || is_being_changed || state.messages.contains(&tick)
            }),
            Property::always("R81: no tick is lost", |_, state: &State| !state.is_lost),
            Property::always("R83: no tick of a schedule that was changed since is carried out", |_, state: &State| {
                !state.is_stray
            }),
            Property::sometimes("a schedule that was changed ticks to the end", |_, state: &State| {
                state.generation > 0 && state.runs[usize::from(END)] == 1
            }),
        ]
    }
}
