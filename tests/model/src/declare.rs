//! Deployments of a worker, each of which declares schedules: the first that of one task, the second that of another, and the third
//! takes the second back. Their requests come more than once and late, and their handlers die.

use stateright::{Model, Property};

/// The tasks whose schedule each deployment declares, a bit a task.
const DECLARED: [u8; 3] = [0b01, 0b10, 0b01];

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A schedule is put whatever has been deployed since.
    PutUnchecked,
    /// A schedule is deleted whatever has been deployed since.
    DeleteUnchecked,
    /// A deployment is written whatever has been since it was looked for.
    NumberUnchecked,
    /// Of requests that were carried out only the latest is remembered.
    ForgetRequests,
    /// A request is answered before its schedules are there.
    AnswerFirst,
    /// What is declared no longer stays.
    KeepTheGone,
    /// Who finds its own request noted takes it for done.
    NotedIsDone,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PutUnchecked,
        Self::DeleteUnchecked,
        Self::NumberUnchecked,
        Self::ForgetRequests,
        Self::AnswerFirst,
        Self::KeepTheGone,
        Self::NotedIsDone,
    ];
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Declare {
    /// How many requests are handled at a time.
    pub handlers: usize,
    /// How many requests come once more than they were sent.
    pub duplicates: u8,
    /// How many handlers die.
    pub deaths: u8,
    /// How often somebody looks whether what is declared is there.
    pub sweeps: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// What a handler does next. The first number is the request that it carries out, none if it only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Idle,
    /// It reads which deployment there is.
    Read(Option<u8>),
    /// It writes the one after this.
    Write(u8, u8),
    /// It reads which schedules there are, for this deployment of this request.
    List(Option<u8>, u8, u8),
    /// It puts and deletes these, for that deployment.
    Work {
        request: Option<u8>,
        number: u8,
        wanted: u8,
        puts: u8,
        deletes: u8,
    },
    /// It answers, and acknowledges its message.
    Answer(Option<u8>),
}

impl Step {
    fn request(self) -> Option<u8> {
        match self {
            Self::Idle => None,
            Self::Write(request, _) => Some(request),
            Self::Read(request) | Self::List(request, ..) | Self::Work { request, .. } | Self::Answer(request) => {
                request
            }
        }
    }
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The deployment: its number, and the request that it is of.
    number: u8,
    of: Option<u8>,
    /// The requests that were deployments once.
    noted: u8,
    /// The schedules that there are, a bit a task.
    schedules: u8,
    /// How many copies of each request are under way.
    copies: [u8; DECLARED.len()],
    sent: u8,
    answered: u8,
    handlers: Vec<Step>,
    duplicates: u8,
    deaths: u8,
    sweeps: u8,
    /// Whether somebody was done whose deployment stood, and something else was there.
    is_unlike: bool,
}

/// One call, or what happens to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The next deployment is asked for.
    Send,
    /// A request comes once more.
    Duplicate(u8),
    /// One is given up by whoever delivers it.
    GiveUp(u8),
    /// A handler is given one.
    Deliver(usize, u8),
    /// A handler looks whether all is there.
    Sweep(usize),
    /// A handler does what is next; of several schedules, that of this task.
    Handle(usize, u8),
    /// A handler dies.
    Die(usize),
}

impl State {
    fn handled(&self, request: u8) -> u8 {
        let at_it = self.handlers.iter().filter(|step| step.request() == Some(request)).count();
        u8::try_from(at_it).unwrap_or(u8::MAX)
    }

    fn is_under_way(&self, request: u8) -> bool {
        self.copies[usize::from(request)] > 0
    }
}

impl Declare {
    fn read(&self, state: &State, request: Option<u8>) -> Step {
        let Some(request) = request else {
            return state.of.map_or(Step::Idle, |of| Step::List(None, of, state.number));
        };
        let is_noted = state.noted & (1 << request) != 0 && self.mutant != Some(Mutant::ForgetRequests);
        match state.of == Some(request) {
            true if self.mutant == Some(Mutant::NotedIsDone) => Step::Answer(Some(request)),
            true => Step::List(Some(request), request, state.number),
            // Another came after it.
            false if is_noted => Step::Answer(Some(request)),
            false => Step::Write(request, state.number),
        }
    }

