//! People: who resets a key, or cancels a run.

use oncekey_core::key::KeyPlace;
use oncekey_core::protocol::reset;
use oncekey_core::store::KeyAddress;
use oncekey_core::{Error, KeyHash, RunId, Timestamp};
use serde_json::Value;

use super::caller::request_id;
use super::watch::{moment, text};
use super::{End, Work, World};
use crate::network::Process;

impl World<'_> {
    /// Has somebody reset the key that most have.
    pub(super) fn reset(&mut self) {
        let idle: Vec<usize> = (0..self.resetters.len())
            .filter(|number| self.resetters[*number].tries > 0 && !self.resetters[*number].at_work)
            .collect();
        if let Some(number) = idle.get(self.random.usize(..idle.len().max(1))) {
            self.reset_by(*number);
        }
    }

    /// Has somebody send its reset again who has sent it before. Whether there is one.
    pub(super) fn reset_again(&mut self) -> bool {
        let again = self.resetters.iter().position(|resetter| resetter.asked && resetter.tries > 0);
        if let Some(number) = again {
            self.reset_by(number);
        }
        again.is_some()
    }

    fn reset_by(&mut self, number: usize) {
        let resetter = &mut self.resetters[number];
        resetter.tries -= 1;
        let Some(caller) = self.callers.iter().find(|caller| caller.key.is_some()) else { return };
        (resetter.at_work, resetter.asked) = (true, true);
        let (environment, task) = (caller.environment.clone(), caller.task.clone());
        let hash = KeyHash::from_wire("key", caller.key.as_deref().unwrap_or_default()).expect("a key");
        let request = resetter.request.as_deref().map(request_id);
        self.recorder.lock().note(|| format!("{request:?} resets the key of {task}"));
        self.start(Work::Reset(number), |app| async move {
            let address = KeyAddress { environment: &environment, place: KeyPlace::Task(&task), hash: &hash };
            End::Reset(match request {
                Some(request) => reset::reset_once(&app, address, hash.as_str(), &request).await,
                None => reset::reset(&app, address, hash.as_str()).await,
            })
        });
    }

    pub(super) fn reset_answered(&mut self, number: usize, result: Result<(), Error>) {
        let resetter = &mut self.resetters[number];
        resetter.at_work = false;
        let mut history = self.recorder.lock();
        history.note(|| format!("{:?} is answered {result:.60?}", resetter.request));
        match result {
            Ok(()) | Err(Error::NotFound(_)) => {
                resetter.tries = resetter.again;
                resetter.again = resetter.again.saturating_sub(1);
            }
            Err(Error::Aws { .. }) => {}
            Err(error) => history.broken.push(format!("{:?} is refused: {error}", resetter.request)),
        }
    }

    /// A process looked at a key.
    pub(super) fn key_read(&mut self, process: Process, answer: &Value) {
        let Some(&Work::Reset(number)) = self.work_of(process) else { return };
        let resetter = &mut self.resetters[number];
        if resetter.request.is_none() {
            let item = answer.get("Item").map(|item| (text(item, "run_id"), moment(item, "created_at")));
            // Asked again, it is told how things stand now.
            resetter.meant = Some(item);
        }
    }

    /// A reset was remembered. What it means does not change any more.
    pub(super) fn reset_remembered(&mut self, process: Process, item: &Value) {
        let Some(&Work::Reset(number)) = self.work_of(process) else { return };
        let claim = item.get("run_id").map(|_| (text(item, "run_id"), moment(item, "claimed_at")));
        self.resetters[number].meant.get_or_insert(claim);
    }

    /// Whether a process is a reset, and of which claim, as far as it has looked.
    pub(super) fn meant_by(&self, process: Process) -> Option<Option<&(String, Timestamp)>> {
        let Some(Work::Reset(number)) = self.work_of(process) else { return None };
        Some(self.resetters[*number].meant.as_ref().and_then(Option::as_ref))
    }

    pub(super) fn cancel(&mut self) {
        let runs: Vec<String> = {
            let history = self.recorder.lock();
            history.statuses.iter().filter(|(_, status)| !status.is_final()).map(|(run, _)| run.clone()).collect()
        };
        let Some(run) = runs.get(self.random.usize(..runs.len().max(1))).filter(|_| self.cancels > 0) else { return };
        self.cancels -= 1;
        let id = RunId::parse(run).expect("a run id");
        self.recorder.lock().note(|| format!("{id} is to be cancelled"));
        let environment = self.callers[0].environment.clone();
        self.start(Work::Cancel, |app| async move {
            let _ = oncekey_core::protocol::cancel::cancel(&app, &environment, &id).await;
            End::Cancelled
        });
    }
}
