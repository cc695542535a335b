//! Tasks in TypeScript on Lambda.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), oncekey_worker::LambdaError> {
    oncekey_function_worker_node::run(std::env::args_os().skip(1).collect()).await
}
