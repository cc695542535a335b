//! Callers: who triggers, and what it is answered.

use oncekey_core::Error;
use oncekey_core::protocol::trigger::Triggered;
use oncekey_core::request::{Envelope, TriggerBody, parse_json};
use serde_json::json;

use super::caller::{Debounce, Misuse, request_id};
use super::{End, Work, World};
use crate::history::{Answer, Position};
use crate::payloads::{DEBOUNCED, is_delayed, payload};

/// The number of the payload that a caller sends otherwise.
const OTHER_PAYLOAD: usize = 10;
/// The key that it sends otherwise.
const OTHER_KEY: &str = "k2";

impl World<'_> {
    /// Has a caller send its request.
    pub(super) fn call_in(&mut self) {
        if self.completions > 0 && self.random.u8(..4) == 0 && self.complete_token() {
            return;
        }
        let idle: Vec<usize> = (0..self.callers.len())
            .filter(|caller| self.callers[*caller].tries > 0 && !self.callers[*caller].at_work)
            .collect();
        let Some(number) = idle.get(self.random.usize(..idle.len().max(1))).copied() else { return };
        let caller = &mut self.callers[number];
        caller.tries -= 1;
        caller.at_work = true;
        let position = self.recorder.begin();
        let misuse = caller.misuse.filter(|_| caller.first_asked.is_some() && self.random.bool());
        caller.misused |= misuse.is_some();
        caller.sent = match misuse {
            None => (caller.payload, caller.key.clone()),
            Some(Misuse::Payload) => (number + OTHER_PAYLOAD, caller.key.clone()),
            Some(Misuse::Key) => (caller.payload, Some(OTHER_KEY.to_owned())),
        };
        caller.first_asked.get_or_insert(position);
        let (sent, key) = &caller.sent;
        let mut options = json!({ "idempotencyKey": key, "idempotencyKeyTTL": caller.ttl,
            "idempotencyKeyRelease": caller.release, "onKeyHeld": caller.on_key_held });
        if [2, DEBOUNCED + 2].contains(&caller.payload) {
            options["metadata"] = json!({ "text": "m".repeat(1_100) });
        }
        match &caller.debounce {
            Some(Debounce { key, delay, mode, max_delay: None }) => {
                options["debounce"] = json!({ "key": key, "delay": delay, "mode": mode });
            }
            Some(Debounce { key, delay, mode, max_delay }) => {
                options["debounce"] = json!({ "key": key, "delay": delay, "mode": mode, "maxDelay": max_delay });
            }
            None if is_delayed(*sent) => options["delay"] = json!("30s"),
            None => {}
        }
        let body = json!({ "payload": payload(*sent), "options": options });
        let request_id = request_id(&caller.request);
        let (environment, task) = (caller.environment.clone(), caller.task.clone());
        self.recorder.lock().note(|| format!("{} triggers {} with {:?}", caller.request, caller.task, caller.sent));
        let body = body.to_string();
        self.start(Work::Trigger(number), |app| async move {
            let envelope = Envelope::new(environment, task, request_id, app.clock.now());
            let request = parse_json::<TriggerBody<'_>>(body.as_bytes()).and_then(|body| body.check(envelope));
            End::Trigger(match request {
                Ok(request) => oncekey_core::protocol::trigger::trigger(&app, request).await,
                Err(error) => Err(error),
            })
        });
    }

    /// Whoever has asked asks no more.
    pub(super) fn give_up(&mut self) {
        self.callers.iter_mut().filter(|caller| caller.first_asked.is_some()).for_each(|caller| caller.tries = 0);
        self.resetters.iter_mut().filter(|resetter| resetter.asked).for_each(|resetter| resetter.tries = 0);
    }

    pub(super) fn answered(&mut self, caller: usize, asked: Position, result: Result<Triggered, Error>) {
        let caller = &mut self.callers[caller];
        caller.at_work = false;
        let mut history = self.recorder.lock();
        let answered = history.tick();
        match result {
            Ok(triggered) => {
                caller.tries = caller.again;
                caller.again = caller.again.saturating_sub(1);
                let own = triggered.handle.id.as_str() == history.stands_for(caller.own().as_str());
                let (run, cached) = (triggered.handle.id.to_string(), triggered.handle.is_cached);
                let (request, misused) = (caller.request.clone(), caller.misused);
                history.note(|| format!("{request} is answered {run}, cached: {cached}"));
                let first_asked = caller.first_asked.unwrap_or(asked);
                let (payload, key) = &caller.sent;
                let (payload, key) = (Some(*payload), key.as_ref().map(|key| caller.pk(key)));
                history.answers.push(Answer {
                    asked,
                    first_asked,
                    answered,
                    environment: caller.environment.to_string(),
                    key,
                    debounced: caller.debounce.is_some(),
                    payload,
                    request,
                    misused,
                    run,
                    own,
                    cached,
                });
            }
            Err(error @ Error::Aws { .. }) => history.note(|| format!("{} fails: {error:.60}", caller.request)),
            Err(Error::KeyHeld { holder, .. }) => {
                // What it asks for is refused for good, unless it is asked for anew.
                caller.tries = 0;
                history.note(|| format!("{} is refused for {holder}", caller.request));
                if holder == caller.own() && !caller.misused {
                    history.broken.push(format!("I3: {} is refused for its own run", caller.request));
                }
            }
            // Who misuses its request's id is refused, or was first with what it sends now.
            Err(Error::Unprocessable(why)) if caller.misused => {
                history.note(|| format!("{} is refused: {why:.60}", caller.request));
            }
            Err(Error::Contended(_) | Error::BeingMade(_)) => {
                history.note(|| format!("{} is contended", caller.request))
            }
            Err(error) => history.broken.push(format!("{} is refused: {error}", caller.request)),
        }
    }
}
