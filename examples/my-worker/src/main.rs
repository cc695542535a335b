//! A worker of one's own beside a deployed Oncekey, fed by a queue of its own.

use oncekey_worker::{Child, Context, LambdaError, Task, TaskError, Worker};
use serde::{Deserialize, Serialize};

/// The payload of `invite`.
#[derive(Deserialize)]
struct Invitation {
    name: String,
    email: String,
}

/// What `invite` returns.
#[derive(Serialize)]
struct Invited {
    greeting: String,
    /// The run of `send-email`, which another worker carries out.
    sent_by: String,
}

async fn invite(ctx: Context, invitation: Invitation) -> Result<Invited, TaskError> {
    // However often this is retried or triggered again, each address gets one e-mail a month.
    let once = ctx.idempotency_key(["invite", &invitation.email]).global();
    let email = Child::new("send-email", &invitation.email).idempotency_key(once).key_ttl("30d");
    let sent = ctx.trigger(email).await?;
    Ok(Invited { greeting: format!("Welcome, {}", invitation.name), sent_by: sent.id.to_string() })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), LambdaError> {
    Worker::new().task(Task::new("invite", invite)).run().await
}
