//! One run in a child: what the child says and asks, until the run is over.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use oncekey_core::payload::{Payload, PayloadType};
use oncekey_core::{Error, Run, RunStatus};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::context::Context;
use crate::error::{Kind, Retry, TaskError};
use crate::execute::timed_out;
use crate::host::api::ChildCall;
use crate::host::execution::{execution, retries};
use crate::host::inner::Inner;
use crate::host::over::Over;
use crate::host::process::Process;
use crate::host::protocol::{Described, Ended, FromChild, Manifest, TaskRunError, ToChild};
use crate::host::settings::Fetches;
use crate::host::traces::{Traces, standstill};
use crate::host::verbs::Verbs;
use crate::invocation::Invocation;

/// How long a child may go on that was told to end.
pub(crate) const GRACE: Duration = Duration::from_secs(1);
/// How long a child that says it is stuck must stay so: an answer may be under way to it.
const STUCK: Duration = Duration::from_millis(500);

/// Carries a run out in a child.
pub(crate) async fn carry_out(host: Arc<Inner>, ctx: Context, payload: Payload) -> Result<Payload, TaskError> {
    let inv = &*ctx.inner;
    let mut hand = host
        .pool
        .take(&inv.run.spec.environment)
        .await
        .map_err(|why| crashed(&format!("no process for the task: {why}")))?;
    let task = &inv.run.spec.task;
    let Some(manifest) = hand.code.tasks.iter().find(|known| known.id == task.as_str()).cloned() else {
        host.pool.give_back(hand);
        return Err(TaskError::new(format!("the task files register no task {:?} any more", task.as_str())));
    };
    let Some(mut calls) = hand.calls.take() else { return Err(crashed("the process has no ear")) };
    // What an earlier run left behind is answered by nobody.
    while calls.try_recv().is_ok() {}
    let (run, exchanges) = tokio::try_join!(with_metadata(inv), exchanges(inv))?;
    let traces = Arc::new(Traces::with(exchanges.clone()));
    let session = Session { host: &host, inv, process: &hand.process, manifest: &manifest, run, exchanges, traces };
    let ended = session.run(&mut calls, &payload).await;
    hand.calls = Some(calls);
    match ended {
        Ok(output) => {
            host.pool.give_back(hand);
            Ok(output)
        }
        Err(Over::Failed(error)) => {
            host.pool.give_back(hand);
            Err(error)
        }
        Err(Over::Broken(error)) => Err(error),
    }
}

/// Why a child is told to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// The run is not ours any more.
    Lost,
    /// It took too long.
    TooLong(Duration),
}

struct Session<'a> {
    host: &'a Inner,
    inv: &'a Invocation,
    process: &'a Arc<Process>,
    manifest: &'a Manifest,
    /// The run with all that it has of its own.
    run: Run,
    /// What the run recorded before it was suspended.
    exchanges: Vec<Value>,
    traces: Arc<Traces>,
}

async fn with_metadata(inv: &Invocation) -> Result<Run, Error> {
    let mut run = inv.run.clone();
    if run.changed_metadata.is_none() {
        inv.app.store.read_metadata(std::slice::from_mut(&mut run)).await?;
    }
    Ok(run)
}

async fn exchanges(inv: &Invocation) -> Result<Vec<Value>, Error> {
    let text = inv.exchanges().await?;
    let read = |text: String| {
        serde_json::from_str(&text)
            .map_err(|error| Error::Unreadable { what: "exchanges".into(), why: error.to_string() })
    };
    text.map_or(Ok(Vec::new()), read)
}

type UnderWay<'a> = FuturesUnordered<BoxFuture<'a, Result<(), Over>>>;

