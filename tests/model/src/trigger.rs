//! Trigger, start, complete, reset and cancel, over one key or two.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

/// Triggers, and so requests and runs: run `i` is the one that request `i` names.
const TRIGGERS: usize = 2;

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// The run is put before its message is sent: one that exists may never have been enqueued.
    PutBeforeSend,
    /// A failed run's key is deleted whoever holds it.
    ClearUnconditionally,
    /// A run that is missing is taken for one that is there: nobody helps a claimer that died.
    NeverHelp,
    /// A redelivered event that finds its move made does nothing more.
    NoFollowUpTwice,
    /// A claim of a request that was sent again is taken for the one that made its run.
    AnyClaimMade,
    /// The handler of a dead-lettered message moves the run to its next attempt itself, instead of reporting an event.
    BuryByMoving,
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// In which environment each trigger is.
    pub environments: [usize; TRIGGERS],
    /// Attempts of a run.
    pub attempts: u8,
    /// How often somebody resets the key.
    pub resets: u8,
    /// How often a window ends.
    pub expiries: u8,
    /// How often somebody cancels a run.
    pub cancels: u8,
    /// How often a request is sent again.
    pub resends: u8,
    /// How many messages are delivered too often, and so dead-lettered.
    pub dead_letters: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

impl Protocol {
    /// Two triggers of one key; nothing happens to it but what they do.
    pub const PLAIN: Self = Self {
        environments: [0, 0],
        attempts: 2,
        resets: 0,
        expiries: 0,
        cancels: 0,
        resends: 0,
        dead_letters: 0,
        mutant: None,
    };
}

type Run = usize;

/// The key's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    run: Run,
    /// Which claim it is: the moment of it, in the real protocol.
    number: u8,
    /// Whether its window is still open.
    open: bool,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Status {
    Queued(u8),
    Executing(u8),
    /// Executing under a lease that is over: its worker died.
    Abandoned(u8),
    Completed,
    Canceled,
    Failed,
}

impl Status {
    fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Failed)
    }

    /// The attempt it is in; past any if it is final.
    fn attempt(self) -> u8 {
        match self {
            Self::Queued(attempt) | Self::Executing(attempt) | Self::Abandoned(attempt) => attempt,
            Self::Completed | Self::Canceled | Self::Failed => u8::MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Stored {
    status: Status,
    /// The claim that made it.
    made_by: u8,
}

/// What a trigger is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Begin,
    Claim,
    /// It was refused: look at the run that holds the key.
    Read(Claim),
    /// The holder is dead: claim again on condition that it still holds.
    Reclaim(Claim),
    Send {
        run: Run,
        number: u8,
        cached: bool,
    },
    Put {
        run: Run,
        number: u8,
        cached: bool,
    },
    Answered,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Trigger {
    step: Step,
    /// Runs that had lost their key when it began: by failure, by a reset, or by the end of the window.
    stale: BTreeSet<Run>,
    answers: Vec<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Answer {
    run: Run,
    cached: bool,
}

/// A run message; it stays until it is acknowledged, and may be delivered at any time until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    run: Run,
    attempt: u8,
    number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Outcome {
    Succeeded,
    Failed,
    Canceled,
}

/// What is left to do about an event before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Left {
    Move,
    SendRetry,
    Clear,
}

/// A completion event under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    run: Run,
    attempt: u8,
    outcome: Outcome,
    left: Left,
}

/// What the handler of a dead-lettered message does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Burial {
    /// Put the run, if a trigger never did.
    Put,
    /// See whether the message is of the attempt that the run is in.
    Look,
    /// It is: report that the attempt crashed.
    Report,
    /// Only with a fault: the run was moved, send the message of its next attempt.
    SendRetry,
    Acknowledge,
}

/// A worker with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Worker {
    message: Message,
    /// Whether its event was accepted, so that acknowledging is all that is left.
    reported: bool,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    keys: [Option<Claim>; 2],
    runs: [Option<Stored>; TRIGGERS],
    messages: BTreeSet<Message>,
    workers: BTreeSet<Worker>,
    events: BTreeSet<Event>,
    dead_letters: BTreeMap<Message, Burial>,
    triggers: [Trigger; TRIGGERS],
    claims: u8,
    /// Claims that hold no more: their run failed, they were reset, or their window is over.
    gone: BTreeSet<u8>,
    /// Failures, resets and ends of windows so far: what may stand between two different answers (I1).
    separators: u8,
    resets: u8,
    expiries: u8,
    cancels: u8,
    resends: u8,
    /// Messages that may yet be dead-lettered.
    poisonous: u8,
    /// The invariant that a step broke.
    broken: Option<&'static str>,
}

