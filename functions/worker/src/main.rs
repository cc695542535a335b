//! The demo worker on Lambda.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), oncekey_worker::LambdaError> {
    oncekey_function_worker::worker().run().await
}
