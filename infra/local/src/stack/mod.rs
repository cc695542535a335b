//! The stack itself: the embedded AWS parts, the functions on top, one HTTP server.

mod apps;
pub(crate) mod data;
mod deployment;
mod embedded;
mod functions;
mod options;
mod queues;
mod sdk;
pub(crate) mod tables;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use dynoxide::Database;
use oncekey_core::blobs::Blobs;
use oncekey_core::queue::schedules::{EventBridge, ScheduleGroup};
use oncekey_core::store::ApiKeyRecord;
use oncekey_core::{App, EnvironmentId, Settings};
use oncekey_http::Origins;
use oncekey_worker::Worker;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::gateway;
use crate::aws::iam::{Caller, Function};
use crate::aws::in_process::{Direct, To};
use crate::aws::lambda_api::Surroundings;
use crate::aws::sqs::Queues;
use crate::error::StackError;
use crate::loopback::{Connections, Endpoint, is_origin_here};
use crate::stack::apps::{Apps, Held};
use crate::stack::data::{DataFolder, Endpoints};
pub(crate) use crate::stack::deployment::Deployments;
use crate::stack::embedded::{BUCKET, Embedded, Listeners, listen};
use crate::stack::functions::{mappings, routes, routes_of_tasks};
pub use crate::stack::options::{Options, Storage};
use crate::stack::queues::StackQueues;
pub(crate) use crate::stack::sdk::sdk_config;

/// The environments of a local stack, each with its API key.
pub const ENVIRONMENTS: [(&str, &str); 2] = [("local/dev", "tr_dev_local"), ("local/prod", "tr_prod_local")];

/// How often expired items and messages are deleted. DynamoDB's own TTL lags too; nothing depends on it.
const HOUSEKEEPING: Duration = Duration::from_secs(600);
/// How long a stack that is stopped waits for its parts.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running stack. Dropping it kills it; [`Stack::stop`] ends it cleanly.
#[derive(Debug)]
pub struct Stack {
    address: SocketAddr,
    apps: Apps,
    worker: Worker,
    dynamodb: (String, aws_sdk_dynamodb::Client),
    sqs: (String, aws_sdk_sqs::Client),
    scheduler: Option<String>,
    stop: watch::Sender<bool>,
    parts: JoinSet<()>,
    /// Ended only after every other part: they depend on it.
    endpoints: (watch::Sender<bool>, JoinSet<()>),
    _folder: Option<DataFolder>,
}

impl Stack {
    /// Starts everything, on loopback, with the demo worker.
    ///
    /// # Errors
    /// [`StackError`], in one line each.
    pub async fn start(options: Options) -> Result<Self, StackError> {
        Self::start_with(options, oncekey_function_worker::worker()).await
    }

    /// Starts everything, on loopback, with a worker of yours.
    ///
    /// # Errors
    /// [`StackError`], in one line each.
    pub async fn start_with(options: Options, worker: Worker) -> Result<Self, StackError> {
        // First of all, so that a taken port leaves no trace.
        let http = listen(options.port).await?;
        let address = http.local_addr().map_err(|source| StackError::Port { port: options.port, source })?;
        let folder = match &options.storage {
            Storage::Folder(path) => Some(DataFolder::open(path)?),
            Storage::Memory => None,
        };
        if let Some(folder) = &folder {
            // No reason not to start: it holds nothing that a run needs.
            let file = folder.file("lines.jsonl");
            if let Err(error) = options.lines.keep_in(&file) {
                tracing::warn!("{}: {error}: what tasks write is kept in memory alone", file.display());
            }
        }
        let connections = Connections::new();
        let mut endpoints = (watch::Sender::new(false), JoinSet::new());
        let stack_queues = StackQueues::of(&options, &worker);
        let listeners = Listeners { connections: &connections, stop: &endpoints.0, parts: &mut endpoints.1 };
        let callers = apps::callers(options.permissions.as_ref(), stack_queues.for_runs());
        let Embedded { dynamodb_url, database, sqs_url, queues, scheduler_url, s3_url, blobs, blobs_of } =
            Embedded::open(&options, folder.as_ref(), stack_queues.settings(), callers, listeners).await?;
        let (dynamodb_config, sqs_config) = (sdk_config(&dynamodb_url).await, sdk_config(&sqs_url).await);
        let clients = |caller: Option<Caller>| {
            let direct = |to| Direct { to, caller: caller.clone() };
            let dynamodb = sdk::dynamodb(&dynamodb_config, database.clone().map(To::DynamoDb).map(direct));
            (dynamodb, sdk::sqs(&sqs_config, queues.clone().map(To::Sqs).map(direct)))
        };
        let (dynamodb, sqs) = clients(None);
        let names = tables::names(&options.prefix);
        tables::create(&dynamodb, &names).await?;
        if queues.is_none() {
            stack_queues.create(&sqs).await?;
        }
        let schedules = scheduler_url.as_ref().filter(|_| options.schedules).map(|_| schedule_group(&options.prefix));
        let settings = Settings {
            tables: names,
            queues: stack_queues.urls(&sqs_url),
            schedules,
            bucket: BUCKET.to_owned(),
            public_url: Some(format!("http://{address}")),
        };
        if let Some(folder) = &folder {
            let (dynamodb, sqs, s3) = (dynamodb_url.as_str(), sqs_url.as_str(), s3_url.as_str());
            let scheduler = scheduler_url.as_deref();
            Surroundings { dynamodb, sqs, s3, scheduler, settings: &settings }.write(folder)?;
        }
        let Settings { tables, queues: urls, schedules, .. } = settings;
        let held = |(dynamodb, sqs): (_, aws_sdk_sqs::Client), blobs: Blobs, access_key: &str| {
            let app = App::new(dynamodb, sqs.clone(), tables.clone(), urls.clone(), blobs, options.clock.clone());
            let mut app = App { lines: Some(Arc::new(options.lines.clone())), ..app };
            app.environments = app.environments.knowing(ENVIRONMENTS.map(|(_, key)| key));
            if let (Some(group), Some(url)) = (&schedules, &scheduler_url) {
                let (sdk, dead_letters) = (sdk::of(&sqs_config, access_key), urls.runs_dead_letter.clone());
                let clock = options.clock.clone();
                app =
                    app.scheduled_by(Arc::new(EventBridge::new(&sdk, Some(url), group.clone(), dead_letters, clock)?));
            }
            Ok::<_, oncekey_core::Error>(Held { app, sqs })
        };
        let of_functions = blobs_of.into_iter().map(|(caller, blobs)| {
            let (function, access_key) = (caller.function.clone(), caller.function.to_string());
            Ok((function, held(clients(Some(caller)), blobs, &access_key)?))
        });
        let of_functions = of_functions.collect::<Result<_, oncekey_core::Error>>()?;
        let apps = Apps { of: of_functions, own: held((dynamodb.clone(), sqs.clone()), blobs, sdk::ANYBODY)? };
        put_api_keys(&apps.own.app).await?;
        if let Some(folder) = &folder {
            Endpoints { url: format!("http://{address}"), dynamodb: dynamodb_url.clone() }.write(folder)?;
        }
        // Before the first message is received: what is declared no longer is not to run once more.
        Deployments { app: apps.own.app.clone(), worker: worker.clone() }.next().await;
        let stop = watch::Sender::new(false);
        let mut parts = JoinSet::new();
        for mapping in mappings(&apps, &options, worker.clone(), &format!("http://{address}")) {
            parts.spawn(mapping.run(stop.subscribe()));
        }
        let api = Endpoint::new(
            gateway::before(oncekey_http::finish(routes(&apps, worker.clone()), Origins::judged(is_origin_here))),
            gateway::MAX_REQUEST_BYTES,
            &connections,
        );
        parts.spawn(api.serve(http, stop.subscribe()));
        parts.spawn(keep_house(database, queues, stop.subscribe()));
        Ok(Self {
            address,
            apps,
            worker,
            dynamodb: (dynamodb_url, dynamodb),
            sqs: (sqs_url, sqs),
            scheduler: scheduler_url,
            stop,
            parts,
            endpoints,
            _folder: folder,
        })
    }

