//! Every route that Oncekey answers, told once: the routers, the description of the API and the deployment template are
//! held against it, and what API Gateway does to a path is undone by it.

use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

/// The function that answers, by the permissions that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Triggers tasks, takes batches, and makes places for large payloads.
    Trigger,
    /// Frees keys.
    Reset,
    /// Shows and changes runs that are there, and whatever no other function answers.
    Runs,
    /// The pages.
    Dashboard,
}

/// Who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Who sends an API key, which says what environment is meant; or a public token, where the route takes them.
    ApiKey,
    /// Who has signed in; others are led to the sign-in page.
    Session,
    /// Everybody.
    Anyone,
}

/// A method and a path, who answers, and who is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The function that answers.
    pub function: Function,
    /// Who is answered.
    pub access: Access,
    /// The path as axum and OpenAPI write it: variable segments stand in braces.
    pub path: &'static str,
    method: Verb,
    free_segment: bool,
    public_tokens: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Get,
    Post,
    Put,
    Delete,
}

use Access::{Anyone, ApiKey, Session};
use Function::{Dashboard, Reset, Runs, Trigger};
use Verb::{Delete, Get, Post, Put};

/// Triggers a task.
pub const TRIGGER: Route =
    Route::of(Trigger, ApiKey, Post, "/api/v1/tasks/{task}/trigger").with_free_segment().with_public_tokens();
/// Creates a batch.
pub const CREATE_BATCH: Route = Route::of(Trigger, ApiKey, Post, "/api/v3/batches").with_public_tokens();
/// Triggers the items of a batch.
pub const ADD_BATCH_ITEMS: Route = Route::of(Trigger, ApiKey, Post, "/api/v3/batches/{id}/items").with_public_tokens();
/// Shows a batch.
pub const RETRIEVE_BATCH: Route = Route::of(Trigger, ApiKey, Get, "/api/v2/batches/{id}").with_public_tokens();
/// Makes a place for a large payload.
pub const PLACE_PACKET: Route = Route::of(Trigger, ApiKey, Put, "/api/v2/packets/{path}").with_free_segment();
/// Frees a key.
pub const RESET_KEY: Route = Route::of(Reset, ApiKey, Post, "/api/v1/idempotencyKeys/{key}/reset").with_free_segment();
/// Shows a run.
pub const RETRIEVE_RUN: Route = Route::of(Runs, ApiKey, Get, "/api/v3/runs/{id}").with_public_tokens();
/// Lists runs.
pub const LIST_RUNS: Route = Route::of(Runs, ApiKey, Get, "/api/v1/runs").with_public_tokens();
/// Cancels a run.
pub const CANCEL_RUN: Route = Route::of(Runs, ApiKey, Post, "/api/v2/runs/{id}/cancel");
/// Triggers a run's task again.
pub const REPLAY_RUN: Route = Route::of(Runs, ApiKey, Post, "/api/v1/runs/{id}/replay");
/// Gives a delayed run another start.
pub const RESCHEDULE_RUN: Route = Route::of(Runs, ApiKey, Post, "/api/v1/runs/{id}/reschedule");
/// Changes a run's metadata.
pub const CHANGE_METADATA: Route = Route::of(Runs, ApiKey, Put, "/api/v1/runs/{id}/metadata");
/// Gives a run tags.
pub const ADD_TAGS: Route = Route::of(Runs, ApiKey, Post, "/api/v1/runs/{id}/tags");
/// Shows how a run ended.
pub const RUN_RESULT: Route = Route::of(Runs, ApiKey, Get, "/api/v1/runs/{id}/result").with_public_tokens();
/// Shows what a run's task has written.
pub const RUN_LOGS: Route = Route::of(Runs, ApiKey, Get, "/api/v1/runs/{id}/logs");
/// Shows who holds a key.
pub const LOOK_UP_KEY: Route = Route::of(Runs, ApiKey, Get, "/api/v1/idempotencyKeys/{key}").with_free_segment();
/// Tells where a large payload is.
pub const FIND_PACKET: Route = Route::of(Runs, ApiKey, Get, "/api/v1/packets/{path}").with_free_segment();
/// Creates a schedule.
pub const CREATE_SCHEDULE: Route = Route::of(Runs, ApiKey, Post, "/api/v1/schedules");
/// Lists schedules.
pub const LIST_SCHEDULES: Route = Route::of(Runs, ApiKey, Get, "/api/v1/schedules");
/// Shows a schedule.
pub const RETRIEVE_SCHEDULE: Route = Route::of(Runs, ApiKey, Get, "/api/v1/schedules/{id}");
/// Changes a schedule.
pub const UPDATE_SCHEDULE: Route = Route::of(Runs, ApiKey, Put, "/api/v1/schedules/{id}");
/// Deletes a schedule.
pub const DELETE_SCHEDULE: Route = Route::of(Runs, ApiKey, Delete, "/api/v1/schedules/{id}");
/// Starts a schedule.
pub const ACTIVATE_SCHEDULE: Route = Route::of(Runs, ApiKey, Post, "/api/v1/schedules/{id}/activate");
/// Stops a schedule.
pub const DEACTIVATE_SCHEDULE: Route = Route::of(Runs, ApiKey, Post, "/api/v1/schedules/{id}/deactivate");
/// Lists time zones.
pub const TIMEZONES: Route = Route::of(Runs, Anyone, Get, "/api/v1/timezones");
/// Create a wait token.
pub const CREATE_TOKEN: Route = Route::of(Runs, ApiKey, Post, "/api/v1/waitpoints/tokens");
/// List wait tokens.
pub const LIST_TOKENS: Route = Route::of(Runs, ApiKey, Get, "/api/v1/waitpoints/tokens");
/// Show a wait token.
pub const RETRIEVE_TOKEN: Route = Route::of(Runs, ApiKey, Get, "/api/v1/waitpoints/tokens/{id}");
/// Complete a wait token.
pub const COMPLETE_TOKEN: Route =
    Route::of(Runs, ApiKey, Post, "/api/v1/waitpoints/tokens/{id}/complete").with_public_tokens();
