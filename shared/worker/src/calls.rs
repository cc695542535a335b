//! The calls of an attempt: their numbers, what each gave, in which order the task got the answers, and how that is packed
//! for the journal. A resumed run starts from the top, so a call is known by its number, and gets the answer it had.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use oncekey_core::run::end::End;
use oncekey_core::{Error, RunId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::call::{Answer, Call, Refusal, short};

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
    /// Waits that are not over.
    pub open: BTreeMap<u32, Open>,
}

/// What one item of the journal holds.
#[derive(Default, Serialize, Deserialize)]
struct Segment {
    #[serde(default)]
    calls: BTreeMap<u32, Call>,
    #[serde(default)]
    given: Vec<u32>,
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
        for segment in segments {
            let segment: Segment = serde_json::from_str(segment).map_err(unreadable)?;
            for (number, part) in segment.calls {
                calls.entry(number).or_default().merge(part);
            }
            given.extend(segment.given);
        }
        let mut order = HashMap::new();
        for number in given {
            let place = order.len();
            order.entry(number).or_insert(place);
        }
        let unmade = calls.keys().copied().collect();
        let awaited = order.keys().chain(waiting_on).filter(|number| calls.contains_key(number)).copied().collect();
        Ok(Self { calls, unmade, awaited, order, ..Self::default() })
    }

    /// Numbers a call: it is the one of the journal that says the same and was made after as many answers, or a new one.
    /// With what the journal knows of it. `None` if it could only be a new one, and the task has not made again all that it
    /// is bound to: it may be about to, beside this one.
    pub(crate) fn next(&mut self, what: &str) -> Option<(u32, Option<Call>)> {
        let answers = self.answers;
        let same =
            |number: &&u32| self.calls.get(*number).is_some_and(|call| call.what == what && call.after == answers);
        if let Some(number) = self.unmade.iter().find(same).copied() {
            return Some(self.made_again(number));
        }
        if self.bound().next().is_some() {
            return None;
        }
        Some(self.made_anew(what))
    }

    /// The same for a call that waited in vain for those to be made again: whatever else the task awaited before it may
    /// have let it come later than before. `Err` with a call that the task is bound to make, and does not.
    pub(crate) fn next_at_last(&mut self, what: &str) -> Result<(u32, Option<Call>), (u32, String)> {
        let said = |number: &u32| self.calls.get(number).map(|call| call.what.clone()).unwrap_or_default();
        if let Some(number) = self.awaited.iter().find(|number| said(number) == what).copied() {
            return Ok(self.made_again(number));
        }
        let bound = self.bound().next();
        match bound {
            Some(number) => Err((number, said(&number))),
            None => Ok(self.made_anew(what)),
        }
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

    fn made_anew(&mut self, what: &str) -> (u32, Option<Call>) {
        let number = self.calls.last_key_value().map_or(1, |(last, _)| last + 1);
        self.calls.insert(number, Call { what: what.to_owned(), after: self.answers, ..Call::default() });
        self.changed.insert(number);
        (number, None)
    }

    fn made_again(&mut self, number: u32) -> (u32, Option<Call>) {
        self.unmade.remove(&number);
        self.awaited.remove(&number);
        (number, self.calls.get(&number).cloned())
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

    /// The place of a call's answer among those that the task got before it was suspended; those that it did not get come
    /// after all of them.
    pub(crate) fn place(&self, number: u32) -> Result<usize, usize> {
        self.order.get(&number).copied().ok_or(self.order.len())
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
        let mut segment = Segment { given: self.given.clone(), ..Segment::default() };
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
    children: Vec<oncekey_core::protocol::trigger::Handle>,
}

impl OldCall {
    fn made(self, after: usize) -> Call {
        let answer = (!self.children.is_empty()).then_some(Ok::<_, Refusal>(Answer::Children(self.children)));
        Call { what: short(&self.what), after, answer, ..Call::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(letter: char) -> RunId {
        RunId::parse(&format!("run_{}", letter.to_string().repeat(32))).expect("an id")
    }

    #[test]
    fn what_is_packed_is_read_back_with_the_order_of_the_answers() {
        let mut calls = Calls::default();
        for what in ["a", "b", "c", "d"] {
            calls.next(what).expect("a new one");
        }
        calls.note(1, |call| call.answer = Some(Ok(Answer::Held(true))));
        calls.note(2, |call| {
            call.answer = Some(Err(Refusal::of(&Error::Invalid { field: "task".into(), message: "is bad".into() })));
        });
        calls.give(2);
        calls.give(1);
        let mut read = Calls::of(None, &calls.pack().expect("packed"), &[3]).expect("read");
        assert_eq!((read.place(2), read.place(1), read.place(3)), (Ok(0), Ok(1), Err(2)));
        let (_, first) = read.next("a").expect("known");
        assert_eq!(first.and_then(|call| call.answer), Some(Ok(Answer::Held(true))));
        let (_, second) = read.next("b").expect("known");
        let refused = second.and_then(|call| call.answer).expect("an answer").expect_err("a refusal");
        assert_eq!(Error::from(refused).to_string(), "task: is bad");
        assert_eq!(read.next("e"), None, "not before the third, in which the run was suspended");
        assert_eq!(read.next_at_last("e"), Err((3, "c".to_owned())));
        read.next("c").expect("known");
        // The fourth was let drop.
        assert_eq!(read.next("e").map(|(number, _)| number), Some(5));
        assert_eq!(read.pack().expect("packed").len(), 1);
    }

    #[test]
    fn a_call_is_not_taken_for_one_that_says_the_same_and_was_let_drop() {
        let mut calls = Calls::default();
        calls.next("child").expect("a new one");
        calls.next("wait").expect("a new one");
        calls.give(1);
        assert_eq!(calls.next("wait").map(|(number, _)| number), Some(3));
        let mut read = Calls::of(None, &calls.pack().expect("packed"), &[3]).expect("read");
        read.next("child").expect("known");
        read.give(1);
        assert_eq!(read.next("wait").map(|(number, _)| number), Some(3));
    }

    #[test]
    fn ends_that_do_not_fit_one_segment_stand_in_several() {
        let mut calls = Calls::default();
        calls.next("batch").expect("a new one");
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
