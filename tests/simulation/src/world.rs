//! The scheduler: from one seed, who goes next and what becomes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use dynoxide::Database;
use fastrand::Rng;
use oncekey_core::protocol::trigger::Triggered;
use oncekey_core::queue::QueueUrls;
use oncekey_core::request::{Envelope, TriggerBody, parse_json};
use oncekey_core::store::{KeyAddress, TableNames};
use oncekey_core::{
    App, Clock, EnvironmentId, Error, KeyHash, RequestId, RunId, RunStatus, TaskId, Timestamp, blobs::Blobs,
    key::KeyPlace,
};
use oncekey_worker::Worker;
use serde_json::{Value, json};

use crate::history::{Answered, Claimed, Position, Recorder};
use crate::network::{Network, Pending, Process, at_work};
use crate::queue::{COMPLETIONS, COMPLETIONS_DEAD, Queues, RUNS, RUNS_DEAD};
use crate::tasks::{TASKS, worker};

/// Moves with faults, before everything is let come to rest.
const MOVES: u32 = 350;
/// Moves without, by which it must have.
const MOST_QUIET: u32 = 30_000;
/// Invocations at a time.
const MOST_AT_WORK: usize = 6;
/// How long an invocation of the worker may take.
const WORKER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a caller sends a request that fails.
const TRIES: u32 = 6;
/// When the simulation begins.
const BEGINNING: Timestamp = Timestamp::from_millis(1_790_000_000_000);

/// A fault planted below the handlers: a condition that gets lost on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutant {
    /// Keys are claimed whoever holds them.
    Claim,
    /// A failed run's key is deleted whoever holds it.
    Clear,
    /// A run suspends whatever its counter of wake-ups says.
    Suspend,
    /// An attempt is started whoever holds its lease.
    Start,
}

/// What is the same for every schedule of a thread: making clients takes longer than running one.
pub struct Bench {
    network: Network,
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    sdk: aws_config::SdkConfig,
}

