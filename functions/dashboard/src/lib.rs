//! The dashboard: pages about the runs and keys of an environment, for whoever signs in with its API key.
//!
//! Pages are written on the server and whole without JavaScript; a few lines of it keep them live. They hold no secret, run
//! no script but ours, and change nothing without a token that only they know.

mod actions;
mod bulk;
mod chart;
mod door;
mod form;
mod format;
mod keys;
mod overview;
mod page;
mod queues;
mod run;
mod runs;
mod schedules;
mod session;
mod sign_in;
mod timeline;
mod tokens;
mod try_it;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use oncekey_core::{App, EnvironmentId, TaskId};
use oncekey_http::routes;

use crate::session::Sessions;
pub use crate::try_it::example;

/// The tasks of the worker in this process, if there is one.
#[derive(Clone)]
struct OwnTasks(Arc<dyn Fn() -> Vec<TaskId> + Send + Sync>);

impl OwnTasks {
    /// The tasks that there are in an environment, beside those that have runs: these, and those of its workers.
    async fn and_those_of(&self, app: &App, environment: &EnvironmentId) -> Vec<TaskId> {
        // A favour, which keeps nobody from the page.
        let deployed = app.store.deployments(environment).await.unwrap_or_default();
        let deployed = deployed.into_iter().flat_map(|deployment| deployment.manifest.tasks).map(|task| task.id);
        let all: BTreeSet<TaskId> = (self.0)().into_iter().chain(deployed).collect();
        all.into_iter().collect()
    }
}

/// What the pages are made from.
#[derive(Clone)]
struct Dashboard {
    app: App,
    sessions: Sessions,
    tasks: OwnTasks,
}

impl FromRef<Dashboard> for OwnTasks {
    fn from_ref(dashboard: &Dashboard) -> Self {
        dashboard.tasks.clone()
    }
}

impl FromRef<Dashboard> for App {
    fn from_ref(dashboard: &Dashboard) -> Self {
        dashboard.app.clone()
    }
}

/// The routes of this function, which has no tasks of its own.
pub fn router(app: App) -> Router {
    router_beside(app, Vec::new)
}

/// The routes of this function beside a worker whose tasks are told.
pub fn router_beside(app: App, tasks: impl Fn() -> Vec<TaskId> + Send + Sync + 'static) -> Router {
    let sessions = Sessions::new(&app);
    let tasks = OwnTasks(Arc::new(tasks));
    Router::new()
        .route(routes::HOME_PAGE.path, routes::HOME_PAGE.to(overview::overview))
        .route(routes::SIGN_IN_PAGE.path, routes::SIGN_IN_PAGE.to(sign_in::ask))
        .route(routes::SIGN_IN.path, routes::SIGN_IN.to(sign_in::sign_in))
        .route(routes::SIGN_OUT.path, routes::SIGN_OUT.to(sign_in::sign_out))
        .route(routes::CHOOSE_ENVIRONMENT.path, routes::CHOOSE_ENVIRONMENT.to(sign_in::choose))
        .route(routes::RUNS_PAGE.path, routes::RUNS_PAGE.to(runs::runs))
        .route(routes::RUN_PAGE.path, routes::RUN_PAGE.to(run::run))
        .route(routes::CANCEL_BUTTON.path, routes::CANCEL_BUTTON.to(actions::cancel_run))
        .route(routes::REPLAY_BUTTON.path, routes::REPLAY_BUTTON.to(actions::replay_run))
        .route(routes::RESET_BUTTON.path, routes::RESET_BUTTON.to(actions::reset_key_of_run))
        .route(routes::BULK_PAGE.path, routes::BULK_PAGE.to(bulk::ask_or_list))
        .route(routes::BULK_BUTTON.path, routes::BULK_BUTTON.to(actions::create_bulk_action))
        .route(routes::BULK_ACTION_PAGE.path, routes::BULK_ACTION_PAGE.to(bulk::action))
        .route(routes::ABORT_BUTTON.path, routes::ABORT_BUTTON.to(actions::abort_bulk_action))
        .route(routes::QUEUES_PAGE.path, routes::QUEUES_PAGE.to(queues::queues))
        .route(routes::STEER_QUEUES_BUTTON.path, routes::STEER_QUEUES_BUTTON.to(queues::steer))
        .route(routes::SCHEDULES_PAGE.path, routes::SCHEDULES_PAGE.to(schedules::schedules))
        .route(routes::TOKENS_PAGE.path, routes::TOKENS_PAGE.to(tokens::tokens))
        .route(routes::DECIDE_BUTTONS.path, routes::DECIDE_BUTTONS.to(actions::complete_token))
        .route(routes::KEYS_PAGE.path, routes::KEYS_PAGE.to(keys::keys))
        .route(routes::FREE_KEY_BUTTON.path, routes::FREE_KEY_BUTTON.to(actions::reset_key))
        .route(routes::TRY_PAGE.path, routes::TRY_PAGE.to(try_it::ask))
        .route(routes::TRY_BUTTON.path, routes::TRY_BUTTON.to(try_it::trigger_task))
        .with_state(Dashboard { app, sessions, tasks })
}