/// What can happen next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A trigger takes its next step.
    Step(usize),
    /// A trigger's process dies.
    Die(usize),
    /// A request is sent again.
    Resend(usize),
    /// A message is delivered.
    Deliver(Message),
    /// A worker's task returns, or fails.
    Report(Worker, bool),
    /// A worker acknowledges its message.
    Acknowledge(Worker),
    /// A worker dies.
    WorkerDies(Worker),
    /// The next step of an event.
    Handle(Event),
    /// The handler of an event died: it is delivered again.
    Redeliver(Event),
    /// A message was delivered too often.
    DeadLetter(Message),
    /// The next step of a dead-lettered message.
    Bury(Message),
    /// The handler of a dead-lettered message died: it is delivered again.
    BuryAgain(Message),
    /// Somebody resets the key.
    Reset(usize),
    /// The key's window ends; the item stays.
    Expire(usize),
    /// Somebody cancels a run.
    Cancel(Run),
}

impl Action {
    /// Whether it happens by itself sooner or later, unlike deaths and what people do.
    fn is_progress(&self) -> bool {
        !matches!(
            self,
            Self::Die(_)
                | Self::Resend(_)
                | Self::WorkerDies(_)
                | Self::Redeliver(_)
                | Self::DeadLetter(_)
                | Self::BuryAgain(_)
                | Self::Reset(_)
                | Self::Expire(_)
                | Self::Cancel(_)
        )
    }
}

impl State {
    /// Takes `claim` out of its place. It may not have been there by right.
    fn lose(&mut self, claim: Claim, expected: Option<Run>) {
        let stored = self.runs[claim.run];
        let kept = stored.is_some_and(|run| {
            run.made_by == claim.number && matches!(run.status, Status::Completed | Status::Canceled)
        });
        if expected.is_some_and(|run| run != claim.run) {
            self.broken = Some("I4");
        } else if claim.open && kept {
            self.broken = Some("I5");
        }
        self.gone.insert(claim.number);
    }

    fn claim(&mut self, trigger: usize, place: usize) -> Step {
        if let Some(before) = self.keys[place] {
            self.lose(before, None);
        }
        self.claims += 1;
        self.keys[place] = Some(Claim { run: trigger, number: self.claims, open: true });
        Step::Send { run: trigger, number: self.claims, cached: false }
    }

    fn answer(&mut self, trigger: usize, run: Run, cached: bool) -> Step {
        let asked = &mut self.triggers[trigger];
        if cached && asked.stale.contains(&run) {
            self.broken = Some("R30, R23 and R40: an answer from before the key was freed");
        }
        asked.answers.push(Answer { run, cached });
        Step::Answered
    }
}

impl Protocol {
    fn step(&self, state: &mut State, trigger: usize) {
        let place = self.environments[trigger];
        let next = match state.triggers[trigger].step.clone() {
            Step::Begin => {
                let lost = |run: &Run| state.runs[*run].is_some_and(|stored| state.gone.contains(&stored.made_by));
                state.triggers[trigger].stale = (0..TRIGGERS).filter(lost).collect();
                Step::Claim
            }
            Step::Claim => match state.keys[place] {
                Some(held) if held.open && held.run == trigger => {
                    Step::Send { run: trigger, number: held.number, cached: false }
                }
                Some(held) if held.open => Step::Read(held),
                _ => state.claim(trigger, place),
            },
            Step::Read(held) => match state.runs[held.run] {
                None if self.mutant == Some(Mutant::NeverHelp) => state.answer(trigger, held.run, true),
                None => Step::Send { run: held.run, number: held.number, cached: true },
                Some(run) if run.status == Status::Failed => Step::Reclaim(held),
                Some(run) if run.made_by != held.number && self.mutant != Some(Mutant::AnyClaimMade) => {
                    Step::Reclaim(held)
                }
                Some(_) => state.answer(trigger, held.run, true),
            },
            Step::Reclaim(dead) => match state.keys[place] {
                Some(held) if held.open && (held.run, held.number) != (dead.run, dead.number) => Step::Claim,
                _ => state.claim(trigger, place),
            },
            Step::Send { run, number, cached } if self.mutant == Some(Mutant::PutBeforeSend) => {
                state.runs[run].get_or_insert(Stored { status: Status::Queued(1), made_by: number });
                Step::Put { run, number, cached }
            }
            Step::Send { run, number, cached } => {
                state.messages.insert(Message { run, attempt: 1, number });
                Step::Put { run, number, cached }
            }
            Step::Put { run, number, cached } => {
                if self.mutant == Some(Mutant::PutBeforeSend) {
                    state.messages.insert(Message { run, attempt: 1, number });
                }
                state.runs[run].get_or_insert(Stored { status: Status::Queued(1), made_by: number });
                state.answer(trigger, run, cached)
            }
            Step::Answered | Step::Dead => return,
        };
        state.triggers[trigger].step = next;
    }

