import { idempotencyKeys, task, wait } from "@trigger.dev/sdk";

export const sendInvitation = task({
  id: "send-invitation",
  retry: { maxAttempts: 3, minTimeoutInMs: 500, maxTimeoutInMs: 1000 },
  run: async ({ email }: { email: string }, { ctx }) => {
    if (ctx.attempt.number === 1) throw new Error("the mail server is busy");
    return { sentTo: email, attempts: ctx.attempt.number };
  },
});

export const inviteLater = task({
  id: "invite-later",
  run: async ({ email, seconds }: { email: string; seconds: number }) => {
    // However often this is retried or triggered again, each address gets one invitation a month.
    const idempotencyKey = await idempotencyKeys.create(["invite", email], { scope: "global" });
    await wait.for({ seconds });
    const sent = await sendInvitation.triggerAndWait({ email }, { idempotencyKey, idempotencyKeyTTL: "30d" }).unwrap();
    return { ...sent, at: new Date() };
  },
});
