//! The calls of an attempt: their numbers, what each gave, in which order the task got the answers, and how that is packed
//! for the journal. A resumed run starts from the top, so a call is known by its number, and gets the answer it had.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oncekey_core::payload::path::BlobPath;
use oncekey_core::run::end::End;
use oncekey_core::{Error, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::call::{Answer, Call, Refusal, Wording};

/// The most that one segment holds, as JSON: an item has at most 400 KB.
const MAX_SEGMENT_BYTES: usize = 300 * 1024;

/// A wait in which the run may be suspended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    /// When it is over, if it is for a time.
    pub due_at: Option<Timestamp>,
    /// Until when the journal must last for it.
    pub until: Timestamp,
    /// Wake-ups that there had been when it last looked whether it is over.
    pub seen: u32,
    /// Whether the message that ends it is under way.
    pub sent: bool,
}

/// What is known of what is pending in a task that makes a call, beside its other calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Nobody can tell: a future may be polled for a timer's sake or another's.
    Unknown,
    /// Nothing.
    Nothing,
    /// Something.
    Something,
}

/// The calls of an attempt.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: BTreeMap<u32, Call>,
    /// Calls that the journal does not know, or not as they are.
    changed: BTreeSet<u32>,
    /// Calls of the journal that were not made again yet.
    unmade: BTreeSet<u32>,
    /// Those of them that the task is bound to make again: it had their answers, or was suspended in them. Others it let
    /// drop, as `select!` does.
    awaited: BTreeSet<u32>,
    /// Answers that the task has, since it started from the top.
    answers: usize,
    /// The places of the answers that the task got before it was suspended.
    order: HashMap<u32, usize>,
    /// Answers that it got since.
    given: Vec<u32>,
    /// Where it stands what the task exchanged with others than its run.
    exchanges: Option<BlobPath>,
    /// Waits that are not over.
    pub open: BTreeMap<u32, Open>,
    /// Calls whose answers the task does not have yet.
    pub pending: BTreeSet<u32>,
}

/// What one item of the journal holds.
#[derive(Default, Serialize, Deserialize)]
struct Segment {
    #[serde(default)]
    calls: BTreeMap<u32, Call>,
    #[serde(default)]
    given: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    exchanges: Option<BlobPath>,
}

impl Calls {
    /// What the journal's segments tell, oldest first, after what an older version wrote with a wait. The run is suspended
    /// in the calls of `waiting_on`.
    pub(crate) fn of(old: Option<&str>, segments: &[String], waiting_on: &[u32]) -> Result<Self, Error> {
        let unreadable =
            |error: serde_json::Error| Error::Unreadable { what: "a run's calls".into(), why: error.to_string() };
        let old: Vec<OldCall> = serde_json::from_str(old.unwrap_or("[]")).map_err(unreadable)?;
        let mut given: Vec<u32> = (1u32..).zip(&old).map(|(number, _)| number).collect();
        // The last is the wait that it was suspended in.
        given.pop();
        let old = old.into_iter().enumerate().map(|(after, call)| call.made(after));
        let mut calls: BTreeMap<u32, Call> = (1u32..).zip(old).collect();
        let mut exchanges = None;
        for segment in segments {
            let segment: Segment = serde_json::from_str(segment).map_err(unreadable)?;
            for (number, part) in segment.calls {
                calls.entry(number).or_default().merge(part);
            }
            given.extend(segment.given);
            exchanges = segment.exchanges.or(exchanges);
        }
        let mut order = HashMap::new();
        for number in given {
            let place = order.len();
            order.entry(number).or_insert(place);
        }
        let unmade = calls.keys().copied().collect();
        let awaited = order.keys().chain(waiting_on).filter(|number| calls.contains_key(number)).copied().collect();
        Ok(Self { calls, unmade, awaited, order, exchanges, ..Self::default() })
    }

