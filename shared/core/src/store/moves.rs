//! The moves of a run: each is one conditional write, on condition that the state machine has it.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use oncekey_wire::{QueueLabel, RunId};

use super::Store;
use super::conditional::{Written, written};
use super::expression::{Expression, moment, number, text};
use super::runs::{item, read, run_key};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::flow::Slot;
use crate::queue::message::{CompletionEvent, Outcome, Output};
use crate::run::beside::Beside;
use crate::run::failure::{Failure, KEPT_FAILURES};
use crate::run::history::{Happening, Moment, NOTED};
use crate::run::status::{Event, RunStatus};
use crate::run::turn::Turn;
use crate::run::waiter::Waiter;
use crate::run::{KEPT, KEPT_AT_MOST, Pusher, Run};

/// What is to happen to a run, with what it takes.
#[derive(Clone, Copy, Debug)]
pub enum Move<'a> {
    /// A worker takes this turn up, if it is due.
    Start {
        /// The turn.
        turn: Turn,
        /// Until when the worker holds the run.
        lease_until: Timestamp,
        /// What it calls this lease, so that it knows its own.
        lease_name: &'a str,
        /// Attempts that the task grants, if they are known before the run is read.
        max_attempts: Option<u32>,
        /// The run to make if it is absent: the worker does so when it is ahead of the trigger, or the trigger died.
        absent: Option<&'a Run>,
        /// The queue in which it has a place, if it needs one.
        lane: Option<&'a QueueLabel>,
        /// The slot that it has of its queue's rate, if it needs one.
        slot: Option<Slot>,
    },
    /// This turn, which is due, finds no place: the run is to wait for one, on its next turn.
    Park {
        /// The turn.
        turn: Turn,
        /// The queue whose place it waits for.
        lane: &'a QueueLabel,
        /// The slot that it has of its queue's rate, if it needs one.
        slot: Option<Slot>,
        /// The run to make if it is absent.
        absent: Option<&'a Run>,
    },
    /// The slot of this turn, which is due, is yet to come: the run is to wait for it, on its next turn.
    Pace {
        /// The turn.
        turn: Turn,
        /// The slot.
        slot: Slot,
        /// When that is due.
        due_at: Timestamp,
        /// The run to make if it is absent.
        absent: Option<&'a Run>,
    },
    /// This turn gives its worker up to wait, unless there was a wake-up since `seen`.
    Suspend {
        /// The turn.
        turn: Turn,
        /// What it waits for: any of these waits wakes it.
        waits: &'a [Waiter],
        /// When the first of them is over by itself.
        until: Option<Timestamp>,
        /// Wake-ups that it knows of.
        seen: u32,
        /// How far its attempt has come.
        progress: Progress<'a>,
    },
    /// What the run waits for has come.
    Wake {
        /// What that is.
        waiter: &'a Waiter,
    },
    /// A message that was to end a wait is lost: the run is to look itself, and to send such messages anew.
    Rouse,
    /// This turn, which is delayed, is to start at another time.
    Reschedule {
        /// The turn.
        turn: Turn,
        /// The new time.
        due_at: Timestamp,
        /// Until when the run is kept at least: later than every message that was sent for it.
        kept_until: Timestamp,
    },
    /// This turn, which is delayed, is to start later, or no earlier.
    Push {
        /// The turn.
        turn: Turn,
        /// The new time, which is not before that which stands.
        due_at: Timestamp,
        /// Until when the run is kept at least: later than every message that was sent for it, and than keys that it stands for.
        kept_until: Timestamp,
        /// The trigger that pushes.
        by: &'a Pusher,
        /// The run whose trigger pushed it last, as far as this one knows.
        after: Option<&'a RunId>,
        /// What of the run is that trigger's from now on, if it replaces that: the run as it is to be.
        latest: Option<&'a Run>,
    },
    /// This turn has ended; a cancellation ends whichever the run is in.
    End {
        /// The turn.
        turn: Turn,
        /// How.
        outcome: &'a Outcome,
        /// The run's children, if any are known.
        children: &'a [RunId],
        /// Whether it may happen only while no worker holds the run.
        unless_leased: bool,
        /// Until when the run is kept at least, if it is final.
        kept_until: Timestamp,
        /// Whether its payload makes room, which nobody needs any more, as the item would be larger than one may be.
        makes_room: bool,
    },
}

