// Runs, read and steered through the official npm client.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { idempotencyKeys, runs, tasks } from "@trigger.dev/sdk";
import { startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

/** The run once it is final. */
const poll = (handle) => runs.poll(handle.id, { pollIntervalMs: 20 });

/** The ids of a page. */
const ids = (page) => page.data.map((run) => run.id);

test("a replay is a new run of the same payload, and has no key", async () => {
  const first = await tasks.trigger("echo", { n: 1 }, { idempotencyKey: "replayed", tags: ["a"] });
  await poll(first);
  const second = await runs.replay(first.id);
  assert.notEqual(second.id, first.id);
  const run = await poll(second);
  assert.deepEqual([run.output, run.tags, run.idempotencyKey], [{ n: 1 }, ["a"], undefined]);
  assert.equal((await tasks.trigger("echo", {}, { idempotencyKey: "replayed" })).id, first.id);
});

test("a delayed run is rescheduled, and no other", async () => {
  const delayed = await tasks.trigger("echo", 1, { delay: "1h" });
  const later = await runs.reschedule(delayed.id, { delay: "2h" });
  assert.ok(later.delayedUntil > new Date(Date.now() + 7_100_000));
  await runs.reschedule(delayed.id, { delay: new Date(Date.now() + 1_000) });
  assert.equal((await poll(delayed)).status, "COMPLETED");
  await assert.rejects(runs.reschedule(delayed.id, { delay: "1h" }), (error) => error.status === 422);
});

test("a cancelled run is CANCELED at once and stays so", async () => {
  const queued = await tasks.trigger("echo", 1, { delay: "1h" });
  await runs.cancel(queued.id);
  const run = await runs.retrieve(queued.id);
  assert.deepEqual([run.status, run.isCancelled, run.isCompleted], ["CANCELED", true, true]);
});

test("poll ends at every final status", async () => {
  const failed = await poll(await tasks.trigger("fail", {}));
  assert.deepEqual([failed.status, failed.isFailed], ["FAILED", true]);
  assert.ok(failed.error.message);
  const slow = await tasks.trigger("sleep", { ms: 60_000 }, { maxDuration: 5 });
  assert.equal((await poll(slow)).status, "TIMED_OUT");
});

test("lists are filtered and paged both ways", async () => {
  const sent = [];
  for (let n = 0; n < 5; n += 1) {
    sent.unshift((await tasks.trigger("echo", n, { tags: ["paged", `n${n}`], delay: n % 2 ? "1h" : undefined })).id);
  }
  for (const id of sent.filter((_, place) => place % 2 === 0)) await poll({ id });
  const first = await runs.list({ tag: "paged", limit: 2 });
  const second = await first.getNextPage();
  const third = await second.getNextPage();
  assert.deepEqual([...ids(first), ...ids(second), ...ids(third)], sent);
  assert.ok(!third.hasNextPage() && third.hasPreviousPage());
  assert.deepEqual(ids(await third.getPreviousPage()), ids(second));
  assert.deepEqual(ids(await runs.list({ tag: ["n1", "n2"] })), [sent[2], sent[3]]);
  assert.deepEqual(ids(await runs.list({ tag: "paged", status: "DELAYED" })), [sent[1], sent[3]]);
  assert.deepEqual(ids(await runs.list({ tag: "paged", taskIdentifier: "fail" })), []);
  assert.equal(ids(await runs.list({ tag: "paged", from: new Date(Date.now() - 60_000), to: new Date() })).length, 5);
  assert.equal(ids(await runs.list({ tag: "paged", from: new Date(0), to: new Date(1_000) })).length, 0);
  assert.equal(ids(await runs.list({ tag: "paged", period: "1h" })).length, 5);
  assert.equal(ids(await runs.list({ tag: "paged", isTest: true })).length, 0);
  assert.equal(ids(await runs.list({ tag: "paged", queue: { type: "custom", name: "default" } })).length, 5);
});

test("runs of a batch are found by it", async () => {
  const handle = await tasks.batchTrigger("echo", [{ payload: 1 }, { payload: 2 }]);
  assert.equal(ids(await runs.list({ batch: handle.batchId })).length, 2);
});

test("payloads of 128 KB and more go through the store and come back whole", async () => {
  for (const letters of [131_070, 131_072, 2_500_000]) {
    const payload = { text: "x".repeat(letters) };
    const key = await idempotencyKeys.create(`large-${letters}`);
    const first = await tasks.trigger("echo", payload, { idempotencyKey: key });
    assert.equal((await tasks.trigger("echo", payload, { idempotencyKey: key })).id, first.id);
    const run = await poll(first);
    assert.equal(run.status, "COMPLETED");
    assert.deepEqual(run.payload, payload);
    assert.deepEqual(run.output, payload);
  }
});

test("a run that is not there is a 404 without a retry", async () => {
  const before = Date.now();
  await assert.rejects(runs.retrieve(`run_${"a".repeat(32)}`), (error) => error.status === 404);
  assert.ok(Date.now() - before < 900, "the client would have paused a second before a retry");
});