    /// Tells what the worker has whenever that is another.
    pub(crate) fn deployments(&self) -> Deployments {
        Deployments { app: self.app().clone(), worker: self.worker.clone() }
    }

    /// The domain, with the permissions of a function where they are told apart.
    pub fn app_of(&self, function: &Function) -> &App {
        &self.apps.of(function).app
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The routes of the API, for the tasks of a worker in this process.
    pub fn routes(&self) -> Router {
        oncekey_http::finish(routes_of_tasks(&self.apps, &self.worker, self.url()), Origins::none())
    }

    /// The domain, on this stack's tables and queues.
    pub fn app(&self) -> &App {
        &self.apps.own.app
    }

    /// The DynamoDB API's URL and a client of it.
    pub fn dynamodb(&self) -> (&str, &aws_sdk_dynamodb::Client) {
        (&self.dynamodb.0, &self.dynamodb.1)
    }

    /// The SQS API's URL and a client of it.
    pub fn sqs(&self) -> (&str, &aws_sdk_sqs::Client) {
        (&self.sqs.0, &self.sqs.1)
    }

    /// The URL of EventBridge Scheduler's API, where the queues are this stack's own.
    pub fn scheduler(&self) -> Option<&str> {
        self.scheduler.as_deref()
    }

    /// Takes no more requests and messages, lets what is under way end within a few seconds, and stops.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let ended = async { while self.parts.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, ended).await.is_err() {
            self.parts.shutdown().await;
        }
        self.endpoints.0.send_replace(true);
        // Their clients keep idle connections open; nothing is under way on them.
        self.endpoints.1.shutdown().await;
    }
}

/// Where the schedules of a stack are.
fn schedule_group(prefix: &str) -> ScheduleGroup {
    ScheduleGroup { name: prefix.to_owned(), role_arn: format!("arn:aws:iam::000000000000:role/{prefix}-scheduler") }
}

/// The environments that are there from the beginning, and their keys.
async fn put_api_keys(app: &App) -> Result<(), oncekey_core::Error> {
    for (environment, key) in ENVIRONMENTS {
        let record = ApiKeyRecord::new(EnvironmentId::parse(environment)?, key, app.clock.now());
        app.store.put_api_key(&record).await?;
    }
    Ok(())
}

async fn stopping(mut stopped: watch::Receiver<bool>) {
    // An error means that the stack was dropped: that stops it too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Deletes what has expired, now and then.
async fn keep_house(database: Option<Database>, queues: Option<Queues>, stopped: watch::Receiver<bool>) {
    let rounds = async {
        loop {
            tokio::time::sleep(HOUSEKEEPING).await;
            if let Some(Err(error)) = queues.as_ref().map(Queues::expire) {
                tracing::warn!(%error, "expired messages were not deleted");
            }
            if let Some(database) = database.clone() {
                let swept = tokio::task::spawn_blocking(move || database.sweep_ttl()).await;
                if let Ok(Err(error)) = swept {
                    tracing::warn!(%error, "expired items were not deleted");
                }
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        () = stopping(stopped) => {}
    }
}