impl Bench {
    /// Clients whose calls wait for the scheduler.
    pub async fn new() -> Self {
        let network = Network::default();
        let sdk = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .http_client(network.clone())
            .region("us-east-1")
            .test_credentials()
            .endpoint_url("http://simulation")
            .retry_config(aws_config::retry::RetryConfig::disabled())
            .stalled_stream_protection(aws_config::stalled_stream_protection::StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        Self { dynamodb: aws_sdk_dynamodb::Client::new(&sdk), sqs: aws_sdk_sqs::Client::new(&sdk), network, sdk }
    }

    /// A database with Oncekey's tables.
    pub fn database() -> Database {
        let database = Database::memory().expect("a database");
        let table = |name: &str, keys: &[&str]| {
            let kinds = ["HASH", "RANGE"];
            let schema = |keys: &[&str]| -> Vec<Value> {
                keys.iter().zip(kinds).map(|(key, kind)| json!({ "AttributeName": key, "KeyType": kind })).collect()
            };
            let mut named = keys.to_vec();
            let mut request = json!({ "TableName": name, "BillingMode": "PAY_PER_REQUEST", "KeySchema": schema(keys) });
            if name == "runs" {
                named.extend(["list_pk", "list_sk"]);
                request["GlobalSecondaryIndexes"] = json!([{ "IndexName": "newest", "KeySchema": schema(&["list_pk", "list_sk"]),
                    "Projection": { "ProjectionType": "KEYS_ONLY" } }]);
            }
            let definitions: Vec<Value> =
                named.iter().map(|name| json!({ "AttributeName": name, "AttributeType": "S" })).collect();
            request["AttributeDefinitions"] = json!(definitions);
            database.create_table(serde_json::from_value(request).expect("a request")).expect("a table");
        };
        table("keys", &["pk"]);
        table("runs", &["run_id", "item"]);
        database
    }
}

/// What a process was for.
enum Work {
    Trigger(usize),
    Invocation { queue: &'static str, handle: String, id: String },
    Reset,
    Cancel,
}

enum Ended {
    Trigger(Result<Triggered, Error>),
    Invocation(SqsBatchResponse),
    Person,
}

struct AtWork {
    process: Process,
    work: Work,
    asked: Position,
    future: Pin<Box<dyn Future<Output = Ended>>>,
    /// Whether it may have something to do.
    ready: bool,
}

/// Somebody who triggers, and sends the same request again if it fails.
struct Caller {
    environment: EnvironmentId,
    task: TaskId,
    key: Option<String>,
    ttl: &'static str,
    request: String,
    first_asked: Option<Position>,
    tries: u32,
    /// How often it asks again although it was answered.
    again: u32,
    at_work: bool,
}

/// One schedule.
pub struct World<'a> {
    bench: &'a Bench,
    database: &'a Database,
    random: Rng,
    clock: Clock,
    app: App,
    worker: Arc<Worker>,
    queues: Queues,
    /// The keys' items, as they were written.
    keys: BTreeMap<String, Value>,
    /// When each run was created.
    created_at: BTreeMap<String, Timestamp>,
    recorder: Recorder,
    callers: Vec<Caller>,
    at_work: Vec<AtWork>,
    waiting: Vec<Pending>,
    /// Processes that are slow: their calls go when no others are there.
    slow: BTreeSet<Process>,
    processes: Process,
    resets: u32,
    cancels: u32,
    faults: bool,
    mutant: Option<Mutant>,
}

/// What a schedule came to.
pub struct Outcome {
    /// What it broke.
    pub violations: Vec<String>,
    /// One line a step, if they were wanted.
    pub trace: Vec<String>,
    /// Runs that were made.
    pub runs: usize,
    /// Calls that were made.
    pub calls: u32,
}

/// Runs the schedule of a seed.
pub async fn simulate(bench: &Bench, database: &Database, seed: u64, trace: bool, mutant: Option<Mutant>) -> Outcome {
    fastrand::seed(seed);
    let mut world = World::new(bench, database, seed, trace, mutant);
    let mut calls = 0;
    for _ in 0..MOVES {
        calls += u32::from(world.wild_move().await);
    }
    world.faults = false;
    let mut settled = false;
    for _ in 0..MOST_QUIET {
        if world.quiet_move().await {
            settled = true;
            break;
        }
    }
    world.outcome(settled, calls)
}

impl<'a> World<'a> {
    fn new(bench: &'a Bench, database: &'a Database, seed: u64, trace: bool, mutant: Option<Mutant>) -> Self {
        let mut random = Rng::with_seed(seed);
        let clock = Clock::frozen(BEGINNING);
        let tables =
            TableNames { keys: "keys".to_owned(), runs: "runs".to_owned(), environments: "environments".to_owned() };
        let url = |queue: &str| format!("http://simulation/000000000000/{queue}");
        let urls = QueueUrls {
            runs: [("default".to_owned(), url(RUNS))].into(),
            of_task: Default::default(),
            runs_dead_letter: url(RUNS_DEAD),
            triggers: url("none"),
            triggers_dead_letter: url("none"),
            completions: url(COMPLETIONS),
            completions_dead_letter: url(COMPLETIONS_DEAD),
        };
        let blobs = Blobs::new(&bench.sdk, Some("http://simulation"), "none", clock.clone()).expect("a bucket");
        let app = App::new(bench.dynamodb.clone(), bench.sqs.clone(), tables, urls, blobs, clock.clone());
        let recorder = Recorder::default();
        recorder.lock().trace = trace.then(Vec::new);
        let callers = (0..random.u32(2..=8)).map(|number| Caller::new(seed, number, &mut random)).collect();
        Self {
            bench,
            database,
            clock,
            app,
            worker: Arc::new(worker(&recorder)),
            queues: Queues::default(),
            keys: BTreeMap::new(),
            created_at: BTreeMap::new(),
            callers,
            at_work: Vec::new(),
            waiting: Vec::new(),
            slow: BTreeSet::new(),
            processes: 0,
            resets: random.u32(0..=3),
            cancels: random.u32(0..=2),
            faults: true,
            mutant,
            recorder,
            random,
        }
    }