/// How far an attempt has come when it gives its worker up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress<'a> {
    /// How long it has computed.
    pub spent: Duration,
    /// Segments of calls that the journal has of it.
    pub segments: u32,
    /// The run's children, if any are known.
    pub children: &'a [RunId],
}

impl<'a> Move<'a> {
    /// The move that `event` asks for at `now`.
    pub(crate) fn of_end(event: &'a CompletionEvent, makes_room: bool, now: Timestamp) -> Self {
        Self::End {
            turn: event.turn,
            outcome: &event.outcome,
            children: &event.children,
            kept_until: event.kept_until.unwrap_or_else(|| now.plus(KEPT_AT_MOST)),
            unless_leased: event.unless_leased,
            makes_room,
        }
    }
}

impl Move<'_> {
    /// What this is to the state machine.
    fn event(&self) -> Event {
        match self {
            Self::Start { .. } => Event::Start,
            Self::Suspend { .. } => Event::Suspend,
            Self::Park { .. } | Self::Pace { .. } => Event::Park,
            Self::Wake { .. } | Self::Rouse => Event::Wake,
            Self::Reschedule { .. } | Self::Push { .. } => Event::Reschedule,
            Self::End { outcome, .. } => outcome.event(),
        }
    }

    /// The turn in which alone it may happen.
    fn turn(&self) -> Option<Turn> {
        match self {
            Self::Wake { .. } | Self::Rouse | Self::End { outcome: Outcome::Canceled { .. }, .. } => None,
            Self::Start { turn, .. }
            | Self::Park { turn, .. }
            | Self::Pace { turn, .. }
            | Self::Suspend { turn, .. }
            | Self::Reschedule { turn, .. }
            | Self::Push { turn, .. }
            | Self::End { turn, .. } => Some(*turn),
        }
    }

    /// What it writes at `now`.
    fn changes(&self, now: Timestamp) -> Result<Expression, Error> {
        let mut write = Expression::default();
        let to = self.event().leads_to();
        write.set("status", text(to.as_str()));
        write.set("updated_at", moment(now));
        // A run that may still be read has no expiry.
        match self {
            Self::End { kept_until, .. } if to.is_final() => {
                write.set("finished_at", moment(now));
                write.set("expires_at", number(now.plus(KEPT).max(*kept_until).seconds_rounded_up()));
            }
            _ => write.remove("expires_at"),
        }
        if to != RunStatus::Executing {
            write.remove("lease_until");
            write.remove("lease_name");
        }
        if let (Some(what), Some(turn)) = (Happening::of(self.event()), self.turn())
            && turn.ordinal() < NOTED
        {
            write.append("history", text(Moment { what, at: now }));
        }
        match self {
            Self::Start { lease_until, lease_name, max_attempts, absent, lane, slot, .. } => {
                write.remove("parked");
                if let Some(slot) = slot {
                    write.set("slot", text(slot.used()));
                }
                if let Some(lane) = lane {
                    write.set("lane", text(lane.as_str()));
                }
                write.set("lease_until", moment(*lease_until));
                write.set("lease_name", text(*lease_name));
                write.set_if_absent("started_at", moment(now));
                if let Some(max_attempts) = max_attempts {
                    write.set("max_attempts", number(max_attempts));
                }
                if let Some(absent) = absent {
                    make(&mut write, absent)?;
                }
            }
            Self::Pace { turn, slot, due_at, absent } => {
                wait_a_turn(&mut write, *turn, Some(*slot), *absent)?;
                write.remove("parked");
                write.set("retry_at", moment(*due_at));
            }
            Self::Park { turn, lane, slot, absent } => {
                wait_a_turn(&mut write, *turn, *slot, *absent)?;
                write.set("parked", AttributeValue::Bool(true));
                write.set("lane", text(lane.as_str()));
            }
            Self::Suspend { waits, until, progress, .. } => suspend(&mut write, waits, *until, *progress),
            Self::Wake { .. } | Self::Rouse => {
                write.add("resume", 1);
                write.remove("retry_at");
                if matches!(self, Self::Rouse) {
                    // What stands here has a message under way.
                    write.remove("waiting_on");
                }
            }
            Self::Reschedule { due_at, kept_until, .. } => {
                write.set("retry_at", moment(*due_at));
                write.set("kept_until", moment(*kept_until));
                write.count("reschedules");
                // Were its mover to die now, no message would be under way to this start.
                write.remove("carried_to");
            }
            Self::Push { due_at, kept_until, by, latest, .. } => {
                write.set("retry_at", moment(*due_at));
                write.set("kept_until", moment(*kept_until));
                write.set("pushed_by", text(by.run_id.as_str()));
                write.set("last_push", text(by.written()?));
                // The message that carries it to an earlier start is to go on to this one.
                write.remove("carried_to");
                if let Some(latest) = latest {
                    let mut latest = item(latest)?;
                    for name in ["spec", "payload"] {
                        if let Some(value) = latest.remove(name) {
                            write.set(name, value);
                        }
                    }
                    // What it was told of itself meanwhile.
                    write.remove("metadata");
                    write.remove("added_tags");
                }
            }
            Self::End { turn, outcome, children, makes_room, .. } => {
                end(&mut write, *turn, outcome, now);
                note_children(&mut write, children);
                if *makes_room {
                    write.remove("payload");
                }
            }
        }
        Ok(write)
    }

    /// On which condition: a status that the state machine allows, in the turn that is meant.
    fn condition(&self, write: &mut Expression, now: Timestamp) -> String {
        let status = write.name("status");
        let from: Vec<String> = self.event().allowed_at().map(|from| write.value(text(from.as_str()))).collect();
        let mut condition = format!("{status} IN ({})", from.join(", "));
        if let Some(turn) = self.turn() {
            let (attempt, resume) = (write.name("attempt"), write.name("resume"));
            let (a, r) = (write.value(number(turn.attempt)), write.value(number(turn.resume)));
            condition = format!("{condition} AND {attempt} = {a} AND {resume} = {r}");
        }
        match self {
            Self::Start { absent, .. } | Self::Park { absent, .. } | Self::Pace { absent, .. } => {
                let (due, now) = (write.name("retry_at"), write.value(moment(now)));
                condition = format!("{condition} AND (attribute_not_exists({due}) OR {due} <= {now})");
                if absent.is_some() {
                    condition = format!("attribute_not_exists(run_id) OR ({condition})");
                }
            }
            Self::Suspend { seen, .. } => {
                let (wakes, known) = (write.name("wakes"), write.value(number(seen)));
                let none_yet = if *seen == 0 { format!("attribute_not_exists({wakes}) OR ") } else { String::new() };
                condition = format!("{condition} AND ({none_yet}{wakes} = {known})");
            }
            Self::Wake { waiter } => {
                let attempt = write.name("attempt");
                let (waiting_on, what) = (write.name("waiting_on"), write.value(text(waiter.wait().to_string())));
                let of = write.value(number(waiter.attempt));
                condition = format!("{condition} AND {attempt} = {of} AND contains({waiting_on}, {what})");
            }
            Self::End { unless_leased: true, .. } => {
                let (lease, now) = (write.name("lease_until"), write.value(moment(now)));
                condition = format!("{condition} AND (attribute_not_exists({lease}) OR {lease} <= {now})");
            }
            Self::Push { due_at, after, .. } => {
                let (start, due_at) = (write.name("retry_at"), write.value(moment(*due_at)));
                let by = write.name("pushed_by");
                let last = match after {
                    Some(run) => format!("{by} = {}", write.value(text(run.as_str()))),
                    None => format!("attribute_not_exists({by})"),
                };
                condition = format!(
                    "{condition} AND {start} <= {due_at} AND {last} AND attribute_not_exists({})",
                    write.name("closed")
                );
            }
            Self::Rouse | Self::Reschedule { .. } | Self::End { .. } => {}
        }
        condition
    }
}

