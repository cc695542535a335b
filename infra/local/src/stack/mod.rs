//! The stack itself: the embedded AWS parts, the functions on top, one HTTP server.

pub(crate) mod data;
mod options;
mod queues;
pub(crate) mod tables;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_smithy_runtime_api::client::auth::AuthSchemeId;
use axum::Router;
use dynoxide::Database;
use oncekey_core::blobs::Blobs;
use oncekey_core::store::ApiKeyRecord;
use oncekey_core::{App, Clock, EnvironmentId, Settings, Timestamp};
use oncekey_worker::Worker;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::dynamodb;
use crate::aws::event_source::{Function, Mapping};
use crate::aws::gateway;
use crate::aws::in_process::Direct;
use crate::aws::lambda_api::{Functions, Surroundings};
use crate::aws::s3::{self, Objects};
use crate::aws::sqs::{self, QueueSettings, Queues};
use crate::error::StackError;
use crate::loopback::{self, Connections, Endpoint};
use crate::stack::data::{DataFolder, Endpoints};
use crate::stack::options::FUNCTION_TIMEOUT;
pub use crate::stack::options::{Options, Storage};
use crate::stack::queues::{StackQueues, VISIBILITY_FACTOR};

/// The environments of a local stack, each with its API key.
pub const ENVIRONMENTS: [(&str, &str); 2] = [("local/dev", "tr_dev_local"), ("local/prod", "tr_prod_local")];

/// The bucket's name, for what it is worth.
const BUCKET: &str = "oncekey";
/// How the SDK calls requests that are not signed.
const NO_AUTH: AuthSchemeId = AuthSchemeId::new("noAuth");
/// How often expired items and messages are deleted. DynamoDB's own TTL lags too; nothing depends on it.
const HOUSEKEEPING: Duration = Duration::from_secs(600);
/// How long a stack that is stopped waits for its parts.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running stack. Dropping it kills it; [`Stack::stop`] ends it cleanly.
#[derive(Debug)]
pub struct Stack {
    address: SocketAddr,
    app: App,
    dynamodb: (String, aws_sdk_dynamodb::Client),
    sqs: (String, aws_sdk_sqs::Client),
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
        let connections = Connections::new();
        let mut endpoints = (watch::Sender::new(false), JoinSet::new());
        let (dynamodb_url, database) = match &options.dynamodb_endpoint {
            Some(url) => (url.clone(), None),
            None => {
                let database = open_database(folder.as_ref())?;
                let listener = listen(0).await?;
                let url = url_of(&listener);
                let endpoint =
                    Endpoint::new(dynamodb::router(database.clone()), dynamodb::MAX_REQUEST_BYTES, &connections);
                endpoints.1.spawn(endpoint.serve(listener, endpoints.0.subscribe()));
                (url, Some(database))
            }
        };
        let stack_queues = StackQueues::of(&options, &worker);
        let (sqs_url, queues) = match &options.sqs_endpoint {
            Some(url) => (url.clone(), None),
            None => {
                let queues = open_queues(folder.as_ref(), stack_queues.settings(), &options.clock)?;
                let listener = listen(0).await?;
                let url = url_of(&listener);
                let endpoint = Endpoint::new(sqs::router(queues.clone()), sqs::MAX_REQUEST_BYTES, &connections);
                endpoints.1.spawn(endpoint.serve(listener, endpoints.0.subscribe()));
                (url, Some(queues))
            }
        };

        let s3_listener = listen(0).await?;
        let s3_url = url_of(&s3_listener);
        let blobs = Blobs::new(&sdk_config(&s3_url).await, Some(&s3_url), BUCKET, options.clock.clone())?;
        let objects = folder.as_ref().map(|folder| folder.file("objects"));
        let objects = Objects::new(objects, blobs.signer().clone(), options.clock.clone(), s3_url.clone());
        let objects = objects.map_err(|error| StackError::Objects(error.to_string()))?;
        let endpoint = Endpoint::new(s3::router(objects), s3::MAX_REQUEST_BYTES, &connections);
        endpoints.1.spawn(endpoint.serve(s3_listener, endpoints.0.subscribe()));

