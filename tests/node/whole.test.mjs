// Task files in TypeScript against the real binary.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";

import { startOutside, startTasks } from "./stack.mjs";

const sha = (text) => createHash("sha256").update(text).digest("hex");
const FAST = "minTimeoutInMs: 50, maxTimeoutInMs: 50, factor: 1, randomize: false";

const TASKS = `
import { idempotencyKeys, metadata, queue, runs, tags, task, wait, tasks } from "@trigger.dev/sdk";
import { step, stepKey } from "oncekey";
import http from "node:http";

const get = (url: string) => new Promise<string>((resolve, reject) => http.get(url, (answer) => { let text = ""; answer.on("data", (chunk) => { text += chunk; }).on("end", () => resolve(text)); }).on("error", reject));
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export const echo = task({ id: "echo", run: async (payload: any) => payload });
export const typed = task({ id: "typed", run: async () => ({ at: new Date(0), map: new Map([["a", new Set([1n])]]) }) });
export const asks = task({ id: "asks", run: async () => {
  const { at, map } = await typed.triggerAndWait({}).unwrap() as any;
  return [at instanceof Date, map instanceof Map, map.get("a").has(1n)];
} });
export const sent = task({ id: "sent", run: async (payload: any) => payload.at instanceof Date });
export const sends = task({ id: "sends", run: async () => sent.triggerAndWait({ at: new Date() }).unwrap() });
export const keyed = task({ id: "keyed", retry: { maxAttempts: 3, ${FAST} }, run: async (payload: any, { ctx }) => {
  await echo.trigger({ n: ctx.attempt.number }, { idempotencyKey: await idempotencyKeys.create("per-run") });
  await echo.trigger({ n: ctx.attempt.number }, { idempotencyKey: await idempotencyKeys.create("per-attempt", { scope: "attempt" }) });
  await echo.trigger({ n: ctx.attempt.number }, { idempotencyKey: await idempotencyKeys.create("global", { scope: "global" }) });
  if (ctx.attempt.number < 3) throw new Error("again");
} });
export const waits = task({ id: "waits", run: async ({ seconds }: any) => {
  console.log("before the wait");
  const child = await echo.triggerAndWait({ from: "waits" }).unwrap();
  await wait.for({ seconds });
  console.log("after the wait");
  return child;
} });
export const dirty = task({ id: "dirty", retry: { maxAttempts: 3, ${FAST} }, run: async ({ url, seconds }: any) => {
  const n = await get(url);
  await wait.for({ seconds });
  return n;
} });
export const slow = task({ id: "slow", run: async ({ ms }: any) => { await sleep(ms); return "slept"; } });
export const dirtyParent = task({ id: "dirty-parent", run: async ({ url }: any) => { await get(url); return slow.triggerAndWait({ ms: 300 }).unwrap(); } });
export const stepped = task({ id: "stepped", retry: { maxAttempts: 3, ${FAST} }, run: async ({ url }: any, { ctx }) => {
  const n = await step("charge", () => get(url));
  await wait.for({ seconds: 6 });
  if (ctx.attempt.number < 2) throw new Error("again");
  return { n, key: stepKey("charge") };
} });
export const fails = task({ id: "fails", retry: { maxAttempts: 1 }, run: async () => { throw new RangeError("out of range"); } });
export const own = task({ id: "own", queue: queue({ name: "nowhere-else" }), run: async (_: any, { ctx }) => ctx.queue.name });
export const ownParent = task({ id: "own-parent", run: async () => { await own.triggerAndWait({}).unwrap(); } });
export const says = task({ id: "says", run: async (_: any, { ctx }) => { metadata.set("progress", 1).increment("n", 2).append("list", "a"); await tags.add("told"); return ctx.run.id; } });
export const counts = task({ id: "counts", retry: { maxAttempts: 2, ${FAST} }, run: async (_: any, { ctx }) => {
  metadata.increment("n", 1);
  await wait.for({ seconds: 6 });
  metadata.increment("n", 10);
  await wait.for({ seconds: 6 });
  metadata.increment("n", 100);
  if (ctx.attempt.number === 1) throw new Error("again");
  return metadata.current();
} });
export const many = task({ id: "many", run: async ({ n }: any) => {
  const { runs } = await echo.batchTriggerAndWait(Array.from({ length: n }, (_, index) => ({ payload: { index } })));
  return { n: runs.length, ordered: runs.every((run: any, index: number) => run.ok && run.output.index === index) };
} });
export const both = task({ id: "both", run: async () => {
  const [one, two, three] = await Promise.all([echo.triggerAndWait({ n: 1 }).unwrap(), echo.triggerAndWait({ n: 2 }).unwrap(), wait.for({ seconds: 6 })]);
  return [one, two];
} });
export const race = task({ id: "race", run: async () => Promise.race([slow.triggerAndWait({ ms: 60_000 }).then(() => "child"), wait.for({ seconds: 6 }).then(() => "time")]) });
export const exits = task({ id: "exits", retry: { maxAttempts: 2, ${FAST} }, run: async (_: any, { ctx }) => { if (ctx.attempt.number === 1) process.exit(3); return "again"; } });
export const blocks = task({ id: "blocks", maxDuration: 1, retry: { maxAttempts: 1 }, run: async () => { for (;;); } });
export const hangs = task({ id: "hangs", run: async () => { await new Promise(() => setInterval(() => {}, 1000)); } });
export const writes = task({ id: "writes", retry: { maxAttempts: 1 }, run: async () => { (await import("node:fs")).writeSync(4, "x"); } });
export const floods = task({ id: "floods", run: async () => { for (let line = 0; line < 20_000; line++) console.log("line", line, "x".repeat(100)); return "done"; } });
export const ids = task({ id: "ids", run: async (payload: any, { ctx }) => {
  const key = await idempotencyKeys.create("k");
  await sleep(Math.random() * 50);
  const child = await echo.triggerAndWait({ parent: ctx.run.id }, { idempotencyKey: key }).unwrap() as any;
  return { own: ctx.run.id, child: child.parent, key: String(key) };
} });
export const replays = task({ id: "replays", run: async ({ id }: any) => {
  const replay = await runs.replay(id);
  await wait.for({ seconds: 6 });
  return [replay.id, await runs.replay("run_" + "a".repeat(32)).catch((error) => error.status)];
} });
export const bulks = task({ id: "bulks", retry: { maxAttempts: 1 }, run: async ({ tag }: any) => {
  const end = async (action: any) => (await runs.bulk.poll(action.id, { pollIntervalMs: 50 })).counts;
  const canceled = await runs.bulk.cancel({ filter: { tag } });
  const counts = [await end(canceled)];
  await wait.for({ seconds: 6 });
  const replayed = await runs.bulk.replay({ filter: { tag, status: "CANCELED" } });
  counts.push(await end(replayed));
  const stopped = await runs.bulk.abort(canceled.id);
  return [counts, stopped.id === canceled.id, await (runs.bulk.cancel as any)({}).catch((error: any) => error.status)];
} });
export const parents = task({ id: "parents", run: async () => {
  const one = await echo.trigger({ n: 1 });
  const two = await echo.triggerAndWait({ n: 2 });
  await echo.batchTrigger([{ payload: { n: 3 } }, { payload: { n: 4 } }]);
  return [one.id, two.id];
} });
export const refused = task({ id: "refused", run: async () => {
  const items = [{ payload: { n: 1 } }, { payload: { n: 2 }, options: { idempotencyKey: "k", idempotencyKeyTTL: "10x" } }, { payload: { n: 3 } }];
  await echo.batchTrigger(items.slice(1, 2));
  const { runs } = await echo.batchTriggerAndWait(items);
  await wait.for({ seconds: 6 });
  return runs.map((run) => run.ok ? run.output : (run.error as Error).message);
} });
export const approves = task({ id: "approves", run: async () => {
  const token = await wait.createToken({ timeout: "1h", tags: ["a"], idempotencyKey: "of-a-task" });
  const again = await wait.createToken({ timeout: "1h", idempotencyKey: "of-a-task" });
  const other = await wait.createToken({ timeout: "1s" });
  await wait.completeToken(await wait.createToken({ idempotencyKey: "own" }), { by: "itself" });
  const own = await wait.forToken<{ by: string }>(await wait.createToken({ idempotencyKey: "own" })).unwrap();
  const bad = await wait.createToken({ timeout: "soon" }).catch((error) => error.status);
  console.log("token", JSON.stringify(token));
  const answer = await wait.forToken<{ at: Date }>(token.id);
  const late = await wait.forToken(other);
  const seen = await wait.retrieveToken<{ at: Date }>(token);
  return { token, same: again.id === token.id, cached: [token.isCached, again.isCached], own, bad, answer, late: [late.ok, !late.ok && late.error.name], seen: [seen.status, seen.tags, seen.url === token.url] };
} });
export const either = task({ id: "either", run: async ({ token }: any) => {
  const [all, first] = [await Promise.all([wait.forToken(token).unwrap(), echo.triggerAndWait({ n: 1 }).unwrap()]), await Promise.race([wait.forToken(token).unwrap(), wait.for({ seconds: 30 })])];
  return [all, first];
} });
export const decides = task({ id: "decides", retry: { maxAttempts: 1 }, run: async ({ token }: any) => {
  const by = await Promise.race([wait.forToken(token).then(() => "token"), wait.for({ seconds: 9 }).then(() => "time")]);
  await wait.for({ seconds: 9 });
  return by === "token" ? (await echo.triggerAndWait("shipped").unwrap()) : (await echo.triggerAndWait("refunded").unwrap());
} });
export const drops = task({ id: "drops", retry: { maxAttempts: 1 }, run: async ({ until, next }: any) => {
  if (Date.now() < until) await echo.trigger("once");
  if (next === "trigger") { await wait.for({ seconds: 6 }); await echo.trigger("then"); }
  await wait.for({ seconds: 7 });
} });
export const dated = task({ id: "dated", retry: { maxAttempts: 1 }, run: async () => {
  const tokens = await Promise.all([600, 1200].map((s) => wait.createToken({ timeout: new Date(Date.now() + s * 1000) })));
  await wait.for({ seconds: 6 });
  return tokens.map(({ id }) => id);
} });
export const replaces = task({ id: "replaces", run: async () => {
  const idempotencyKey = await idempotencyKeys.create("replaced", { scope: "global" });
  const headers = { clientConfig: { requestOptions: { additionalHeaders: { "idempotency-key-held": "replace", "idempotency-key-release": "on-end" } } } };
  const options = { idempotencyKey, delay: "1h" };
  return [await echo.trigger(1, options), await echo.trigger(2, options), await tasks.trigger("echo", 3, options, headers)].map(({ id }) => id);
} });
export const empty = task({ id: "empty", run: async () => (await echo.batchTriggerAndWait([])).runs.length });
`;

