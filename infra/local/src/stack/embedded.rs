//! What of AWS is embedded here: each behind an endpoint of its own, unless another was named.

use std::collections::HashMap;
use std::sync::Arc;

use dynoxide::Database;
use oncekey_core::Clock;
use oncekey_core::blobs::Blobs;
use oncekey_core::runs::sweep::SweepMessage;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::aws::dynamodb;
use crate::aws::iam::Caller;
use crate::aws::s3::{self, Objects, Signatory};
use crate::aws::scheduler::{self, Schedules};
use crate::aws::sqs::{self, QueueSettings, Queues};
use crate::error::StackError;
use crate::loopback::{self, Connections, Endpoint};
use crate::stack::data::DataFolder;
use crate::stack::options::Options;
use crate::stack::queues::StackQueues;
use crate::stack::sdk::{self, sdk_config};

/// The bucket's name, for what it is worth.
pub(super) const BUCKET: &str = "oncekey";

/// The AWS parts that a stack stands on.
pub(super) struct Embedded {
    pub dynamodb_url: String,
    pub database: Option<Database>,
    pub sqs_url: String,
    pub queues: Option<Queues>,
    /// Schedules are there where the queues are that they send to.
    pub scheduler_url: Option<String>,
    pub s3_url: String,
    pub blobs: Blobs,
    /// Of each function that is told apart.
    pub blobs_of: Vec<(Caller, Blobs)>,
}

/// The listeners of what is embedded, and what stops them.
#[derive(Debug)]
pub(super) struct Listeners<'a> {
    pub connections: &'a Arc<Connections>,
    pub stop: &'a watch::Sender<bool>,
    pub parts: &'a mut JoinSet<()>,
}

impl Listeners<'_> {
    /// Serves a router at a port of its own.
    fn serve(&mut self, listener: TcpListener, router: axum::Router, max_request: usize) {
        let endpoint = Endpoint::new(router, max_request, self.connections);
        self.parts.spawn(endpoint.serve(listener, self.stop.subscribe()));
    }
}

impl Embedded {
    /// Opens what `options` name no other endpoint for, on the files of `folder` or in memory.
    ///
    /// # Errors
    /// [`StackError`].
    pub(super) async fn open(
        options: &Options,
        folder: Option<&DataFolder>,
        settings: Vec<QueueSettings>,
        callers: Vec<Caller>,
        mut listeners: Listeners<'_>,
    ) -> Result<Self, StackError> {
        let (dynamodb_url, database) = match &options.dynamodb_endpoint {
            Some(url) => (url.clone(), None),
            None => {
                let database = open_database(folder)?;
                let listener = listen(0).await?;
                let url = url_of(&listener);
                listeners.serve(listener, dynamodb::router(database.clone()), dynamodb::MAX_REQUEST_BYTES);
                (url, Some(database))
            }
        };
        let (sqs_url, queues) = match &options.sqs_endpoint {
            Some(url) => (url.clone(), None),
            None => {
                let queues = open_queues(folder, settings, &options.clock)?;
                let listener = listen(0).await?;
                let url = url_of(&listener);
                listeners.serve(listener, sqs::router(queues.clone()), sqs::MAX_REQUEST_BYTES);
                (url, Some(queues))
            }
        };
        let scheduler_url = match &queues {
            None => None,
            Some(queues) => {
                let listener = listen(0).await?;
                let url = url_of(&listener);
                let schedules = Schedules::new(queues.clone(), &options.prefix, callers.clone(), options.clock.clone());
                schedules.every_day("sweep", &StackQueues::completions_of(&options.prefix), SweepMessage::TEXT)?;
                listeners.serve(listener, scheduler::router(schedules), scheduler::MAX_REQUEST_BYTES);
                Some(url)
            }
        };
        let listener = listen(0).await?;
        let s3_url = url_of(&listener);
        let s3 = sdk_config(&s3_url).await;
        let signing_as =
            |access_key: &str| Blobs::new(&sdk::of(&s3, access_key), Some(&s3_url), BUCKET, options.clock.clone());
        let blobs = signing_as(sdk::ANYBODY)?;
        let mut signers =
            HashMap::from([(sdk::ANYBODY.to_owned(), Signatory { signer: blobs.signer().clone(), caller: None })]);
        let mut blobs_of = Vec::new();
        for caller in callers {
            let access_key = caller.function.to_string();
            let blobs = signing_as(&access_key)?;
            signers.insert(access_key, Signatory { signer: blobs.signer().clone(), caller: Some(caller.clone()) });
            blobs_of.push((caller, blobs));
        }
        let objects = folder.map(|folder| folder.file("objects"));
        let objects = Objects::new(objects, signers, options.clock.clone(), s3_url.clone());
        let objects = objects.map_err(|error| StackError::Objects(error.to_string()))?;
        listeners.serve(listener, s3::router(objects), s3::MAX_REQUEST_BYTES);
        Ok(Self { dynamodb_url, database, sqs_url, queues, scheduler_url, s3_url, blobs, blobs_of })
    }
}

/// Listens on loopback.
pub(super) async fn listen(port: u16) -> Result<TcpListener, StackError> {
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
