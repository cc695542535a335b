// What the official client can ask for and Oncekey does not have: each call fails for good, and says what to do instead.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import {
  auth,
  concurrencyLimits,
  deployments,
  envvars,
  prompts,
  query,
  runs,
  sessions,
  tasks,
  wait,
} from "@trigger.dev/sdk";
import { apiClientManager } from "@trigger.dev/core/v3";
import { startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

const run = `run_${"a".repeat(32)}`;
/** What a subscription says first. */
const first = async (updates) => {
  for await (const update of updates) return update;
};
const client = () => apiClientManager.clientOrThrow();

const calls = {
  "realtime subscriptions": [
    async () => first(runs.subscribeToRun((await tasks.trigger("echo", 1)).id)),
    () => first(runs.subscribeToRunsWithTag("a")),
    () => first(runs.subscribeToBatch(`batch_${"a".repeat(32)}`)),
  ],
  streams: [() => client().appendToStream(run, "self", "s", "x"), () => client().sendInputStream(run, "s", 1)],
  sessions: [() => sessions.retrieve("s"), () => sessions.list()],
  "waits of a task from outside of its own process": [
    () => client().waitForDuration(run, { date: new Date() }),
    () => client().waitForWaitpointToken({ runFriendlyId: run, waitpointFriendlyId: "waitpoint_a" }),
  ],
  "limits that several queues share": [
    () => concurrencyLimits.list(),
    () => concurrencyLimits.retrieve("openai"),
  ],
  "tokens of its own making": [() => client().createPublicToken({ scopes: ["read:runs"] })],
  "environment variables": [() => envvars.list("proj_a", "dev"), () => envvars.create("proj_a", "dev", { name: "A", value: "1" })],
  "projects to list by": [() => runs.list("proj_a")],
  deployments: [() => deployments.list(), () => deployments.retrieveCurrent()],
  "queries and reports": [() => query.execute("SELECT 1"), () => query.dashboards.list()],
  prompts: [() => prompts.list()],
  "webhook endpoints": [() => client().listWebhookEndpoints()],
  "traces, and no results": [() => client().retrieveRunTrace(run), () => client().listRunEvents(run)],
  "batches in one call": [() => client().batchTriggerV3({ items: [] })],
};

for (const [what, tries] of Object.entries(calls)) {
  test(`who asks for ${what} is told what to do instead`, async () => {
    for (const call of tries) {
      const patience = new AbortController();
      const hung = sleep(20_000, undefined, { signal: patience.signal, ref: false }).then(() => assert.fail(`${call} hangs`));
      hung.catch(() => {});
      await assert.rejects(
        Promise.race([call(), hung]),
        (error) => error.message.includes(`Oncekey has no ${what}`) || assert.fail(`${call}: ${error.stack}`),
      );
      patience.abort();
    }
  });
}
