//! What a task knows of the run it is in.

use oncekey_core::{EnvironmentId, Run, RunId};

/// The run that a task is executing. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    run: std::sync::Arc<Facts>,
}

#[derive(Debug)]
struct Facts {
    run_id: RunId,
    attempt: u32,
    environment: EnvironmentId,
    tags: Vec<String>,
}

impl Context {
    pub(crate) fn of(run: &Run) -> Self {
        let facts = Facts {
            run_id: run.id.clone(),
            attempt: run.attempt,
            environment: run.spec.environment.clone(),
            tags: run.spec.options.tags.clone(),
        };
        Self { run: std::sync::Arc::new(facts) }
    }

    /// The run's id: the same on every attempt.
    pub fn run_id(&self) -> &RunId {
        &self.run.run_id
    }

    /// The present attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.run.attempt
    }

    /// The environment the run belongs to.
    pub fn environment(&self) -> &EnvironmentId {
        &self.run.environment
    }

    /// The tags its trigger gave it.
    pub fn tags(&self) -> &[String] {
        &self.run.tags
    }
}
