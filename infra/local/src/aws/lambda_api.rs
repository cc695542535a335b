//! The SQS functions as processes of their own, invoked over Lambda's API at `cargo lambda watch`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use oncekey_core::Settings;

use crate::aws::event_source::Function;
use crate::error::StackError;
use crate::private;
use crate::stack::data::DataFolder;

/// The file in the data folder that tells functions of their own processes where everything is.
const FILE: &str = "functions.env";

/// The pause before another attempt to reach a Lambda API that is not there yet.
const UNTIL_THERE: Duration = Duration::from_millis(500);

/// Where a Lambda API is, and how to invoke functions there.
#[derive(Clone, Debug)]
pub(crate) struct Functions {
    url: String,
    http: reqwest::Client,
}

impl Functions {
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.trim_end_matches('/').to_owned(), http: reqwest::Client::new() }
    }

    /// The function of that binary. An invocation that fails leaves all its messages, as on Lambda.
    pub(crate) fn named(&self, name: &str, timeout: Duration) -> Function {
        let url = format!("{}/2015-03-31/functions/{name}/invocations", self.url);
        let http = self.http.clone();
        Arc::new(move |event, _| {
            let (http, url) = (http.clone(), url.clone());
            Box::pin(async move {
                match invoke(&http, &url, &event, timeout).await {
                    Ok(response) => response,
                    Err(error) => {
                        tracing::error!(%url, %error, "the invocation failed; its messages come again");
                        nothing_done(&event)
                    }
                }
            })
        })
    }
}

async fn invoke(
    http: &reqwest::Client,
    url: &str,
    event: &SqsEvent,
    timeout: Duration,
) -> Result<SqsBatchResponse, reqwest::Error> {
    let start = Instant::now();
    loop {
        match http.post(url).timeout(timeout).json(event).send().await {
            // Nobody is there yet: the function has not been invoked, so its messages need not wait for another turn.
            Err(error) if error.is_connect() && start.elapsed() < timeout => tokio::time::sleep(UNTIL_THERE).await,
            answer => return answer?.error_for_status()?.json().await,
        }
    }
}

fn nothing_done(event: &SqsEvent) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = event
        .records
        .iter()
        .map(|message| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = message.message_id.clone().unwrap_or_default();
            failure
        })
        .collect();
    response
}

/// What the functions need to know of a stack, as the template would tell it.
pub(crate) struct Surroundings<'a> {
    pub dynamodb: &'a str,
    pub sqs: &'a str,
    pub s3: &'a str,
    pub scheduler: Option<&'a str>,
    pub settings: &'a Settings,
}

impl Surroundings<'_> {
    /// Writes it where `cargo lambda watch --env-file` can read it, and says where.
    pub(crate) fn write(&self, folder: &DataFolder) -> Result<PathBuf, StackError> {
        let file = folder.file(FILE);
        let mut variables = vec![
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb.to_owned()),
            ("AWS_ENDPOINT_URL_SQS", self.sqs.to_owned()),
            ("AWS_ENDPOINT_URL_S3", self.s3.to_owned()),
        ];
        variables.extend(self.scheduler.map(|url| ("AWS_ENDPOINT_URL_SCHEDULER", url.to_owned())));
        variables.extend(self.settings.to_env());
        // Quoted for the JSON in some of them.
        let lines: String = variables.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect();
        private::write(&file, lines.as_bytes()).map_err(|error| folder.unreadable(error))?;
        Ok(file)
    }
}
