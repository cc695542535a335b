//! The functions on top: those that HTTP reaches, and which queue feeds which of the others.

use std::sync::Arc;

use aws_lambda_events::sqs::SqsEvent;
use axum::Router;
use oncekey_core::{App, Timestamp};
use oncekey_worker::Worker;

use crate::aws::event_source::{Function, Mapping};
use crate::aws::lambda_api::Functions;
use crate::stack::options::{FUNCTION_TIMEOUT, Options};
use crate::stack::queues::VISIBILITY_FACTOR;

/// What the functions serve over HTTP.
pub(super) fn routes(app: &App) -> Router {
    Router::new()
        .merge(oncekey_function_trigger::router(app.clone()))
        .merge(oncekey_function_reset::router(app.clone()))
        .merge(oncekey_function_runs::router(app.clone()))
        .merge(oncekey_function_dashboard::router(app.clone()))
}

/// Which queue feeds which function.
pub(super) fn mappings(app: &App, sqs: &aws_sdk_sqs::Client, options: &Options, worker: Worker) -> Vec<Mapping> {
    let urls = app.queues.urls().clone();
    let mapping = |queue_url: &str, function: &Function, batch_size, concurrency, timeout| Mapping {
        sqs: sqs.clone(),
        clock: app.clock.clone(),
        queue_url: queue_url.to_owned(),
        function: Arc::clone(function),
        batch_size,
        // A process of its own carries out one invocation at a time.
        concurrency: if options.functions.is_some() { 1 } else { concurrency },
        slots: None,
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
        let concurrency = own.unwrap_or(options.worker_concurrency);
        Mapping { slots: options.slots.clone(), ..mapping(url, &work, 1, concurrency, options.worker_timeout) }
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
