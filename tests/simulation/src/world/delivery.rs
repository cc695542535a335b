//! What becomes of a message, and of a process that dies.

use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::SqsEvent;

use super::{End, MAX_AT_WORK, Work, World};
use crate::network::Process;
use crate::queue::{RUNS, TRIGGERS};

/// How long an invocation of the worker may take.
const WORKER_TIMEOUT: Duration = Duration::from_secs(30);

impl World<'_> {
    /// Has a message received, and its function invoked.
    pub(super) fn deliver(&mut self) {
        if self.at_work.len() >= MAX_AT_WORK {
            return;
        }
        let Some((queue, mut message)) = self.queues.receive(self.clock.now(), &mut self.random, self.faults) else {
            return;
        };
        let (id, handle) =
            (message.message_id.clone().unwrap_or_default(), message.receipt_handle.clone().unwrap_or_default());
        self.recorder.lock().note(|| format!("{queue} {handle} is delivered"));
        message.body = message.body.take().map(|body| self.forget_due_time(body));
        let mut event = SqsEvent::default();
        event.records = vec![message];
        let worker = Arc::clone(&self.worker);
        self.start(Work::Invocation { queue, handle, id }, |app| async move {
            let deadline = app.clock.now().plus(WORKER_TIMEOUT);
            End::Invocation(match queue {
                RUNS => worker.handle(&app, event, deadline).await,
                TRIGGERS => oncekey_function_ingest::handle(&app, event).await,
                _ => oncekey_function_complete::handle(&app, event).await,
            })
        });
    }

    pub(super) fn kill(&mut self, process: Process) {
        let Some(index) = self.at_work.iter().position(|busy| busy.process == process) else { return };
        self.recorder.lock().note(|| format!("process {process} dies"));
        self.let_go(process);
        // Calls of it that are on their way may or may not arrive.
        let (its, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|call| call.process == process);
        self.waiting = others;
        self.silent.retain(|(call, _)| call.process != process);
        for call in its {
            if self.random.bool() {
                self.take_effect(&call);
            }
        }
        let dead = self.at_work.swap_remove(index);
        match dead.work {
            Work::Trigger(caller) => self.callers[caller].at_work = false,
            Work::Reset(resetter) => self.resetters[resetter].at_work = false,
            Work::Invocation { .. }
            | Work::Cancel
            | Work::Change
            | Work::Complete
            | Work::Declare(_)
            | Work::Schedule => {}
        }
    }
}
