//! The functions on top: those that HTTP reaches, and which queue feeds which of the others.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;
use axum::Router;
use oncekey_core::queue::name::QueueName;
use oncekey_core::{App, Timestamp};
use oncekey_worker::Worker;

use crate::aws::event_source::{Function as Handler, Mapping};
use crate::aws::iam::Function;
use crate::aws::lambda_api::Functions;
use crate::stack::apps::{Apps, Held};
use crate::stack::options::{FUNCTION_TIMEOUT, Options};
use crate::stack::queues::VISIBILITY_FACTOR;

/// What the functions serve over HTTP.
pub(super) fn routes(apps: &Apps, worker: Worker) -> Router {
    let app = |function: Function| beside(&worker, &apps.of(&function).app);
    Router::new()
        .merge(oncekey_function_trigger::router(app(Function::Trigger)))
        .merge(oncekey_function_reset::router(app(Function::Reset)))
        .merge(oncekey_function_runs::router(app(Function::Runs)))
        .merge(oncekey_function_dashboard::router_beside(app(Function::Dashboard), {
            let worker = worker.clone();
            move || worker.ids()
        }))
}

/// The app of a function beside a worker, whose tasks it knows.
fn beside(worker: &Worker, app: &App) -> App {
    let worker = worker.clone();
    App { tasks: app.tasks.clone().beside(move || worker.ids()), ..app.clone() }
}

/// What tasks in child processes are served: by their worker, with its permissions.
pub(super) fn routes_of_tasks(apps: &Apps, worker: &Worker, url: String) -> Router {
    let app = &reached_at(url, &beside(worker, &apps.of(&Function::Worker(QueueName::default())).app));
    Router::new()
        .merge(oncekey_function_trigger::router(app.clone()))
        .merge(oncekey_function_reset::router(app.clone()))
        .merge(oncekey_function_runs::router(app.clone()))
}

/// The app of a worker, which knows where callers find the API.
fn reached_at(url: String, app: &App) -> App {
    App { public_url: Some(url), ..app.clone() }
}

/// Which queue feeds which function. The API is at this URL.
pub(super) fn mappings(apps: &Apps, options: &Options, worker: Worker, url: &str) -> Vec<Mapping> {
    let urls = apps.own.app.queues.urls().clone();
    // A queue is received from with the permissions of the function that it feeds.
    let mapping = |queue_url: &str, held: &Held, handler: &Handler, batch_size, concurrency, timeout| Mapping {
        sqs: held.sqs.clone(),
        clock: held.app.clock.clone(),
        queue_url: queue_url.to_owned(),
        function: Arc::clone(handler),
        batch_size,
        // A process of its own carries out one invocation at a time.
        concurrency: if options.functions.is_some() { 1 } else { concurrency },
        slots: None,
        // It may have to be built first; before the messages are visible again there is no use in giving up.
        timeout: if options.functions.is_some() { timeout * VISIBILITY_FACTOR } else { timeout },
    };
    let (ingesting, completing) = (apps.of(&Function::Ingest), apps.of(&Function::Complete));
    let of_others = |name: &str, timeout: Duration| {
        let url = options.functions.as_ref()?;
        Some(Functions::at(url).named(&format!("oncekey-function-{name}"), timeout * VISIBILITY_FACTOR))
    };
    let ingest = of_others("ingest", FUNCTION_TIMEOUT).unwrap_or_else(|| {
        handler(&ingesting.app, |app, event| async move { oncekey_function_ingest::handle(&app, event).await })
    });
    let complete = of_others("complete", FUNCTION_TIMEOUT).unwrap_or_else(|| {
        handler(&completing.app, |app, event| async move { oncekey_function_complete::handle(&app, event).await })
    });
    let mut all = vec![
        mapping(&urls.triggers, ingesting, &ingest, 10, 10, FUNCTION_TIMEOUT),
        mapping(&urls.completions, completing, &complete, 10, 10, FUNCTION_TIMEOUT),
        mapping(&urls.completions_dead_letter, completing, &complete, 10, 1, FUNCTION_TIMEOUT),
        mapping(&urls.runs_dead_letter, completing, &complete, 10, 1, FUNCTION_TIMEOUT),
    ];
    let worker = Arc::new(worker);
    // One message an invocation: a slow run must not hold back the acknowledgement of a quick one.
    all.extend(urls.runs.iter().map(|(name, queue_url)| {
        let own = options.queues.iter().find(|queue| queue.name == *name).and_then(|queue| queue.concurrency);
        let concurrency = own.unwrap_or(options.worker_concurrency);
        let timeout = options.worker_timeout;
        let working = apps.of(&Function::Worker(name.clone()));
        let app = || reached_at(url.to_owned(), &working.app);
        let work = of_others("worker", timeout).unwrap_or_else(|| worker_handler(app(), Arc::clone(&worker)));
        Mapping { slots: options.slots.clone(), ..mapping(queue_url, working, &work, 1, concurrency, timeout) }
    }));
    all
}

fn handler<F>(app: &App, handle: impl Fn(App, SqsEvent) -> F + Send + Sync + 'static) -> Handler
where
    F: Future<Output = aws_lambda_events::sqs::SqsBatchResponse> + Send + 'static,
{
    let app = app.clone();
    Arc::new(move |event, _: Timestamp| Box::pin(handle(app.clone(), event)))
}

fn worker_handler(app: App, worker: Arc<Worker>) -> Handler {
    Arc::new(move |event, deadline| {
        let (app, worker) = (app.clone(), Arc::clone(&worker));
        Box::pin(async move { worker.handle(&app, event, deadline).await })
    })
}
