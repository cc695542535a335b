//! A parent that waits for its children while its worker and their handlers may die, and an event has two handlers at a time.

use std::collections::BTreeSet;

use stateright::{Model, Property};

/// Children waited for.
const CHILDREN: usize = 2;
/// Attempts of the parent.
const ATTEMPTS: usize = 2;
/// Handlers that an event has at a time.
const MAX_HANDLERS: usize = 2;

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The run suspends whatever its counter of wake-ups says.
    SuspendUnconditionally,
    /// A redelivered wake-up that finds its move made sends nothing.
    NoResumeTwice,
    /// The run looks whether its children have ended before it registers with them.
    LookBeforeRegistering,
    /// Who tells a waiting run of an end forgets it before it is woken.
    ForgetBeforeWaking,
    /// The counter is not raised when the run is found awake.
    NoCount,
    /// Who found the run awake and raised the counter is content, even if the run has suspended meanwhile.
    RaiseIsEnough,
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// How often the parent's worker or the handler of an event dies.
    pub deaths: u8,
    /// How often the event of each child is delivered though it is in other hands, or done.
    pub duplicates: u8,
    /// How often somebody cancels the parent.
    pub cancels: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

type Child = usize;
type Attempt = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Status {
    Queued,
    Executing,
    /// Executing under a lease that is over.
    Abandoned,
    Waiting,
    /// Completed, failed or cancelled.
    Final,
}

/// What the parent's invocation does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Write down what it waits for.
    Journal,
    /// Register with these, one by one, whether they have ended or not.
    Register(BTreeSet<Child>),
    /// See which of these have ended, one by one: who has is taken out of the record, and forgets the registration.
    Check(BTreeSet<Child>),
    /// See whether any is left, by the record that it last read.
    Look,
    Suspend,
    /// It suspended or ended: acknowledge the message.
    Acknowledge,
}

/// An invocation of the parent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Invocation {
    attempt: Attempt,
    resume: u8,
    /// Wake-ups that it knows of.
    seen: u8,
    /// Children left in the record that it last read.
    left: BTreeSet<Child>,
    step: Step,
}

/// What a handler of the end of a child does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Waking {
    /// Tell these attempts, which had registered.
    Tell(Vec<Attempt>),
    /// Wake this one, then tell the others.
    Wake(Attempt, Vec<Attempt>),
    /// It was found awake: raise the counter.
    Raise(Attempt, Vec<Attempt>),
    /// The move was made: send the message of it.
    Send(u8, Attempt, Vec<Attempt>),
    /// It knows: forget its registration, then tell the others.
    Forget(Attempt, Vec<Attempt>),
    /// All were told: acknowledge the event.
    Acknowledge,
}

