//! A token that runs wait for, while callers complete it, its time runs out, and callers, handlers and workers die.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A run looks at the token before it registers with it.
    LookBeforeRegistering,
    /// A completion is written whatever the token's status is.
    CompleteUnconditionally,
    /// A timeout is written over a completion.
    TimeoutOverCompletion,
    /// A run whose time has come goes on with the timeout before that is written.
    WakeBeforeWriting,
    /// Who tells a run of the completion forgets it before it is woken.
    ForgetBeforeWaking,
    /// The completion is written before the message that wakes those who wait is sent.
    WriteBeforeSending,
    /// The message of a completion that comes when the time is over is dropped, and the token left as it is.
    LeaveUndecided,
    /// A run suspends without a message that comes when the token's time is over.
    NoTimer,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::LookBeforeRegistering,
        Self::CompleteUnconditionally,
        Self::TimeoutOverCompletion,
        Self::WakeBeforeWriting,
        Self::ForgetBeforeWaking,
        Self::WriteBeforeSending,
        Self::LeaveUndecided,
        Self::NoTimer,
    ];
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Token {
    /// Runs that wait for the token.
    pub runs: usize,
    /// Callers who complete the token, each with something else.
    pub callers: usize,
    /// How often a caller, the handler of its message or a worker dies.
    pub deaths: u8,
    /// How often the message of a completion is delivered after it was handled.
    pub duplicates: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// What the token's item says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Item {
    Waiting,
    /// By this caller.
    Completed(usize),
    TimedOut,
}

/// How far the time of the token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Time {
    Within,
    /// Some clocks say that it is over, and others do not.
    Unclear,
    Over,
}

/// What a caller does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Caller {
    Look,
    Send,
    Write,
    Gone,
}

/// What the handler of a completion's message does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Handler {
    Complete,
    /// Read who waits.
    List,
    Wake(BTreeSet<usize>),
    Raise(BTreeSet<usize>),
    Send(BTreeSet<usize>, u8),
    Forget(BTreeSet<usize>),
    Acknowledge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Message {
    is_there: bool,
    was_handled: bool,
    handler: Option<Handler>,
    duplicates: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Queued,
    Executing,
    Waiting,
    Final,
}

/// What the worker of a run does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Register,
    Look,
    /// By its clock the token's time is over: write it.
    Expire,
    SendTimer,
    Suspend,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    status: Status,
    resume: u8,
    wakes: u8,
    /// Wake-ups that its worker knows of.
    seen: u8,
    step: Step,
    /// Whether this attempt was suspended in the wait, and so is registered until it is told.
    suspended: bool,
    /// Messages, by resume.
    messages: BTreeSet<u8>,
    /// Whether the message is under way that comes when the token's time is over.
    timer: bool,
    /// Whether that came once already: it comes again when the time is over by all clocks.
    rung: bool,
    /// What it was told.
    told: Option<Item>,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    item: Item,
    /// What the item said first that was not WAITING.
    first: Option<Item>,
    time: Time,
    waiters: BTreeSet<usize>,
    callers: Vec<Caller>,
    messages: Vec<Message>,
    runs: Vec<Run>,
    deaths: u8,
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time goes by.
    Pass,
    /// The next step of a caller, whose clock says that the token's time is over, or that it is not.
    Call(usize, bool),
    /// A caller dies.
    CallerDies(usize),
    /// The message of a completion is delivered.
    Deliver(usize),
    /// It is delivered again although it was handled.
    DeliverAgain(usize),
    /// The next step of its handler, by a clock like a caller's.
    Handle(usize, bool),
    /// Its handler dies.
    HandlerDies(usize),
    /// A message of a run is delivered.
    Start(usize, u8),
    /// The message is delivered that comes when the token's time is over.
    Ring(usize),
    /// The next step of a run's worker, by a clock like a caller's.
    Step(usize, bool),
    /// A run's worker dies, and the run starts anew.
    WorkerDies(usize),
}

impl Token {
    fn write(state: &mut State, item: Item) {
        state.item = item;
        state.first.get_or_insert(item);
    }

    /// One conditional write.
    fn complete(&self, state: &mut State, caller: usize, over: bool) {
        let may = state.item == Item::Waiting && !over;
        if may || self.mutant == Some(Mutant::CompleteUnconditionally) {
            Self::write(state, Item::Completed(caller));
        }
    }

    fn call(&self, state: &mut State, caller: usize, over: bool) {
        let writes_first = self.mutant == Some(Mutant::WriteBeforeSending);
        state.callers[caller] = match state.callers[caller] {
            // A late or second completion is answered like the first.
            Caller::Look if over || state.item != Item::Waiting => Caller::Gone,
            Caller::Look => {
                if writes_first {
                    Caller::Write
                } else {
                    Caller::Send
                }
            }
            Caller::Send => {
                state.messages[caller].is_there = true;
                if writes_first { Caller::Gone } else { Caller::Write }
            }
            Caller::Write => {
                self.complete(state, caller, over);
                if writes_first { Caller::Send } else { Caller::Gone }
            }
            Caller::Gone => Caller::Gone,
        };
    }

