//! What a page's buttons do. Each leads to a page that says so, and may be pressed twice.

use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use oncekey_core::protocol::bulk;
use oncekey_core::protocol::cancel::cancel;
use oncekey_core::protocol::reset::reset_claim;
use oncekey_core::protocol::token;
use oncekey_core::request::KeyHeaders;
use oncekey_core::runs::find::find;
use oncekey_core::runs::replay::{ReplayRequest, replay};
use oncekey_core::store::KeyAddress;
use oncekey_core::{App, Error, RequestId, RunId};
use oncekey_http::{Segment, bulk_action_id, run_id, token_id};
use serde_json::json;

use crate::bulk::asked;
use crate::door::Submitted;
use crate::keys::{free, to_key};
use crate::page::Failure;
use crate::tokens::{APPROVE, BACK, REJECT, back_with};

fn to_run(id: &RunId, done: &str) -> Response {
    Redirect::to(&format!("/runs/{id}?done={done}")).into_response()
}

/// Cancels a run.
pub(crate) async fn cancel_run(
    State(app): State<App>,
    Segment(id): Segment,
    Submitted { visitor, .. }: Submitted,
) -> Result<Response, Failure> {
    let canceled = async {
        let id = run_id(&id)?;
        cancel(&app, &visitor.environment, &id).await?;
        Ok(to_run(&id, "canceled"))
    };
    canceled.await.map_err(|error| Failure::of(&visitor, error))
}

/// Triggers a run's task again. The page that asks names the request, so a second press makes no second run (I3).
pub(crate) async fn replay_run(
    State(app): State<App>,
    Segment(id): Segment,
    Submitted { visitor, fields }: Submitted,
) -> Result<Response, Failure> {
    let replayed = async {
        let request_id = RequestId::from_caller(fields.get("request"))?;
        let environment = visitor.environment.clone();
        let request =
            ReplayRequest { environment, request_id, key: KeyHeaders::default(), traceparent: None, by_hand: false };
        let triggered = replay(&app, request, &run_id(&id)?, b"").await?;
        Ok(to_run(&triggered.handle.id, "replayed"))
    };
    replayed.await.map_err(|error| Failure::of(&visitor, error))
}

/// Frees the key of a run, if the run still holds it.
pub(crate) async fn reset_key_of_run(
    State(app): State<App>,
    Segment(id): Segment,
    Submitted { visitor, .. }: Submitted,
) -> Result<Response, Failure> {
    let freed = async {
        let run = find(&app, &visitor.environment, &run_id(&id)?).await?;
        let address = KeyAddress::of_run(&run).ok_or_else(|| Error::NotFound(format!("run {} has no key", run.id)))?;
        // Not if somebody else holds it by now: the page that request was an old one, and meant this run's.
        reset_claim(&app, address, &run.id, run.spec.created_at).await?;
        Ok(to_run(&run.id, "reset"))
    };
    freed.await.map_err(|error| Failure::of(&visitor, error))
}

/// Cancels or replays all runs that a filter finds. The page that asks names the request, so a second press makes no second action.
pub(crate) async fn create_bulk_action(
    State(app): State<App>,
    Submitted { visitor, fields }: Submitted,
) -> Result<Response, Failure> {
    let created = async {
        let request_id = RequestId::from_caller(fields.get("request"))?;
        let request = asked(&fields, app.clock.now())?;
        let action = bulk::create(&app, &visitor.environment, &request_id, request).await?;
        Ok(Redirect::to(&format!("/bulk/{}", action.id)).into_response())
    };
    created.await.map_err(|error| Failure::of(&visitor, error))
}

/// Stops a bulk action.
pub(crate) async fn abort_bulk_action(
    State(app): State<App>,
    Segment(id): Segment,
    Submitted { visitor, .. }: Submitted,
) -> Result<Response, Failure> {
    let aborted = async {
        let id = bulk_action_id(&id)?;
        bulk::abort(&app, &visitor.environment, &id).await?;
        Ok(Redirect::to(&format!("/bulk/{id}")).into_response())
    };
    aborted.await.map_err(|error| Failure::of(&visitor, error))
}

/// Frees a key that was looked up.
pub(crate) async fn reset_key(
    State(app): State<App>,
    Submitted { visitor, fields }: Submitted,
) -> Result<Response, Failure> {
    free(&app, &visitor, &fields).await.map_err(|error| Failure::of(&visitor, error))?;
    Ok(to_key(&fields))
}

/// Completes a wait token with whether it is approved, and leads back to the page whose button it was.
pub(crate) async fn complete_token(
    State(app): State<App>,
    Submitted { visitor, fields }: Submitted,
) -> Result<Response, Failure> {
    let completed = async {
        let (id, approved, done) = match (fields.given(APPROVE), fields.given(REJECT)) {
            (Some(id), None) => (id, true, "approved"),
            (None, Some(id)) => (id, false, "rejected"),
            _ => return Err(Error::invalid(APPROVE, "name the token to approve, or to reject")),
        };
        let id = token_id(id)?;
        let output = json!({ "approved": approved }).to_string();
        token::complete(&app, &visitor.environment, &id, Some(&output)).await?;
        // The first end stands: it may be that of somebody else.
        let stands = token::find(&app, &visitor.environment, &id).await?.output == Some(output);
        let done = if stands { done } else { "ended" };
        Ok(Redirect::to(&back_with(fields.get(BACK), done, &id)).into_response())
    };
    completed.await.map_err(|error| Failure::of(&visitor, error))
}