impl Session<'_> {
    async fn run(&self, calls: &mut mpsc::Receiver<ChildCall>, payload: &Payload) -> Result<Payload, Over> {
        let (inv, process) = (self.inv, self.process);
        let waits = self.host.waits.of(&inv.run.spec.task);
        let _ = inv.outside.set(standstill(process, &self.traces, waits, &self.host.slots));
        let _ = inv.look_every.set(self.host.look_every);
        let limit = self.limit();
        self.start(payload, limit);
        let metadata = self.run.metadata_at_start().and_then(Value::as_object).cloned().unwrap_or_default();
        let verbs = Verbs::new(inv, process, &self.traces, !inv.is_live(), metadata);
        let mut under_way = UnderWay::new();
        let mut looks = tokio::time::interval(self.host.look_every);
        let left = limit.map(|limit| limit.saturating_sub(inv.run.spent()));
        let too_long = sleep(left.map(|left| Instant::now() + left));
        tokio::pin!(too_long);
        let mut leaving: Option<(Leaving, Instant)> = None;
        let mut stuck: Option<(Instant, u64, Option<String>)> = None;
        loop {
            tokio::select! {
                biased;
                message = process.hear() => match self.heard(message)? {
                    Some(FromChild::Result { result }) => match leaving {
                        Some((why, _)) => return self.leave(why).await,
                        None => return returned(result, &verbs),
                    },
                    Some(FromChild::Wait { id, what }) => under_way.push(verbs.wait(id, what).boxed()),
                    Some(FromChild::Stalled { calls, fetches, unmade, held }) => {
                        // What was fetched before and is not now keeps back every answer that came after it, as does an answer
                        // that came before and does not now.
                        let parked = !calls.is_empty() || [&fetches, &unmade, &held].iter().any(|what| !what.is_empty());
                        let is_stuck = parked || inv.holds_back();
                        if !is_stuck {
                            self.traces.stands();
                        }
                        stuck = is_stuck
                            .then(|| (Instant::now() + STUCK, verbs.answers(), other_fetches(&fetches, &unmade, &held)));
                    }
                    Some(FromChild::Looked { look, open }) => self.traces.looked(look, open),
                    Some(FromChild::Effect { what, fetching }) => self.traces.effect(what, fetching),
                    Some(FromChild::Fetching { id, what }) => self.traces.fetching(id, what),
                    Some(FromChild::Recorded { id, record }) => self.traces.recorded(id, record),
                    Some(FromChild::Died { event, error }) => return Err(Over::Broken(died(&event, error))),
                    Some(FromChild::Ready { .. } | FromChild::Failed { .. }) => {}
                    None => return Err(Over::Broken(self.ended().await)),
                },
                Some(call) = calls.recv() => {
                    self.traces.moved();
                    under_way.push(verbs.serve(call).boxed());
                }
                Some(done) = under_way.next(), if !under_way.is_empty() => done?,
                () = sleep(stuck.as_ref().map(|(until, ..)| *until)), if stuck.is_some() => {
                    if let Some((_, answers, fetches)) = stuck.take()
                        && answers == verbs.answers()
                    {
                        inv.give_up();
                        if let Some(message) = fetches {
                            return Err(Over::Broken(TaskError::abort(message)));
                        }
                    }
                }
                () = &mut too_long, if leaving.is_none() => {
                    process.tell(&ToChild::Cancel);
                    leaving = Some((Leaving::TooLong(limit.unwrap_or_default()), Instant::now() + GRACE));
                }
                _ = looks.tick(), if leaving.is_none() => {
                    if self.is_canceled().await {
                        process.tell(&ToChild::Cancel);
                        leaving = Some((Leaving::Lost, Instant::now() + GRACE));
                    }
                }
                () = sleep(leaving.map(|(_, until)| until)), if leaving.is_some() => {
                    if let Some((why, _)) = leaving {
                        return self.leave(why).await;
                    }
                }
            }
        }
    }

    fn heard(&self, message: Result<Option<FromChild>, String>) -> Result<Option<FromChild>, Over> {
        let message = message.map_err(|why| Over::Broken(crashed(&why)))?;
        if !matches!(message, Some(FromChild::Stalled { .. } | FromChild::Looked { .. })) {
            self.traces.moved();
        }
        Ok(message)
    }

    fn limit(&self) -> Option<Duration> {
        let calls = self.inv.run.spec.options.max_duration.map(|seconds| Duration::from_secs(seconds.into()));
        calls.or(self.manifest.limit())
    }

    fn start(&self, payload: &Payload, limit: Option<Duration>) {
        let run = &self.run;
        let now = self.inv.app.clock.now();
        let execution = execution(run, payload, &self.manifest.file_path, limit.map(|limit| limit.as_secs()), now);
        let worker = json!({ "id": "oncekey", "version": "1", "contentHash": "" });
        self.process.carries(&run.id);
        self.process.tell(&ToChild::Run {
            execution: &execution,
            worker: &worker,
            retries: &retries(),
            replaying: !self.inv.is_live(),
            record: self.host.fetches.of(&run.spec.task) == Fetches::Recorded,
            exchanges: &self.exchanges,
        });
    }

    /// Whether somebody cancelled the run. If it is lost otherwise, this invocation ends here.
    async fn is_canceled(&self) -> bool {
        match self.inv.app.store.position(&self.inv.run.id).await {
            Ok(Some((RunStatus::Canceled, _))) => true,
            Ok(now) if now != Some((RunStatus::Executing, self.inv.run.turn)) => {
                let _ = self.inv.still_ours().await;
                false
            }
            // The next look may tell more.
            _ => false,
        }
    }

    async fn leave(&self, why: Leaving) -> Result<Payload, Over> {
        match why {
            Leaving::Lost => {
                let _ = self.inv.still_ours().await;
                Err(Over::Broken(crashed("the run was cancelled")))
            }
            Leaving::TooLong(limit) => Err(Over::Broken(timed_out(Some(limit)))),
        }
    }

    /// Why a child says no more.
    async fn ended(&self) -> TaskError {
        match self.process.end().await {
            Some(status) => crashed(&format!("the task's process ended: {status}")),
            None => crashed("the task's process closed its line to the host"),
        }
    }
}