    fn handle(&self, state: &mut State, message: usize, over: bool) {
        let Some(handler) = state.messages[message].handler.take() else { return };
        let forgets = self.mutant == Some(Mutant::ForgetBeforeWaking);
        let first = |left: &BTreeSet<usize>| left.first().copied().unwrap_or_default();
        let next = match handler {
            Handler::Complete => {
                self.complete(state, message, over);
                // Otherwise its caller, by whose clock the time is not over, may write it when nobody is told any more.
                if state.item == Item::Waiting && self.mutant != Some(Mutant::LeaveUndecided) {
                    Self::write(state, Item::TimedOut);
                }
                Handler::List
            }
            Handler::List if state.item == Item::Waiting => Handler::Acknowledge,
            Handler::List => Self::tell(state.waiters.clone()),
            Handler::Wake(left) => {
                let waiter = first(&left);
                if forgets {
                    state.waiters.remove(&waiter);
                }
                let run = &mut state.runs[waiter];
                match run.status {
                    Status::Waiting => {
                        run.status = Status::Queued;
                        run.resume += 1;
                        Handler::Send(left, run.resume)
                    }
                    Status::Queued => Handler::Send(left, run.resume),
                    Status::Executing => Handler::Raise(left),
                    Status::Final => Handler::Forget(left),
                }
            }
            Handler::Raise(left) => {
                let run = &mut state.runs[first(&left)];
                run.wakes += 1;
                if run.status == Status::Executing { Handler::Forget(left) } else { Handler::Wake(left) }
            }
            Handler::Send(left, resume) => {
                state.runs[first(&left)].messages.insert(resume);
                Handler::Forget(left)
            }
            Handler::Forget(mut left) => {
                if let Some(waiter) = left.pop_first() {
                    state.waiters.remove(&waiter);
                }
                Self::tell(left)
            }
            Handler::Acknowledge => {
                (state.messages[message].is_there, state.messages[message].was_handled) = (false, true);
                return;
            }
        };
        state.messages[message].handler = Some(next);
    }

    fn tell(left: BTreeSet<usize>) -> Handler {
        if left.is_empty() { Handler::Acknowledge } else { Handler::Wake(left) }
    }

    fn first_step(&self) -> Step {
        if self.mutant == Some(Mutant::LookBeforeRegistering) { Step::Look } else { Step::Register }
    }

    fn step(&self, state: &mut State, number: usize, over: bool) {
        let early = self.mutant == Some(Mutant::LookBeforeRegistering);
        let end = |run: &mut Run, told: Item| (run.status, run.told) = (Status::Final, Some(told));
        let run = &mut state.runs[number];
        match run.step {
            Step::Register => {
                state.waiters.insert(number);
                run.step = if early { Step::SendTimer } else { Step::Look };
            }
            Step::Look => match state.item {
                Item::Waiting if over && self.mutant == Some(Mutant::WakeBeforeWriting) => end(run, Item::TimedOut),
                Item::Waiting if over => run.step = Step::Expire,
                // Who has looked again is registered.
                Item::Waiting if early && !state.waiters.contains(&number) => run.step = Step::Register,
                Item::Waiting => run.step = Step::SendTimer,
                item => end(run, item),
            },
            Step::Expire => {
                if state.item == Item::Waiting || self.mutant == Some(Mutant::TimeoutOverCompletion) {
                    Self::write(state, Item::TimedOut);
                }
                // Its answer tells what is there.
                let told = state.item;
                end(&mut state.runs[number], told);
            }
            Step::SendTimer => {
                run.timer = self.mutant != Some(Mutant::NoTimer);
                run.step = Step::Suspend;
            }
            Step::Suspend if run.wakes == run.seen => (run.status, run.suspended) = (Status::Waiting, true),
            Step::Suspend => (run.seen, run.step) = (run.wakes, Step::Look),
        }
    }

    fn ring(run: &mut Run) {
        run.rung = true;
        match run.status {
            Status::Waiting => {
                // Its message is sent before this one is acknowledged: a death between the two is of the model of a wait.
                run.status = Status::Queued;
                run.resume += 1;
                run.messages.insert(run.resume);
                run.timer = false;
            }
            // It may be about to suspend: left in the queue.
            Status::Executing => {}
            Status::Queued | Status::Final => run.timer = false,
        }
    }

    /// Whether nothing happens any more unless time goes by, or somebody dies.
    fn rests(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let goes_on = |action: &Action| match action {
            Action::Pass
            | Action::CallerDies(_)
            | Action::DeliverAgain(_)
            | Action::HandlerDies(_)
            | Action::WorkerDies(_) => false,
            action => self.next_state(state, action.clone()).is_some(),
        };
        !actions.iter().any(goes_on)
    }
}

