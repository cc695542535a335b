//! A cron schedule that ticks at every moment, while it is stopped, started and made again, and its handlers die.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// The last moment that there is.
const END: u8 = 3;

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Whoever finds that its own message has noted the next tick does not send that once more.
    SendOnce,
    /// A tick triggers by a request of its own each time it is delivered.
    FreshRequest,
    /// A tick is carried out whatever has become of its schedule.
    AnyGeneration,
    /// A tick is noted whatever has become of its schedule.
    NoteUnconditionally,
    /// A tick is dropped if the schedule notes a later one to be under way.
    DropTheNoted,
    /// A message is acknowledged before the next one is sent.
    AcknowledgeFirst,
    /// Who changes a schedule sends its first tick before that is written.
    SendBeforeWrite,
    /// Who asks again for what is there makes it anew.
    MakeAnew,
    /// A change is written though the schedule has ticked since it was read.
    WriteOverTicks,
    /// A change begins after this moment, whatever is due.
    DropTheDue,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SendOnce,
        Self::FreshRequest,
        Self::AnyGeneration,
        Self::NoteUnconditionally,
        Self::DropTheNoted,
        Self::AcknowledgeFirst,
        Self::SendBeforeWrite,
        Self::MakeAnew,
        Self::WriteOverTicks,
        Self::DropTheDue,
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
    /// How late a tick may be and is not missed.
    pub patience: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// A tick's message: the generation of its schedule, its time, and which copy it is.
type Tick = (u8, u8, u8);

/// What a handler does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// It waits for a message.
    Idle,
    /// It has one, and notes the next tick, at this time.
    Note(Tick, u8),
    /// It looks who has noted it.
    Look(Tick),
    /// It sends the next, at this time.
    Send(Tick, u8),
    /// It triggers.
    Trigger(Tick),
    /// It acknowledges.
    Acknowledge(Tick),
}

/// What the caller who changes the schedule does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Caller {
    /// Nothing that it has begun is open.
    Idle,
    /// It has read this generation and this tick, and writes that the schedule is active and ticks at this time.
    Write((u8, u8), u8),
    /// It sends the first tick of what it has written.
    Send(u8, u8),
    /// It has had no answer, or another came before it, and begins again.
    Again,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    is_active: bool,
    generation: u8,
    next_at: u8,
    /// The tick before that, and the message that noted it.
    noted_by: Option<Tick>,
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
    /// Whether a due tick was passed over by who asked for what was there.
    is_skipped: bool,
    /// Whether a time that has its run was given to a schedule that was changed.
    is_given_again: bool,
    /// Whether a time that was due went with a change.
    is_dropped: bool,
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

impl State {
    fn is_of_the_schedule(&self, (generation, ..): Tick) -> bool {
        self.is_active && generation == self.generation
    }

    /// Sends a tick: the first copy of it, or another one.
    fn send(&mut self, generation: u8, at: u8) {
        let is_first = !self.messages.contains(&(generation, at, 0));
        self.messages.insert((generation, at, u8::from(!is_first)));
    }

    /// The copies of the tick that is under way, and the message that noted it, which sends it when it is delivered again.
    fn is_under_way(&self) -> bool {
        let copies = [0, 1].map(|copy| (self.generation, self.next_at, copy));
        copies.iter().chain(&self.noted_by).any(|message| self.messages.contains(message))
    }
}

impl Cron {
    fn deliver(&self, state: &mut State, tick: Tick) -> Step {
        let at = tick.1;
        let drops = at < state.next_at && self.mutant == Some(Mutant::DropTheNoted);
        if drops || (!state.is_of_the_schedule(tick) && self.mutant != Some(Mutant::AnyGeneration)) {
            return Step::Acknowledge(tick);
        }
        state.is_stray |= !state.is_of_the_schedule(tick);
        let is_missed = at + self.patience < state.now;
        let next = if is_missed { state.now } else { at } + 1;
        if self.mutant == Some(Mutant::AcknowledgeFirst) {
            state.messages.remove(&tick);
        }
        if state.next_at == at { Step::Note(tick, next) } else { self.look(state, tick) }
    }

    fn look(&self, state: &State, tick: Tick) -> Step {
        let is_mine = state.noted_by == Some(tick) && self.mutant != Some(Mutant::SendOnce);
        if is_mine { Step::Send(tick, state.next_at) } else { Step::Trigger(tick) }
    }