    fn handle(&self, state: &mut State, step: Step, task: u8) -> Step {
        match step {
            Step::Idle => Step::Idle,
            Step::Read(request) => self.read(state, request),
            Step::Write(request, before) => {
                if state.number != before && self.mutant != Some(Mutant::NumberUnchecked) {
                    return Step::Read(Some(request));
                }
                (state.number, state.of) = (before + 1, Some(request));
                state.noted |= 1 << request;
                if self.mutant == Some(Mutant::AnswerFirst) {
                    state.answered |= 1 << request;
                }
                Step::List(Some(request), request, before + 1)
            }
            Step::List(request, of, number) => {
                let wanted = DECLARED[usize::from(of)];
                let gone = state.schedules & !wanted;
                let deletes = if self.mutant == Some(Mutant::KeepTheGone) { 0 } else { gone };
                Step::Work { request, number, wanted, puts: wanted & !state.schedules, deletes }
            }
            Step::Work { request, number, wanted, puts, deletes } => {
                let bit = 1 << task;
                let holds = state.number == number;
                if puts & bit != 0 {
                    if !holds && self.mutant != Some(Mutant::PutUnchecked) {
                        return Step::Answer(request);
                    }
                    state.schedules |= bit;
                    return Step::Work { request, number, wanted, puts: puts & !bit, deletes };
                }
                if deletes & bit != 0 {
                    if !holds && self.mutant != Some(Mutant::DeleteUnchecked) {
                        return Step::Answer(request);
                    }
                    state.schedules &= !bit;
                    return Step::Work { request, number, wanted, puts, deletes: deletes & !bit };
                }
                state.is_unlike |= holds && state.schedules != wanted;
                Step::Answer(request)
            }
            Step::Answer(request) => {
                if let Some(request) = request {
                    state.answered |= 1 << request;
                    state.copies[usize::from(request)] -= 1;
                }
                Step::Idle
            }
        }
    }
}

impl Model for Declare {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            number: 0,
            of: None,
            noted: 0,
            schedules: 0,
            copies: [0; DECLARED.len()],
            sent: 0,
            answered: 0,
            handlers: vec![Step::Idle; self.handlers],
            duplicates: self.duplicates,
            deaths: self.deaths,
            sweeps: self.sweeps,
            is_unlike: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let requests = 0..u8::try_from(DECLARED.len()).unwrap_or(0);
        // Deployments come one after another: the next when the one before was answered, or nothing is left of it.
        let is_over = |request: u8| state.answered & (1 << request) != 0 || !state.is_under_way(request);
        if requests.contains(&state.sent) && state.sent.checked_sub(1).is_none_or(is_over) {
            actions.push(Action::Send);
        }
        for request in requests {
            let waits = state.copies[usize::from(request)] > state.handled(request);
            if state.is_under_way(request) && state.duplicates > 0 {
                actions.push(Action::Duplicate(request));
            }
            if waits {
                actions.push(Action::GiveUp(request));
            }
            for (handler, step) in state.handlers.iter().enumerate() {
                if waits && *step == Step::Idle {
                    actions.push(Action::Deliver(handler, request));
                }
            }
        }
        for (handler, step) in state.handlers.iter().enumerate() {
            match *step {
                Step::Idle if state.sweeps > 0 => actions.push(Action::Sweep(handler)),
                Step::Idle => continue,
                Step::Work { puts, deletes, .. } if puts | deletes != 0 => {
                    let tasks = (0..2).filter(|task| (puts | deletes) & (1 << task) != 0);
                    actions.extend(tasks.map(|task| Action::Handle(handler, task)));
                }
                _ => actions.push(Action::Handle(handler, 0)),
            }
            if state.deaths > 0 && *step != Step::Idle {
                actions.push(Action::Die(handler));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Send => {
                state.copies[usize::from(state.sent)] = 1;
                state.sent += 1;
            }
            Action::Duplicate(request) => {
                state.duplicates -= 1;
                state.copies[usize::from(request)] += 1;
            }
            Action::GiveUp(request) => state.copies[usize::from(request)] -= 1,
            Action::Deliver(handler, request) => state.handlers[handler] = Step::Read(Some(request)),
            Action::Sweep(handler) => {
                state.sweeps -= 1;
                state.handlers[handler] = Step::Read(None);
            }
            Action::Handle(handler, task) => {
                let step = state.handlers[handler];
                state.handlers[handler] = self.handle(&mut state, step, task);
            }
            Action::Die(handler) => {
                state.deaths -= 1;
                state.handlers[handler] = Step::Idle;
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "R97: what the latest deployment declares is there, and nothing else",
                |_, state: &State| {
                    let Some(latest) = state.sent.checked_sub(1) else { return true };
                    let is_answered = state.answered & (1 << latest) != 0;
                    !is_answered || state.schedules == DECLARED[usize::from(latest)]
                },
            ),
            Property::always("R97: who is done has what its deployment declares", |_, state: &State| !state.is_unlike),
            Property::sometimes("all three are deployed", |_, state: &State| state.answered == 0b111),
        ]
    }
}