    /// Lets everybody who can go on until they wait for a call or for time.
    async fn let_work(&mut self) {
        // A pause for the runtime, whose budget would else run out in one long poll.
        tokio::task::yield_now().await;
        let mut index = 0;
        while index < self.at_work.len() {
            let busy = &mut self.at_work[index];
            if !std::mem::take(&mut busy.ready) {
                index += 1;
                continue;
            }
            at_work(busy.process);
            let polled = std::future::poll_fn(|context| Poll::Ready(busy.future.as_mut().poll(context))).await;
            self.waiting.extend(self.bench.network.take());
            match polled {
                Poll::Pending => index += 1,
                Poll::Ready(ended) => {
                    let done = self.at_work.swap_remove(index);
                    self.ended(done.work, done.asked, ended);
                }
            }
        }
    }

    fn start(&mut self, work: Work, future: impl Future<Output = Ended> + 'static) {
        self.processes += 1;
        let asked = self.recorder.begin();
        self.at_work.push(AtWork { process: self.processes, work, asked, future: Box::pin(future), ready: true });
    }

    fn ended(&mut self, work: Work, asked: Position, ended: Ended) {
        match (work, ended) {
            (Work::Trigger(caller), Ended::Trigger(result)) => self.answered(caller, asked, result),
            (Work::Invocation { queue, handle, id }, Ended::Invocation(response)) => {
                let left = response.batch_item_failures.iter().any(|failure| failure.item_identifier == id);
                // The acknowledgement may get lost too.
                let lost = !left && self.faults && self.random.u8(..100) < 5;
                if !left && !lost {
                    self.queues.delete(&handle);
                }
                self.recorder.lock().note(|| format!("{queue} {handle} {}", if left { "is left" } else { "is done" }));
            }
            _ => {}
        }
    }

    fn answered(&mut self, caller: usize, asked: Position, result: Result<Triggered, Error>) {
        let caller = &mut self.callers[caller];
        caller.at_work = false;
        let mut history = self.recorder.lock();
        let answered = history.tick();
        match result {
            Ok(triggered) => {
                caller.tries = caller.again;
                caller.again = caller.again.saturating_sub(1);
                let (run, cached) = (triggered.handle.id.to_string(), triggered.handle.is_cached);
                let request = caller.request.clone();
                history.note(|| format!("{request} is answered {run}, cached: {cached}"));
                let first_asked = caller.first_asked.unwrap_or(asked);
                let key = caller.key.as_ref().map_or_else(|| request.clone(), |key| caller.pk(key));
                history.answers.push(Answered { asked, first_asked, answered, key, request, run, cached });
            }
            Err(error @ Error::Aws { .. }) => history.note(|| format!("{} fails: {error:.60}", caller.request)),
            Err(Error::Contended(_)) => history.note(|| format!("{} is contended", caller.request)),
            Err(error) => history.broken.push(format!("{} is refused: {error}", caller.request)),
        }
    }

    /// One move with faults. Whether it was a call.
    async fn wild_move(&mut self) -> bool {
        self.let_work().await;
        self.recorder.lock().end_windows(self.clock.now());
        match self.random.u8(..100) {
            0..62 if !self.waiting.is_empty() => {
                self.next_call();
                return true;
            }
            0..72 => self.call_in(),
            72..88 => self.deliver(),
            88..92 => self.pass(Duration::from_millis(60)).await,
            92..97 => {
                let spans = [50, 900, 2_500, 6_000, 31_000, 61_000, 181_000];
                let span = Duration::from_millis(spans[self.random.usize(..spans.len())]);
                self.clock.advance(span);
                self.wake_all();
                self.recorder.lock().note(|| format!("{span:?} pass"));
            }
            97 => self.reset(),
            98 => self.cancel(),
            _ if !self.at_work.is_empty() => {
                let process = self.at_work[self.random.usize(..self.at_work.len())].process;
                self.kill(process);
            }
            _ => {}
        }
        false
    }

