//! The `complete` function on Lambda.

use aws_lambda_events::sqs::SqsEvent;
use lambda_runtime::{LambdaEvent, service_fn};
use oncekey_core::App;
use oncekey_core::telemetry::logs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    logs::init();
    let app = &App::from_env().await?;
    let handle = |event: LambdaEvent<SqsEvent>| async move {
        Ok::<_, lambda_runtime::Error>(oncekey_function_complete::handle(app, event.payload).await)
    };
    lambda_runtime::run(service_fn(handle)).await
}
