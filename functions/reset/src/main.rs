//! The `reset` function on Lambda.

use oncekey_core::{App, logs};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_http::Error> {
    logs::init();
    let app = App::from_env().await?;
    lambda_http::run(oncekey_http::finish(oncekey_function_reset::router(app))).await
}
