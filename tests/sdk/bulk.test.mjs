// Many runs cancelled and replayed by one call, through the official npm client.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { auth, runs, tasks } from "@trigger.dev/sdk";
import { DEV, PROD, startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

/** Runs that start in an hour, with a tag. They are from before whatever is done next. */
const delayed = async (tag, count) => {
  const all = [];
  for (let n = 0; n < count; n += 1) all.push((await tasks.trigger("echo", { n }, { delay: "1h", tags: [tag] })).id);
  await sleep(10);
  return all;
};
const end = (action) => runs.bulk.poll(action.id, { pollIntervalMs: 20 });
const statuses = async (ids) => new Set(await Promise.all(ids.map(async (id) => (await runs.retrieve(id)).status)));

test("the runs of a filter are cancelled, and replayed", async () => {
  const ids = await delayed("both", 3);
  const [other] = await delayed("other", 1);
  const action = await runs.bulk.cancel({ filter: { tag: "both", status: ["DELAYED", "QUEUED"], period: "1d" }, name: "stop them" });
  const done = await end(action);
  assert.deepEqual([done.type, done.status, done.name, done.counts], ["CANCEL", "COMPLETED", "stop them", { total: 3, success: 3, failure: 0 }]);
  assert.ok(done.createdAt instanceof Date && done.completedAt >= done.createdAt);
  assert.deepEqual([await statuses(ids), await statuses([other])], [new Set(["CANCELED"]), new Set(["DELAYED"])]);
  const replayed = await end(await runs.bulk.replay({ filter: { tag: ["both"], status: "CANCELED", from: new Date(Date.now() - 60_000), to: Date.now() } }));
  assert.deepEqual([replayed.type, replayed.counts], ["REPLAY", { total: 3, success: 3, failure: 0 }]);
  const made = (await runs.list({ tag: "both" })).data.filter((run) => !ids.includes(run.id));
  assert.equal(made.length, 3);
  const payloads = await Promise.all(made.map(async (run) => (await runs.poll(run.id, { pollIntervalMs: 20 })).output.n));
  assert.deepEqual(payloads.sort(), [0, 1, 2]);
});

test("runs are named, and those that are not there are failures", async () => {
  const [waiting] = await delayed("named", 1);
  const foreign = await auth.withAuth({ baseURL: stack.url, accessToken: PROD }, () => delayed("theirs", 1));
  const absent = `run_${"a".repeat(32)}`;
  const done = await end(await runs.bulk.cancel({ runIds: [waiting, absent, ...foreign] }));
  assert.deepEqual(done.counts, { total: 3, success: 1, failure: 2 });
  assert.equal((await runs.retrieve(waiting)).status, "CANCELED");
  await auth.withAuth({ baseURL: stack.url, accessToken: PROD }, async () => {
    assert.deepEqual(await statuses(foreign), new Set(["DELAYED"]));
  });
});

test("a queue is named as the client names one", async () => {
  await delayed("queued", 2);
  const filter = { tag: "queued", queue: { type: "custom", name: "default" }, isTest: false, taskIdentifier: ["echo", "fail"] };
  assert.equal((await end(await runs.bulk.cancel({ filter }))).counts.success, 2);
});

test("an action is retrieved, listed and stopped, and one that has ended stays as it is", async () => {
  const made = [];
  for (let n = 0; n < 3; n += 1) {
    made.unshift((await runs.bulk.cancel({ filter: { tag: `none-${n}` } })).id);
    await sleep(5);
  }
  for (const id of made) await end({ id });
  const first = await runs.bulk.list({ limit: 2 });
  assert.deepEqual(first.data.map((action) => action.id), made.slice(0, 2));
  const second = await first.getNextPage();
  assert.equal(second.data[0].id, made[2]);
  assert.deepEqual((await second.getPreviousPage()).data.map((action) => action.id), made.slice(0, 2));
  const all = [];
  for await (const action of runs.bulk.list({ limit: 1 })) all.push(action.id);
  assert.deepEqual(all.slice(0, 3), made);
  const ended = await runs.bulk.retrieve(made[0]);
  assert.deepEqual(await runs.bulk.abort(made[0]), { id: made[0] });
  assert.deepEqual(await runs.bulk.retrieve(made[0]), ended);
  await auth.withAuth({ baseURL: stack.url, accessToken: PROD }, async () => {
    await assert.rejects(runs.bulk.retrieve(made[0]), (error) => error.status === 404);
    await assert.rejects(runs.bulk.abort(made[0]), (error) => error.status === 404);
    const listed = await runs.bulk.list();
    assert.ok(listed.data.every((action) => !made.includes(action.id)));
  });
});

test("what an action cannot be is refused at once, by name", async () => {
  const [id] = await delayed("kept", 1);
  const run = { runIds: [id] };
  for (const [options, status, wanted] of [
    [{}, 400, /^.*filter: is missing/],
    [{ ...run, filter: { tag: "kept" } }, 400, /runIds: is given beside filter/],
    [{ runIds: [] }, 400, /runIds: has 0 ids/],
    [{ runIds: Array(501).fill(id) }, 400, /runIds: has 501 ids/],
    [{ runIds: ["run_1"] }, 400, /runIds\[0\]: a run id is/],
    [{ filter: {} }, 400, /filter: says nothing/],
    [{ filter: { status: "DONE" } }, 400, /filter\.status: "DONE" is not a status/],
    [{ filter: { tag: "kept", version: "1" } }, 422, /filter\.version: there is no such field/],
    [{ filter: { tag: "kept", machine: "micro" } }, 422, /filter\.machine: there is no such field/],
    [{ ...run, name: "x".repeat(256) }, 400, /name: is 256 characters long/],
    [{ ...run, targetRegion: "eu-central-1" }, 422, /targetRegion is not supported/],
  ]) {
    await assert.rejects(runs.bulk.cancel(options), (error) => error.status === status && wanted.test(error.message), `${wanted}`);
  }
  assert.deepEqual(await statuses([id]), new Set(["DELAYED"]));
});

test("a public token opens no bulk action", async () => {
  const [id] = await delayed("closed", 1);
  const accessToken = await auth.withAuth({ baseURL: stack.url, accessToken: DEV }, () =>
    auth.createPublicToken({ scopes: { read: { runs: [id], tags: ["closed"] }, write: { runs: [id] } } }),
  );
  await auth.withAuth({ baseURL: stack.url, accessToken }, async () => {
    await assert.rejects(runs.bulk.cancel({ runIds: [id] }), (error) => error.status === 403);
    await assert.rejects(runs.bulk.list(), (error) => error.status === 403);
  });
  assert.deepEqual(await statuses([id]), new Set(["DELAYED"]));
});