    /// One move without faults. Whether there was nothing left to do.
    async fn quiet_move(&mut self) -> bool {
        self.let_work().await;
        self.recorder.lock().end_windows(self.clock.now());
        if !self.waiting.is_empty() {
            self.next_call();
        } else if self.at_work.len() < MOST_AT_WORK
            && self.queues.next_visible().is_some_and(|at| at <= self.clock.now())
        {
            self.deliver();
        } else if !self.at_work.is_empty() {
            // They wait for time: for a process, or for a moment of the clock.
            self.pass(Duration::from_millis(60)).await;
            self.clock.advance(Duration::from_millis(60));
        } else if self.callers.iter().any(|caller| caller.tries > 0) {
            self.call_in();
        } else if let Some(at) = self.queues.next_visible() {
            self.clock.advance(at.since(self.clock.now()));
        } else {
            return true;
        }
        false
    }

    fn wake_all(&mut self) {
        self.at_work.iter_mut().for_each(|busy| busy.ready = true);
    }

    /// Lets real time pass, by which processes wait for each other.
    async fn pass(&mut self, span: Duration) {
        tokio::time::advance(span).await;
        self.wake_all();
    }

    /// Has a caller send its request.
    fn call_in(&mut self) {
        let idle: Vec<usize> = (0..self.callers.len())
            .filter(|caller| self.callers[*caller].tries > 0 && !self.callers[*caller].at_work)
            .collect();
        let Some(number) = idle.get(self.random.usize(..idle.len().max(1))).copied() else { return };
        let caller = &mut self.callers[number];
        caller.tries -= 1;
        caller.at_work = true;
        let position = self.recorder.begin();
        caller.first_asked.get_or_insert(position);
        let body =
            json!({ "payload": number, "options": { "idempotencyKey": caller.key, "idempotencyKeyTTL": caller.ttl } });
        let envelope = Envelope {
            environment: caller.environment.clone(),
            task: caller.task.clone(),
            request_id: RequestId::from_caller(&caller.request).expect("a request id"),
            key: None,
            key_ttl: None,
            traceparent: None,
            now: self.clock.now(),
        };
        self.recorder.lock().note(|| format!("{} triggers {} with {:?}", caller.request, caller.task, caller.key));
        let (app, body) = (self.app.clone(), body.to_string());
        self.start(Work::Trigger(number), async move {
            let request = parse_json::<TriggerBody<'_>>(body.as_bytes()).and_then(|body| body.check(envelope));
            Ended::Trigger(match request {
                Ok(request) => oncekey_core::protocol::trigger::trigger(&app, request).await,
                Err(error) => Err(error),
            })
        });
    }

    /// Has a message received, and its function invoked.
    fn deliver(&mut self) {
        if self.at_work.len() >= MOST_AT_WORK {
            return;
        }
        let Some((queue, message)) = self.queues.receive(self.clock.now(), &mut self.random, self.faults) else {
            return;
        };
        let (id, handle) =
            (message.message_id.clone().unwrap_or_default(), message.receipt_handle.clone().unwrap_or_default());
        self.recorder.lock().note(|| format!("{queue} {handle} is delivered"));
        let mut event = SqsEvent::default();
        event.records = vec![message];
        let (app, worker, deadline) =
            (self.app.clone(), Arc::clone(&self.worker), self.clock.now().plus(WORKER_TIMEOUT));
        self.start(Work::Invocation { queue, handle, id }, async move {
            Ended::Invocation(match queue {
                RUNS => worker.handle(&app, event, deadline).await,
                _ => oncekey_function_complete::handle(&app, event).await,
            })
        });
    }

    fn reset(&mut self) {
        let Some(caller) = self.callers.iter().find(|caller| caller.key.is_some()).filter(|_| self.resets > 0) else {
            return;
        };
        self.resets -= 1;
        let (app, environment, task) = (self.app.clone(), caller.environment.clone(), caller.task.clone());
        let hash = KeyHash::from_wire("key", caller.key.as_deref().unwrap_or_default()).expect("a key");
        self.start(Work::Reset, async move {
            let address = KeyAddress { environment: &environment, place: KeyPlace::Task(&task), hash: &hash };
            let _ = oncekey_core::protocol::reset::reset(&app, address).await;
            Ended::Person
        });
    }