/// Complete the wait token whose URL it is.
pub const CALL_BACK_TOKEN: Route = Route::of(Runs, Anyone, Post, "/api/v1/waitpoints/tokens/{id}/callback");
/// Lists workers.
pub const LIST_WORKERS: Route = Route::of(Runs, ApiKey, Get, "/api/v1/workers");
/// Says what a worker has.
pub const DEPLOY_WORKER: Route = Route::of(Runs, ApiKey, Put, "/api/v1/workers/{worker}");
/// Removes a worker.
pub const REMOVE_WORKER: Route = Route::of(Runs, ApiKey, Delete, "/api/v1/workers/{worker}");
/// Cancels or replays many runs.
pub const CREATE_BULK_ACTION: Route = Route::of(Runs, ApiKey, Post, "/api/v1/bulk-actions");
/// Lists bulk actions.
pub const LIST_BULK_ACTIONS: Route = Route::of(Runs, ApiKey, Get, "/api/v1/bulk-actions");
/// Shows a bulk action.
pub const RETRIEVE_BULK_ACTION: Route = Route::of(Runs, ApiKey, Get, "/api/v1/bulk-actions/{id}");
/// Stops a bulk action.
pub const ABORT_BULK_ACTION: Route = Route::of(Runs, ApiKey, Post, "/api/v1/bulk-actions/{id}/abort");
/// Lists queues.
pub const LIST_QUEUES: Route = Route::of(Runs, ApiKey, Get, "/api/v1/queues");
/// Shows a queue.
pub const RETRIEVE_QUEUE: Route = Route::of(Runs, ApiKey, Get, "/api/v1/queues/{queue}").with_free_segment();
/// Pauses a queue, or has it go on.
pub const PAUSE_QUEUE: Route = Route::of(Runs, ApiKey, Post, "/api/v1/queues/{queue}/pause").with_free_segment();
/// Gives a queue another limit than its code declares.
pub const OVERRIDE_LIMIT: Route =
    Route::of(Runs, ApiKey, Post, "/api/v1/queues/{queue}/concurrency/override").with_free_segment();
/// Gives a queue the limit that its code declares.
pub const RESET_LIMIT: Route =
    Route::of(Runs, ApiKey, Post, "/api/v1/queues/{queue}/concurrency/reset").with_free_segment();