    fn deliver(state: &mut State, message: Message) {
        let Message { run, attempt, number } = message;
        match state.runs[run] {
            None if attempt == 1 => {
                state.runs[run] = Some(Stored { status: Status::Executing(1), made_by: number });
                state.workers.insert(Worker { message, reported: false });
            }
            Some(stored) if stored.status == Status::Queued(attempt) => {
                state.runs[run] = Some(Stored { status: Status::Executing(attempt), ..stored });
                state.workers.insert(Worker { message, reported: false });
            }
            Some(stored) if stored.status == Status::Abandoned(attempt) => {
                state.events.insert(Event { run, attempt, outcome: Outcome::Failed, left: Left::Move });
                state.messages.remove(&message);
            }
            Some(stored) if stored.status.attempt() > attempt => {
                state.messages.remove(&message);
            }
            // A live lease, or a move that is still to come: left in the queue.
            _ => {}
        }
    }

    fn handle(&self, state: &mut State, event: Event) {
        let Event { run, attempt, outcome, left } = event;
        state.events.remove(&event);
        let Some(stored) = state.runs[run] else { return };
        let again = self.mutant != Some(Mutant::NoFollowUpTwice);
        let mut go_on = |left| {
            state.events.insert(Event { left, ..event });
        };
        match (left, outcome, stored.status) {
            (Left::Move, Outcome::Canceled, status) if !status.is_final() => {
                state.runs[run] = Some(Stored { status: Status::Canceled, ..stored });
            }
            (
                Left::Move,
                Outcome::Succeeded | Outcome::Failed,
                Status::Executing(at) | Status::Abandoned(at) | Status::Queued(at),
            ) if at == attempt && (outcome == Outcome::Failed || !matches!(stored.status, Status::Queued(_))) => {
                let status = match outcome {
                    Outcome::Succeeded => Status::Completed,
                    _ if attempt < self.attempts => Status::Queued(attempt + 1),
                    _ => Status::Failed,
                };
                match status {
                    Status::Queued(_) => go_on(Left::SendRetry),
                    Status::Failed => {
                        go_on(Left::Clear);
                        state.separators += 1;
                        state.gone.insert(stored.made_by);
                    }
                    _ => {}
                }
                state.runs[run] = Some(Stored { status, ..stored });
            }
            // Delivered again after its move: what follows may not have been done.
            (Left::Move, Outcome::Failed, Status::Queued(at)) if at == attempt + 1 && again => go_on(Left::SendRetry),
            (Left::Move, Outcome::Failed, Status::Failed) if attempt == self.attempts && again => go_on(Left::Clear),
            (Left::Move, ..) => {}
            (Left::SendRetry, ..) => {
                state.messages.insert(Message { run, attempt: attempt + 1, number: stored.made_by });
            }
            (Left::Clear, ..) => {
                let place = self.environments[run];
                let anyone = self.mutant == Some(Mutant::ClearUnconditionally);
                if let Some(held) = state.keys[place].filter(|held| anyone || held.run == run) {
                    state.keys[place] = None;
                    state.lose(held, Some(run));
                }
            }
        }
    }

