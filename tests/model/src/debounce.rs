//! Triggers of one debounce key: the first makes a delayed run, later ones push its start, until it starts.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

/// The last moment that there is.
const END: u8 = 2;
/// How far off a trigger puts the start.
const DELAY: u8 = 1;
/// How far off a run's start may be from when it was made.
const MAX_DELAY: u8 = 2;

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A push is written whether or not the run has started.
    PushWhatStarted,
    /// A push leaves nothing under its own run's name.
    NoAlias,
    /// What a push leaves under its own run's name is written before it.
    AliasBeforePush,
    /// A run does not tell whose push was its last.
    NoLastPush,
    /// A run that is made by somebody else's message does not tell who that was.
    AnonymousHelp,
    /// A claimer that died is answered with, and not helped.
    NeverHelp,
    /// The key of a run that has started is taken whoever holds it by then.
    TakeAnyClaim,
    /// Who pushes a run, or takes its key, does not see to it that whoever pushed it last has left its alias.
    ForgetLastPush,
    /// A push is written over another that came after the look.
    PushOverOthers,
    /// The key of a run that is still delayed is taken, and the run left open to pushes that are under way.
    LeaveOpen,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::PushWhatStarted,
        Self::NoAlias,
        Self::AliasBeforePush,
        Self::NoLastPush,
        Self::AnonymousHelp,
        Self::NeverHelp,
        Self::TakeAnyClaim,
        Self::ForgetLastPush,
        Self::PushOverOthers,
        Self::LeaveOpen,
    ];
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Debounce {
    /// Triggers of the key. Each brings a payload of its own, which replaces the one that is there.
    pub triggers: usize,
    /// How often the process of a trigger dies.
    pub deaths: u8,
    /// How often a request is sent again, answered or not.
    pub resends: u8,
    /// The fault.
    pub mutant: Option<Mutant>,
}

/// A request, and the run that it names.
type Name = usize;

/// A run's record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Run {
    is_started: bool,
    /// Whether it may not be put off any further, and its key is another's.
    is_closed: bool,
    made_at: u8,
    due: u8,
    /// Whose payload it has.
    payload: Name,
    /// Who pushed it last, or made it in its claimer's place.
    pushed_by: Option<Name>,
    /// Whose triggers it stands for. Nobody reads this.
    stands_for: BTreeSet<Name>,
}

/// What a trigger does next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Claim the key: if nobody holds it, or this run, which is dead, does.
    Claim(Option<Name>),
    /// Another run holds it: look what is under the own run's name.
    LookForOwn(Name),
    /// Look at that run.
    Read(Name),
    /// Leave the alias of whoever pushed it last and may have died.
    Settle(Name, Name),
    /// It may not be put off any further, and was pushed last by this one: nobody shall push it any more.
    Close(Name, Option<Name>),
    /// It is delayed, and was pushed last by this one: push it.
    Push(Name, Option<Name>),
    /// Leave under the own run's name which run stands for it.
    Alias(Name),
    /// It is not there: send its message, with the own payload.
    HelpSend(Name),
    /// And make it.
    HelpPut(Name),
    /// The key is ours: send our message.
    Send,
    /// And make the run.
    Put,
    Answered,
    Dead,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    now: u8,
    key: Option<Name>,
    runs: BTreeMap<Name, Run>,
    /// Under the name of a run that was not made, the one that stands for it.
    aliases: BTreeMap<Name, Name>,
    /// The first messages of runs: of which, from whom, when it is due.
    messages: BTreeSet<(Name, Name, u8)>,
    triggers: Vec<Step>,
    answers: BTreeSet<(Name, Name)>,
    /// The payloads that were executed, in order.
    executed: Vec<Name>,
    deaths: u8,
    resends: u8,
}

/// One call, or what happens to one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Tick,
    /// A trigger does what is next.
    Step(Name),
    /// Its process dies.
    Die(Name),
    /// Its request is sent again.
    Resend(Name),
    /// A message that is due is delivered.
    Deliver(Name, Name, u8),
}

impl Debounce {
    fn new_run(&self, of: Name, from: Name, now: u8) -> Run {
        let pushed_by = (of != from && self.mutant != Some(Mutant::AnonymousHelp)).then_some(from);
        let stands_for = BTreeSet::from([of, from]);
        Run {
            is_started: false,
            is_closed: false,
            made_at: now,
            due: now + DELAY,
            payload: from,
            pushed_by,
            stands_for,
        }
    }

