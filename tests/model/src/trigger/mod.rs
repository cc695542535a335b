//! Trigger, start, complete, reset and cancel, over one key or two.

mod actions;
mod properties;
mod state;
mod steps;

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

pub use self::actions::Action;
pub use self::state::{Claim, Event, Message, OnHeld, Release, State, Worker};
use self::state::{Step, TRIGGERS, Trigger};

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
    /// Whoever helps a claimer answers with the run that is there by then, whichever claim made it.
    HelpedAnyClaim,
    /// The handler of a dead-lettered message moves the run to its next attempt itself, instead of reporting an event.
    BuryByMoving,
    /// What a dead-lettered message reports ends its attempt although another copy of the message was taken up meanwhile.
    BuryUnderLease,
    /// Whoever finds the key held goes by its own release, and not by the holder's.
    ReleaseOfWhoAsks,
    /// Whoever finds the key held takes only a failed run for dead, whatever the key's release.
    OnlyFailuresAreDead,
    /// Who is refused by its own lease, because its start was sent again, takes it for another's.
    OwnLeaseRefuses,
    /// A reset frees the key whoever holds it by then.
    ResetAnyClaim,
    /// A holder that is not there is not put as a canceled run before its key is taken.
    NoBar,
    /// Who replaces does not look whether its own run is there already: sent again, it cancels its successor.
    ReplaceSuccessor,
    /// A run that made way is taken for one that holds its key.
    ReplacedIsHeld,
    /// The key is taken from the run that was canceled, whether or not it had come to its end by then.
    TakeUnseen,
}

/// What may happen, and what is wrong.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How many of the triggers are made.
    pub triggers: usize,
    /// In which environment each trigger is.
    pub environments: [usize; TRIGGERS],
    /// What each trigger says of its key.
    pub releases: [Release; TRIGGERS],
    /// What each trigger does about a run that holds its key.
    pub on_held: [OnHeld; TRIGGERS],
    /// Attempts of a run.
    pub attempts: u8,
    /// How often somebody resets the key.
    pub resets: u8,
    /// How often the delete of a reset is sent.
    pub deletes: u8,
    /// How often the answer to a start is lost, so that it is sent again.
    pub lost_answers: u8,
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
        triggers: TRIGGERS,
        environments: [0, 0],
        releases: [Release::OnFailure; TRIGGERS],
        on_held: [OnHeld::Return; TRIGGERS],
        attempts: 2,
        resets: 0,
        deletes: 1,
        lost_answers: 0,
        expiries: 0,
        cancels: 0,
        resends: 0,
        dead_letters: 0,
        mutant: None,
    };
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
            reset: None,
            lost_answers: self.lost_answers,
            expiries: self.expiries,
            cancels: self.cancels,
            resends: self.resends,
            poisonous: self.dead_letters,
            broken: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.possible(state, actions);
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        self.next(before, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::properties()
    }
}