    /// Numbers a call: it is the one of the journal that says the same, or a new one. With what the journal knows of it.
    /// `None` if it could only be a new one, and the task has not made again all that it is bound to: it may be about to,
    /// beside this one.
    pub(crate) fn make(&mut self, wording: &Wording, beside: Beside) -> Option<(u32, Option<Call>)> {
        let alone = self.is_alone(beside);
        // Of two that overlap neither is alone.
        for number in &self.pending {
            // One of the journal was alone, or not, when it was made first.
            if self.changed.contains(number)
                && let Some(call) = self.calls.get_mut(number)
            {
                call.alone = false;
            }
        }
        let by_place = || self.made_here(wording).filter(|_| beside == Beside::Nothing && alone);
        let before = self.made_the_same_here(wording).or_else(by_place).or_else(|| self.made_before(wording));
        if before.is_none() && self.bound().next().is_some() {
            return None;
        }
        Some(match before {
            Some(number) => self.made_again(number),
            None => self.made_anew(wording.clone(), alone),
        })
    }

    /// The same for a call that waited in vain for those to be made again: longer than they had taken. `Err` with a call that
    /// the task is bound to make, and does not.
    pub(crate) fn make_at_last(
        &mut self,
        wording: &Wording,
        beside: Beside,
    ) -> Result<(u32, Option<Call>), (u32, String)> {
        let alone = self.is_alone(beside);
        if let Some(number) = self.made_here(wording).filter(|_| alone) {
            return Ok(self.made_again(number));
        }
        let bound = self.bound().next();
        match bound {
            Some(number) => Err((number, self.calls.get(&number).map(|call| call.what.clone()).unwrap_or_default())),
            None => Ok(self.made_anew(wording.clone(), false)),
        }
    }

    fn is_alone(&self, beside: Beside) -> bool {
        beside != Beside::Something && self.pending.is_empty()
    }

    /// The call of the journal that this one is, of those that were not made again yet: known by what it says and what it is
    /// given, and by how far the task had got, which tells two apart that say the same, of which it may have let one drop.
    fn made_the_same_here(&self, wording: &Wording) -> Option<u32> {
        self.unmade(wording, |_, call| call.gave_the_same(wording) && self.is_as_far(call))
    }

    /// The same, of one whose place nothing tells: known by what it says and what it is given wherever it stands, or by its key.
    fn made_before(&self, wording: &Wording) -> Option<u32> {
        let same_key = |call: &Call| call.key.is_some() && call.key == wording.key;
        self.unmade(wording, |number, call| call.gave_the_same(wording) && self.awaited.contains(&number))
            .or_else(|| self.unmade(wording, |_, call| same_key(call) && self.is_as_far(call)))
            .or_else(|| self.unmade(wording, |number, call| same_key(call) && self.awaited.contains(&number)))
            .or_else(|| self.unmade(wording, |_, call| call.is_unmarked() && self.is_as_far(call)))
    }

    /// The call of the journal that was made at this place, though it was given something else: the time, maybe. It is the
    /// same if nothing else was pending in the task, then and now. Otherwise it may be another branch's, which has yet to
    /// make it again.
    fn made_here(&self, wording: &Wording) -> Option<u32> {
        self.unmade(wording, |_, call| call.key == wording.key && call.alone && self.is_as_far(call))
    }

    fn unmade(&self, wording: &Wording, is_it: impl Fn(u32, &Call) -> bool) -> Option<u32> {
        let calls = self.unmade.iter().filter_map(|number| Some((*number, self.calls.get(number)?)));
        calls.filter(|(_, call)| call.what == wording.what).find(|(number, call)| is_it(*number, call)).map(|(n, _)| n)
    }

    fn is_as_far(&self, call: &Call) -> bool {
        call.after == self.answers
    }

    /// Calls that the task has yet to make again before it may make new ones. What it was suspended in it may drop once
    /// another answer has come.
    fn bound(&self) -> impl Iterator<Item = u32> {
        let may_drop = !self.given.is_empty();
        self.awaited.iter().filter(move |number| !may_drop || self.order.contains_key(number)).copied()
    }

    /// Whether all that the task had made, and not let drop, was made again.
    pub(crate) fn all_made_again(&self) -> bool {
        self.awaited.is_empty()
    }

    fn made_anew(&mut self, wording: Wording, alone: bool) -> (u32, Option<Call>) {
        let number = self.calls.last_key_value().map_or(1, |(last, _)| last + 1);
        self.calls.insert(number, Call::new(wording, alone, self.answers));
        self.changed.insert(number);
        self.pending.insert(number);
        (number, None)
    }

    fn made_again(&mut self, number: u32) -> (u32, Option<Call>) {
        self.unmade.remove(&number);
        self.awaited.remove(&number);
        self.pending.insert(number);
        (number, self.calls.get(&number).cloned())
    }