/// Pauses an environment, or has it go on.
pub const PAUSE_ENVIRONMENT: Route = Route::of(Runs, ApiKey, Post, "/api/v1/environment/pause");
/// Tells what a public token must say besides its scopes.
pub const PUBLIC_TOKEN_CLAIMS: Route = Route::of(Runs, ApiKey, Post, "/api/v1/auth/jwt/claims");
/// The description of the API.
pub const OPENAPI_JSON: Route = Route::of(Runs, Anyone, Get, "/openapi.json");
/// Says that it is there, without asking anybody.
pub const HEALTH: Route = Route::of(Runs, Anyone, Get, "/health");
/// The page of what is going on.
pub const HOME_PAGE: Route = Route::of(Dashboard, Session, Get, "/");
/// The page to sign in.
pub const SIGN_IN_PAGE: Route = Route::of(Dashboard, Anyone, Get, "/sign-in");
/// Signs in.
pub const SIGN_IN: Route = Route::of(Dashboard, Anyone, Post, "/sign-in");
/// Signs out.
pub const SIGN_OUT: Route = Route::of(Dashboard, Session, Post, "/sign-out");
/// Shows another environment of the session.
pub const CHOOSE_ENVIRONMENT: Route = Route::of(Dashboard, Session, Post, "/environment");
/// The page of runs.
pub const RUNS_PAGE: Route = Route::of(Dashboard, Session, Get, "/runs");
/// The page of a run.
pub const RUN_PAGE: Route = Route::of(Dashboard, Session, Get, "/runs/{id}");
/// The button that cancels a run.
pub const CANCEL_BUTTON: Route = Route::of(Dashboard, Session, Post, "/runs/{id}/cancel");
/// The button that replays a run.
pub const REPLAY_BUTTON: Route = Route::of(Dashboard, Session, Post, "/runs/{id}/replay");
/// The button that frees a run's key.
pub const RESET_BUTTON: Route = Route::of(Dashboard, Session, Post, "/runs/{id}/reset");
/// The page of bulk actions, and the one that asks before there is another.
pub const BULK_PAGE: Route = Route::of(Dashboard, Session, Get, "/bulk");
/// The button that cancels or replays many runs.
pub const BULK_BUTTON: Route = Route::of(Dashboard, Session, Post, "/bulk");
/// The page of a bulk action.
pub const BULK_ACTION_PAGE: Route = Route::of(Dashboard, Session, Get, "/bulk/{id}");
/// The button that stops a bulk action.
pub const ABORT_BUTTON: Route = Route::of(Dashboard, Session, Post, "/bulk/{id}/abort");
/// Shows the queues.
pub const QUEUES_PAGE: Route = Route::of(Dashboard, Session, Get, "/queues");
/// Pauses a queue, or lets it go on.
pub const STEER_QUEUES_BUTTON: Route = Route::of(Dashboard, Session, Post, "/queues");
/// The page of cron schedules.
pub const SCHEDULES_PAGE: Route = Route::of(Dashboard, Session, Get, "/schedules");
/// The page of wait tokens.
pub const TOKENS_PAGE: Route = Route::of(Dashboard, Session, Get, "/tokens");
/// The buttons that complete a wait token.
pub const DECIDE_BUTTONS: Route = Route::of(Dashboard, Session, Post, "/tokens");
/// The page of keys.
pub const KEYS_PAGE: Route = Route::of(Dashboard, Session, Get, "/keys");
/// The button that frees a key that was looked up.
pub const FREE_KEY_BUTTON: Route = Route::of(Dashboard, Session, Post, "/keys");
/// The page to try a trigger.
pub const TRY_PAGE: Route = Route::of(Dashboard, Session, Get, "/try");
/// The button that triggers.
pub const TRY_BUTTON: Route = Route::of(Dashboard, Session, Post, "/try");

/// What is at a path, whatever the method.
pub(crate) fn at(path: &str) -> impl Iterator<Item = &'static Route> {
    let given = move || path.split('/');
    ALL.iter().filter(move |route| {
        let mut parts = route.path.split('/').zip(given());
        route.path.split('/').count() == given().count()
            && parts.all(|(part, given)| part == given || (part.starts_with('{') && !given.is_empty()))
    })
}