    fn cancel(&mut self) {
        let runs: Vec<String> = {
            let history = self.recorder.lock();
            history.statuses.iter().filter(|(_, status)| !status.is_final()).map(|(run, _)| run.clone()).collect()
        };
        let Some(run) = runs.get(self.random.usize(..runs.len().max(1))).filter(|_| self.cancels > 0) else { return };
        self.cancels -= 1;
        let id = RunId::parse(run).expect("a run id");
        self.recorder.lock().note(|| format!("{id} is to be cancelled"));
        let (app, environment) = (self.app.clone(), self.callers[0].environment.clone());
        self.start(Work::Cancel, async move {
            let _ = oncekey_core::protocol::cancel::cancel(&app, &environment, &id).await;
            Ended::Person
        });
    }

    fn kill(&mut self, process: Process) {
        let Some(index) = self.at_work.iter().position(|busy| busy.process == process) else { return };
        self.recorder.lock().note(|| format!("process {process} dies"));
        // Calls of it that are on their way may or may not arrive.
        let (its, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|call| call.process == process);
        self.waiting = others;
        for call in its {
            if self.random.bool() {
                self.take_effect(&call);
            }
        }
        let dead = self.at_work.swap_remove(index);
        if let Work::Trigger(caller) = dead.work {
            self.callers[caller].at_work = false;
        }
    }

    /// Lets any call through, of a slow process only if there is no other: so one may stand still between two calls while
    /// others come from their beginning to their end.
    fn next_call(&mut self) {
        let quick: Vec<usize> =
            (0..self.waiting.len()).filter(|call| !self.slow.contains(&self.waiting[*call].process)).collect();
        let chosen = quick.get(self.random.usize(..quick.len().max(1))).copied();
        let chosen = chosen.unwrap_or_else(|| self.random.usize(..self.waiting.len()));
        let call = self.waiting.swap_remove(chosen);
        let process = call.process;
        self.carry_out(call);
        if self.faults && self.random.u8(..100) < 15 {
            self.slow.insert(process);
        } else if self.random.u8(..100) < 15 {
            self.slow.clear();
        }
    }

    /// Decides what becomes of a call.
    fn carry_out(&mut self, call: Pending) {
        let process = call.process;
        let fate = if self.faults { self.random.u8(..100) } else { 99 };
        match fate {
            0..4 => {
                self.recorder.lock().note(|| format!("process {process}: {} gets lost", call.target));
                call.fail();
            }
            4..8 => {
                self.take_effect(&call);
                self.recorder.lock().note(|| format!("process {process}: and its answer gets lost"));
                call.fail();
            }
            8..10 => {
                self.waiting.push(call);
                return self.kill(process);
            }
            _ => {
                let (status, body) = self.take_effect(&call);
                call.answer(status, body);
            }
        }
        if let Some(busy) = self.at_work.iter_mut().find(|busy| busy.process == process) {
            busy.ready = true;
        }
    }

