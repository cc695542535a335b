//! Cron schedules: who makes, changes and stops one, which schedules a worker's deployments declare, and whether a time of one
//! was lost, or one is there that is declared no longer.

use oncekey_core::cron::{Plan, ScheduleId};
use oncekey_core::protocol::declare::declare;
use oncekey_core::protocol::schedule::{Change, change, create};
use oncekey_core::{Error, RequestId, RunId, TaskId, Timestamp};
use oncekey_wire::Manifest;
use serde_json::{Value, json};

use super::plans::{TRIES, manifest, plan};
use super::watch::{moment, text};
use super::{End, Work, World};

/// What the partitions of schedules begin with.
pub(super) const PARTITION: &str = "schedules#";
/// The key of the schedule that is made by calls.
const KEY: &str = "k";

impl World<'_> {
    /// Lets an API key open the environment of the schedules, if there are any.
    pub(super) fn open_environment(&self) {
        let Some(crons) = &self.crons else { return };
        let environment = crons.environment.as_str();
        let item = json!({ "pk": { "S": format!("hash of {environment}") }, "environment": { "S": environment },
            "hint": { "S": "none" }, "created_at": { "N": "0" } });
        self.execute("PutItem", &json!({ "TableName": "environments", "Item": item }));
    }

    /// Has somebody deploy, send a deployment again, or make or change a schedule. Whether there are any.
    pub(super) fn change_schedules(&mut self) -> bool {
        let Some(crons) = &mut self.crons else { return false };
        // One deployment comes after another: the next when the one before was answered, or was given up.
        let is_at_work =
            |number: usize| self.at_work.iter().any(|busy| matches!(busy.work, Work::Declare(n) if n == number));
        let latest = crons.deployments.len().checked_sub(1);
        let is_over = latest.is_none_or(|latest| {
            let deployment = &crons.deployments[latest];
            deployment.is_answered || (deployment.tries == 0 && !is_at_work(latest))
        });
        match self.random.u8(..6) {
            0..2 if is_over && crons.to_come > 0 => {
                crons.to_come -= 1;
                crons.deploy(manifest(&mut self.random));
                self.declare(latest.map_or(0, |latest| latest + 1));
            }
            2 if latest.is_some() => {
                // An earlier one that was answered comes again, or the latest does.
                let number = self.random.usize(..crons.deployments.len());
                if crons.deployments[number].is_answered || Some(number) == latest {
                    self.declare(number);
                }
            }
            0..3 if latest.is_some_and(|latest| !crons.deployments[latest].is_answered) => {
                self.declare(latest.unwrap_or(0))
            }
            _ if crons.calls > 0 => {
                crons.calls -= 1;
                let plan = (self.random.u8(..3) != 0).then(|| plan(&mut self.random));
                crons.call = Some(plan.clone());
                self.call(plan);
            }
            _ => return false,
        }
        true
    }

    fn declare(&mut self, number: usize) {
        let Some(crons) = &mut self.crons else { return };
        let deployment = &mut crons.deployments[number];
        if deployment.tries == 0 && !deployment.is_answered {
            return;
        }
        deployment.tries = deployment.tries.saturating_sub(1);
        let (environment, worker) = (crons.environment.clone(), crons.worker.clone());
        let (request, manifest) = (deployment.request.clone(), deployment.manifest.clone());
        self.recorder.lock().note(|| format!("{} declares {}", request.as_str(), json!(manifest)));
        // Lambda may deliver it twice at once.
        for _ in 0..self.random.u8(1..=2) {
            let (environment, worker) = (environment.clone(), worker.clone());
            let (request, manifest) = (request.clone(), manifest.clone());
            self.start(Work::Declare(number), |app| async move {
                End::Declared(declare(&app, &environment, &worker, &manifest, &request).await.map(drop))
            });
        }
    }

    pub(super) fn declared(&mut self, number: usize, result: &Result<(), Error>) {
        self.recorder.lock().note(|| format!("deployment {number} is answered {result:.60?}"));
        if let (Some(crons), Ok(())) = (&mut self.crons, result) {
            crons.deployments[number].is_answered = true;
        }
    }

    /// Makes the schedule of a key by this plan, or stops it.
    fn call(&mut self, plan: Option<Plan>) {
        let Some(crons) = &self.crons else { return };
        let environment = crons.environment.clone();
        self.recorder.lock().note(|| format!("a schedule is {}", if plan.is_none() { "stopped" } else { "made" }));
        self.start(Work::Schedule, |app| async move {
            // Who is not answered asks for something else, and when nothing fails any more for the same again.
            if let Some(plan) = plan {
                let _ = create(&app, &environment, KEY.to_owned(), plan).await;
            } else {
                let id = ScheduleId::named(&environment, KEY);
                let _ = change(&app, &environment, &id, Change { is_active: Some(false), plan: None }).await;
            }
            End::Scheduled
        });
    }

    /// A time of a schedule was noted.
    pub(super) fn time_noted(&mut self, key: &Value, body: &Value) {
        let Some(crons) = &mut self.crons else { return };
        let values = &body["ExpressionAttributeValues"];
        if values.get(":at").is_some() {
            let id = ScheduleId::parse(&text(key, "item")).expect("a schedule");
            crons.noted.push((id, text(values, ":generation"), moment(values, ":at")));
        }
    }

    /// Now that nothing fails: has the latest deployment answered, looks at what is there, and stops it. Whether there was
    /// something to do.
    pub(super) fn settle_schedules(&mut self) -> bool {
        let Some(crons) = &mut self.crons else { return false };
        if self.throttled_until > self.clock.now() {
            self.clock.advance(self.throttled_until.since(self.clock.now()));
            return true;
        }
        if let Some(latest) = crons.deployments.len().checked_sub(1)
            && !crons.deployments[latest].is_answered
        {
            crons.deployments[latest].tries = TRIES;
            self.declare(latest);
        } else if let Some(call) = crons.call.take() {
            self.call(call);
        } else if !crons.is_checked {
            crons.is_checked = true;
            self.look_at_schedules();
        } else if !crons.is_stopped {
            crons.is_stopped = true;
            crons.deploy(Manifest::default());
            let last = crons.deployments.len() - 1;
            self.declare(last);
            self.call(None);
        } else {
            return false;
        }
        true
    }

    fn look_at_schedules(&mut self) {
        let Some(crons) = &self.crons else { return };
        let all = self.partition(&format!("{PARTITION}{}", crons.environment));
        let mut broken = Vec::new();
        let read = |item: &Value| {
            let read = Stored::of(item);
            if read.is_none() {
                broken.push(format!("R83: {} is noted of a schedule that is not there", text(item, "item")));
            }
            read
        };
        let all: Vec<Stored> = all.iter().filter_map(read).collect();
        if let Some(latest) = crons.deployments.last() {
            let declared: Vec<_> = all.iter().filter(|one| one.is_declared).map(|one| &one.task).collect();
            let wanted: Vec<_> = latest.manifest.tasks.iter().map(|task| &task.id).collect();
            let has_all = wanted.iter().all(|task| declared.contains(task));
            if !has_all || declared.len() != wanted.len() {
                broken.push(format!("R97: {wanted:?} are declared, and there are {declared:?}"));
            }
        }
        let is_under_way =
            |id: &ScheduleId, at: Timestamp| self.queues.have(&[id.as_str(), &format!("\"at\":{}", at.millis())]);
        let history = self.recorder.lock();
        for schedule in all.iter().filter(|schedule| schedule.is_active) {
            let id = &schedule.id;
            // Who notes a time sends it, unless it dies: then the message that it noted it by comes again.
            let by_noter = schedule.last_at.is_some_and(|last_at| is_under_way(id, last_at));
            if !is_under_way(id, schedule.next_at) && !by_noter {
                broken.push(format!("R81: nothing is under way that brings {id} to {}", schedule.next_at));
            }
            let its = crons.noted.iter().filter(|(of, generation, _)| of == id && *generation == schedule.generation);
            for (_, _, at) in its {
                let run = RunId::named(&crons.environment, &schedule.task, &RequestId::of_tick(id, *at));
                if !history.statuses.contains_key(run.as_str()) && !is_under_way(id, *at) {
                    broken.push(format!("R81: the time {at} of {id} was lost"));
                }
            }
        }
        drop(history);
        self.recorder.lock().broken.extend(broken);
    }
}

/// A schedule, as it is stored.
struct Stored {
    id: ScheduleId,
    task: TaskId,
    is_declared: bool,
    is_active: bool,
    generation: String,
    next_at: Timestamp,
    last_at: Option<Timestamp>,
}

impl Stored {
    /// None if there is no more of it than a time.
    fn of(item: &Value) -> Option<Self> {
        Some(Self {
            id: ScheduleId::parse(&text(item, "item")).expect("a schedule"),
            task: TaskId::parse(&text(&item["plan"]["M"], "task")).ok()?,
            is_declared: item.get("declared_by").is_some(),
            is_active: item["is_active"]["BOOL"] == true,
            generation: text(item, "generation"),
            next_at: moment(item, "next_at"),
            last_at: item.get("last_at").map(|_| moment(item, "last_at")),
        })
    }
}