/// What a turn leaves that does not start: the next one is to, with the slot that it has.
fn wait_a_turn(write: &mut Expression, turn: Turn, slot: Option<Slot>, absent: Option<&Run>) -> Result<(), Error> {
    write.set("resume", number(turn.next_resume().resume));
    write.count("parks");
    if let Some(slot) = slot {
        write.set("slot", text(slot));
    }
    absent.map_or(Ok(()), |absent| make(write, absent))
}

/// What a turn leaves that gives its worker up.
fn suspend(write: &mut Expression, waits: &[Waiter], until: Option<Timestamp>, progress: Progress<'_>) {
    let waits = waits.iter().map(|waiter| waiter.wait().to_string()).collect();
    write.set("waiting_on", AttributeValue::Ss(waits));
    match until {
        Some(until) => write.set("waits_until", moment(until)),
        None => write.remove("waits_until"),
    }
    write.set("spent_ms", number(progress.spent.as_millis()));
    write.set("segments", number(progress.segments));
    note_children(write, progress.children);
}

/// The fields of a run that is made by the move that starts it.
fn make(write: &mut Expression, absent: &Run) -> Result<(), Error> {
    for (name, value) in item(absent)? {
        let moves = ["run_id", "item"].contains(&name.as_str());
        if !moves && !write.has(&name) {
            write.set_if_absent(&name, value);
        }
    }
    Ok(())
}

