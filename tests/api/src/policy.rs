//! What the functions may ask of AWS by the policies of the templates, and what they did ask.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use oncekey::aws::iam::{AccessRequest, Function, Permissions};
use oncekey_core::queue::name::QueueName;
use serde_json::{Value, json};

use crate::cloudformation::{Deployed, read};

/// The templates, read once.
static STACK: LazyLock<Value> = LazyLock::new(|| read(include_str!("../../../infra/template.yaml")));
static MY_WORKER: LazyLock<Value> = LazyLock::new(|| read(include_str!("../../../examples/my-worker/template.yaml")));
static MY_TS_WORKER: LazyLock<Value> =
    LazyLock::new(|| read(include_str!("../../../examples/my-ts-worker/template.yaml")));

/// One action on one resource, as a policy allows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// What for, as `dynamodb:PutItem`.
    pub action: String,
    /// The ARN, of which `*` stands for any part.
    pub resource: String,
    /// The partition keys that it is bound to, if it is.
    pub leading_keys: Option<Vec<String>>,
}

impl Permission {
    fn allows(&self, asked: &AccessRequest) -> bool {
        let bound = self.leading_keys.as_ref();
        self.action == asked.action
            && matches(&self.resource, &asked.resource)
            && bound.is_none_or(|keys| asked.leading_key.as_ref().is_some_and(|key| keys.contains(key)))
    }
}

/// Whether a text is of a pattern in which `*` stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let mut starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// Whose tasks a queue's worker carries out, and so which template its policies are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tasks {
    /// Rust: the default queue is fed to the worker of Oncekey's own stack, others to that of the example.
    Rust,
    /// TypeScript: all are fed to that of the example.
    TypeScript,
}

/// The policies of a stack's functions, and which of them were of use.
pub struct Policies {
    prefix: String,
    tasks: Tasks,
    /// What a function may, by its name, as far as it has called.
    known: Mutex<BTreeMap<Function, Vec<Permission>>>,
    used: Mutex<BTreeSet<(Function, Permission)>>,
    denied: Mutex<BTreeSet<String>>,
}

fn locked<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Policies {
    /// Those of a stack of this name.
    #[must_use]
    pub fn of(prefix: &str, tasks: Tasks) -> Self {
        Self {
            prefix: prefix.to_owned(),
            tasks,
            known: Mutex::default(),
            used: Mutex::default(),
            denied: Mutex::default(),
        }
    }

    /// What a function may.
    #[must_use]
    pub fn permissions(&self, function: &Function) -> Vec<Permission> {
        locked(&self.known).entry(function.clone()).or_insert_with(|| self.read(function)).clone()
    }

    /// Takes a permission from a function.
    pub fn revoke(&self, function: &Function, permission: &Permission) {
        let mut left = self.permissions(function);
        left.retain(|one| one != permission);
        locked(&self.known).insert(function.clone(), left);
    }

    /// The permissions that a call needed.
    #[must_use]
    pub fn used(&self) -> BTreeSet<(Function, Permission)> {
        locked(&self.used).clone()
    }

    /// The calls that were made without a permission since this was asked last.
    #[must_use]
    pub fn take_denied(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.denied)).into_iter().collect()
    }

    /// What a stack asks of each call.
    #[must_use]
    pub fn held(self: &Arc<Self>) -> Permissions {
        let policies = Arc::clone(self);
        Permissions::new(move |asked| {
            let allowed = policies.permissions(&asked.function).into_iter().find(|one| one.allows(&asked));
            match allowed {
                Some(permission) => {
                    locked(&policies.used).insert((asked.function, permission));
                    true
                }
                None => {
                    locked(&policies.denied).insert(asked.to_string());
                    false
                }
            }
        })
    }

    fn read(&self, function: &Function) -> Vec<Permission> {
        let named = [("AWS::StackName", self.prefix.clone())].into();
        let own = Deployed { template: &STACK, parameters: named, imported: BTreeMap::new() };
        let name = match function {
            Function::Trigger => "TriggerFunction",
            Function::Ingest => "IngestFunction",
            Function::Reset => "ResetFunction",
            Function::Runs => "RunsFunction",
            Function::Dashboard => "DashboardFunction",
            Function::Complete => "CompleteFunction",
            Function::Worker(queue) if *queue == QueueName::default() && self.tasks == Tasks::Rust => "WorkerFunction",
            Function::Worker(queue) => {
                let beside = Deployed {
                    template: if self.tasks == Tasks::Rust { &MY_WORKER } else { &MY_TS_WORKER },
                    parameters: [("Oncekey", self.prefix.clone()), ("Queue", queue.to_string())].into(),
                    imported: own.exports(),
                };
                let mut permissions = permissions(&beside, "Worker");
                // The local stack feeds such a worker from the default queue, whose name is shorter.
                let (own, default) = (format!("{}-runs-default", self.prefix), format!("{}-runs", self.prefix));
                for permission in &mut permissions {
                    permission.resource = permission.resource.replace(&own, &default);
                }
                return permissions;
            }
        };
        permissions(&own, name)
    }
}

fn permissions(stack: &Deployed<'_>, function: &str) -> Vec<Permission> {
    let listed = |value: &Value| value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
    let policies = listed(&stack.template["Resources"][function]["Properties"]["Policies"]);
    let statements: Vec<_> = policies.iter().flat_map(|policy| listed(&policy["Statement"])).collect();
    let mut permissions = Vec::new();
    for statement in statements {
        assert_eq!(statement["Effect"], "Allow", "{statement}");
        let passed = json!({ "StringEquals": { "iam:PassedToService": "scheduler.amazonaws.com" } });
        let bound = statement.get("Condition").filter(|condition| **condition != passed);
        let leading_keys = bound.map(|condition| {
            let keys = &condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"];
            assert!(keys.is_array() && condition.as_object().unwrap().len() == 1, "another condition: {condition}");
            listed(keys).iter().map(|key| stack.text(key)).collect()
        });
        for action in listed(&statement["Action"]) {
            for resource in listed(&statement["Resource"]) {
                let (action, resource) = (stack.text(&action), stack.text(&resource));
                permissions.push(Permission { action, resource, leading_keys: leading_keys.clone() });
            }
        }
    }
    permissions
}
