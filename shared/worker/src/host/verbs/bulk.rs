//! A bulk action that a task in a child asks for.

use axum::body::Bytes;
use oncekey_core::protocol::bulk::create;
use oncekey_core::request::bulk::BulkActionBody;
use oncekey_core::{Error, RequestId};
use serde_json::json;

use crate::call::{Answer, Wording};
use crate::host::verbs::call::{Answered, Calling, ok};
use crate::host::verbs::state::Verbs;

impl Verbs<'_> {
    /// Cancels or replays many runs. A replay of the run that asks for it asks for the same action.
    pub(super) async fn bulk(&self, body: &Bytes, call: &Calling) -> Answered {
        let wording = Wording::new("bulk action").with(&String::from_utf8_lossy(body));
        let begun = self.begin(wording, call).await?;
        let number = begun.number;
        let make = async {
            let app = &self.inv.app;
            let request = BulkActionBody::parse(body, app.clock.now())?;
            let request_id = RequestId::from_caller(&self.inv.request(number, 0)).map_err(Error::from)?;
            let environment = &self.inv.run.spec.environment;
            Ok(Answer::Bulk(Box::pin(create(app, environment, &request_id, request)).await?.id))
        };
        let answer = self.inv.answer(&begun, make).await;
        self.inv.give(number, Some(begun.pass)).await?;
        match answer? {
            Answer::Bulk(id) => ok(json!({ "id": id })),
            _ => Err(Error::Contended("the call was no bulk action before".into()).into()),
        }
    }
}
