//! Plan: the run that a trigger would make, built and measured before its key is claimed, so that what cannot be made is refused
//! while nothing is written.

use oncekey_wire::RunId;

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::payload::{Payload, PayloadType};
use crate::protocol::keep::beside_until;
use crate::queue::name::QueueName;
use crate::request::TriggerRequest;
use crate::run::beside::{Kept, Part};
use crate::run::{ClaimedKey, Lineage, Run, RunSpec};
use crate::store::{KeyRecord, Place, place, take_metadata};

/// A run that fits, and where its payload goes.
#[derive(Clone)]
pub(super) struct Planned {
    /// The run without its payload.
    bare: Run,
    place: Place,
    /// What of its metadata goes beside it.
    metadata: Option<String>,
}

impl Planned {
    /// The run `own` that `request` would make at `now`. It takes over what only the run needs.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(super) fn of(
        request: &mut TriggerRequest,
        own: RunId,
        queue: QueueName,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let window_ends_at = request.window.end(now);
        let spec = RunSpec {
            payload_type: request.payload.kind,
            key: request.key.clone().map(|key| ClaimedKey { key, window_ends_at, release: request.release }),
            queue,
            options: std::mem::take(&mut request.options),
            function: request.function,
            batch: request.batch.take(),
            by_token: request.token.as_ref().map(|token| token.digest.clone()),
            debounce: request.debounce.as_ref().map(|debounce| debounce.hash.clone()),
            ..RunSpec::new(request.environment.clone(), request.task.clone(), now)
        };
        let mut bare = Run::new(own, spec, None);
        let metadata = take_metadata(&mut bare);
        let place = place(&bare, &request.payload)?;
        Ok(Self { bare, place, metadata })
    }

    /// What was asked for, of a run that a claim names.
    pub(super) fn spec_of(&self, claim: &KeyRecord) -> RunSpec {
        let mut spec = self.bare.spec.clone();
        spec.created_at = claim.created_at;
        if let Some(key) = &mut spec.key {
            (key.window_ends_at, key.release) = (claim.window_ends_at, claim.release);
        }
        spec
    }

    /// The run that a claim makes: the claim's name and moment, the plan's everything else. What stands beside it is written.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Refused`].
    pub(super) async fn written(
        self,
        app: &App,
        claim: KeyRecord,
        payload: Payload,
        lineage: Option<Lineage>,
        fingerprint: String,
    ) -> Result<Run, Error> {
        let mut spec = self.spec_of(&claim);
        (spec.lineage, spec.fingerprint) = (lineage, Some(fingerprint));
        self.filled(app, Run::new(claim.run_id, spec, None), payload).await
    }

    /// `run`, with the payload and the metadata that were asked for. What stands beside it is written.
    ///
    /// # Errors
    /// [`Error::Aws`], [`Error::Refused`].
    pub(super) async fn filled(self, app: &App, mut run: Run, payload: Payload) -> Result<Run, Error> {
        // The claim may be weeks old, and its run is not: its message goes now.
        let now = app.clock.now();
        run.updated_at = run.updated_at.max(now);
        if let Some(metadata) = self.metadata {
            app.store.put_beside(&run.id, Part::Metadata, &metadata, beside_until(&run, now)).await?;
        }
        run.payload = match (payload.text, self.place) {
            (None, _) => None,
            (Some(text), Place::Inline) => Some(Kept::Inline(text)),
            (Some(text), Place::Beside) => {
                Some(app.store.put_beside(&run.id, Part::Payload, &text, beside_until(&run, now)).await?.into())
            }
            (Some(text), Place::Bucket) => {
                let path = app.blobs.put_payload(&run.spec.environment, payload.kind, text).await?;
                run.spec.payload_type = PayloadType::Store;
                Some(Kept::Inline(path.into()))
            }
        };
        Ok(run)
    }
}
