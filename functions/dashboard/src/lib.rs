//! The dashboard: pages about the runs and keys of an environment, for whoever signs in with its API key.
//!
//! Pages are written on the server and whole without JavaScript; a few lines of it keep them live. They hold no secret, run
//! no script but ours, and change nothing without a token that only they know.

mod actions;
mod chart;
mod door;
mod form;
mod format;
mod keys;
mod overview;
mod page;
mod run;
mod runs;
mod session;
mod sign_in;
mod timeline;
mod try_it;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use oncekey_core::App;

use crate::session::Sessions;

/// What the pages are made from.
#[derive(Clone)]
struct Dashboard {
    app: App,
    sessions: Sessions,
}

impl FromRef<Dashboard> for App {
    fn from_ref(dashboard: &Dashboard) -> Self {
        dashboard.app.clone()
    }
}

/// The routes of this function.
pub fn router(app: App) -> Router {
    let sessions = Sessions::new(&app);
    Router::new()
        .route("/", get(overview::overview))
        .route("/sign-in", get(sign_in::ask).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/environment", post(sign_in::choose))
        .route("/runs", get(runs::runs))
        .route("/runs/{id}", get(run::run))
        .route("/runs/{id}/cancel", post(actions::cancel_run))
        .route("/runs/{id}/replay", post(actions::replay_run))
        .route("/runs/{id}/reset", post(actions::reset_key_of_run))
        .route("/keys", get(keys::keys).post(actions::reset_key))
        .route("/try", get(try_it::ask).post(try_it::trigger_task))
        .with_state(Dashboard { app, sessions })
}
