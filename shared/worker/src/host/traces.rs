//! What a run has done that leaves its process, as far as its child says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::host::process::Process;
use crate::host::protocol::ToChild;
use crate::host::settings::Waits;
use crate::invocation::lock;
use crate::standstill::{Findings, Standstill};

/// How soon a run is looked at again that has a recorded fetch under way.
const UNTIL_FETCHED: Duration = Duration::from_millis(20);

/// How long a child must have said and asked nothing before its run is suspended, if it does not say that it stands: what goes
/// on beside a wait may be about to wait, too, and be missed.
const QUIET: Duration = Duration::from_secs(1);
/// How soon it is looked at again.
const UNTIL_QUIET: Duration = Duration::from_millis(10);
/// How soon, when it was asked to look itself.
const UNTIL_LOOKED: Duration = Duration::from_millis(2);

/// What a run has done.
#[derive(Debug, Default)]
pub(crate) struct Traces(Mutex<Doings>);

#[derive(Debug, Default)]
struct Doings {
    effects: Vec<String>,
    /// Recorded fetches that are under way.
    fetching: BTreeMap<u64, String>,
    /// When it last said or asked something, or had an answer.
    moved: Option<Instant>,
    /// How often it has.
    moves: u64,
    /// Whether it has said since that nothing but its waits keeps it going.
    stands: bool,
    /// What it was asked to look for since, and whether it has found nothing under way.
    look: Option<(u64, bool)>,
    /// The looks so far.
    looks: u64,
    /// The place that the run has given back while it is held.
    lent: Option<Lent>,
    /// What was recorded, in this attempt.
    records: Vec<Value>,
    /// How much of that is kept.
    kept: usize,
}

impl Traces {
    /// One whose run has recorded this before it was suspended.
    pub(crate) fn with(records: Vec<Value>) -> Self {
        Self(Mutex::new(Doings { kept: records.len(), records, ..Doings::default() }))
    }

    /// All that was recorded, if that is more than is kept.
    fn exchanged(&self) -> Option<String> {
        let doings = lock(&self.0);
        let more = doings.records.len() > doings.kept;
        more.then(|| Value::Array(doings.records.clone()).to_string())
    }

    pub(crate) fn effect(&self, what: String, fetching: Option<u64>) {
        let mut doings = lock(&self.0);
        if let Some(id) = fetching {
            doings.fetching.remove(&id);
        }
        doings.effects.push(what);
    }

    pub(crate) fn fetching(&self, id: u64, what: String) {
        lock(&self.0).fetching.insert(id, what);
    }

    pub(crate) fn recorded(&self, id: u64, record: Value) {
        let mut doings = lock(&self.0);
        doings.fetching.remove(&id);
        doings.records.push(record);
    }

    /// It says or asks something, or has an answer.
    pub(crate) fn moved(&self) {
        let mut doings = lock(&self.0);
        (doings.moved, doings.stands, doings.look) = (Some(Instant::now()), false, None);
        doings.moves += 1;
    }

    /// It says that nothing but its waits keeps it going.
    pub(crate) fn stands(&self) {
        lock(&self.0).stands = true;
    }

    fn is_quiet(&self) -> bool {
        let doings = lock(&self.0);
        doings.stands || doings.moved.is_none_or(|moved| moved.elapsed() >= QUIET)
    }

    /// Whether it has heard all that it was told, and nothing that follows from it is under way. It is asked: a child that
    /// computes, or has too little of the machine, is silent and does not stand.
    fn has_heard_all(&self, process: &Process) -> bool {
        let mut doings = lock(&self.0);
        if let Some((_, idle)) = doings.look {
            return idle;
        }
        doings.looks += 1;
        let look = doings.looks;
        doings.look = Some((look, false));
        process.tell(&ToChild::Look { look });
        false
    }

    /// The child has looked: so much was under way.
    pub(crate) fn looked(&self, look: u64, open: u64) {
        let mut doings = lock(&self.0);
        if doings.look.is_some_and(|(asked, _)| asked == look) {
            doings.look = (open == 0).then_some((look, true));
        }
    }

    fn moves(&self) -> u64 {
        lock(&self.0).moves
    }

    /// Gives the run's place to another, until it goes on.
    fn lend(&self, slots: &Arc<Semaphore>) {
        lock(&self.0).lent.get_or_insert_with(|| {
            slots.add_permits(1);
            Lent(Arc::clone(slots))
        });
    }

    /// The run goes on.
    pub(crate) fn goes_on(&self) {
        drop(lock(&self.0).lent.take());
    }

    fn effects(&self) -> Vec<String> {
        lock(&self.0).effects.clone()
    }

    fn is_fetching(&self) -> bool {
        !lock(&self.0).fetching.is_empty()
    }