/// Until a moment, or for ever.
async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn returned(ended: Ended, verbs: &Verbs<'_>) -> Result<Payload, Over> {
    if ended.ok {
        if ended.output_type.as_deref() == Some(PayloadType::Store.as_str()) {
            let found = ended.output.as_deref().and_then(|path| verbs.packet(path));
            let lost = || TaskError::abort("the output was put to a place that this run does not know");
            return found.ok_or_else(|| Over::Failed(lost()));
        }
        let kind = ended.output_type.as_deref().map(PayloadType::of_content_type).unwrap_or_default();
        return Ok(Payload { text: ended.output, kind });
    }
    let TaskRunError { name, message, stack_trace, raw, code } = ended.error.unwrap_or_default();
    let retry = match ended.retry {
        Some(after) => Retry::After(Duration::try_from_secs_f64(after.delay / 1000.0).unwrap_or_default()),
        None => Retry::Never,
    };
    let message = message.or(raw).unwrap_or_else(|| "the task failed, and did not say why".to_owned());
    let name = name.or(code).unwrap_or_else(|| "Error".to_owned());
    Err(Over::Failed(TaskError {
        name: name.into(),
        stack: stack_trace.filter(|stack| !stack.is_empty()),
        retry,
        ..TaskError::new(message)
    }))
}

fn crashed(why: &str) -> TaskError {
    TaskError { name: "Crashed".into(), kind: Kind::Crashed, ..TaskError::new(why) }
}

/// The end of a process that could still say why.
fn died(event: &str, error: Described) -> TaskError {
    let what = match event {
        "exit" => "the task ended its process".to_owned(),
        event => format!("the task's process ended by an {event}"),
    };
    let stack = error.stack.filter(|stack| !stack.is_empty());
    TaskError { stack, ..crashed(&format!("{what}: {}", error.message)) }
}

/// What is wrong with a task that makes other fetches than before, or waits for other answers.
fn other_fetches(fetches: &[String], unmade: &[String], held: &[String]) -> Option<String> {
    let listed = |all: &[String]| if all.is_empty() { "none".to_owned() } else { all.join(", ") };
    let same = "Between two waits a task must make the same calls";
    if !fetches.is_empty() || !unmade.is_empty() {
        let (now, before) = (listed(fetches), listed(unmade));
        return Some(format!(
            "the task was resumed and made other calls than before: now {now}; before {before}. {same}"
        ));
    }
    (!held.is_empty()).then(|| {
        let held = listed(held);
        format!("the task was resumed, and the answers of {held} wait for others that came before them and do not come now. {same}")
    })
}