/// Who knows of none says nothing of those that others noted.
fn note_children(write: &mut Expression, children: &[RunId]) {
    if !children.is_empty() {
        write.set("children", AttributeValue::L(children.iter().map(|child| text(child.as_str())).collect()));
    }
}

/// What an end leaves behind: what the task returned, or why it did not, and when it is tried again if it is.
fn end(write: &mut Expression, turn: Turn, outcome: &Outcome, now: Timestamp) {
    if let Some(error) = outcome.error().and_then(|error| serde_json::to_string(error).ok()) {
        write.set("error", text(error));
    }
    if let Outcome::Succeeded { output, output_type, lost } = outcome {
        if !output_type.is_json() {
            write.set("output_type", text(output_type.as_str()));
        }
        match output {
            Some(Output::Inline(output)) => write.set("output", text(output)),
            Some(Output::Beside(name)) => write.set("output", beside(name)),
            Some(Output::Stored(path)) => write.set("stored_output", text(path.as_str())),
            None => {}
        }
        if lost.is_none() {
            write.remove("error");
        }
    }
    if let Outcome::Canceled { replaced_by: Some(successor) } = outcome {
        write.set("replaced_by", text(successor.as_str()));
    }
    if let Some(pause) = outcome.retry_after() {
        if let Some(error) = outcome.error().filter(|_| turn.attempt <= KEPT_FAILURES) {
            write.append("failures", text(Failure::of(turn.attempt, error, now, pause)));
        }
        write.set("attempt", number(turn.next_attempt().attempt));
        write.set("retry_at", moment(now.plus(pause)));
        write.remove("spent_ms");
        write.remove("segments");
    }
}

/// As [`Kept`](crate::run::beside::Kept) is written.
fn beside(name: &Beside) -> AttributeValue {
    AttributeValue::M([("beside".to_owned(), text(name.as_str()))].into())
}

/// What came of a move.
#[derive(Debug)]
pub enum Moved {
    /// It was made: the run as it now is.
    To(Run),
    /// The run stands elsewhere, so: as it is.
    Refused(Run),
    /// There is no such run.
    Gone,
}

impl Store {
    /// Moves a run at `now`: one conditional write.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Unreadable`]; a refusal is not an error.
    pub async fn move_run(&self, id: &RunId, what: Move<'_>, now: Timestamp) -> Result<Moved, Error> {
        let mut write = what.changes(now)?;
        let condition = what.condition(&mut write, now);
        let (update, names, values) = write.finish();
        let updated = self
            .client
            .update_item()
            .table_name(&self.tables.runs)
            .set_key(Some(run_key(id)))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        Ok(match written("dynamodb:UpdateItem", updated)? {
            Written::Done(answer) => Moved::To(read(answer.attributes.unwrap_or_default())?),
            Written::Refused(there) => there.map(read).transpose()?.map_or(Moved::Gone, Moved::Refused),
        })
    }
}