    /// Whether the task has had an answer that it did not have before.
    #[cfg(feature = "host")]
    pub(crate) fn has_gone_on(&self) -> bool {
        !self.given.is_empty()
    }

    /// Whether that is so, or the journal has no calls.
    #[cfg(feature = "host")]
    pub(crate) fn is_live(&self) -> bool {
        self.has_gone_on() || (self.order.is_empty() && self.unmade.is_empty())
    }

    /// Where it stands what the task exchanged with others, of this attempt.
    #[cfg(feature = "host")]
    pub(crate) fn exchanges(&self) -> Option<BlobPath> {
        self.exchanges.clone()
    }

    /// Notes that for the journal.
    pub(crate) fn note_exchanges(&mut self, path: BlobPath) {
        self.exchanges = Some(path);
    }

    /// Changes what is known of a call.
    pub(crate) fn note(&mut self, number: u32, change: impl FnOnce(&mut Call)) {
        change(self.calls.entry(number).or_default());
        self.changed.insert(number);
    }

    /// How the children of a call ended, as far as the call itself tells.
    pub(crate) fn ends(&self, number: u32) -> BTreeMap<RunId, End> {
        self.calls.get(&number).map(|call| call.ends.clone()).unwrap_or_default()
    }

    /// The runs that its calls made, in their order. One that was there already is somebody else's.
    pub(crate) fn children(&self) -> impl Iterator<Item = &RunId> {
        let handles = self.calls.values().filter_map(|call| match &call.answer {
            Some(Ok(Answer::Children(handles) | Answer::Partly { children: handles, .. })) => Some(handles),
            _ => None,
        });
        handles.flatten().filter(|handle| !handle.is_cached).map(|handle| &handle.id)
    }

    /// The place of a call's answer among those that the task got before it was suspended; those that it did not get come
    /// after all of them.
    pub(crate) fn place(&self, number: u32) -> Result<usize, usize> {
        self.order.get(&number).copied().ok_or(self.order.len())
    }

    /// What a call says.
    pub(crate) fn what(&self, number: u32) -> String {
        self.calls.get(&number).map(|call| call.what.clone()).unwrap_or_default()
    }

    /// The call whose answer was the one at this place, and what it says.
    pub(crate) fn at(&self, place: usize) -> (u32, String) {
        let number = self.order.iter().find(|(_, at)| **at == place).map_or(0, |(number, _)| *number);
        (number, self.what(number))
    }

    /// Notes that the task gets the answer of a call now.
    pub(crate) fn give(&mut self, number: u32) {
        self.answers += 1;
        if !self.order.contains_key(&number) {
            self.given.push(number);
        }
    }

    /// What the journal does not know yet, packed.
    pub(crate) fn pack(&self) -> Result<Vec<String>, Error> {
        let pieces = self.changed.iter().filter_map(|number| Some((*number, self.calls.get(number)?))).flat_map(pieces);
        let mut segments = Vec::new();
        let mut segment =
            Segment { given: self.given.clone(), exchanges: self.exchanges.clone(), ..Segment::default() };
        let mut size = 8 * segment.given.len();
        for (number, piece) in pieces {
            let bytes = json(&piece)?.len() + 16;
            if size + bytes > MAX_SEGMENT_BYTES && !segment.calls.is_empty() {
                segments.push(json(&std::mem::take(&mut segment))?);
                size = 0;
            }
            segment.calls.entry(number).or_default().merge(piece);
            size += bytes;
        }
        if !segment.calls.is_empty() || !segment.given.is_empty() {
            segments.push(json(&segment)?);
        }
        Ok(segments)
    }
}

/// A call in parts that fit a segment each: itself, and each end that it knows.
fn pieces((number, call): (u32, &Call)) -> Vec<(u32, Call)> {
    let mut pieces = vec![(number, Call { ends: BTreeMap::new(), ..call.clone() })];
    for (child, end) in &call.ends {
        let ends = BTreeMap::from([(child.clone(), end.clone())]);
        pieces.push((number, Call { ends, ..Call::default() }));
    }
    pieces
}

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Unreadable { what: "a call".into(), why: error.to_string() })
}