        let dynamodb = sdk_config_with(&dynamodb_url, database.clone().map(Direct::DynamoDb)).await;
        let dynamodb = aws_sdk_dynamodb::config::Builder::from(&dynamodb).allow_no_auth();
        let dynamodb = aws_sdk_dynamodb::Client::from_conf(dynamodb.build());
        let sqs = sdk_config_with(&sqs_url, queues.clone().map(Direct::Sqs)).await;
        let sqs = aws_sdk_sqs::Client::from_conf(aws_sdk_sqs::config::Builder::from(&sqs).allow_no_auth().build());
        let names = tables::names(&options.prefix);
        tables::create(&dynamodb, &names).await?;
        if queues.is_none() {
            stack_queues.create(&sqs).await?;
        }
        let settings = Settings { tables: names, queues: stack_queues.urls(&sqs_url), bucket: BUCKET.to_owned() };
        if let Some(folder) = &folder {
            let (dynamodb, sqs, s3) = (dynamodb_url.as_str(), sqs_url.as_str(), s3_url.as_str());
            Surroundings { dynamodb, sqs, s3, settings: &settings }.write(folder)?;
        }
        let Settings { tables, queues: urls, .. } = settings;
        let app = App::new(dynamodb.clone(), sqs.clone(), tables, urls, blobs, options.clock.clone());
        for (environment, key) in ENVIRONMENTS {
            let environment = EnvironmentId::parse(environment).map_err(oncekey_core::Error::from)?;
            let record = ApiKeyRecord::new(environment, key, app.clock.now());
            app.store.put_api_key(&record).await?;
        }

        if let Some(folder) = &folder {
            Endpoints { url: format!("http://{address}"), dynamodb: dynamodb_url.clone() }.write(folder)?;
        }
        let stop = watch::Sender::new(false);
        let mut parts = JoinSet::new();
        for mapping in mappings(&app, &sqs, &options, worker) {
            parts.spawn(mapping.run(stop.subscribe()));
        }
        let api = Endpoint::new(
            gateway::before(oncekey_http::finish(routes(&app))),
            gateway::MAX_REQUEST_BYTES,
            &connections,
        );
        parts.spawn(api.serve(http, stop.subscribe()));
        parts.spawn(keep_house(database, queues, stop.subscribe()));
        Ok(Self {
            address,
            app,
            dynamodb: (dynamodb_url, dynamodb),
            sqs: (sqs_url, sqs),
            stop,
            parts,
            endpoints,
            _folder: folder,
        })
    }

    /// The API's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The domain, on this stack's tables and queues.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The DynamoDB API's URL and a client of it.
    pub fn dynamodb(&self) -> (&str, &aws_sdk_dynamodb::Client) {
        (&self.dynamodb.0, &self.dynamodb.1)
    }

    /// The SQS API's URL and a client of it.
    pub fn sqs(&self) -> (&str, &aws_sdk_sqs::Client) {
        (&self.sqs.0, &self.sqs.1)
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

async fn listen(port: u16) -> Result<TcpListener, StackError> {
    loopback::listen(port).await.map_err(|source| StackError::Port { port, source })
}

fn url_of(listener: &TcpListener) -> String {
    listener.local_addr().map(|address| format!("http://{address}")).unwrap_or_default()
}

fn open_database(folder: Option<&DataFolder>) -> Result<Database, StackError> {
    match folder {
        None => Database::memory().map_err(|error| StackError::Tables(error.to_string())),
        Some(folder) => {
            let file = folder.database("dynamodb.sqlite")?;
            Database::new(&file.to_string_lossy()).map_err(|error| folder.unreadable(error))
        }
    }
}

fn open_queues(folder: Option<&DataFolder>, settings: Vec<QueueSettings>, clock: &Clock) -> Result<Queues, StackError> {
    let file = folder.map(|folder| folder.database("queues.sqlite")).transpose()?;
    Queues::open(file.as_deref(), settings, clock.clone()).map_err(|error| match folder {
        Some(folder) => folder.unreadable(error),
        None => error.into(),
    })
}

/// Ordinary SDK settings for an endpoint on this machine, which takes any credentials.
pub(crate) async fn sdk_config(endpoint: &str) -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint)
        .load()
        .await
}

