//! A stack of its own for each test, in memory and in this process, spoken to through HTTP.
//!
//! Rules run in three places: on the embedded endpoints; on other emulators, which `ONCEKEY_TEST_DYNAMODB` and
//! `ONCEKEY_TEST_SQS` name; and in an environment of its own of a deployment, where `ONCEKEY_TEST_URL` says where one is. The
//! first line of each says in which: [`Oncekey::anywhere`], [`Place::own_stack`] or [`Place::here_alone`].

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on should say where"
)]
#![allow(missing_debug_implementations, reason = "nobody prints a stack")]

pub mod cloudformation;
pub mod policy;
pub mod public_tokens;
mod schedules;

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use oncekey::aws::iam::Function;
use oncekey::{Options, Stack, Storage};
use oncekey_core::environment::{ApiKey, create};
use oncekey_core::store::{Store, TableNames};
use oncekey_core::{App, Clock, EnvironmentId, KeyHash, RunId, TaskId, Timestamp};
use oncekey_worker::Worker;
use policy::{Policies, Tasks};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

/// API key of the environment `local/dev`.
pub const DEV: &str = "tr_dev_local";
/// API key of the environment `local/prod`.
pub const PROD: &str = "tr_prod_local";

/// A running stack and a client of it.
pub struct Oncekey {
    target: Target,
    /// Its time, to be moved by the test.
    pub clock: Clock,
    http: reqwest::Client,
    api_key: String,
    /// What the names of its tables and queues begin with.
    prefix: String,
    /// What its functions may ask of AWS; `None` where AWS itself says so.
    policies: Option<Held>,
}

/// The policies of a stack, by which every call of its functions is held.
struct Held(Arc<Policies>);

impl Drop for Held {
    fn drop(&mut self) {
        let denied = self.0.take_denied();
        if std::thread::panicking() {
            eprintln!("calls that no policy of the templates allows: {denied:#?}");
        } else {
            assert!(denied.is_empty(), "calls that no policy of the templates allows: {denied:#?}");
        }
    }
}

enum Target {
    Local(Box<Stack>),
    Deployed(Deployment),
}

/// What a trigger answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The run's id.
    pub id: String,
    /// Whether it was there already.
    pub is_cached: bool,
}

/// Where a rule that needs a stack of its own runs. There is none where the rule does not: its test ends at once, and its name
/// and the reason are printed.
#[derive(Clone, Copy, Debug)]
pub struct Place(());

/// The reason of rules that move the clock past a message's delay or visibility.
pub const COUNTS_IN_REAL_TIME: &str =
    "it moves the clock past a message's delay or visibility, which ElasticMQ counts in real time";

impl Place {
    /// On this machine, on the embedded endpoints or on other emulators: for a rule that sets the clock, brings tasks or looks
    /// into tables and queues. Not on a deployment.
    #[must_use]
    pub fn own_stack() -> Option<Self> {
        if is_deployed() {
            return leave_out("it needs a stack of its own, which no deployment is");
        }
        Some(Self(()))
    }

    /// On the embedded endpoints alone. `why` a rule cannot be told on other emulators; on a deployment it cannot either.
    #[must_use]
    pub fn here_alone(why: &str) -> Option<Self> {
        if other_endpoints().is_some() {
            return leave_out(why);
        }
        Self::own_stack()
    }
}

/// Past the test's captured output: that of a test that passes is not shown.
fn leave_out(why: &str) -> Option<Place> {
    let thread = std::thread::current();
    let _ = writeln!(std::io::stderr(), "left out: {}: {why}", thread.name().unwrap_or("a rule"));
    None
}

impl Oncekey {
    /// For a rule that needs nothing but HTTP, and so runs everywhere: a stack whose time goes by, or a deployment.
    pub async fn anywhere() -> Self {
        if !is_deployed() {
            return Self::start(Place(())).await;
        }
        let deployment = Deployment::from_env().await;
        let api_key = deployment.key(DEV).to_owned();
        Self {
            target: Target::Deployed(deployment),
            clock: Clock::system(),
            http: reqwest::Client::new(),
            api_key,
            prefix: String::new(),
            policies: None,
        }
    }

    /// A stack whose time goes by, and can be moved forward.
    pub async fn start(place: Place) -> Self {
        Self::with(place, |options| options).await
    }

    /// A stack whose time stands still until it is moved.
    pub async fn frozen(place: Place) -> Self {
        let clock = Clock::frozen(Timestamp::from_millis(1_790_000_000_000));
        Self::with(place, |options| Options { clock, ..options }).await
    }

    /// A stack with other options.
    pub async fn with(place: Place, change: impl FnOnce(Options) -> Options) -> Self {
        Self::running(place, oncekey_function_worker::worker(), change).await
    }

    /// A stack with other tasks.
    pub async fn running(place: Place, worker: Worker, change: impl FnOnce(Options) -> Options) -> Self {
        Self::running_tasks(place, Tasks::Rust, worker, change).await
    }

