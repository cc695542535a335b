//! The `dashboard` function on Lambda.

use oncekey_core::App;
use oncekey_core::telemetry::logs;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), oncekey_http::LambdaError> {
    logs::init();
    let app = App::from_env().await?;
    oncekey_http::serve(oncekey_function_dashboard::router(app)).await
}