/// The same for an endpoint that is embedded here, if it is: nobody would read a signature there, and no stream can stall.
async fn sdk_config_with(endpoint: &str, direct: Option<Direct>) -> aws_config::SdkConfig {
    let config = sdk_config(endpoint).await;
    let Some(direct) = direct else { return config };
    config
        .into_builder()
        .http_client(direct)
        .auth_scheme_preference([NO_AUTH])
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

fn routes(app: &App) -> Router {
    Router::new()
        .merge(oncekey_function_trigger::router(app.clone()))
        .merge(oncekey_function_reset::router(app.clone()))
        .merge(oncekey_function_runs::router(app.clone()))
        .merge(oncekey_function_dashboard::router(app.clone()))
}

/// Which queue feeds which function.
fn mappings(app: &App, sqs: &aws_sdk_sqs::Client, options: &Options, worker: Worker) -> Vec<Mapping> {
    let urls = app.queues.urls().clone();
    let mapping = |queue_url: &str, function: &Function, batch_size, concurrency, timeout| Mapping {
        sqs: sqs.clone(),
        clock: app.clock.clone(),
        queue_url: queue_url.to_owned(),
        function: Arc::clone(function),
        batch_size,
        // A process of its own carries out one invocation at a time.
        concurrency: if options.functions.is_some() { 1 } else { concurrency },
        // It may have to be built first; before the messages are visible again there is no use in giving up.
        timeout: if options.functions.is_some() { timeout * VISIBILITY_FACTOR } else { timeout },
    };
    let [work, ingest, complete] = match &options.functions {
        Some(url) => {
            let functions = Functions::at(url);
            [("worker", options.worker_timeout), ("ingest", FUNCTION_TIMEOUT), ("complete", FUNCTION_TIMEOUT)].map(
                |(name, timeout)| functions.named(&format!("oncekey-function-{name}"), timeout * VISIBILITY_FACTOR),
            )
        }
        None => [
            worker_function(app, Arc::new(worker)),
            function(app, |app, event| async move { oncekey_function_ingest::handle(&app, event).await }),
            function(app, |app, event| async move { oncekey_function_complete::handle(&app, event).await }),
        ],
    };
    let mut all = vec![
        mapping(&urls.triggers, &ingest, 10, 10, FUNCTION_TIMEOUT),
        mapping(&urls.completions, &complete, 10, 10, FUNCTION_TIMEOUT),
        mapping(&urls.completions_dead_letter, &complete, 10, 1, FUNCTION_TIMEOUT),
        mapping(&urls.runs_dead_letter, &complete, 10, 1, FUNCTION_TIMEOUT),
    ];
    // One message an invocation: a slow run must not hold back the acknowledgement of a quick one.
    all.extend(urls.runs.iter().map(|(name, url)| {
        let own = options.queues.iter().find(|queue| queue.name == *name).and_then(|queue| queue.concurrency);
        mapping(url, &work, 1, own.unwrap_or(options.worker_concurrency), options.worker_timeout)
    }));
    all
}

fn function<F>(app: &App, handle: impl Fn(App, SqsEvent) -> F + Send + Sync + 'static) -> Function
where
    F: Future<Output = aws_lambda_events::sqs::SqsBatchResponse> + Send + 'static,
{
    let app = app.clone();
    Arc::new(move |event, _: Timestamp| Box::pin(handle(app.clone(), event)))
}

fn worker_function(app: &App, worker: Arc<Worker>) -> Function {
    let app = app.clone();
    Arc::new(move |event, deadline| {
        let (app, worker) = (app.clone(), Arc::clone(&worker));
        Box::pin(async move { worker.handle(&app, event, deadline).await })
    })
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
