// Limits that task files declare: how many runs of a queue execute at a time, asked of a server outside that the tasks talk to.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { test } from "node:test";

import { configure, queues, tasks } from "@trigger.dev/sdk";

import { startTasks } from "./stack.mjs";

const TASKS = `
import { queue, task } from "@trigger.dev/sdk";
import { queue as limitedQueue } from "oncekey";

const get = (url: string) => fetch(url).then((answer) => answer.text());
export const tenants = queue({ name: "tenants", concurrencyLimit: 1 });
export const spare = queue({ name: "spare/one", concurrencyLimit: 7 });
const retry = { maxAttempts: 20, minTimeoutInMs: 50, maxTimeoutInMs: 200, factor: 1 };
export const work = task({ id: "work", queue: tenants, retry, run: async ({ url, name }: { url: string; name: string }) => get(url + "/" + name) });
export const single = task({ id: "single", queue: { concurrencyLimit: 2 }, run: async () => 1 });
export const paced = limitedQueue({ name: "paced", rateLimit: { limit: 60, period: "1m", burst: 2 } });
export const call = task({ id: "call", queue: paced, run: async ({ url, name }: { url: string; name: string }) => get(url + "/" + name) });
export const same = task({ id: "same", queue: "tenants", run: async () => 1 });
`;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A server outside, which notes who is at work at a time: the first part of a path is the tenant, the second one's own. */
async function startWatch(pause) {
  const seen = { atWork: new Map(), most: 0, began: [] };
  const server = http.createServer(async (request, response) => {
    const [, tenant, name] = request.url.split("/");
    const count = (seen.atWork.get(tenant) ?? 0) + 1;
    seen.atWork.set(tenant, count);
    seen.most = Math.max(seen.most, count);
    seen.began.push(name);
    // Whoever is killed is at work no more.
    let over = () => seen.atWork.set(tenant, seen.atWork.get(tenant) - 1);
    response.on("close", () => { over(); over = () => {}; });
    await sleep(pause);
    response.end("done");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return { seen, server, url: `http://127.0.0.1:${server.address().port}` };
}

test("r111: the rate that a queue of the package oncekey declares is kept", { timeout: 120_000 }, async () => {
  const { seen, server, url } = await startWatch(0);
  const stack = await startTasks({ "limits.ts": TASKS }, { args: ["--workers", "4"] });
  try {
    const { body } = await stack.call("GET", "/api/v1/queues/paced?type=custom");
    assert.deepEqual(body.rateLimit, { limit: 60, period: "1m", burst: 2 });
    const began = performance.now();
    const runs = await Promise.all(Array.from({ length: 7 }, (_, n) => stack.trigger("call", { url, name: `one/${n}` })));
    for (const run of runs) assert.equal((await stack.end(run)).status, "COMPLETED");
    assert.ok(performance.now() - began > 4_000, "two at once, and five a second apart");
    assert.equal(seen.began.length, 7);
  } finally {
    await stack.stop();
    server.close();
  }
});

test("r101: of each tenant one run executes at a time, of fifty of five, and all are done", { timeout: 240_000 }, async () => {
  const { seen, server, url } = await startWatch(60);
  const stack = await startTasks({ "limits.ts": TASKS }, { args: ["--workers", "8"] });
  try {
    configure({ baseURL: stack.url, accessToken: "tr_dev_local" });
    const { data } = await queues.list();
    assert.deepEqual(data.map(({ name, type, concurrencyLimit }) => [name, type, concurrencyLimit]), [["paced", "custom", null], ["spare/one", "custom", 7], ["single", "task", 2], ["tenants", "custom", 1]]);
    const items = Array.from({ length: 50 }, (_, n) => ({ payload: { url, name: `t${n % 5}/${n}` }, options: { concurrencyKey: `t${n % 5}` } }));
    const { batchId } = await tasks.batchTrigger("work", items);
    const runs = await stack.until(async () => {
      const all = await stack.runsOf("work");
      return all.length === 50 && all.every((run) => run.isCompleted) && all;
    }, "not all are done", 120);
    assert.ok(batchId && runs.every((run) => run.status === "COMPLETED"));
    assert.equal(seen.most, 1);
    await stack.until(async () => (await queues.retrieve({ type: "custom", name: "tenants" })).running === 0, "a place is left");
  } finally {
    await stack.stop();
    server.close();
  }
});

test("r106, r109: a paused queue starts nothing, what waits goes by priority, and a limit is put in place of the declared one", { timeout: 240_000 }, async () => {
  const { seen, server, url } = await startWatch(100);
  const stack = await startTasks({ "limits.ts": TASKS }, { args: ["--workers", "8"] });
  try {
    configure({ baseURL: stack.url, accessToken: "tr_dev_local" });
    const paused = await queues.pause({ type: "custom", name: "tenants" });
    assert.equal(paused.paused, true);
    await sleep(5_500);
    for (const [name, priority] of [["c", 0], ["d", 0], ["a", 60], ["b", 30]]) await tasks.trigger("work", { url, name: `one/${name}` }, { priority });
    await stack.until(async () => (await queues.retrieve({ type: "custom", name: "tenants" })).queued === 4, "they do not wait");
    assert.deepEqual(seen.began, []);
    await queues.resume({ type: "custom", name: "tenants" });
    await stack.until(async () => (await stack.runsOf("work")).every((run) => run.isCompleted), "not all are done");
    assert.deepEqual([seen.began, seen.most], [["a", "b", "c", "d"], 1]);

    const { id } = await queues.retrieve({ type: "custom", name: "spare/one" });
    const { concurrencyLimit, concurrency } = await queues.overrideConcurrencyLimit(id, 3);
    assert.deepEqual([concurrencyLimit, concurrency.base, concurrency.override], [3, 7, 3]);
    assert.ok(concurrency.overriddenAt instanceof Date);
    assert.equal((await queues.resetConcurrencyLimit({ type: "custom", name: "spare/one" })).concurrencyLimit, 7);
    await assert.rejects(queues.pause({ type: "custom", name: "nowhere" }), /there is no queue nowhere in local\/dev/);
  } finally {
    await stack.stop();
    server.close();
  }
});

test("r100: a stack that is killed in the middle breaks no limit, and leaves nobody waiting", { timeout: 300_000 }, async () => {
  const { seen, server, url } = await startWatch(150);
  const stack = await startTasks({ "limits.ts": TASKS }, { data: true, args: ["--workers", "8", "--timeout", "10"] });
  try {
    configure({ baseURL: stack.url, accessToken: "tr_dev_local" });
    const items = Array.from({ length: 40 }, (_, n) => ({ payload: { url, name: `t${n % 4}/${n}` }, options: { concurrencyKey: `t${n % 4}` } }));
    await tasks.batchTrigger("work", items);
    for (let kill = 0; kill < 5; kill += 1) {
      await sleep(300 + kill * 200);
      await stack.kill();
      await stack.start();
    }
    const runs = await stack.until(async () => {
      const all = await stack.runsOf("work");
      return all.length === 40 && all.every((run) => run.isCompleted) && all;
    }, "not all are done", 200);
    assert.deepEqual([...new Set(runs.map((run) => run.status))], ["COMPLETED"]);
    assert.equal(seen.most, 1);
  } finally {
    await stack.stop();
    server.close();
  }
});

test("r102: a held wait for a run that needs the place of its own run is refused in words, before the invocation is over", { timeout: 120_000 }, async () => {
  const { server, url } = await startWatch(10);
  const stack = await startTasks({ "limits.ts": `
import { queue, task } from "@trigger.dev/sdk";
import http from "node:http";

const one = queue({ name: "one", concurrencyLimit: 1 });
export const child = task({ id: "child", queue: one, run: async () => 1 });
export const parent = task({ id: "parent", queue: one, retry: { maxAttempts: 1 }, run: async ({ url }: { url: string }) => {
  await new Promise<void>((resolve) => http.get(url + "/all/sent", (answer) => answer.resume().on("end", () => resolve())));
  return child.triggerAndWait({}).unwrap();
} });
` }, { args: ["--workers", "4"] });
  try {
    const run = await stack.run("parent", { url });
    assert.equal(run.status, "FAILED");
    assert.match(run.error.message, /this wait cannot be had: run_\w+ waits for a place of the queue one, and this run, which waits for it, has the only one/);
    const [child] = await stack.runsOf("child");
    assert.equal((await stack.end(child.id)).status, "COMPLETED");
  } finally {
    await stack.stop();
    server.close();
  }
});

test("what Oncekey does not have of limits is refused by name, and the code before goes on", { timeout: 120_000 }, async () => {
  const declares = ({ queue = "", task = "" }) => `import { queue, task } from "@trigger.dev/sdk";\nexport const q = queue({ name: "q"${queue} });\nexport const t = task({ id: "t"${task}, run: async () => 1 });\n`;
  const stack = await startTasks({ "limits.ts": declares({}) });
  try {
    for (const [what, told] of [
      [{ queue: ", combinedConcurrencyLimit: 5" }, /queue "q": combinedConcurrencyLimit is not supported/],
      [{ task: ", concurrency: { perKey: 1 }" }, /task "t": concurrency is not supported: give it queue: \{ concurrencyLimit \}/],
      [{ queue: ", concurrencyLimit: -1" }, /queue "q": concurrencyLimit: -1 is out of range: give a whole number from 0 to 100000/],
    ]) {
      await stack.write("limits.ts", declares(what));
      await stack.until(() => told.test(stack.printed), `${told} is not told`, 20);
    }
    assert.equal((await stack.run("t")).output, 1);
  } finally {
    await stack.stop();
  }
});
