//! Everything there is at a moment: the key's item, runs, messages, who is about to do what.

use std::collections::{BTreeMap, BTreeSet};

/// Triggers, and so requests and runs: run `i` is the one that request `i` names.
pub(super) const TRIGGERS: usize = 2;

/// Which ends of its run free a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// A failure.
    OnFailure,
    /// Any.
    OnEnd,
    /// None.
    Never,
}

/// What a trigger does about a run under way that holds its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHeld {
    /// It is answered with that run.
    Return,
    /// It cancels that run, and makes its own.
    Replace,
}

pub(super) type Run = usize;

/// The key's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Claim {
    pub(super) run: Run,
    /// Which claim it is: the moment of it, in the real protocol.
    pub(super) number: u8,
    /// Whether its window is still open.
    pub(super) open: bool,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Status {
    Queued(u8),
    Executing(u8),
    /// Executing under a lease that is over: its worker died.
    Abandoned(u8),
    Completed,
    Canceled,
    Failed,
}

impl Status {
    /// Whether this end of the holder frees a key of this release.
    pub(super) fn frees(self, release: Release) -> bool {
        match release {
            Release::OnFailure => self == Self::Failed,
            Release::OnEnd => self.is_final(),
            Release::Never => false,
        }
    }

    pub(super) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Failed)
    }

    /// The attempt it is in; past any if it is final.
    pub(super) fn attempt(self) -> u8 {
        match self {
            Self::Queued(attempt) | Self::Executing(attempt) | Self::Abandoned(attempt) => attempt,
            Self::Completed | Self::Canceled | Self::Failed => u8::MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RunRecord {
    pub(super) status: Status,
    /// The claim that made it.
    pub(super) made_by: u8,
    /// Whether it was canceled to make way for another.
    pub(super) replaced: bool,
}

impl RunRecord {
    pub(super) fn queued(made_by: u8) -> Self {
        Self { status: Status::Queued(1), made_by, replaced: false }
    }

    /// Whether a key of this release that it held is free by now.
    pub(super) fn gave_up(&self, release: Release) -> bool {
        self.replaced || self.status.frees(release)
    }
}

/// What a trigger is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Begin,
    Claim,
    /// It was refused: look at the run that holds the key.
    Read(Claim),
    /// The holder is dead: claim again on condition that it still holds.
    Reclaim(Claim),
    /// The holder is to be replaced: look whether the trigger's own run is there already.
    LookForOwn {
        held: Claim,
        there: bool,
    },
    /// Report that the holder is canceled for the trigger's own run.
    ReportReplaced(Claim),
    /// Cancel it.
    Displace(Claim),
    /// The holder is not there: put it as a canceled run, so that a slow claimer cannot run beside its successor.
    Bar(Claim),
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
pub(super) struct Trigger {
    pub(super) step: Step,
    /// Claims that held no more when it began.
    pub(super) stale: BTreeSet<u8>,
    pub(super) answers: Vec<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answer {
    pub(super) run: Run,
    pub(super) cached: bool,
}

/// A reset that is about to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reset {
    pub(super) place: usize,
    /// The claim that held the key when it looked.
    pub(super) meant: u8,
    /// How often its delete is still sent.
    pub(super) deletes: u8,
}

/// A run message; it stays until it is acknowledged, and may be delivered at any time until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    pub(super) run: Run,
    pub(super) attempt: u8,
    pub(super) number: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    Succeeded,
    Failed,
    /// Its message was dead-lettered: it failed, unless a worker is at it.
    Buried,
    Canceled,
    /// It made way for this run.
    Replaced(Run),
}

/// What is left to do about an event before it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Left {
    Move,
    SendRetry,
    Clear,
}

/// A completion event under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    pub(super) run: Run,
    pub(super) attempt: u8,
    pub(super) outcome: Outcome,
    pub(super) left: Left,
}

/// What the handler of a dead-lettered message does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Burial {
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
    pub(super) message: Message,
    /// Whether it was told that the attempt is its own; else it asks again.
    pub(super) told: bool,
    /// Whether its event was accepted, so that acknowledging is all that is left.
    pub(super) reported: bool,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) keys: [Option<Claim>; 2],
    pub(super) runs: [Option<RunRecord>; TRIGGERS],
    pub(super) messages: BTreeSet<Message>,
    pub(super) workers: BTreeSet<Worker>,
    pub(super) events: BTreeSet<Event>,
    pub(super) dead_letters: BTreeMap<Message, Burial>,
    pub(super) triggers: [Trigger; TRIGGERS],
    pub(super) claims: u8,
    /// Claims that hold no more: their run's end freed them, they were reset, or their window is over.
    pub(super) gone: BTreeSet<u8>,
    /// Ends that free a key, replacements, resets and ends of windows so far: what may stand between two different answers (I1).
    pub(super) separators: u8,
    pub(super) resets: u8,
    /// A reset that has looked.
    pub(super) reset: Option<Reset>,
    pub(super) lost_answers: u8,
    pub(super) expiries: u8,
    pub(super) cancels: u8,
    pub(super) resends: u8,
    /// Messages that may yet be dead-lettered.
    pub(super) poisonous: u8,
    /// The invariant that a step broke.
    pub(super) broken: Option<&'static str>,
}

impl State {
    /// Takes `claim`, of this release, out of its place. It may not have been there by right.
    pub(super) fn lose(&mut self, claim: Claim, release: Release, expected: Option<Run>) {
        let stored = self.runs[claim.run];
        let kept =
            stored.is_some_and(|run| run.made_by == claim.number && run.status.is_final() && !run.gave_up(release));
        if expected.is_some_and(|run| run != claim.run) {
            self.broken = Some("I4");
        } else if claim.open && kept {
            self.broken = Some("I5");
        }
        self.gone.insert(claim.number);
    }

    /// The run `by` takes the place of `run`, whose claim it found in the key.
    pub(super) fn displace(&mut self, run: Run, by: Run, made_by: u8) {
        if self.runs[by].is_some() {
            self.broken = Some("R76");
        }
        self.separators += 1;
        self.gone.insert(made_by);
        self.runs[run] = Some(RunRecord { status: Status::Canceled, made_by, replaced: true });
    }

    pub(super) fn claim(&mut self, trigger: usize, place: usize, releases: [Release; TRIGGERS]) -> Step {
        if let Some(before) = self.keys[place] {
            self.lose(before, releases[before.run], None);
        }
        self.claims += 1;
        self.keys[place] = Some(Claim { run: trigger, number: self.claims, open: true });
        Step::Send { run: trigger, number: self.claims, cached: false }
    }

    pub(super) fn answer(&mut self, trigger: usize, run: Run, cached: bool) -> Step {
        let asked = &mut self.triggers[trigger];
        if cached && self.runs[run].is_some_and(|stored| asked.stale.contains(&stored.made_by)) {
            self.broken = Some("R30, R23 and R40: an answer from before the key was freed");
        }
        asked.answers.push(Answer { run, cached });
        Step::Answered
    }
}
