//! A worker that is deployed says what it has: nothing of it runs then, so its template has a custom resource, which
//! CloudFormation asks the worker itself for. Lambda asks again when that fails.

use oncekey_core::protocol::declare::declare;
use oncekey_core::{App, Error, put};
use oncekey_wire::{EnvironmentId, Manifest, RequestId, WorkerName};
use serde::{Deserialize, Serialize};

/// What CloudFormation asks of a custom resource.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ResourceRequest {
    request_type: RequestType,
    request_id: String,
    #[serde(rename = "ResponseURL")]
    response_url: String,
    stack_id: String,
    logical_resource_id: String,
    #[serde(default)]
    physical_resource_id: Option<String>,
    resource_properties: Properties,
    /// Those of before, if it is changed.
    #[serde(default)]
    old_resource_properties: Properties,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum RequestType {
    Create,
    Update,
    Delete,
}

/// What the template says of the resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    /// What the worker is called.
    #[serde(default)]
    worker: String,
    /// Where its schedules are.
    #[serde(default)]
    environments: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    physical_resource_id: &'a str,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
}

impl ResourceRequest {
    /// The request that an event is, if it is one. Most events are runs, which are only looked through for its mark.
    pub(crate) fn parse(event: &str) -> Option<Self> {
        event.contains(r#""ResponseURL""#).then(|| serde_json::from_str(event).ok())?
    }

    /// Does what is asked of a worker that has this, and tells CloudFormation.
    ///
    /// # Errors
    /// [`Error::Aws`] and its like: to be done again.
    pub(crate) async fn carry_out(&self, app: &App, manifest: Result<Manifest, Error>) -> Result<(), Error> {
        let done = match self.declare(app, manifest).await {
            Err(error) if error.is_transient() => return Err(error),
            done => done,
        };
        let reason = done.as_ref().err().map(ToString::to_string).unwrap_or_default();
        if !reason.is_empty() {
            tracing::error!(%reason, "what this worker has could not be declared");
        }
        // By its name: a worker of another name is another, and then the one of before is deleted.
        let named = format!("oncekey-worker/{}", self.resource_properties.worker);
        let answer = Answer {
            status: if done.is_ok() { "SUCCESS" } else { "FAILED" },
            reason: &reason,
            physical_resource_id: self.physical_resource_id.as_deref().filter(|_| self.is_gone()).unwrap_or(&named),
            stack_id: &self.stack_id,
            request_id: &self.request_id,
            logical_resource_id: &self.logical_resource_id,
        };
        put(&self.response_url, &answer).await
    }

    fn is_gone(&self) -> bool {
        self.request_type == RequestType::Delete
    }

    async fn declare(&self, app: &App, manifest: Result<Manifest, Error>) -> Result<(), Error> {
        let Properties { worker: name, environments } = &self.resource_properties;
        // What could never be declared has left nothing to be deleted.
        let name = match WorkerName::parse(name) {
            Err(_) if self.is_gone() => return Ok(()),
            name => name?,
        };
        let request = RequestId::from_caller(&self.request_id)?;
        let old = &self.old_resource_properties;
        let left = old.environments.iter().filter(|one| old.worker == name.as_str() && !environments.contains(one));
        for environment in left {
            declare(app, &EnvironmentId::parse(environment)?, &name, &Manifest::default(), &request).await?;
        }
        let manifest = if self.is_gone() { Manifest::default() } else { manifest? };
        for environment in environments {
            let environment = match EnvironmentId::parse(environment) {
                Err(_) if self.is_gone() => continue,
                environment => environment?,
            };
            declare(app, &environment, &name, &manifest, &request).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_told_from_runs_also_from_those_that_speak_of_one() {
        let mut request = json!({
            "RequestType": "Create", "RequestId": "r", "ResponseURL": "https://bucket/answer", "StackId": "s",
            "ResourceType": "Custom::OncekeyWorker", "LogicalResourceId": "Tasks",
            "ResourceProperties": { "ServiceToken": "arn", "Worker": "mine", "Environments": ["acme/prod"] },
        });
        let parsed = ResourceRequest::parse(&request.to_string()).expect("a request");
        assert_eq!(parsed.resource_properties.environments, ["acme/prod"]);
        request["RequestType"] = json!("Delete");
        assert!(ResourceRequest::parse(&request.to_string()).expect("a request").is_gone());
        let runs = json!({ "Records": [{ "body": r#"{"ResponseURL": "x"}"# }, { "ResponseURL": "x" }] });
        assert!(ResourceRequest::parse(&runs.to_string()).is_none());
    }
}