/// A call as older versions wrote it.
#[derive(Deserialize)]
struct OldCall {
    what: String,
    #[serde(default)]
    children: Vec<oncekey_core::protocol::trigger::RunHandle>,
}

impl OldCall {
    fn made(self, after: usize) -> Call {
        let answer = (!self.children.is_empty()).then_some(Ok::<_, Refusal>(Answer::Children(self.children)));
        Call { answer, ..Call::new(Wording::new(&self.what), false, after) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(calls: &mut Calls, what: &str) -> Option<(u32, Option<Call>)> {
        calls.make(&Wording::new(what), Beside::Nothing)
    }

    fn run(letter: char) -> RunId {
        RunId::parse(&format!("run_{}", letter.to_string().repeat(32))).expect("an id")
    }

    #[test]
    fn what_is_packed_is_read_back_with_the_order_of_the_answers() {
        let mut calls = Calls::default();
        for what in ["a", "b", "c", "d"] {
            next(&mut calls, what).expect("a new one");
        }
        calls.note(1, |call| call.answer = Some(Ok(Answer::Held(true))));
        calls.note(2, |call| {
            call.answer = Some(Err(Refusal::of(&Error::Invalid { field: "task".into(), message: "is bad".into() })));
        });
        calls.give(2);
        calls.give(1);
        let mut read = Calls::of(None, &calls.pack().expect("packed"), &[3]).expect("read");
        assert_eq!((read.place(2), read.place(1), read.place(3)), (Ok(0), Ok(1), Err(2)));
        let (_, first) = next(&mut read, "a").expect("known");
        assert_eq!(first.and_then(|call| call.answer), Some(Ok(Answer::Held(true))));
        let (_, second) = next(&mut read, "b").expect("known");
        let refused = second.and_then(|call| call.answer).expect("an answer").expect_err("a refusal");
        assert_eq!(Error::from(refused).to_string(), "task: is bad");
        assert_eq!(next(&mut read, "e"), None, "not before the third, in which the run was suspended");
        assert_eq!(read.make_at_last(&Wording::new("e"), Beside::Nothing), Err((3, "c".to_owned())));
        next(&mut read, "c").expect("known");
        // The fourth was let drop.
        assert_eq!(next(&mut read, "e").map(|(number, _)| number), Some(5));
        assert_eq!(read.pack().expect("packed").len(), 1);
    }

    #[test]
    fn a_call_is_not_taken_for_one_that_says_the_same_and_was_let_drop() {
        let mut calls = Calls::default();
        next(&mut calls, "child").expect("a new one");
        next(&mut calls, "wait").expect("a new one");
        calls.give(1);
        assert_eq!(next(&mut calls, "wait").map(|(number, _)| number), Some(3));
        let mut read = Calls::of(None, &calls.pack().expect("packed"), &[3]).expect("read");
        next(&mut read, "child").expect("known");
        read.give(1);
        assert_eq!(next(&mut read, "wait").map(|(number, _)| number), Some(3));
    }

    #[test]
    fn a_call_made_alone_is_that_of_its_place_before_one_that_says_the_same_elsewhere() {
        let wait = |span: &str| Wording::new("wait").with(span);
        let mut calls = Calls::default();
        // The process was slow, and its six seconds were five by then.
        calls.make(&wait("5 s"), Beside::Nothing).expect("a new one");
        calls.give(1);
        calls.pending.clear();
        calls.make(&wait("6 s"), Beside::Nothing).expect("a new one");
        let mut read = resumed(&calls, &[2]);
        for number in [1, 2] {
            assert_eq!(read.make(&wait("6 s"), Beside::Nothing).map(|(number, _)| number), Some(number));
            read.give(number);
            read.pending.clear();
        }
    }

    fn child(payload: &str, key: Option<&str>) -> Wording {
        Wording::new("child").with(payload).under(key)
    }

    /// The calls of a task that was suspended in all of these.
    fn resumed(calls: &Calls, waiting_on: &[u32]) -> Calls {
        Calls::of(None, &calls.pack().expect("packed"), waiting_on).expect("read")
    }

    fn numbers(calls: &mut Calls, wording: &[Wording]) -> Vec<Option<u32>> {
        wording.iter().map(|wording| calls.make(wording, Beside::Nothing).map(|(number, _)| number)).collect()
    }

    #[test]
    fn branches_that_come_in_another_order_find_their_own_calls() {
        let mut calls = Calls::default();
        numbers(&mut calls, &[child("1", None), child("2", None), child("3", Some("k"))]);
        let mut read = resumed(&calls, &[1, 2, 3]);
        let again = [child("3", Some("k")), child("2", None), child("1", None)];
        assert_eq!(numbers(&mut read, &again), [Some(3), Some(2), Some(1)]);
    }

    #[test]
    fn a_branch_that_had_not_called_before_waits_for_those_that_had() {
        let mut calls = Calls::default();
        numbers(&mut calls, &[child("1", None)]);
        let mut read = resumed(&calls, &[1]);
        // The first was alone, too: the other branch had not got so far.
        assert_eq!(read.make(&child("2", None), Beside::Something), None);
        assert_eq!(read.make(&child("2", None), Beside::Unknown), None);
        assert_eq!(numbers(&mut read, &[child("1", None), child("2", None)]), [Some(1), Some(2)]);
    }

    #[test]
    fn under_the_same_key_another_payload_is_the_same_call() {
        let mut calls = Calls::default();
        numbers(&mut calls, &[child("at 1", Some("a")), child("at 2", Some("b"))]);
        let mut read = resumed(&calls, &[1, 2]);
        let again = [child("at 4", Some("b")), child("at 5", Some("c")), child("at 3", Some("a"))];
        assert_eq!(numbers(&mut read, &again), [Some(2), None, Some(1)]);
    }

    #[test]
    fn a_payload_that_tells_the_time_is_known_by_its_place_if_calls_are_made_one_by_one() {
        let mut calls = Calls::default();
        for payload in ["at 1", "at 2"] {
            numbers(&mut calls, &[child(payload, None)]);
            let number = calls.pending.pop_first().expect("it is pending");
            calls.give(number);
        }
        let mut read = resumed(&calls, &[]);
        assert_eq!(numbers(&mut read, &[child("at 3", None)]), [Some(1)]);
        read.pending.clear();
        read.give(1);
        assert_eq!(numbers(&mut read, &[child("at 4", None)]), [Some(2)]);
    }

    #[test]
    fn of_two_at_once_that_tell_the_time_neither_is_known_again() {
        let mut calls = Calls::default();
        numbers(&mut calls, &[child("at 1", None), child("at 2", None)]);
        let mut read = resumed(&calls, &[1, 2]);
        assert_eq!(numbers(&mut read, &[child("at 3", None)]), [None]);
        assert_eq!(read.make_at_last(&child("at 3", None), Beside::Nothing), Err((1, "child".to_owned())));
    }

    #[test]
    fn a_moment_is_the_same_if_its_date_or_its_distance_is() {
        let wait = |date: &str, distance: &str| Wording::new("wait").with(date).with(distance);
        let mut calls = Calls::default();
        numbers(&mut calls, &[wait("monday", "1 s"), wait("tuesday", "1 d")]);
        let mut read = resumed(&calls, &[1, 2]);
        let again = [wait("tuesday", "3 h"), wait("thursday", "1 s"), wait("friday", "7 s")];
        assert_eq!(numbers(&mut read, &again), [Some(2), Some(1), Some(3)]);
    }

    #[test]
    fn ends_that_do_not_fit_one_segment_stand_in_several() {
        let mut calls = Calls::default();
        next(&mut calls, "batch").expect("a new one");
        for letter in 'a'..='e' {
            let end = End { output: Some("x".repeat(150 * 1024)), ..End::unknown() };
            calls.note(1, |call| drop(call.ends.insert(run(letter), end)));
        }
        let segments = calls.pack().expect("packed");
        assert_eq!(segments.len(), 5);
        assert!(segments.iter().all(|segment| segment.len() <= MAX_SEGMENT_BYTES));
        assert_eq!(Calls::of(None, &segments, &[]).expect("read").ends(1).len(), 5);
    }

    #[test]
    fn what_an_older_version_wrote_with_a_wait_is_read() {
        let old = r#"[{"what":"reset a key of t"},{"what":"wait for a time"}]"#;
        let calls = Calls::of(Some(old), &[], &[2]).expect("read");
        assert_eq!((calls.place(1), calls.place(2)), (Ok(0), Err(1)));
    }
}