impl Model for Token {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let run = Run {
            status: Status::Queued,
            resume: 0,
            wakes: 0,
            seen: 0,
            step: self.first_step(),
            suspended: false,
            messages: BTreeSet::from([0]),
            timer: false,
            rung: false,
            told: None,
        };
        let message = Message { duplicates: self.duplicates, ..Message::default() };
        vec![State {
            item: Item::Waiting,
            first: None,
            time: Time::Within,
            waiters: BTreeSet::new(),
            callers: vec![Caller::Look; self.callers],
            messages: vec![message; self.callers],
            runs: vec![run; self.runs],
            deaths: self.deaths,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let clocks: &[bool] = match state.time {
            Time::Within => &[false],
            Time::Unclear => &[false, true],
            Time::Over => &[true],
        };
        let dies = state.deaths > 0;
        if state.time != Time::Over {
            actions.push(Action::Pass);
        }
        for (number, caller) in state.callers.iter().enumerate().filter(|(_, caller)| **caller != Caller::Gone) {
            actions.extend(clocks.iter().map(|over| Action::Call(number, *over)));
            // Whoever dies before it has done anything never called.
            if dies && *caller != Caller::Look {
                actions.push(Action::CallerDies(number));
            }
        }
        for (number, message) in state.messages.iter().enumerate() {
            if message.handler.is_some() {
                actions.extend(clocks.iter().map(|over| Action::Handle(number, *over)));
                if dies {
                    actions.push(Action::HandlerDies(number));
                }
            } else if message.is_there {
                actions.push(Action::Deliver(number));
            } else if message.duplicates > 0 && message.was_handled {
                actions.push(Action::DeliverAgain(number));
            }
        }
        for (number, run) in state.runs.iter().enumerate() {
            actions.extend(run.messages.iter().map(|resume| Action::Start(number, *resume)));
            if run.timer && (state.time == Time::Over || state.time == Time::Unclear && !run.rung) {
                actions.push(Action::Ring(number));
            }
            if run.status == Status::Executing {
                actions.extend(clocks.iter().map(|over| Action::Step(number, *over)));
                if dies {
                    actions.push(Action::WorkerDies(number));
                }
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Pass => state.time = if state.time == Time::Within { Time::Unclear } else { Time::Over },
            Action::Call(caller, over) => self.call(&mut state, caller, over),
            Action::CallerDies(caller) => {
                state.deaths -= 1;
                state.callers[caller] = Caller::Gone;
            }
            Action::Deliver(message) => state.messages[message].handler = Some(Handler::Complete),
            Action::DeliverAgain(message) => {
                state.messages[message].duplicates -= 1;
                state.messages[message].handler = Some(Handler::Complete);
            }
            Action::Handle(message, over) => self.handle(&mut state, message, over),
            Action::HandlerDies(message) => {
                state.deaths -= 1;
                state.messages[message].handler = None;
                state.messages[message].is_there = true;
            }
            Action::Start(number, resume) => {
                let first = self.first_step();
                let run = &mut state.runs[number];
                run.messages.remove(&resume);
                if run.status == Status::Queued && run.resume == resume {
                    (run.status, run.seen) = (Status::Executing, run.wakes);
                    run.step = if run.suspended { Step::Look } else { first };
                }
            }
            Action::Ring(number) => Self::ring(&mut state.runs[number]),
            Action::Step(number, over) => self.step(&mut state, number, over),
            Action::WorkerDies(number) => {
                state.deaths -= 1;
                state.waiters.remove(&number);
                let (resume, first) = (state.runs[number].resume, self.first_step());
                let run = &mut state.runs[number];
                (run.status, run.step, run.timer, run.suspended) = (Status::Queued, first, false, false);
                run.messages.insert(resume);
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("I9: who waits for a token that is decided is woken", |model: &Self, state: &State| {
                let ended = || state.runs.iter().all(|run| run.status == Status::Final);
                // Of a timeout everyone's own message tells, once it is over by their clocks.
                let is_decided = matches!(state.item, Item::Completed(_)) || state.time == Time::Over;
                !is_decided || !model.rests(state) || ended()
            }),
            Property::always("R93: the first end of a token stands", |_, state: &State| {
                state.first.is_none_or(|first| first == state.item)
            }),
            Property::always("R95: all who wait are told what the token says", |_, state: &State| {
                state.runs.iter().filter_map(|run| run.told).all(|told| told == state.item)
            }),
            Property::sometimes("a run that was suspended is told of a completion", |_, state: &State| {
                state.runs.iter().any(|run| run.resume > 0 && matches!(run.told, Some(Item::Completed(_))))
            }),
            Property::sometimes("and one of a timeout", |_, state: &State| {
                state.runs.iter().any(|run| run.resume > 0 && run.told == Some(Item::TimedOut))
            }),
        ]
    }
}