    fn bury(&self, state: &mut State, message: Message) {
        let Some(burial) = state.dead_letters.remove(&message) else { return };
        let Message { run, attempt, number } = message;
        let next = match burial {
            Burial::Put => {
                if attempt == 1 {
                    state.runs[run].get_or_insert(Stored { status: Status::Queued(1), made_by: number });
                }
                Burial::Look
            }
            Burial::Look => match state.runs[run] {
                // A live lease: left in the queue.
                Some(stored) if stored.status == Status::Executing(attempt) => Burial::Put,
                Some(stored) if stored.status.attempt() != attempt => Burial::Acknowledge,
                Some(stored) if self.mutant == Some(Mutant::BuryByMoving) && attempt < self.attempts => {
                    state.runs[run] = Some(Stored { status: Status::Queued(attempt + 1), ..stored });
                    Burial::SendRetry
                }
                Some(_) => Burial::Report,
                None => Burial::Acknowledge,
            },
            Burial::Report => {
                state.events.insert(Event { run, attempt, outcome: Outcome::Failed, left: Left::Move });
                Burial::Acknowledge
            }
            Burial::SendRetry => {
                state.messages.insert(Message { attempt: attempt + 1, ..message });
                Burial::Acknowledge
            }
            Burial::Acknowledge => return,
        };
        state.dead_letters.insert(message, next);
    }