    /// A stack with tasks of a language: its worker has the permissions of the example in it.
    pub async fn running_tasks(
        _: Place,
        tasks: Tasks,
        worker: Worker,
        change: impl FnOnce(Options) -> Options,
    ) -> Self {
        // What a failing test's stack had to say is in its output; `RUST_LOG` says more.
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("error,dynoxide=off"));
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let mut options = change(Options { port: 0, storage: Storage::Memory, ..Options::default() });
        if let Some((dynamodb, sqs)) = other_endpoints() {
            options.prefix = format!("rule-{:016x}", fastrand::u64(..));
            (options.dynamodb_endpoint, options.sqs_endpoint) = (Some(dynamodb), Some(sqs));
        }
        let prefix = options.prefix.clone();
        let policies = Arc::new(Policies::of(&prefix, tasks));
        // Calls to other endpoints are not seen, but each function would look API keys up by itself.
        if options.dynamodb_endpoint.is_none() {
            options.permissions.get_or_insert_with(|| policies.held());
        }
        let clock = options.clock.clone();
        let stack = Stack::start_with(options, worker).await.unwrap();
        Self {
            target: Target::Local(Box::new(stack)),
            clock,
            http: reqwest::Client::new(),
            api_key: DEV.to_owned(),
            prefix,
            policies: Some(Held(policies)),
        }
    }

    /// What its functions may ask of AWS, and asked.
    ///
    /// # Panics
    /// On a deployment.
    #[must_use]
    pub fn policies(&self) -> &Policies {
        &self.policies.as_ref().expect("a stack of its own").0
    }

    /// Speaks with another API key from here on.
    #[must_use]
    pub fn as_key(mut self, api_key: &str) -> Self {
        self.api_key = match &self.target {
            Target::Local(_) => api_key.to_owned(),
            Target::Deployed(deployment) => deployment.key(api_key).to_owned(),
        };
        self
    }

    /// The API key that it speaks with.
    #[must_use]
    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// The stack.
    ///
    /// # Panics
    /// On a deployment.
    #[must_use]
    pub fn stack(&self) -> &Stack {
        match &self.target {
            Target::Local(stack) => stack,
            Target::Deployed(_) => panic!("this rule needs a stack of its own: begin it with Place::own_stack()"),
        }
    }

    /// Ends the stack cleanly.
    pub async fn stop(self) {
        if let Target::Local(stack) = self.target {
            stack.stop().await;
        }
    }

    /// The domain on this stack.
    #[must_use]
    pub fn app(&self) -> &App {
        self.stack().app()
    }

    /// The domain with the permissions of a function.
    #[must_use]
    pub fn app_of(&self, function: &Function) -> &App {
        self.stack().app_of(function)
    }

    /// Where a path is.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        match &self.target {
            Target::Local(stack) => format!("{}{path}", stack.url()),
            Target::Deployed(deployment) => format!("{}{path}", deployment.url),
        }
    }

    /// A POST with this body.
    pub fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> RequestBuilder {
        self.http.post(self.url(path)).bearer_auth(&self.api_key).body(body)
    }

    /// A GET.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(&self.api_key)
    }

    /// A request without a body.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(&self.api_key)
    }

    /// A trigger, whatever it answers.
    pub async fn try_trigger(&self, task: &str, body: Value) -> (StatusCode, Value) {
        answer(self.post(&format!("/api/v1/tasks/{task}/trigger"), body.to_string())).await
    }

    /// A trigger that succeeds.
    pub async fn trigger(&self, task: &str, body: Value) -> Handle {
        let (status, answer) = self.try_trigger(task, body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        handle(&answer)
    }

    /// A trigger with a key and nothing else.
    pub async fn keyed(&self, task: &str, key: &str) -> Handle {
        self.trigger(task, json!({ "options": { "idempotencyKey": key } })).await
    }

    /// A reset, whatever it answers.
    pub async fn reset(&self, task: &str, key: &str) -> (StatusCode, Value) {
        let path = format!("/api/v1/idempotencyKeys/{key}/reset");
        answer(self.post(&path, json!({ "taskIdentifier": task }).to_string())).await
    }

    /// A run as it stands.
    pub async fn run(&self, id: &str) -> Value {
        let (status, run) = answer(self.get(&format!("/api/v3/runs/{id}"))).await;
        assert_eq!(status, StatusCode::OK, "{run}");
        run
    }

    /// A run once it is as wanted.
    ///
    /// # Panics
    /// When it is not within a minute.
    pub async fn run_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut run = Value::Null;
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            run = self.run(id).await;
            if wanted(&run) {
                return run;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the run never got there: {run:#}");
    }

    /// A run once it is final.
    pub async fn finished(&self, id: &str) -> Value {
        self.run_until(id, |run| run["isCompleted"] == true).await
    }

    /// A run once it has this status.
    pub async fn in_status(&self, id: &str, status: &str) -> Value {
        self.run_until(id, |run| run["status"] == status).await
    }

    /// A page of runs.
    pub async fn list(&self, query: &str) -> Value {
        let (status, page) = answer(self.get(&format!("/api/v1/runs?{query}"))).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page
    }

    /// Ids of all runs of this environment, newest first.
    pub async fn all_runs(&self) -> Vec<String> {
        let page = self.list("page[size]=100").await;
        page["data"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
    }

    /// A queue's URL; `oncekey-` stands for what this stack's names begin with.
    #[must_use]
    pub fn queue_url(&self, queue: &str) -> String {
        let (url, end) = (self.stack().sqs().0, queue.strip_prefix("oncekey").unwrap_or(queue));
        format!("{url}/000000000000/{}{end}", self.prefix)
    }

    /// A table's name, likewise.
    #[must_use]
    pub fn table(&self, table: &str) -> String {
        format!("{}{}", self.prefix, table.strip_prefix("oncekey").unwrap_or(table))
    }

    /// Messages on a queue: visible, in flight, delayed.
    pub async fn depth(&self, queue: &str) -> [u64; 3] {
        let (_, sqs) = self.stack().sqs();
        let asked = sqs.get_queue_attributes().queue_url(self.queue_url(queue));
        let answer = asked.attribute_names(QueueAttributeName::All).send().await.unwrap();
        let attributes = answer.attributes.unwrap();
        let count = |suffix: &str| {
            let name = format!("ApproximateNumberOfMessages{suffix}");
            attributes.iter().find(|(key, _)| key.as_str() == name).unwrap().1.parse().unwrap()
        };
        [count(""), count("NotVisible"), count("Delayed")]
    }

    /// Puts a message on a queue.
    pub async fn send(&self, queue: &str, body: impl Into<String>) {
        let (_, sqs) = self.stack().sqs();
        sqs.send_message().queue_url(self.queue_url(queue)).message_body(body).send().await.unwrap();
    }

    /// Takes every message off a queue, and those that schedules would send.
    pub async fn purge(&self, queue: &str) {
        self.forget_schedules().await;
        let (_, sqs) = self.stack().sqs();
        sqs.purge_queue().queue_url(self.queue_url(queue)).send().await.unwrap();
    }

    /// Waits until a queue has no message at all.
    ///
    /// # Panics
    /// When it still has some after ten seconds.
    pub async fn drained(&self, queue: &str) {
        for _ in 0..1_000 {
            if self.depth(queue).await == [0; 3] {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{queue} was not drained: {:?}", self.depth(queue).await);
    }
}

/// A DynamoDB and an SQS API to test on instead of the embedded ones, if `ONCEKEY_TEST_DYNAMODB` and `ONCEKEY_TEST_SQS`
/// name some.
fn other_endpoints() -> Option<(String, String)> {
    Some((std::env::var("ONCEKEY_TEST_DYNAMODB").ok()?, std::env::var("ONCEKEY_TEST_SQS").ok()?))
}

/// A deployment, and two environments in it that no other test has.
struct Deployment {
    url: String,
    keys: [(&'static str, ApiKey); 2],
}

/// Whether `ONCEKEY_TEST_URL` says where a deployment is.
fn is_deployed() -> bool {
    std::env::var_os("ONCEKEY_TEST_URL").is_some()
}

impl Deployment {
    /// The one that `ONCEKEY_TEST_URL`, `ONCEKEY_ENVIRONMENTS_TABLE` and AWS's own settings lead to.
    async fn from_env() -> Self {
        let url = std::env::var("ONCEKEY_TEST_URL").unwrap();
        let table = std::env::var("ONCEKEY_ENVIRONMENTS_TABLE").unwrap();
        let dynamodb = aws_sdk_dynamodb::Client::new(&aws_config::load_from_env().await);
        let names = TableNames { keys: String::new(), runs: String::new(), environments: table };
        let (store, clock) = (Store::new(dynamodb, names), Clock::system());
        let project = format!("test-{:016x}", fastrand::u64(..));
        let environment = |name: &str| EnvironmentId::parse(&format!("{project}/{name}")).unwrap();
        let dev = create(&store, &clock, &environment("dev")).await.unwrap();
        let prod = create(&store, &clock, &environment("prod")).await.unwrap();
        Self { url, keys: [(DEV, dev), (PROD, prod)] }
    }

    /// The API key that stands for a local one; any other as it is.
    fn key<'a>(&'a self, local: &'a str) -> &'a str {
        self.keys.iter().find(|(name, _)| *name == local).map_or(local, |(_, key)| key.reveal())
    }
}

/// A request's status and JSON.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

/// The handle in a trigger's answer.
#[must_use]
pub fn handle(answer: &Value) -> Handle {
    Handle { id: answer["id"].as_str().unwrap().to_owned(), is_cached: answer["isCached"].as_bool().unwrap() }
}

/// The environment `local/dev`.
#[must_use]
pub fn dev() -> EnvironmentId {
    EnvironmentId::parse("local/dev").unwrap()
}

/// A task's id.
#[must_use]
pub fn task(id: &str) -> TaskId {
    TaskId::parse(id).unwrap()
}

/// A run's id.
#[must_use]
pub fn run_id(id: &str) -> RunId {
    RunId::parse(id).unwrap()
}

/// A key's hash.
#[must_use]
pub fn key_hash(text: &str) -> KeyHash {
    KeyHash::from_wire("key", text).unwrap()
}