    fn step(&self, state: &mut State, own: Name) {
        let now = state.now;
        state.triggers[own] = match state.triggers[own].clone() {
            Step::Claim(dead) => match state.key {
                Some(holder) if holder == own => Step::Send,
                Some(holder)
                    if Some(holder) != dead && !(dead.is_some() && self.mutant == Some(Mutant::TakeAnyClaim)) =>
                {
                    Step::LookForOwn(holder)
                }
                _ => {
                    state.key = Some(own);
                    Step::Send
                }
            },
            Step::LookForOwn(holder) => match state.aliases.get(&own) {
                Some(run) => Self::answer(state, own, *run),
                None if state.runs.contains_key(&own) => Self::answer(state, own, own),
                None if self.mutant == Some(Mutant::AliasBeforePush) => Step::Alias(holder),
                None => Step::Read(holder),
            },
            Step::Read(run) => match state.runs.get(&run) {
                None if self.mutant == Some(Mutant::NeverHelp) => Self::answer(state, own, run),
                None => Step::HelpSend(run),
                Some(there) if there.pushed_by == Some(own) => Step::Alias(run),
                Some(there) if self.is_unsettled(state, there, own) => {
                    Step::Settle(run, there.pushed_by.unwrap_or_default())
                }
                Some(there) if there.is_started || there.is_closed => Step::Claim(Some(run)),
                Some(there) if now + DELAY > there.made_at + MAX_DELAY => match self.mutant {
                    Some(Mutant::LeaveOpen) => Step::Claim(Some(run)),
                    _ => Step::Close(run, there.pushed_by),
                },
                Some(there) => Step::Push(run, there.pushed_by),
            },
            Step::Settle(run, last) => {
                if !state.runs.contains_key(&last) {
                    state.aliases.entry(last).or_insert(run);
                }
                Step::Read(run)
            }
            Step::Close(run, seen) => {
                if let Some(there) = state.runs.get_mut(&run)
                    && !there.is_started
                    && there.pushed_by == seen
                {
                    there.is_closed = true;
                }
                Step::Read(run)
            }
            Step::Push(run, seen) => self.push(state, own, run, seen),
            Step::Alias(run) => {
                let run = *state.aliases.entry(own).or_insert(run);
                if self.mutant == Some(Mutant::AliasBeforePush) {
                    Step::Read(run)
                } else {
                    Self::answer(state, own, run)
                }
            }
            Step::HelpSend(run) => {
                state.messages.insert((run, own, now + DELAY));
                Step::HelpPut(run)
            }
            // Whether it was this that made it, the next look tells.
            Step::HelpPut(run) => {
                let made = self.new_run(run, own, now);
                state.runs.entry(run).or_insert(made);
                Step::Read(run)
            }
            Step::Send => {
                state.messages.insert((own, own, now + DELAY));
                Step::Put
            }
            Step::Put => match state.aliases.get(&own) {
                Some(run) => Self::answer(state, own, *run),
                None => {
                    let made = self.new_run(own, own, now);
                    state.runs.entry(own).or_insert(made);
                    Self::answer(state, own, own)
                }
            },
            done @ (Step::Answered | Step::Dead) => done,
        };
    }

    /// One conditional write.
    fn push(&self, state: &mut State, own: Name, run: Name, seen: Option<Name>) -> Step {
        let now = state.now;
        let is_blind = self.mutant == Some(Mutant::PushWhatStarted);
        let is_rash = self.mutant == Some(Mutant::PushOverOthers);
        match state.runs.get_mut(&run) {
            // Somebody pushed it meanwhile, and as far: that one came at the same moment.
            Some(there) if !there.is_started && there.pushed_by != seen && !is_rash && there.due >= now + DELAY => {
                there.stands_for.insert(own);
                Step::Alias(run)
            }
            Some(there) if (there.pushed_by != seen || there.is_closed) && !is_rash => Step::Read(run),
            Some(there) if !there.is_started || is_blind => {
                if !there.is_started {
                    there.stands_for.insert(own);
                }
                there.due = there.due.max(now + DELAY);
                there.payload = own;
                there.pushed_by = (self.mutant != Some(Mutant::NoLastPush)).then_some(own);
                match self.mutant {
                    Some(Mutant::NoAlias | Mutant::AliasBeforePush) => Self::answer(state, own, run),
                    _ => Step::Alias(run),
                }
            }
            _ => Step::Read(run),
        }
    }

