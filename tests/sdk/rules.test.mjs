// The rules marked S, through the official npm client: nothing here is ours but the assertions.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { auth, batch, idempotencyKeys, runs, tasks } from "@trigger.dev/sdk";
import { DEV, PROD, startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

let keys = 0;
/** A key that no other test uses. */
const freshKey = () => `key-${process.pid}-${(keys += 1)}`;

const trigger = (task, payload, idempotencyKey, options = {}) =>
  tasks.trigger(task, payload, { idempotencyKey, ...options });

/** The run once it is final. */
const poll = (handle) => runs.poll(handle.id, { pollIntervalMs: 20 });

async function until(id, status) {
  for (let i = 0; i < 500; i += 1) {
    const run = await runs.retrieve(id);
    if (run.status === status) return run;
    await sleep(10);
  }
  assert.fail(`${id} never was ${status}`);
}

test("r01 the same key gives the first trigger's run", async () => {
  const key = await idempotencyKeys.create(freshKey());
  const first = await trigger("echo", { n: 1 }, key);
  const second = await trigger("echo", { n: 2 }, key);
  assert.equal(second.id, first.id);
  assert.deepEqual([first.isCached, second.isCached], [false, true]);
  const run = await poll(first);
  assert.deepEqual(run.output, { n: 1 });
  assert.equal((await trigger("echo", { n: 3 }, key)).id, first.id);
});

test("r02 another task or environment makes another run of the same key", async () => {
  const key = freshKey();
  const echo = await trigger("echo", 1, key);
  const other = await trigger("sleep", { ms: 1 }, key);
  const prod = await auth.withAuth({ baseURL: stack.url, accessToken: PROD }, () => trigger("echo", 1, key));
  assert.equal(new Set([echo.id, other.id, prod.id]).size, 3);
});

test("r03 fifty triggers of one key at once make one run", async () => {
  const key = freshKey();
  const handles = await Promise.all(Array.from({ length: 50 }, () => trigger("echo", {}, key)));
  assert.equal(new Set(handles.map((handle) => handle.id)).size, 1);
  assert.equal(handles.filter((handle) => !handle.isCached).length, 1);
});

test("r05 every key of the golden vectors is hashed as the client hashes it", async () => {
  const golden = JSON.parse(readFileSync(new URL("../golden/idempotency-keys.json", import.meta.url)));
  const outside = golden.vectors.filter((vector) => vector.parentRunId === null && vector.scope === "global");
  assert.ok(outside.length > 10);
  for (const { key, hash } of outside) {
    const created = await idempotencyKeys.create(key, { scope: "global" });
    assert.equal(String(created), hash);
    const byKey = await trigger("echo", {}, created);
    const byHash = await trigger("echo", {}, hash);
    assert.equal(byHash.id, byKey.id);
    const parts = Array.isArray(key) ? key.join("-") : key;
    if (parts !== "") assert.equal((await runs.retrieve(byKey.id)).idempotencyKey, parts);
  }
});

test("r10 outside a task all scopes are one", async () => {
  const key = freshKey();
  const ids = new Set();
  for (const scope of ["run", "attempt", "global"]) {
    ids.add((await trigger("echo", {}, await idempotencyKeys.create(key, { scope }))).id);
  }
  ids.add((await trigger("echo", {}, key)).id);
  assert.equal(ids.size, 1);
});

test("r20 a window that is no duration is refused, and not retried", async () => {
  await assert.rejects(trigger("echo", {}, freshKey(), { idempotencyKeyTTL: "1w" }), (error) => {
    assert.equal(error.status, 400);
    assert.match(error.message, /s, m, h or d/);
    return true;
  });
});

test("r21 after the window the next trigger makes a new run", async () => {
  const key = freshKey();
  const first = await trigger("echo", {}, key, { idempotencyKeyTTL: "2s" });
  assert.equal((await trigger("echo", {}, key)).id, first.id);
  await sleep(2_050);
  const second = await trigger("echo", {}, key);
  assert.notEqual(second.id, first.id);
  assert.equal((await trigger("echo", {}, key)).id, second.id);
});

test("r30 a failed run clears its key", async () => {
  const key = freshKey();
  const ids = [];
  for (let i = 0; i < 2; i += 1) {
    const handle = await trigger("fail", {}, key);
    const run = await until(handle.id, "FAILED");
    assert.equal(run.error.message, "this task always fails");
    ids.push(handle.id);
  }
  assert.notEqual(ids[0], ids[1]);
});

test("r32 success keeps the key, and retries on the way to it do too (r34)", async () => {
  const key = freshKey();
  const handle = await trigger("flaky", { failTimes: 2 }, key);
  assert.equal((await trigger("flaky", { failTimes: 2 }, key)).id, handle.id);
  assert.deepEqual((await poll(handle)).output, { attempts: 3 });
  assert.equal((await trigger("flaky", { failTimes: 2 }, key)).id, handle.id);
});

test("r33 cancellation keeps the key, whether queued or executing", async () => {
  for (const [options, status] of [[{ delay: "1h" }, "DELAYED"], [{}, "EXECUTING"]]) {
    const key = freshKey();
    const handle = await trigger("sleep", { ms: 2_000 }, key, options);
    await until(handle.id, status);
    assert.equal((await runs.cancel(handle.id)).id, handle.id);
    const run = await poll(handle);
    assert.deepEqual([run.status, run.isCancelled, run.isCompleted], ["CANCELED", true, true]);
    assert.equal((await trigger("sleep", { ms: 1 }, key)).id, handle.id);
  }
});

test("r40 after a reset the next trigger makes a new run", async () => {
  const key = await idempotencyKeys.create(freshKey(), { scope: "global" });
  const first = await trigger("echo", {}, key);
  assert.equal((await idempotencyKeys.reset("echo", key)).id, String(key));
  const second = await trigger("echo", {}, key);
  assert.notEqual(second.id, first.id);
  assert.equal((await runs.retrieve(first.id)).idempotencyKey, undefined);
});

test("r41 resetting a run-scoped key from outside needs the parent's ids", async () => {
  const key = freshKey();
  await assert.rejects(idempotencyKeys.reset("echo", key), /parentRunId is required/);
  await assert.rejects(
    idempotencyKeys.reset("echo", key, { scope: "attempt", parentRunId: "run_1" }),
    /parentRunId and attemptNumber are required/,
  );
  await trigger("echo", {}, key);
  await idempotencyKeys.reset("echo", key, { scope: "global" });
});

test("r42 resetting nothing is a 404 that is not retried", async () => {
  const before = Date.now();
  await assert.rejects(idempotencyKeys.reset("echo", freshKey(), { scope: "global" }), (error) => error.status === 404);
  assert.ok(Date.now() - before < 900, "the client would have paused a second before a retry");
});

test("a run of another environment is a 404 that is not retried", async () => {
  const handle = await trigger("echo", {}, freshKey());
  const before = Date.now();
  await auth.withAuth({ baseURL: stack.url, accessToken: PROD }, async () => {
    await assert.rejects(runs.retrieve(handle.id), (error) => error.status === 404);
  });
  assert.ok(Date.now() - before < 900);
});

test("an unknown API key is refused as such", async () => {
  await auth.withAuth({ baseURL: stack.url, accessToken: "tr_dev_nobody" }, async () => {
    await assert.rejects(trigger("echo", {}, freshKey()), (error) => error.status === 401);
  });
});

test("payloads of every kind arrive, and read back as values", async () => {
  const date = new Date("2026-01-31T09:30:00Z");
  for (const [sent, read] of [
    [{ a: [1, null, "ü"] }, { a: [1, null, "ü"] }],
    ["text", "text"],
    [null, undefined],
    [undefined, undefined],
    [{ date, big: 12n }, { date: date.toISOString(), big: "12" }],
  ]) {
    const run = await poll(await tasks.trigger("echo", sent));
    assert.deepEqual(run.output, read);
  }
});

test("runs are listed newest first through the client's own pagination", async () => {
  const tag = freshKey();
  const sent = [];
  for (let i = 0; i < 25; i += 1) sent.unshift((await tasks.trigger("echo", i, { tags: [tag] })).id);
  const listed = [];
  for await (const run of runs.list({ tag, limit: 10 })) listed.push(run.id);
  assert.deepEqual([...listed].sort(), [...sent].sort());
  const page = await runs.list({ tag, status: ["COMPLETED", "QUEUED", "EXECUTING"], taskIdentifier: ["echo"], limit: 5 });
  assert.equal(page.data.length, 5);
  assert.ok(page.hasNextPage());
});

test("options reach the run", async () => {
  const handle = await tasks.trigger("echo", {}, { tags: ["a"], metadata: { b: 1 }, delay: "1h", ttl: "10m", maxAttempts: 2 });
  const run = await runs.retrieve(handle.id);
  assert.equal(run.status, "DELAYED");
  assert.deepEqual([run.tags, run.metadata, run.ttl], [["a"], { b: 1 }, "600s"]);
  assert.ok(run.delayedUntil > new Date(Date.now() + 3_500_000));
});

test("r50 items of a batch share runs by key, with each other and on every retry", async () => {
  const key = freshKey();
  const items = [
    { payload: 0, options: { idempotencyKey: key } },
    { payload: 1 },
    { payload: 2, options: { idempotencyKey: key } },
  ];
  const handle = await tasks.batchTrigger("echo", items);
  assert.equal(handle.runCount, 3);
  const made = await batch.retrieve(handle.batchId);
  assert.deepEqual([made.status, made.processing.errors], ["COMPLETED", []]);
  assert.equal(made.runs.length, 3);
  assert.equal(made.runs[0], made.runs[2]);
  assert.deepEqual((await poll({ id: made.runs[0] })).output, 0);
  const again = await batch.retrieve((await tasks.batchTrigger("echo", items)).batchId);
  assert.equal(again.runs[0], made.runs[0]);
  assert.notEqual(again.runs[1], made.runs[1]);
});

test("r53 a key on the batch stands for its items' keys, of one task", async () => {
  const key = freshKey();
  const runsOf = async (task, items) =>
    (await batch.retrieve((await tasks.batchTrigger(task, items, { idempotencyKey: key })).batchId)).runs;
  const items = [{ payload: 0 }, { payload: 1 }];
  const one = await runsOf("echo", items);
  assert.deepEqual((await runsOf("echo", [...items, { payload: 2 }])).slice(0, 2), one);
  const other = await runsOf("child-task", items);
  assert.ok(other.every((id) => !one.includes(id)));
});

test("a batch may come as an async iterable and over several tasks", async () => {
  async function* items() {
    for (let n = 0; n < 5; n += 1) yield { id: n % 2 ? "echo" : "child-task", payload: { n } };
  }
  const handle = await batch.trigger(items());
  const made = await batch.retrieve(handle.batchId);
  assert.equal(made.runs.length, 5);
  for (const [n, id] of made.runs.entries()) assert.deepEqual((await poll({ id })).output, { n });
});

test("r70 r73 r74 the client's own headers say what releases a key, and that a held one is refused", async () => {
  const key = await idempotencyKeys.create(freshKey());
  const additionalHeaders = { "Idempotency-Key-Release": "on-end", "Idempotency-Key-Held": "error" };
  await auth.withAuth({ baseURL: stack.url, accessToken: DEV, requestOptions: { additionalHeaders } }, async () => {
    const first = await trigger("echo", 1, key, { delay: "1h" });
    await assert.rejects(trigger("echo", 1, key), (error) => error.status === 409 && error.message.includes(first.id));
    await runs.cancel(first.id);
    await until(first.id, "CANCELED");
    assert.notEqual((await trigger("echo", 1, key)).id, first.id);
  });
});

test("r88 triggers of a debounce key push one run, which has the latest payload", async () => {
  const key = freshKey();
  const push = (n) => tasks.trigger("echo", { n }, { debounce: { key, delay: "2s", mode: "trailing", maxDelay: "1m" } });
  const first = await push(1);
  await push(2);
  const last = await push(3);
  assert.deepEqual([last.id, first.isCached, last.isCached], [first.id, false, true]);
  const run = await poll(first);
  assert.deepEqual([run.status, run.output], ["COMPLETED", { n: 3 }]);
  assert.notEqual((await push(4)).id, first.id);
});

test("r75 the client's own header replaces the run that holds a key", async () => {
  const key = await idempotencyKeys.create(freshKey());
  const additionalHeaders = { "Idempotency-Key-Held": "replace" };
  await auth.withAuth({ baseURL: stack.url, accessToken: DEV, requestOptions: { additionalHeaders } }, async () => {
    const first = await trigger("echo", 1, key, { delay: "1h" });
    const second = await trigger("echo", 2, key);
    assert.notEqual(second.id, first.id);
    await until(first.id, "CANCELED");
    assert.equal((await poll(second)).output, 2);
    assert.equal((await trigger("echo", 3, key)).id, second.id, "it has ended");
  });
});
