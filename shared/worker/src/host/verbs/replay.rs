//! A replay that a task in a child asks for.

use axum::body::Bytes;
use oncekey_core::request::KeyHeaders;
use oncekey_core::runs::replay::{ReplayRequest, replay};
use oncekey_core::{Error, RequestId, RunId};
use serde_json::json;

use crate::call::{Answer, Wording};
use crate::host::verbs::call::{Answered, Calling, ok};
use crate::host::verbs::state::Verbs;

impl Verbs<'_> {
    /// Runs a task once more. A replay of the run that asks for it asks for the same one.
    pub(super) async fn replay(&self, id: &str, body: &Bytes, call: &Calling) -> Answered {
        let id = RunId::parse(id).map_err(|_| Error::NotFound(format!("there is no run {id:?}")))?;
        let wording = Wording::new(&format!("replay {id}")).with(&String::from_utf8_lossy(body));
        let begun = self.begin(wording, call).await?;
        let (number, run) = (begun.number, &self.inv.run);
        let make = async {
            let request = ReplayRequest {
                environment: run.spec.environment.clone(),
                request_id: RequestId::from_caller(&self.inv.request(number, 0)).map_err(Error::from)?,
                key: KeyHeaders::default(),
                traceparent: run.spec.options.traceparent.clone(),
                by_hand: false,
            };
            // On the heap, as all of these: a call of the child is a part of much else, and large.
            let replayed = Box::pin(replay(&self.inv.app, request, &id, body)).await?;
            Ok(Answer::Replayed(replayed.handle.id))
        };
        let answer = self.inv.answer(&begun, make).await;
        self.inv.give(number, Some(begun.pass)).await?;
        match answer? {
            Answer::Replayed(made) => ok(json!({ "id": made })),
            _ => Err(Error::Contended("the call was no replay before".into()).into()),
        }
    }
}