    fn handle(&self, state: &mut State, step: Step) -> Step {
        match step {
            Step::Idle => Step::Idle,
            Step::Note(tick, next) => {
                let holds = state.generation == tick.0 && state.next_at == tick.1;
                if !holds && self.mutant != Some(Mutant::NoteUnconditionally) {
                    return Step::Look(tick);
                }
                (state.next_at, state.noted_by) = (next, Some(tick));
                Step::Send(tick, next)
            }
            Step::Look(tick) if !state.is_of_the_schedule(tick) => Step::Acknowledge(tick),
            Step::Look(tick) => self.look(state, tick),
            Step::Send(tick, next) => {
                state.send(tick.0, next);
                Step::Trigger(tick)
            }
            Step::Trigger(tick) => {
                let runs = &mut state.runs[usize::from(tick.1)];
                *runs = if self.mutant == Some(Mutant::FreshRequest) { (*runs + 1).min(2) } else { 1 };
                Step::Acknowledge(tick)
            }
            Step::Acknowledge(tick) => {
                state.is_lost |= state.is_of_the_schedule(tick) && state.runs[usize::from(tick.1)] == 0;
                state.messages.remove(&tick);
                Step::Idle
            }
        }
    }

    /// What begins a change: a time that is due stays if nobody has noted it; else its first comes after this moment, and after the
    /// last that was carried out.
    fn make(&self, state: &State) -> Caller {
        let last = state.noted_by.map_or(0, |(_, at, _)| at);
        let is_due = state.is_active && state.next_at <= state.now && self.mutant != Some(Mutant::DropTheDue);
        let next = if is_due { state.next_at } else { state.now.max(last) + 1 };
        if self.mutant == Some(Mutant::SendBeforeWrite) {
            Caller::Send(state.generation + 1, next)
        } else {
            Caller::Write((state.generation, state.next_at), next)
        }
    }

    fn call(&self, state: &mut State) {
        let send_first = self.mutant == Some(Mutant::SendBeforeWrite);
        state.caller = match state.caller {
            Caller::Idle => Caller::Idle,
            Caller::Write((generation, next_at), next) => {
                let holds = state.generation == generation
                    && (state.next_at == next_at || self.mutant == Some(Mutant::WriteOverTicks));
                if !holds && !send_first {
                    state.caller = Caller::Again;
                    return;
                }
                // A time that has its run already gets another by this.
                state.is_given_again |= state.runs.get(usize::from(next)).is_some_and(|runs| *runs > 0);
                state.is_dropped |= state.is_active && state.next_at <= state.now && state.next_at != next;
                (state.is_active, state.generation) = (true, generation + 1);
                (state.next_at, state.noted_by) = (next, None);
                if send_first { Caller::Idle } else { Caller::Send(generation + 1, next) }
            }
            Caller::Send(generation, next) => {
                state.send(generation, next);
                if send_first {
                    Caller::Write((generation.saturating_sub(1), state.next_at), next)
                } else {
                    Caller::Idle
                }
            }
            // It is as it is to be: its tick is sent once more, also when it is due.
            Caller::Again if state.is_active && self.mutant != Some(Mutant::MakeAnew) => {
                Caller::Send(state.generation, state.next_at)
            }
            Caller::Again => {
                state.is_skipped |= state.is_active && state.next_at <= state.now;
                self.make(state)
            }
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
            noted_by: None,
            messages: BTreeSet::from([(0, 1, 0)]),
            handlers: vec![Step::Idle; self.handlers],
            caller: Caller::Idle,
            changes: self.changes,
            deaths: self.deaths,
            runs: [0; END as usize + 1],
            is_stray: false,
            is_lost: false,
            is_skipped: false,
            is_given_again: false,
            is_dropped: false,
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
                state.handlers[handler] = self.handle(&mut state, step);
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
                let notes =
                    |step: &Step| matches!(step, Step::Send((generation, ..), _) if *generation == state.generation);
                !state.is_active || is_being_changed || state.is_under_way() || state.handlers.iter().any(notes)
            }),
            Property::always("R81: no tick is lost", |_, state: &State| !state.is_lost),
            Property::always("R81: no time that is due goes with a change", |_, state: &State| !state.is_dropped),
            Property::always("R80: who asks for what is there takes no tick from it", |_, state: &State| {
                !state.is_skipped
            }),
            Property::always("R82: no time is carried out for a schedule and for its change", |_, state: &State| {
                !state.is_given_again
            }),
            Property::always("R83: no tick of a schedule that was changed since is carried out", |_, state: &State| {
                !state.is_stray
            }),
            Property::sometimes("a schedule that was changed ticks to the end", |_, state: &State| {
                state.generation > 0 && state.runs[usize::from(END)] == 1
            }),
        ]
    }
}