    /// What is to be found when the run shall be suspended.
    fn found(&self, waits: Waits) -> Option<Findings> {
        match waits {
            Waits::Replay => None,
            Waits::Hold => Some(Findings::Effects(vec!["was told to hold its waits (ONCEKEY_WAITS=hold)".to_owned()])),
            Waits::Mixed => Some(self.effects()).filter(|effects| !effects.is_empty()).map(Findings::Effects),
        }
    }
}

/// A place that was given back, and is taken again when this is dropped: as soon as one is free.
#[derive(Debug)]
struct Lent(Arc<Semaphore>);

impl Drop for Lent {
    fn drop(&mut self) {
        let slots = Arc::clone(&self.0);
        tokio::spawn(async move {
            if let Ok(slot) = slots.acquire_owned().await {
                slot.forget();
            }
        });
    }
}

/// How a child is stopped and looked at before its run is suspended.
pub(crate) fn standstill(
    process: &Arc<Process>,
    traces: &Arc<Traces>,
    waits: Waits,
    slots: &Arc<Semaphore>,
) -> Standstill {
    let going_on = Arc::clone(process);
    let recorded = Arc::clone(traces);
    let exchanged = move || recorded.exchanged();
    let (stopped, traces, slots) = (Arc::clone(process), Arc::clone(traces), Arc::clone(slots));
    let stop = move || {
        let (process, traces, slots) = (Arc::clone(&stopped), Arc::clone(&traces), Arc::clone(&slots));
        let look: futures_util::future::BoxFuture<'static, Findings> = Box::pin(async move {
            if let Some(found) = traces.found(waits) {
                traces.lend(&slots);
                return found;
            }
            // Its answer is to be recorded first, or it would be sent again.
            if traces.is_fetching() {
                tokio::time::sleep(UNTIL_FETCHED).await;
                return Findings::More;
            }
            if !traces.is_quiet() {
                tokio::time::sleep(UNTIL_QUIET).await;
                return Findings::More;
            }
            if !traces.has_heard_all(&process) {
                tokio::time::sleep(UNTIL_LOOKED).await;
                return Findings::More;
            }
            let moves = traces.moves();
            process.stop().await;
            // What it said up to now is in the pipe, or was heard meanwhile: effects are said before they happen.
            if process.has_said_more() || traces.moves() != moves {
                process.go_on();
                return Findings::More;
            }
            Findings::Clean
        });
        look
    };
    Standstill { stop: Box::new(stop), exchanged: Box::new(exchanged), go_on: Box::new(move || going_on.go_on()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use futures_util::poll;

    use super::*;
    use crate::host::process::{Console, Program};

    /// A child that does what a shell is told, and what stands between it and the suspension of its run.
    fn child(script: &str) -> (Arc<Process>, Arc<Traces>, Standstill) {
        let program = Program {
            program: "sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            folder: "/".into(),
            environment: HashMap::new(),
        };
        let console: Console = Arc::new(|_, _, _| ());
        let process = Arc::new(Process::start(&program, &console).expect("a shell"));
        let traces = Arc::new(Traces::default());
        let standstill = standstill(&process, &traces, Waits::Mixed, &Arc::new(Semaphore::new(1)));
        (process, traces, standstill)
    }

    /// Has the child say that it has looked, and nothing is under way.
    async fn quiet(traces: &Traces, standstill: &Standstill) {
        traces.stands();
        assert!(matches!((standstill.stop)().await, Findings::More), "it is asked to look first");
        let looks = lock(&traces.0).looks;
        traces.looked(looks, 0);
    }

    fn stands(process: &Process) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("a process");
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    #[tokio::test]
    async fn a_run_is_suspended_while_its_process_stands() {
        let (process, traces, standstill) = child("while :; do sleep 0.01; done");
        quiet(&traces, &standstill).await;
        assert!(matches!((standstill.stop)().await, Findings::Clean));
        assert!(stands(&process));
        (standstill.go_on)();
        assert!(!stands(&process));
    }

    #[tokio::test]
    async fn it_is_not_suspended_over_what_its_process_has_said_and_nobody_has_heard() {
        let (process, traces, standstill) = child("echo '{\"type\": \"effect\", \"what\": \"x\"}' >&4; sleep 60");
        while !process.has_said_more() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        quiet(&traces, &standstill).await;
        assert!(matches!((standstill.stop)().await, Findings::More));
        assert!(!stands(&process), "it goes on, to be heard");
    }

    #[tokio::test]
    async fn nor_over_what_is_heard_while_its_process_is_stopped() {
        let (process, traces, standstill) = child("sleep 60");
        loop {
            quiet(&traces, &standstill).await;
            let mut stopping = (standstill.stop)();
            if poll!(&mut stopping).is_ready() {
                // It stood at once: there was no time to hear anything. Once more.
                (standstill.go_on)();
                traces.moved();
                continue;
            }
            traces.moved();
            traces.effect("x".to_owned(), None);
            assert!(matches!(stopping.await, Findings::More));
            assert!(!stands(&process), "it goes on, and is held");
            break;
        }
    }
}
