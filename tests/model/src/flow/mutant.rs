//! The faults that are planted, and where each is found.

use super::{Flow, Setting};

/// A fault planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// An end frees whatever place its run has, another turn's too.
    FreeAnyTurn,
    /// Who frees a place gives it to nobody.
    FreeWithoutHanding,
    /// Who hands on does not look whether there is room.
    HandTwice,
    /// Who parks looks at the places first, and puts its item then.
    LookBeforePut,
    /// Who hands a place on and dies before sending the message of it does not send that when it is back.
    NoSendTwice,
    /// Nor does who has no place any more, where nobody is parked.
    NoSendAlone,
    /// A run that is suspended keeps its place.
    WaitingKeepsPlace,
    /// A message whose turn is over is dropped, and the turn's place left.
    StaleMessageLeavesPlace,
    /// An event whose turn was over already is dropped, and the turn's place left.
    StaleEventLeavesPlace,
    /// A change that comes again and finds its setting there does nothing more.
    ChangeOnce,
    /// A change is carried out by whoever asks for it, without an event.
    ChangeWithoutEvent,
    /// A run whose reservation is over is not given another.
    ExpiredKeeps,
    /// What is over is left where it is by who comes in, and taken up again by its turn.
    TakeExpired,
    /// Who has freed a place does not look again whether somebody was parked meanwhile.
    NoSecondLook,
    /// The parked item is deleted by who hands a place on.
    UnparkOnHand,
    /// Who comes takes a place while others are parked.
    Overtake,
    /// Who parks does not move the run on: another copy of the message may still start it. It keeps the place that its
    /// turn has then.
    ParkWithoutMove,
    /// A message that comes again and finds its run moved on by who parked it does not see to the parked item.
    ParkOnce,
    /// A run that was given a place starts though it is known that the queue is paused.
    StartGiven,
    /// Who parks or frees goes by a setting that it has cached.
    LookCached,
    /// Who comes is refused a place by a setting that is cached.
    RefuseCached,
    /// A run that its trigger has not put yet is parked without being made.
    ParkAbsent,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::FreeAnyTurn,
        Self::FreeWithoutHanding,
        Self::HandTwice,
        Self::LookBeforePut,
        Self::NoSendTwice,
        Self::NoSendAlone,
        Self::WaitingKeepsPlace,
        Self::StaleMessageLeavesPlace,
        Self::StaleEventLeavesPlace,
        Self::ChangeOnce,
        Self::ChangeWithoutEvent,
        Self::ExpiredKeeps,
        Self::TakeExpired,
        Self::NoSecondLook,
        Self::UnparkOnHand,
        Self::Overtake,
        Self::ParkWithoutMove,
        Self::ParkOnce,
        Self::StartGiven,
        Self::LookCached,
        Self::RefuseCached,
        Self::ParkAbsent,
    ];
}

impl Flow {
    /// What this fault is found in.
    #[must_use]
    pub fn planted(mutant: Mutant) -> Self {
        let plain = Self { deaths: 1, mutant: Some(mutant), ..Self::plain() };
        match mutant {
            Mutant::WaitingKeepsPlace => Self { suspensions: 1, ..plain },
            Mutant::StaleEventLeavesPlace => Self { attempts: 2, cancels: 1, ..plain },
            Mutant::ExpiredKeeps | Mutant::TakeExpired | Mutant::UnparkOnHand => Self { ends: 1, ..plain },
            Mutant::NoSendAlone => Self { stalls: 1, ..plain },
            Mutant::ParkWithoutMove => Self { twins: 1, sweeps: 1, ..plain },
            Mutant::ChangeOnce
            | Mutant::ChangeWithoutEvent
            | Mutant::StartGiven
            | Mutant::LookCached
            | Mutant::RefuseCached => Self { settings: Self::paused(), ..plain },
            _ => plain,
        }
    }

    /// One place, none, and one again.
    #[must_use]
    pub fn paused() -> Vec<Setting> {
        vec![Setting::limit(1), Setting { limit: 1, is_paused: true }, Setting::limit(1)]
    }
}