    /// Whether whoever pushed a run last, and is not `own`, has left no alias.
    fn is_unsettled(&self, state: &State, run: &Run, own: Name) -> bool {
        let is_left = |last: Name| state.aliases.contains_key(&last) || state.runs.contains_key(&last);
        let forgets = matches!(self.mutant, Some(Mutant::ForgetLastPush | Mutant::NoAlias));
        !forgets && run.pushed_by.is_some_and(|last| last != own && !is_left(last))
    }

    fn answer(state: &mut State, own: Name, run: Name) -> Step {
        state.answers.insert((own, run));
        Step::Answered
    }

    fn deliver(&self, state: &mut State, message: (Name, Name, u8)) {
        let (name, from, due) = message;
        // An alias is found where the run would be.
        if !state.aliases.contains_key(&name) {
            let absent = Run { due, ..self.new_run(name, from, state.now) };
            let run = state.runs.entry(name).or_insert(absent);
            if !run.is_started && run.due > state.now {
                return;
            }
            if !run.is_started {
                run.is_started = true;
                state.executed.push(run.payload);
            }
        }
        state.messages.remove(&message);
    }

    fn is_settled(&self, state: &State) -> bool {
        state.messages.is_empty() && state.triggers.iter().all(|step| matches!(step, Step::Answered | Step::Dead))
    }
}

impl Model for Debounce {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            key: None,
            runs: BTreeMap::new(),
            aliases: BTreeMap::new(),
            messages: BTreeSet::new(),
            triggers: vec![Step::Claim(None); self.triggers],
            answers: BTreeSet::new(),
            executed: Vec::new(),
            deaths: self.deaths,
            resends: self.resends,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // In the end everybody is done, and what is left comes to its time.
        if state.now < END
            || (state.now < END + DELAY
                && state.triggers.iter().all(|step| *step == Step::Answered || *step == Step::Dead))
        {
            actions.push(Action::Tick);
        }
        for (name, step) in state.triggers.iter().enumerate() {
            match step {
                Step::Answered | Step::Dead if state.resends > 0 => actions.push(Action::Resend(name)),
                Step::Answered | Step::Dead => {}
                Step::Claim(None) => actions.push(Action::Step(name)),
                _ if state.deaths > 0 => actions.extend([Action::Step(name), Action::Die(name)]),
                _ => actions.push(Action::Step(name)),
            }
        }
        let due = state.messages.iter().filter(|(_, _, due)| *due <= state.now);
        actions.extend(due.map(|(of, from, due)| Action::Deliver(*of, *from, *due)));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Tick => state.now += 1,
            Action::Step(name) => self.step(&mut state, name),
            Action::Die(name) => {
                state.deaths -= 1;
                state.triggers[name] = Step::Dead;
            }
            Action::Resend(name) => {
                state.resends -= 1;
                state.triggers[name] = Step::Claim(None);
            }
            Action::Deliver(of, from, due) => self.deliver(&mut state, (of, from, due)),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("R88: what was answered with stands for whoever asked", |model: &Self, state: &State| {
                !model.is_settled(state)
                    || state.answers.iter().all(|(own, run)| {
                        state.runs.get(run).is_some_and(|run| run.is_started && run.stands_for.contains(own))
                    })
            }),
            Property::always("R89: no payload is executed twice", |_, state: &State| {
                state.executed.iter().collect::<BTreeSet<_>>().len() == state.executed.len()
            }),
            Property::always("R90: one run of a key is delayed at a time", |_, state: &State| {
                let delayed =
                    state.runs.values().filter(|run| !run.is_started && run.made_at + MAX_DELAY > state.now + DELAY);
                delayed.count() <= 1
            }),
            Property::always("I3: a request is answered alike", |_, state: &State| {
                state.answers.iter().map(|(own, _)| own).collect::<BTreeSet<_>>().len() == state.answers.len()
            }),
            Property::sometimes("a run that was pushed starts", |_, state: &State| {
                state.runs.values().any(|run| run.is_started && run.pushed_by.is_some() && run.stands_for.len() > 1)
            }),
        ]
    }
}