    /// Carries a call out, and watches what it does.
    fn take_effect(&mut self, call: &Pending) -> (u16, String) {
        let operation = call.target.split('.').next_back().unwrap_or_default();
        let process = call.process;
        if call.target.starts_with("AmazonSQS") {
            self.recorder.lock().note(|| {
                let body = call.body["MessageBody"].as_str().unwrap_or_default();
                let place = body.find("\"run_id\"").unwrap_or(0);
                format!("process {process}: {operation} {:.160}", &body[place..])
            });
            return (200, self.queues.call(operation, &call.body, self.clock.now()).to_string());
        }
        let mut body = call.body.clone();
        self.forget_conditions(operation, &mut body);
        let table = body["TableName"].as_str().unwrap_or_default().to_owned();
        let writes = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
        let key = match (operation, table.as_str()) {
            ("PutItem", "keys") => json!({ "pk": body["Item"]["pk"] }),
            ("PutItem", _) => json!({ "run_id": body["Item"]["run_id"], "item": body["Item"]["item"] }),
            _ => body["Key"].clone(),
        };
        let put = body.get("Item").cloned();
        let (status, answer) = oncekey::aws::in_process::execute(self.database, operation, body.to_string().as_bytes());
        self.recorder.lock().note(|| {
            let why: Value = serde_json::from_str(&answer).unwrap_or_default();
            let refused = why["__type"].as_str().map(|kind| format!(": {kind}")).unwrap_or_default();
            let shown = [text(&key, "pk"), text(&key, "run_id"), text(&key, "item")].join(" ");
            format!("process {process}: {operation} {table} {}{refused}", shown.trim())
        });
        if writes && status == 200 {
            let item = put.or_else(|| serde_json::from_str::<Value>(&answer).ok()?.get("Attributes").cloned());
            match (table.as_str(), item) {
                ("keys", item) => self.key_written(process, &key, item.filter(|_| operation == "PutItem")),
                (_, Some(item)) if key["item"]["S"] == "run" => self.run_written(&item),
                // A registration, which says nothing of the run.
                _ => {}
            }
        }
        (status, answer)
    }

    /// The planted fault: a condition is always true, and still uses the names and values that DynamoDB wants used.
    fn forget_conditions(&self, operation: &str, body: &mut Value) {
        let condition = body["ConditionExpression"].as_str().unwrap_or_default().to_owned();
        let open = |part: &str| condition.replacen(part, &part.replacen('(', "(attribute_not_exists(never) OR ", 1), 1);
        let all = || format!("attribute_not_exists(never) OR {condition}");
        let forgotten = match self.mutant {
            Some(Mutant::Claim) if operation == "PutItem" && body["TableName"] == "keys" => all(),
            Some(Mutant::Clear) if operation == "DeleteItem" && condition.starts_with("run_id") => all(),
            Some(Mutant::Start) if condition.contains("#retry_at") => all(),
            Some(Mutant::Suspend) if condition.contains("(attribute_not_exists(#wakes)") => {
                open("(attribute_not_exists(#wakes)")
            }
            Some(Mutant::Suspend) if condition.contains("(#wakes =") => open("(#wakes ="),
            _ => return,
        };
        body["ConditionExpression"] = json!(forgotten);
    }

    /// A key's item was put or deleted.
    fn key_written(&mut self, process: Process, key: &Value, after: Option<Value>) {
        let now = self.clock.now();
        let pk = text(key, "pk");
        let before = match &after {
            Some(item) => self.keys.insert(pk.clone(), item.clone()),
            None => self.keys.remove(&pk),
        };
        let by_reset = self.at_work.iter().any(|busy| busy.process == process && matches!(busy.work, Work::Reset));
        let mut history = self.recorder.lock();
        if let Some(before) = before {
            let run = text(&before, "run_id");
            let status = history.statuses.get(&run).copied();
            let window_ends_at = moment(&before, "window_ends_at");
            if by_reset {
                let at = history.tick();
                history.separators.push((at, pk.clone()));
                history.end_claim(&pk, "it was reset");
            } else {
                // Whether it is the claim that made its run.
                let made = self.created_at.get(&run) == Some(&moment(&before, "created_at"));
                if after.is_none() && !status.is_some_and(RunStatus::frees_key) {
                    history.broken.push(format!("I4: the key {pk} of {run}, which is {status:?}, was cleared"));
                }
                let kept = matches!(status, Some(RunStatus::Completed | RunStatus::Canceled));
                if kept && made && window_ends_at > now {
                    history.broken.push(format!("I5: the key {pk} of {run}, which is {status:?}, was lost"));
                }
                history.end_claim(&pk, "it was cleared or taken over");
            }
        }
        if let Some(after) = after {
            let (at, run) = (history.tick(), text(&after, "run_id"));
            let window_ends_at = moment(&after, "window_ends_at");
            history.claims.push(Claimed { at, key: pk, run, window_ends_at, gone: None });
        }
    }