impl Waking {
    /// Goes on to the next to be told.
    fn tell(waiters: Vec<Attempt>) -> Self {
        if waiters.is_empty() { Self::Acknowledge } else { Self::Tell(waiters) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Offspring {
    is_final: bool,
    waiters: BTreeSet<Attempt>,
    /// Whether the event of its end is in the queue, acknowledged by nobody yet.
    event: bool,
    /// Whoever is at the event: sorted, as one is like the other.
    handlers: Vec<Waking>,
    duplicates: u8,
}

impl Offspring {
    fn take(&mut self, next: Waking) {
        let at = self.handlers.partition_point(|other| *other < next);
        self.handlers.insert(at, next);
    }
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    status: Status,
    attempt: Attempt,
    resume: u8,
    wakes: u8,
    /// The attempt whose wait it suspended for last.
    waiting_on: Option<Attempt>,
    /// The journal: what each attempt still waits for.
    pending: [Option<BTreeSet<Child>>; ATTEMPTS],
    invocation: Option<Invocation>,
    /// Messages, by attempt and resume; each stays until it is acknowledged.
    messages: BTreeSet<(Attempt, u8)>,
    children: Vec<Offspring>,
    deaths: u8,
    cancels: u8,
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A message is delivered.
    Deliver(Attempt, u8),
    /// The invocation takes its next step.
    Step,
    /// The parent's worker dies.
    Die,
    /// A child ends.
    End(Child),
    /// A child's event is delivered.
    Take(Child),
    /// A child's event is delivered although another handler has it, or is done with it.
    TakeToo(Child),
    /// The next step of a handler of a child's event.
    Handle(Child, usize),
    /// A handler of a child's event dies.
    HandlerDies(Child, usize),
    /// Somebody cancels the parent.
    Cancel,
}

impl Wait {
    fn deliver(state: &mut State, message: (Attempt, u8)) {
        let due = message == (state.attempt, state.resume);
        match state.status {
            // A live lease: left in the queue.
            Status::Executing if state.invocation.is_some() || due => {}
            Status::Queued if due && state.invocation.is_none() => {
                state.status = Status::Executing;
                let (attempt, resume, seen) = (state.attempt, state.resume, state.wakes);
                state.invocation =
                    Some(Invocation { attempt, resume, seen, left: BTreeSet::new(), step: Step::Journal });
            }
            Status::Queued if due => {}
            Status::Abandoned if due => {
                state.messages.remove(&message);
                if state.attempt + 1 < ATTEMPTS {
                    state.attempt += 1;
                    state.status = Status::Queued;
                    state.messages.insert((state.attempt, state.resume));
                } else {
                    state.status = Status::Final;
                }
            }
            _ => {
                state.messages.remove(&message);
            }
        }
    }

    fn step(&self, state: &mut State) {
        let Some(mut now) = state.invocation.take() else { return };
        let ours = state.status == Status::Executing && (state.attempt, state.resume) == (now.attempt, now.resume);
        let early = self.mutant == Some(Mutant::LookBeforeRegistering);
        match now.step.clone() {
            Step::Journal => {
                let record = state.pending[now.attempt].get_or_insert_with(|| (0..CHILDREN).collect());
                now.left.clone_from(record);
                now.step = if early { Step::Check(record.clone()) } else { Step::Register(record.clone()) };
            }
            Step::Register(mut children) => {
                match children.pop_first() {
                    None => now.step = if early { Step::Look } else { Step::Check(now.left.clone()) },
                    Some(child) => {
                        state.children[child].waiters.insert(now.attempt);
                        now.step = Step::Register(children);
                    }
                };
            }
            Step::Check(mut children) => match children.pop_first() {
                None => now.step = if early { Step::Register(now.left.clone()) } else { Step::Look },
                Some(child) => {
                    if state.children[child].is_final
                        && let Some(record) = &mut state.pending[now.attempt]
                    {
                        record.remove(&child);
                        now.left.clone_from(record);
                        state.children[child].waiters.remove(&now.attempt);
                    }
                    now.step = Step::Check(children);
                }
            },
            Step::Look if now.left.is_empty() => {
                if ours {
                    state.status = Status::Final;
                }
                now.step = Step::Acknowledge;
            }
            Step::Look => now.step = Step::Suspend,
            // Cancelled, or not its run any more: it is given up.
            Step::Suspend if !ours => now.step = Step::Acknowledge,
            Step::Suspend if state.wakes == now.seen || self.mutant == Some(Mutant::SuspendUnconditionally) => {
                state.status = Status::Waiting;
                state.waiting_on = Some(now.attempt);
                now.step = Step::Acknowledge;
            }
            // There was a wake-up meanwhile: look again.
            Step::Suspend => {
                now.seen = state.wakes;
                now.left = state.pending[now.attempt].clone().unwrap_or_default();
                now.step = Step::Look;
            }
            Step::Acknowledge => {
                state.messages.remove(&(now.attempt, now.resume));
                return;
            }
        }
        state.invocation = Some(now);
    }

    fn handle(&self, state: &mut State, child: Child, handler: usize) {
        let next = match state.children[child].handlers.remove(handler) {
            Waking::Tell(mut others) => {
                let attempt = others.remove(0);
                let record = state.pending[attempt].get_or_insert_default();
                record.remove(&child);
                let over = record.is_empty();
                if self.mutant == Some(Mutant::ForgetBeforeWaking) {
                    state.children[child].waiters.remove(&attempt);
                }
                if over { Waking::Wake(attempt, others) } else { Waking::Forget(attempt, others) }
            }
            Waking::Wake(attempt, others) => {
                let waits_for_this = state.waiting_on == Some(attempt);
                match state.status {
                    Status::Waiting if waits_for_this => {
                        state.status = Status::Queued;
                        state.resume += 1;
                        Waking::Send(state.resume, attempt, others)
                    }
                    _ if state.attempt != attempt => Waking::Forget(attempt, others),
                    Status::Queued if waits_for_this && self.mutant != Some(Mutant::NoResumeTwice) => {
                        Waking::Send(state.resume, attempt, others)
                    }
                    Status::Executing | Status::Abandoned => Waking::Raise(attempt, others),
                    _ => Waking::Forget(attempt, others),
                }
            }
            // One write, whatever the status is by now; its answer tells whether the run has suspended meanwhile.
            Waking::Raise(attempt, others) => {
                if self.mutant != Some(Mutant::NoCount) {
                    state.wakes += 1;
                }
                let awake = matches!(state.status, Status::Executing | Status::Abandoned);
                match awake || self.mutant == Some(Mutant::RaiseIsEnough) {
                    true => Waking::Forget(attempt, others),
                    false => Waking::Wake(attempt, others),
                }
            }
            Waking::Send(resume, attempt, others) => {
                state.messages.insert((attempt, resume));
                Waking::Forget(attempt, others)
            }
            Waking::Forget(attempt, others) => {
                state.children[child].waiters.remove(&attempt);
                Waking::tell(others)
            }
            Waking::Acknowledge => {
                state.children[child].event = false;
                return;
            }
        };
        state.children[child].take(next);
    }

    /// Whether nothing happens by itself any more.
    fn is_settled(&self, state: &State) -> bool {
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let goes_on = |action: &Action| {
            let by_itself =
                !matches!(action, Action::Die | Action::TakeToo(_) | Action::HandlerDies(..) | Action::Cancel);
            by_itself && self.next_state(state, action.clone()).is_some()
        };
        !actions.iter().any(goes_on)
    }
}

impl Model for Wait {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let child = Offspring {
            is_final: false,
            waiters: BTreeSet::new(),
            event: false,
            handlers: Vec::new(),
            duplicates: self.duplicates,
        };
        vec![State {
            status: Status::Queued,
            attempt: 0,
            resume: 0,
            wakes: 0,
            waiting_on: None,
            pending: [const { None }; ATTEMPTS],
            invocation: None,
            messages: BTreeSet::from([(0, 0)]),
            children: vec![child; CHILDREN],
            deaths: self.deaths,
            cancels: self.cancels,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(state.messages.iter().map(|(attempt, resume)| Action::Deliver(*attempt, *resume)));
        if state.invocation.is_some() {
            actions.push(Action::Step);
            if state.deaths > 0 {
                actions.push(Action::Die);
            }
        }
        for (child, offspring) in state.children.iter().enumerate() {
            if !offspring.is_final {
                actions.push(Action::End(child));
            } else if offspring.event && offspring.handlers.is_empty() {
                actions.push(Action::Take(child));
            } else if offspring.duplicates > 0 && offspring.handlers.len() < MAX_HANDLERS {
                actions.push(Action::TakeToo(child));
            }
            actions.extend((0..offspring.handlers.len()).map(|handler| Action::Handle(child, handler)));
            if state.deaths > 0 {
                actions.extend((0..offspring.handlers.len()).map(|handler| Action::HandlerDies(child, handler)));
            }
        }
        if state.cancels > 0 && state.status != Status::Final {
            actions.push(Action::Cancel);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Deliver(attempt, resume) => Self::deliver(&mut state, (attempt, resume)),
            Action::Step => self.step(&mut state),
            Action::Die => {
                state.deaths -= 1;
                state.invocation = None;
                if state.status == Status::Executing {
                    state.status = Status::Abandoned;
                }
            }
            Action::End(child) => {
                let offspring = &mut state.children[child];
                offspring.is_final = true;
                offspring.event = true;
            }
            Action::Take(child) | Action::TakeToo(child) => {
                let offspring = &mut state.children[child];
                offspring.duplicates -= u8::from(matches!(action, Action::TakeToo(_)));
                let waiters = offspring.waiters.iter().copied().collect();
                offspring.take(Waking::tell(waiters));
            }
            Action::Handle(child, handler) => self.handle(&mut state, child, handler),
            Action::HandlerDies(child, handler) => {
                state.deaths -= 1;
                state.children[child].handlers.remove(handler);
            }
            Action::Cancel => {
                state.cancels -= 1;
                state.status = Status::Final;
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "I9: a waiting run is always woken, and I8: none is left without an end",
                |model: &Self, state: &State| !model.is_settled(state) || state.status == Status::Final,
            ),
            Property::sometimes("the parent suspends and is resumed", |_, state: &State| {
                state.resume > 0 && state.status == Status::Final
            }),
            Property::sometimes("the parent need not suspend", |_, state: &State| {
                state.resume == 0 && state.wakes > 0 && state.status == Status::Final
            }),
        ]
    }
}
