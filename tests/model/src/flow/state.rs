//! What there is at a moment, and what a process does next.

use std::collections::{BTreeMap, BTreeSet};

/// A run. The first comes first wherever they are sorted: by priority, then by creation.
pub(super) type Run = u8;

/// One stretch of a run under one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Turn {
    /// Whose.
    pub run: Run,
    /// Which attempt.
    pub attempt: u8,
    /// How often the run was woken or parked before.
    pub resume: u8,
}

impl Turn {
    /// The turn that begins with a wake-up, or with parking.
    pub(super) fn next_resume(self) -> Self {
        Self { resume: self.resume + 1, ..self }
    }

    pub(super) fn next_attempt(self) -> Self {
        Self { attempt: self.attempt + 1, ..self }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Status {
    /// There is a message of it, and nobody has put it yet.
    Absent,
    Queued,
    /// It was moved to its turn by whoever parked it.
    Parked,
    Executing,
    /// Executing under a lease that is over.
    Abandoned,
    Waiting,
    Final,
}

impl Status {
    pub(super) fn may_start(self) -> bool {
        matches!(self, Self::Absent | Self::Queued | Self::Parked)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) status: Status,
    pub(super) turn: Turn,
    pub(super) suspensions: u8,
}

/// Who gave a place away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// Who handled the end, or any message, of this turn.
    Turn(Turn),
    /// Who carried this change of the setting out.
    Change(u8),
    /// Who looked of himself.
    Sweep,
}

/// A place that a turn has in the item of its queue and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Whether its lease or its reservation is not over.
    pub(super) is_live: bool,
    /// Who gave it to a run that has not started since.
    pub(super) from: Option<Source>,
}

/// What holds for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Setting {
    /// Places.
    pub limit: u8,
    /// Whether nothing is to start.
    pub is_paused: bool,
}

impl Setting {
    /// Unless it is paused.
    #[must_use]
    pub const fn limit(limit: u8) -> Self {
        Self { limit, is_paused: false }
    }

    /// Places that may be taken.
    pub(super) fn places(self) -> usize {
        if self.is_paused { 0 } else { usize::from(self.limit) }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The task returned.
    Success,
    /// It failed, or its worker died.
    Failure,
    /// Its message was dead-lettered: this counts only while no worker is at it.
    Dead,
}

/// What lies in a queue until it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Message {
    /// Start this turn; whether a place was given to it.
    Run(Turn, bool),
    /// That message, delivered too often.
    Dead(Turn, bool),
    /// This turn has ended.
    End(Turn, Outcome),
    /// Somebody cancels this run.
    Cancel(u8),
    /// The setting of this generation holds.
    Change(u8),
    /// Nobody told of anything.
    Sweep,
}

/// What becomes of a message when its process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Hold {
    /// It is delivered again.
    Own,
    /// Another process has it too.
    Twin,
    /// Nothing: another process had it too, and has acknowledged it.
    Lost,
}

/// What a process does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Step {
    Begin,
    /// Take a place; whether it passes others by who are parked.
    Take(bool),
    /// The place was given to the turn and is taken: delete the parked item.
    Unpark,
    Start,
    Execute,
    /// Put the parked item; whether to look again after that.
    Put(Turn, bool),
    /// The turn is over: delete the parked item that it may have left.
    Drop,
    /// Look at the places, the parked and the setting; whether not for the first time.
    Look(bool),
    /// Free the own turn's place and give one to this turn, which this limit allows.
    Write(Option<Turn>, u8),
    /// Send the message of the next attempt.
    Retry,
    Acknowledge,
    /// Its process is dead.
    Dead,
}

/// Whoever handles a message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) message: Message,
    pub(super) hold: Hold,
    pub(super) step: Step,
    /// Whether the message of the next attempt is to be sent.
    pub(super) retries: bool,
}

/// Everything there is at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) runs: Vec<Record>,
    pub(super) places: BTreeMap<Turn, Place>,
    /// The parked items, and which turn of its run each names.
    pub(super) parked: BTreeMap<Run, Turn>,
    pub(super) setting: Setting,
    /// The generation of the setting.
    pub(super) generation: u8,
    /// What was the setting before, where it may still be cached.
    pub(super) cached: BTreeSet<Setting>,
    /// Changes that were asked for.
    pub(super) changes: u8,
    /// Messages that nobody has in hand.
    pub(super) queue: BTreeSet<Message>,
    /// Sorted, as one is like the other.
    pub(super) processes: Vec<Process>,
    pub(super) deaths: u8,
    pub(super) duplicates: u8,
    pub(super) twins: u8,
    pub(super) sweeps: u8,
    pub(super) cancels: u8,
    pub(super) dead_letters: u8,
    pub(super) ends: u8,
    pub(super) stalls: u8,
    /// An invariant that was broken, where the state does not tell.
    pub(super) broken: Option<&'static str>,
}

impl State {
    pub(super) fn add(&mut self, process: Process) {
        let at = self.processes.partition_point(|other| *other < process);
        self.processes.insert(at, process);
    }

    pub(super) fn record(&mut self, turn: Turn) -> &mut Record {
        &mut self.runs[usize::from(turn.run)]
    }

    pub(super) fn has_place(&self, turn: Turn) -> bool {
        self.places.get(&turn).is_some_and(|place| place.is_live)
    }

    /// Places that others than `turn` have.
    pub(super) fn others(&self, turn: Option<Turn>) -> usize {
        self.places.iter().filter(|(of, place)| place.is_live && Some(**of) != turn).count()
    }

    /// Adds a place, as one conditional write does that was allowed `limit`.
    pub(super) fn add_place(&mut self, turn: Turn, from: Option<Source>, limit: usize) {
        self.places.insert(turn, Place { is_live: true, from });
        if self.others(None) > limit {
            self.broken = Some("I11");
        }
    }

    /// Who is at work: its worker is alive, and the run is not another turn's.
    pub(super) fn at_work(&self) -> impl Iterator<Item = Turn> {
        self.processes.iter().filter_map(|process| match (process.message, &process.step) {
            (Message::Run(turn, _), Step::Execute) => {
                let record = self.runs[usize::from(turn.run)];
                (record.turn == turn && record.status == Status::Executing).then_some(turn)
            }
            _ => None,
        })
    }

    /// Whether nothing is under way any more.
    pub(super) fn is_quiet(&self) -> bool {
        let waits = |record: &Record| record.status == Status::Waiting;
        self.queue.is_empty() && self.processes.is_empty() && !self.runs.iter().any(waits)
    }

    /// Whether nothing happens by itself any more.
    pub(super) fn is_settled(&self) -> bool {
        self.is_quiet() && self.sweeps == 0
    }
}