    /// Whether nothing happens by itself any more.
    fn is_settled(&self, state: &State) -> bool {
        if !state.workers.is_empty() || !state.events.is_empty() || !state.dead_letters.is_empty() {
            return false;
        }
        let mut actions = Vec::new();
        self.actions(state, &mut actions);
        let changes = |action: &Action| self.next_state(state, action.clone()).is_some_and(|next| next != *state);
        !actions.iter().any(|action| action.is_progress() && changes(action))
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let trigger = Trigger { step: Step::Begin, stale: BTreeSet::new(), answers: Vec::new() };
        vec![State {
            keys: [None; 2],
            runs: [None; TRIGGERS],
            messages: BTreeSet::new(),
            workers: BTreeSet::new(),
            events: BTreeSet::new(),
            dead_letters: BTreeMap::new(),
            triggers: [trigger.clone(), trigger],
            claims: 0,
            gone: BTreeSet::new(),
            separators: 0,
            resets: self.resets,
            expiries: self.expiries,
            cancels: self.cancels,
            resends: self.resends,
            poisonous: self.dead_letters,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (trigger, asked) in state.triggers.iter().enumerate() {
            match asked.step {
                Step::Answered | Step::Dead if state.resends > 0 => actions.push(Action::Resend(trigger)),
                Step::Answered | Step::Dead => {}
                Step::Begin => actions.push(Action::Step(trigger)),
                _ => actions.extend([Action::Step(trigger), Action::Die(trigger)]),
            }
        }
        actions.extend(state.messages.iter().map(|message| Action::Deliver(*message)));
        if state.poisonous > 0 {
            actions.extend(state.messages.iter().map(|message| Action::DeadLetter(*message)));
        }
        for (message, burial) in &state.dead_letters {
            actions.push(Action::Bury(*message));
            if *burial != Burial::Put {
                actions.push(Action::BuryAgain(*message));
            }
        }
        for worker in &state.workers {
            match worker.reported {
                false => actions.extend([Action::Report(*worker, true), Action::Report(*worker, false)]),
                true => actions.push(Action::Acknowledge(*worker)),
            }
            actions.push(Action::WorkerDies(*worker));
        }
        for event in &state.events {
            actions.push(Action::Handle(*event));
            if event.left != Left::Move {
                actions.push(Action::Redeliver(*event));
            }
        }
        for place in 0..state.keys.len() {
            if state.keys[place].is_some() && state.resets > 0 {
                actions.push(Action::Reset(place));
            }
            if state.keys[place].is_some_and(|claim| claim.open) && state.expiries > 0 {
                actions.push(Action::Expire(place));
            }
        }
        for run in 0..TRIGGERS {
            if state.runs[run].is_some_and(|run| !run.status.is_final()) && state.cancels > 0 {
                actions.push(Action::Cancel(run));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Step(trigger) => self.step(&mut state, trigger),
            Action::Die(trigger) => state.triggers[trigger].step = Step::Dead,
            Action::Resend(trigger) => {
                state.resends -= 1;
                state.triggers[trigger].step = Step::Begin;
            }
            Action::Deliver(message) => Self::deliver(&mut state, message),
            Action::Report(worker, succeeded) => {
                let Message { run, attempt, .. } = worker.message;
                let outcome = if succeeded { Outcome::Succeeded } else { Outcome::Failed };
                state.events.insert(Event { run, attempt, outcome, left: Left::Move });
                state.workers.remove(&worker);
                state.workers.insert(Worker { reported: true, ..worker });
            }
            Action::Acknowledge(worker) => {
                state.workers.remove(&worker);
                state.messages.remove(&worker.message);
            }
            Action::WorkerDies(worker) => {
                state.workers.remove(&worker);
                let Message { run, attempt, .. } = worker.message;
                if let Some(stored) = state.runs[run].as_mut().filter(|run| run.status == Status::Executing(attempt)) {
                    stored.status = Status::Abandoned(attempt);
                }
            }
            Action::Handle(event) => self.handle(&mut state, event),
            Action::Redeliver(event) => {
                state.events.remove(&event);
                state.events.insert(Event { left: Left::Move, ..event });
            }
            Action::DeadLetter(message) => {
                state.poisonous -= 1;
                state.messages.remove(&message);
                state.dead_letters.insert(message, Burial::Put);
            }
            Action::Bury(message) => self.bury(&mut state, message),
            Action::BuryAgain(message) => {
                state.dead_letters.insert(message, Burial::Put);
            }
            Action::Reset(place) => {
                state.resets -= 1;
                if let Some(claim) = state.keys[place].take() {
                    state.gone.insert(claim.number);
                    state.separators += u8::from(claim.open);
                }
            }
            Action::Expire(place) => {
                state.expiries -= 1;
                state.separators += 1;
                if let Some(claim) = state.keys[place].as_mut() {
                    claim.open = false;
                    state.gone.insert(claim.number);
                }
            }
            Action::Cancel(run) => {
                state.cancels -= 1;
                let attempt = state.runs[run].map_or(1, |stored| stored.status.attempt());
                state.events.insert(Event { run, attempt, outcome: Outcome::Canceled, left: Left::Move });
            }
        }
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "I1: different answers have a failure, an end or a reset between them",
                |model: &Self, state: &State| {
                    let answers = state.triggers.iter().flat_map(|asked| &asked.answers);
                    let runs: BTreeSet<Run> = answers.map(|answer| answer.run).collect();
                    let keys = BTreeSet::from(model.environments).len();
                    runs.len() <= keys + usize::from(state.separators)
                },
            ),
            Property::always(
                "I2: an acknowledged trigger's run reaches a final status",
                |model: &Self, state: &State| {
                    let ends = |answer: &Answer| state.runs[answer.run].is_some_and(|run| run.status.is_final());
                    !model.is_settled(state) || state.triggers.iter().flat_map(|asked| &asked.answers).all(ends)
                },
            ),
            Property::always("I3: a request makes no run but its own, and is told so alike", |_, state: &State| {
                let own = |(request, asked): (usize, &Trigger)| {
                    asked.answers.iter().all(|answer| answer.cached || answer.run == request)
                };
                state.triggers.iter().enumerate().all(own)
            }),
            Property::always("I4: clearing removes no other run's key", |_, state: &State| state.broken != Some("I4")),
            Property::always("I5: success and cancellation keep the key", |_, state: &State| {
                state.broken != Some("I5")
            }),
            Property::always("R23, R30, R40: no answer is from before the key was freed", |_, state: &State| {
                state.broken.is_none_or(|broken| !broken.starts_with('R'))
            }),
            Property::always("I6: environments do not see each other's keys", |model: &Self, state: &State| {
                let own = |(request, asked): (usize, &Trigger)| {
                    let place = model.environments[request];
                    asked.answers.iter().all(|answer| model.environments[answer.run] == place)
                };
                state.triggers.iter().enumerate().all(own)
            }),
            Property::always("I8: no run is left without an end", |model: &Self, state: &State| {
                !model.is_settled(state) || state.runs.iter().flatten().all(|run| run.status.is_final())
            }),
            Property::sometimes("every trigger is answered and every run ends", |model: &Self, state: &State| {
                let answered = state.triggers.iter().all(|asked| !asked.answers.is_empty());
                answered && model.is_settled(state)
            }),
        ]
    }
}