    /// A run was put or moved.
    fn run_written(&mut self, item: &Value) {
        let (run, status) = (text(item, "run_id"), text(item, "status"));
        let Some(status) = RunStatus::ALL.into_iter().find(|known| known.as_str() == status) else { return };
        let mut history = self.recorder.lock();
        let before = history.statuses.insert(run.clone(), status);
        if before == Some(status) {
            return;
        }
        history.note(|| format!("{run} is {status}"));
        if let Some(before) = before.filter(|before| before.is_final()) {
            history.broken.push(format!("{run} was {before} and became {status}"));
        }
        let spec: Value = serde_json::from_str(&text(item, "spec")).unwrap_or_default();
        self.created_at.insert(run.clone(), Timestamp::from_millis(spec["created_at"].as_i64().unwrap_or_default()));
        if status.frees_key()
            && let Some(hash) = spec["key"]["hash"].as_str()
        {
            let key = format!(
                "{}#{}#{hash}",
                spec["environment"].as_str().unwrap_or_default(),
                spec["task"].as_str().unwrap_or_default()
            );
            let at = history.tick();
            history.separators.push((at, key.clone()));
            if history.claims.iter().rev().find(|claim| claim.key == key).is_some_and(|claim| claim.run == run) {
                history.end_claim(&key, "its run failed");
            }
        }
    }

    fn outcome(self, settled: bool, calls: u32) -> Outcome {
        let mut history = self.recorder.lock();
        let mut violations = history.violations();
        if !settled {
            violations.push(format!(
                "I8: {} messages and {} processes never come to rest",
                self.queues.len(),
                self.at_work.len()
            ));
        }
        let acknowledged: BTreeSet<&String> = history.answers.iter().map(|answer| &answer.run).collect();
        for run in acknowledged {
            match history.statuses.get(run) {
                Some(status) if status.is_final() => {}
                status => violations.push(format!("I2: {run} was acknowledged and is {status:?}")),
            }
        }
        for (run, status) in history.statuses.iter().filter(|(_, status)| !status.is_final()) {
            violations.push(format!("I8 or I9: {run} is left {status}"));
        }
        let runs = history.statuses.len();
        Outcome { violations, trace: history.trace.take().unwrap_or_default(), runs, calls }
    }
}

impl Caller {
    fn new(seed: u64, number: u32, random: &mut Rng) -> Self {
        let pick = |random: &mut Rng, most: usize| random.usize(..most);
        // Most of one environment, task and key; who has none shares nothing.
        let environment = if pick(random, 10) == 0 { "other" } else { "dev" };
        let mut shared = Rng::with_seed(seed ^ 0x6f6e_6365);
        let task =
            if pick(random, 5) == 0 { TASKS[pick(random, TASKS.len())] } else { TASKS[shared.usize(..TASKS.len())] };
        Self {
            // One of its own for each schedule: they share a database.
            environment: EnvironmentId::parse(&format!("s{seed}/{environment}")).expect("an environment"),
            task: TaskId::parse(task).expect("a task"),
            key: (pick(random, 10) != 0).then(|| "k".to_owned()),
            ttl: ["30d", "30d", "5s", "60s"][pick(random, 4)],
            request: format!("s{seed}-r{number}"),
            first_asked: None,
            tries: TRIES,
            again: pick(random, 3) as u32,
            at_work: false,
        }
    }

    fn pk(&self, key: &str) -> String {
        let hash = KeyHash::from_wire("key", key).expect("a key");
        format!("{}#{}#{hash}", self.environment, self.task)
    }
}

fn text(item: &Value, name: &str) -> String {
    item[name]["S"].as_str().unwrap_or_default().to_owned()
}

fn moment(item: &Value, name: &str) -> Timestamp {
    Timestamp::from_millis(item[name]["N"].as_str().and_then(|digits| digits.parse().ok()).unwrap_or_default())
}