/// The methods that a path takes.
pub(crate) fn methods_of(path: &str) -> Vec<Method> {
    at(path).map(Route::method).collect()
}

/// All of them. Of two that a path could mean, the more exact one comes first.
pub const ALL: [Route; 69] = [
    TRIGGER,
    CREATE_BATCH,
    ADD_BATCH_ITEMS,
    RETRIEVE_BATCH,
    PLACE_PACKET,
    RESET_KEY,
    RETRIEVE_RUN,
    LIST_RUNS,
    CANCEL_RUN,
    REPLAY_RUN,
    RESCHEDULE_RUN,
    CHANGE_METADATA,
    ADD_TAGS,
    RUN_RESULT,
    RUN_LOGS,
    LOOK_UP_KEY,
    FIND_PACKET,
    CREATE_SCHEDULE,
    LIST_SCHEDULES,
    RETRIEVE_SCHEDULE,
    UPDATE_SCHEDULE,
    DELETE_SCHEDULE,
    ACTIVATE_SCHEDULE,
    DEACTIVATE_SCHEDULE,
    TIMEZONES,
    CREATE_TOKEN,
    LIST_TOKENS,
    RETRIEVE_TOKEN,
    COMPLETE_TOKEN,
    LIST_WORKERS,
    DEPLOY_WORKER,
    REMOVE_WORKER,
    LIST_QUEUES,
    RETRIEVE_QUEUE,
    PAUSE_QUEUE,
    OVERRIDE_LIMIT,
    RESET_LIMIT,
    PAUSE_ENVIRONMENT,
    CALL_BACK_TOKEN,
    CREATE_BULK_ACTION,
    LIST_BULK_ACTIONS,
    RETRIEVE_BULK_ACTION,
    ABORT_BULK_ACTION,
    PUBLIC_TOKEN_CLAIMS,
    OPENAPI_JSON,
    HEALTH,
    HOME_PAGE,
    SIGN_IN_PAGE,
    SIGN_IN,
    SIGN_OUT,
    CHOOSE_ENVIRONMENT,
    RUNS_PAGE,
    RUN_PAGE,
    CANCEL_BUTTON,
    REPLAY_BUTTON,
    RESET_BUTTON,
    BULK_PAGE,
    BULK_BUTTON,
    BULK_ACTION_PAGE,
    ABORT_BUTTON,
    QUEUES_PAGE,
    STEER_QUEUES_BUTTON,
    SCHEDULES_PAGE,
    TOKENS_PAGE,
    DECIDE_BUTTONS,
    KEYS_PAGE,
    FREE_KEY_BUTTON,
    TRY_PAGE,
    TRY_BUTTON,
];

impl Route {
    const fn of(function: Function, access: Access, method: Verb, path: &'static str) -> Self {
        Self { function, access, path, method, free_segment: false, public_tokens: false }
    }

    /// One segment holds a text of the caller's choice, slashes and all.
    const fn with_free_segment(mut self) -> Self {
        self.free_segment = true;
        self
    }

    /// A public token that covers it opens it too, to pages of other origins as well.
    const fn with_public_tokens(mut self) -> Self {
        self.public_tokens = true;
        self
    }

    /// Whether a public token may open it.
    #[must_use]
    pub fn takes_public_tokens(&self) -> bool {
        self.public_tokens
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.method {
            Get => Method::GET,
            Post => Method::POST,
            Put => Method::PUT,
            Delete => Method::DELETE,
        }
    }

    /// Around the segment in which callers write what they like, where there is one: what comes before it, and after.
    #[must_use]
    pub fn around_free_segment(&self) -> Option<(&'static str, &'static str)> {
        let (before, rest) = self.path.split_once('{').filter(|_| self.free_segment)?;
        Some((before, rest.split_once('}').map_or("", |(_, after)| after)))
    }

    /// What [`axum::Router::route`] is given beside the path.
    pub fn to<H, T, S>(&self, handler: H) -> MethodRouter<S>
    where
        H: Handler<T, S>,
        T: 'static,
        S: Clone + Send + Sync + 'static,
    {
        let method = match self.method {
            Get => MethodFilter::GET,
            Post => MethodFilter::POST,
            Put => MethodFilter::PUT,
            Delete => MethodFilter::DELETE,
        };
        on(method, handler)
    }
}