let stack;
let outside;
let url;
const arrived = [];
before(async () => {
  outside = await startOutside(arrived);
  url = `http://127.0.0.1:${outside.address().port}`;
  stack = await startTasks({ "trigger/tasks.ts": TASKS }, { tasks: "trigger", args: ["--timeout", "30", "--workers", "3"] });
});
after(async () => {
  await stack?.stop();
  outside?.close();
});

const completed = (run) => {
  assert.equal(run.status, "COMPLETED", JSON.stringify(run.error));
  return run.output;
};

// Most of the time they wait.
describe("task files", { concurrency: 3 }, () => {
  test("a task runs, and its output is that of the run", async () => {
    assert.deepEqual(completed(await stack.run("echo", { hello: "world" })), { hello: "world" });
  });

  test("what a child returns keeps its type, and so does what it is given", async () => {
    assert.deepEqual(completed(await stack.run("asks")), [true, true, true]);
    assert.equal(completed(await stack.run("sends")), true);
  });

  test("keys hold over attempts as their scope says", async () => {
    const { id } = await stack.run("keyed");
    const again = await stack.run("keyed");
    const keys = (await stack.runsOf("echo")).map(({ id: child }) => child);
    const runs = await Promise.all(keys.map((child) => stack.get(child)));
    const of = (name) => runs.filter((run) => run.idempotencyKey === name);
    assert.equal(of("per-run").length, 2);
    assert.equal(of("per-attempt").length, 6);
    assert.equal(of("global").length, 1);
    assert.notEqual(id, again.id);
  });

  test("a replay that a task asks for is one, though the task is suspended after it", async () => {
    const { id } = await stack.run("echo", { replayed: "once" });
    const [replay, missing] = completed(await stack.run("replays", { id }));
    assert.deepEqual(completed(await stack.end(replay)), { replayed: "once" });
    assert.equal(missing, 404);
    const all = await Promise.all((await stack.runsOf("echo")).map((run) => stack.get(run.id)));
    assert.equal(all.filter(({ payload }) => payload?.replayed === "once").length, 2);
  });

  test("a bulk action that a task asks for is one, though the task is suspended after it", async () => {
    const waiting = [];
    for (let n = 0; n < 3; n++) waiting.push(await stack.trigger("echo", { n }, { delay: "1h", tags: ["bulk"] }));
    const [counts, stopped, nothing] = completed(await stack.run("bulks", { tag: "bulk" }));
    assert.deepEqual(counts, [{ total: 3, success: 3, failure: 0 }, { total: 3, success: 3, failure: 0 }]);
    assert.deepEqual([stopped, nothing], [true, 400]);
    const { body } = await stack.call("GET", "/api/v1/bulk-actions");
    assert.deepEqual(body.data.map((action) => [action.type, action.status]), [["REPLAY", "COMPLETED"], ["CANCEL", "COMPLETED"]]);
    const { body: runs } = await stack.call("GET", "/api/v1/runs?filter[tag]=bulk&page[size]=100");
    assert.deepEqual([waiting.length, runs.data.length], [3, 6]);
  });

  test("a run names the children that its own calls triggered", async () => {
    const run = await stack.run("parents");
    const children = run.relatedRuns.children.map(({ id }) => id);
    assert.deepEqual([children.length, children.slice(0, 2)], [4, completed(run)]);
    for (const child of children) assert.equal((await stack.get(child)).relatedRuns.parent.id, run.id);
  });

  test("a run without effects waits without a process, and says each line once", async () => {
    const id = await stack.trigger("waits", { seconds: 6 });
    await stack.inState(id, "WAITING");
    const run = await stack.end(id);
    assert.deepEqual(completed(run), { from: "waits" });
    assert.equal(run.attemptCount, 1);
    const lines = stack.printed.split("\n").filter((line) => line.includes(id));
    assert.deepEqual(lines.filter((line) => /the wait/.test(line)).map((line) => line.replace(/^.*(before|after)/, "$1")), ["before the wait", "after the wait"]);
    const { body: logs } = await stack.call("GET", `/api/v1/runs/${id}/logs`);
    assert.deepEqual(logs.data.map(({ stream, text }) => [stream, text]), [["stdout", "before the wait"], ["stdout", "after the wait"]]);
    const later = await stack.call("GET", `/api/v1/runs/${id}/logs?after=1`);
    assert.deepEqual([later.body.data.map(({ text }) => text), later.body.next], [["after the wait"], 2]);
    const said = execFileSync(stack.binary, ["runs", "logs", id, "--follow", "--url", stack.url, "--api-key", "tr_dev_local"], { encoding: "utf8" });
    assert.deepEqual(said.trim().split("\n").map((line) => line.replace(/^\S+ +stdout +/, "")), ["before the wait", "after the wait"]);
  });

  test("a run with effects is held while it waits, and does nothing twice", async () => {
    const id = await stack.trigger("dirty", { url: `${url}/held`, seconds: 6 });
    await stack.until(() => arrived.includes("/held"), "it does not ask");
    const states = new Set();
    const run = await stack.until(async () => {
      const now = await stack.get(id);
      states.add(now.status);
      return now.status === "COMPLETED" && now;
    }, "it does not end");
    assert.deepEqual([states.has("WAITING"), states.has("EXECUTING")], [false, true]);
    assert.equal(run.output, "1");
    assert.equal(arrived.filter((at) => at === "/held").length, 1);
  });

  test("a wait that cannot be held is refused at once, without another attempt, and says why", async () => {
    const run = await stack.run("dirty", { url: `${url}/refused`, seconds: 3600 });
    assert.equal(run.status, "FAILED");
    assert.match(run.error.message, /this wait cannot be had.*connected to 127\.0\.0\.1/s);
    assert.match(run.error.message, /ONCEKEY_WAITS=replay/);
    assert.equal(run.attemptCount, 1);
    assert.equal(arrived.filter((at) => at === "/refused").length, 1);
  });

  test("a run with effects waits for its child", async () => {
    assert.equal(completed(await stack.run("dirty-parent", { url: `${url}/parent` })), "slept");
  });

  test("a step is carried out once a run, over waits and attempts", async () => {
    const { id, output, attemptCount, ...rest } = await stack.run("stepped", { url: `${url}/step` });
    completed({ output, ...rest });
    assert.deepEqual(output, { n: "1", key: sha(`step-${id}-charge`) });
    assert.equal(attemptCount, 2);
    assert.equal(arrived.filter((at) => at === "/step").length, 1);
  });

  test("an error keeps its name, message and stack", async () => {
    const { status, error } = await stack.run("fails");
    assert.deepEqual([status, error.name, error.message], ["FAILED", "RangeError", "out of range"]);
    assert.match(error.stackTrace, /tasks\.ts:\d+/);
  });

  test("a queue that is not deployed does not keep a task from running", async () => {
    completed(await stack.run("own-parent"));
  });

  test("metadata and tags that a run gives itself are shown", async () => {
    const { metadata, tags } = await stack.run("says");
    assert.deepEqual(metadata, { progress: 1, n: 2, list: ["a"] });
    assert.deepEqual(tags, ["told"]);
  });

  test("what a run adds to its metadata counts once an attempt, however often it is replayed", async () => {
    const { metadata, output } = await stack.run("counts");
    assert.deepEqual([metadata, output], [{ n: 222 }, { n: 222 }]);
  });

  test("waits beside one another are all had", async () => {
    assert.deepEqual(completed(await stack.run("both")), [{ n: 1 }, { n: 2 }]);
  });

  test("r95: a run waits for the token that it made, and is told what somebody outside completed it with", async () => {
    const id = await stack.trigger("approves");
    const waiting = await stack.inState(id, "WAITING");
    const [token] = waiting.waitingFor.tokens;
    const { body: shown } = await stack.call("GET", `/api/v1/waitpoints/tokens/${token}`);
    assert.match(shown.url, new RegExp(`^${stack.url}/api/v1/waitpoints/tokens/${token}/callback`));
    const at = "2026-01-02T03:04:05.000Z";
    const answered = await fetch(shown.url, { method: "POST", body: JSON.stringify({ at }) });
    assert.deepEqual([answered.status, await answered.json()], [200, { success: true }]);
    const output = completed(await stack.end(id));
    assert.deepEqual(output.token, { ...output.token, id: token, isCached: false, url: shown.url });
    assert.deepEqual([output.same, output.cached, output.bad, output.own], [true, [false, true], 400, { by: "itself" }]);
    assert.deepEqual(output.answer, { ok: true, output: { at } });
    assert.deepEqual([output.late, output.seen], [[false, "WaitpointTimeoutError"], ["COMPLETED", ["a"], true]]);
  });

  test("r95: a token is waited for beside a child, and raced with a time", async () => {
    const { body: token } = await stack.call("POST", "/api/v1/waitpoints/tokens", {});
    const id = await stack.trigger("either", { token: token.id });
    await stack.inState(id, "WAITING");
    await stack.call("POST", `/api/v1/waitpoints/tokens/${token.id}/complete`, { data: 7 });
    assert.deepEqual(completed(await stack.end(id)), [[7, { n: 1 }], 7]);
  });

  test("a race that was won before the run was suspended again is won by the same on every resume", async () => {
    const won = await Promise.all(Array.from({ length: 3 }, async () => {
      const { body: token } = await stack.call("POST", "/api/v1/waitpoints/tokens", {});
      const id = await stack.trigger("decides", { token: token.id });
      await stack.inState(id, "WAITING");
      await stack.call("POST", `/api/v1/waitpoints/tokens/${token.id}/complete`, { data: 7 });
      return completed(await stack.end(id));
    }));
    assert.deepEqual(won, ["shipped", "shipped", "shipped"]);
  });

  test("a run that does not make a call again fails at once, and names it", async () => {
    for (const next of ["wait", "trigger"]) {
      const id = await stack.trigger("drops", { until: Date.now() + 4000, next });
      const run = await stack.end(id, 25);
      assert.equal(run.status, "FAILED");
      assert.match(run.error.message, /call 1 is now "wait for a time" and was "trigger echo"/);
    }
  });

  test("tokens that are made at once with dates are the same on a resume", async () => {
    const ids = completed(await stack.run("dated"));
    assert.equal(new Set(ids).size, 2);
  });

  test("r74: headers say in a task, too, what is to be done about a held key", async () => {
    const [first, second, third] = completed(await stack.run("replaces"));
    assert.equal(second, first);
    assert.notEqual(third, first);
    assert.equal((await stack.inState(first, "CANCELED")).replacedBy, third);
  });

  test("r95: a task cannot wait for a token that is not there", async () => {
    const run = await stack.run("either", { token: `waitpoint_${"0".repeat(32)}` });
    assert.match(run.error.message, /there is no wait token waitpoint_0/);
  });

  test("a race is over with the first", async () => {
    assert.equal(completed(await stack.run("race")), "time");
  });

  test("a batch of a thousand comes back in its order", async () => {
    assert.deepEqual(completed(await stack.end(await stack.trigger("many", { n: 1000 }), 120)), { n: 1000, ordered: true });
    assert.equal(completed(await stack.run("empty")), 0);
  });

  test("an item of a batch that is refused is an error in its place, and keeps no other from running", async () => {
    const [one, two, three] = completed(await stack.run("refused"));
    assert.deepEqual([one, three], [{ n: 1 }, { n: 3 }]);
    assert.match(two, /idempotencyKeyTTL.*10x/);
  });

  test("three at once mix nothing up", async () => {
    const started = await Promise.all(Array.from({ length: 12 }, () => stack.trigger("ids")));
    for (const id of started) assert.deepEqual(completed(await stack.end(id)), { own: id, child: id, key: sha(`k-${id}`) });
  });

  test("a task that ends its process is tried again", async () => {
    const run = await stack.run("exits");
    assert.equal(completed(run), "again");
    assert.equal(run.attemptCount, 2);
  });

  test("a task that blocks its loop is ended when its time is over", async () => {
    assert.equal((await stack.run("blocks")).status, "TIMED_OUT");
    completed(await stack.run("echo"));
  });

  test("a cancelled run's process ends", async () => {
    const id = await stack.trigger("hangs");
    await stack.inState(id, "EXECUTING");
    await stack.call("POST", `/api/v2/runs/${id}/cancel`);
    assert.equal((await stack.end(id)).status, "CANCELED");
    completed(await stack.run("echo"));
  });

  test("a task that writes to the host's pipe is told so", async () => {
    assert.match((await stack.run("writes")).error.message, /file descriptors 3 and 4/);
  });

  test("a task that prints without end does not harm others", async () => {
    const [flood, echo] = await Promise.all([stack.run("floods"), stack.run("echo")]);
    assert.equal(completed(flood), "done");
    completed(echo);
  });

  test("a task that is not there is refused or fails with its name", async () => {
    const { status, body } = await stack.call("POST", "/api/v1/tasks/no-such-task/trigger", { payload: {} });
    if (status === 200) assert.notEqual((await stack.end(body.id)).status, "COMPLETED");
    else assert.match(JSON.stringify(body), /no-such-task/);
  });

  test("changes are taken up, mistakes shown with their place, and no run is dropped", async () => {
    const file = (text) => `import { task } from "@trigger.dev/sdk";\nexport const version = task({ id: "version", run: async ({ ms }: any) => { await new Promise((resolve) => setTimeout(resolve, ms ?? 0)); return "${text}"; } });\n`;
    const other = await startTasks({ "trigger/a.ts": file("one") }, { tasks: "trigger" });
    try {
      assert.equal(completed(await other.run("version")), "one");
      const under = await other.trigger("version", { ms: 3000 });
      await other.inState(under, "EXECUTING");
      await other.write("trigger/a.ts", file("two"));
      await other.until(async () => completed(await other.run("version")) === "two", "the change is not taken up");
      assert.equal(completed(await other.end(under)), "one");
      await other.write("trigger/a.ts", "const x: = 1;\n");
      await other.until(() => /a\.ts:1:10/.test(other.printed), "the mistake is not shown");
      assert.equal(completed(await other.run("version")), "two");
      await other.write("trigger/a.ts", `throw new Error("no database");\n`);
      await other.until(() => /a\.ts failed while it was imported: no database/.test(other.printed), "the mistake is not shown");
      assert.equal(completed(await other.run("version")), "two");
      await other.write("trigger/a.ts", file("three"));
      await other.until(async () => completed(await other.run("version")) === "three", "it does not go on");
    } finally {
      await other.stop();
    }
  });

  test("a process that died between two runs is no run's fault", async () => {
    const files = `
      import { task } from "@trigger.dev/sdk";
      export const dies = task({ id: "dies", run: async () => { setTimeout(() => process.kill(process.pid, "SIGKILL"), 100); return process.pid; } });
      export const echo = task({ id: "echo", run: async (payload: any) => payload });
    `;
    const other = await startTasks({ "trigger/a.ts": files }, { tasks: "trigger" });
    try {
      const pid = completed(await other.run("dies"));
      // The host has yet to look: until then it is a zombie, whose other threads may take a moment longer to end.
      const state = () => readFile(`/proc/${pid}/stat`, "utf8").then((text) => text.split(") ")[1][0], () => "gone");
      const threads = () => readdir(`/proc/${pid}/task`).then((all) => all.length, () => 0);
      const isDead = async () => (await threads()) <= 1 && ["Z", "gone"].includes(await state());
      await other.until(isDead, "it does not die");
      const run = await other.run("echo", { alive: true });
      assert.deepEqual([completed(run), run.attemptCount], [{ alive: true }, 1]);
    } finally {
      await other.stop();
    }
  });

  test("a run whose code changed while it waited fails loudly, and does nothing new", async () => {
    const file = (child) => `
      import { task, wait } from "@trigger.dev/sdk";
      export const echo = task({ id: "echo", run: async (payload: any) => payload });
      export const parent = task({ id: "parent", retry: { maxAttempts: 1 }, run: async () => { await echo.trigger({ child: "${child}" }, { idempotencyKey: "${child}" }); await wait.for({ seconds: 8 }); } });
      export const version = task({ id: "version", run: async () => "${child}" });
    `;
    const other = await startTasks({ "trigger/a.ts": file("one") }, { tasks: "trigger" });
    try {
      const id = await other.trigger("parent");
      await other.inState(id, "WAITING");
      await other.write("trigger/a.ts", file("two"));
      await other.until(async () => completed(await other.run("version")) === "two", "the change is not taken up");
      const { status, error } = await other.end(id);
      assert.equal(status, "FAILED");
      assert.match(error.message, /other call/);
      assert.equal((await other.runsOf("echo")).length, 1);
    } finally {
      await other.stop();
    }
  });
});
