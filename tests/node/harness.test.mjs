// What a harness makes of task files, runs, and bad input, against a host of the test's own.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { startHost } from "./host.mjs";

const TASKS = `
import { AbortTaskRunError, idempotencyKeys, metadata, task, tasks, wait, schemaTask, queue, logger } from "@trigger.dev/sdk";
import { step, stepKey } from "oncekey";
import { z } from "zod";
import { writeSync } from "node:fs";

export const own = queue({ name: "own", concurrencyLimit: 2 });
export const echo = task({ id: "echo", queue: own, maxDuration: 30, run: async (payload: any, { ctx }) => ({ payload, run: ctx.run.id, attempt: ctx.attempt.number }) });
export const rich = task({ id: "rich", run: async () => ({ at: new Date(0), map: new Map([[1, new Set([2n])]]), nothing: undefined }) });
export const fails = task({ id: "fails", retry: { maxAttempts: 3, minTimeoutInMs: 100, maxTimeoutInMs: 100, factor: 1 }, run: async () => { inner(); } });
function inner(): never { throw Object.assign(new RangeError("out of range"), {}); }
export const gives = task({ id: "gives-up", run: async () => { throw new AbortTaskRunError("no more"); } });
export const checked = schemaTask({ id: "checked", schema: z.object({ n: z.number() }), run: async ({ n }) => n + 1 });
const seen: string[] = [];
export const hooked = task({
  id: "hooked", retry: { maxAttempts: 1 },
  init: async () => { seen.push("init"); return { db: 1 }; },
  onStart: async () => { seen.push("start"); },
  onSuccess: async () => { seen.push("success"); },
  onFailure: async () => { seen.push("failure"); },
  onComplete: async () => { seen.push("complete"); },
  onWait: async () => { seen.push("wait"); },
  onResume: async () => { seen.push("resume"); },
  cleanup: async () => { seen.push("cleanup"); },
  run: async (payload: any) => { seen.push("run"); if (payload.fail) throw new Error("x"); await wait.for({ seconds: 10 }); },
});
export const told = task({ id: "told", run: async () => seen.splice(0) });
export const parent = task({ id: "parent", run: async () => {
  const key = await idempotencyKeys.create("k");
  const [one, two] = await Promise.all([echo.triggerAndWait({ n: 1 }, { idempotencyKey: key }), echo.triggerAndWait({ n: 2 })]);
  const many = await echo.batchTriggerAndWait([{ payload: 1 }, { payload: 2 }]);
  const none = await echo.batchTriggerAndWait([]);
  metadata.set("progress", 1);
  await wait.until({ date: new Date(Date.now() + 60_000) });
  return { one, two, many: many.runs.length, none: none.runs.length };
} });
export const caught = task({ id: "caught", run: async () => { try { await wait.for({ seconds: 10 }); } catch (error: any) { return error.name + ": " + error.message; } } });
export const refused = task({ id: "refused", run: async () => { await wait.for({ seconds: 10 }); } });
export const exits = task({ id: "exits", run: async () => { process.exit(3); } });
export const throws = task({ id: "throws-later", run: async () => { setTimeout(() => { throw new Error("nobody catches this"); }); await new Promise(() => setTimeout(() => {}, 1e6)); } });
export const pipes = task({ id: "pipes", retry: { maxAttempts: 1 }, run: async ({ fd }: any) => { writeSync(fd, "{}\\n"); } });
export const talks = task({ id: "talks", run: async (payload: any) => {
  console.log("first"); console.error("to stderr"); writeSync(1, "by number\\n"); logger.info("logged");
  await wait.for({ seconds: 10 });
  console.log("second");
} });
let calls = 0;
export const stepped = task({ id: "stepped", run: async (payload: any) => {
  const one = await step("one", () => ({ at: new Date(++calls) }));
  const both = await Promise.all([step("two", async () => ++calls), step("two", async () => ++calls)]);
  const nothing = await step("three", async () => {});
  const failed = await step("four", async () => { throw new Error("not now"); }).catch((error) => error.message);
  const waits = await step("five", () => wait.for({ seconds: 10 })).catch((error) => error.message);
  return { one, both, nothing, failed, waits, calls, key: stepKey("one"), date: one.at instanceof Date };
} });
export const leaves = task({ id: "leaves", run: async ({ ms }: any) => { setTimeout(() => void echo.trigger("late"), ms); } });
export const forgets = task({ id: "forgets", run: async () => { void echo.trigger(1, { idempotencyKey: "k" }); void echo.trigger(2); } });
export const slow = task({ id: "slow", run: async (_: any, { signal }) => new Promise((resolve) => signal!.addEventListener("abort", () => resolve("aborted"))), onCancel: async () => { console.log("cancelled"); } });
export const computes = task({ id: "computes", run: async () => {
  await wait.for({ seconds: 10 });
  for (const start = Date.now(); Date.now() < start + 500;);
  await echo.trigger({});
} });
export const bare = task({ id: "bare", run: async () => { throw new Error("again"); } });
export const policy = task({ id: "policy", retry: { maxAttempts: 2, minTimeoutInMs: 10, maxTimeoutInMs: 10 }, run: async () => { throw new Error("again"); } });
`;

let host;
before(async () => {
  host = await startHost({ "trigger/tasks.ts": TASKS });
  assert.equal(host.failed, undefined, JSON.stringify(host.failed));
});
after(() => host.stop());

const output = (result) => {
  assert.equal(result.ok, true, JSON.stringify(result));
  if (result.output === undefined || result.outputType === "text/plain") return result.output;
  return JSON.parse(result.output).json;
};
const usual = (wait) => {
  const done = (id) => ({ ok: true, id, taskIdentifier: "echo", output: '{"json":{"n":1}}', outputType: "application/super+json" });
  if (wait.for === "run") return { result: done(wait.run) };
  if (wait.for === "batch") return { result: { id: wait.batch, items: Array.from({ length: wait.count }, (_, index) => done(`run_${index}`)) } };
  return { result: { ok: true, id: wait.waitpoint } };
};

test("it says which tasks there are, with their queues, limits and policies", () => {
  const { protocol, version, sdk, tasks } = host.ready;
  assert.deepEqual({ protocol, version, sdk }, { protocol: 3, version: "0.1.0", sdk: "4.8.3" });
  const echo = tasks.find(({ id }) => id === "echo");
  assert.deepEqual([echo.filePath, echo.queue.name, echo.queue.concurrencyLimit, echo.maxDuration], ["trigger/tasks.ts", "own", 2, 30]);
  assert.equal(tasks.find(({ id }) => id === "fails").retry.maxAttempts, 3);
});

test("asked to look, it says what is under way: after what it computes, and with what follows from it", async () => {
  const look = async (id) => {
    host.say({ type: "look", look: id });
    return (await host.message(({ type, look: asked }) => type === "looked" && asked === id)).open;
  };
  let answer;
  host.onWait = (wait) => new Promise((resolve) => {
    answer = () => resolve(usual(wait));
  });
  const result = host.run("computes");
  await host.message(({ type }) => type === "wait");
  assert.equal(await look(1), 0);
  let looked;
  const held = new Promise((resolve) => {
    looked = resolve;
  });
  host.onRequest = () => held;
  answer();
  await new Promise(setImmediate);
  // It computes for half a second first, and then triggers, which is answered after the look.
  assert.equal(await look(2), 1);
  host.onRequest = undefined;
  looked();
  output(await result);
  host.onWait = usual;
});

test("its version is the package's", async () => {
  const manifest = JSON.parse(await readFile(new URL("../../shared/node/package.json", import.meta.url), "utf8"));
  assert.equal(host.ready.version, manifest.version);
});

test("a run gets its payload and context, and its output comes back", async () => {
  const result = await host.run("echo", { hello: "world" }, { id: "run_a", attempt: 2 });
  assert.deepEqual(output(result), { payload: { hello: "world" }, run: "run_a", attempt: 2 });
  assert.equal(result.outputType, "application/super+json");
  assert.equal(output(await host.run("echo")).payload, null);
});

test("dates, maps and sets keep their type", async () => {
  const result = await host.run("rich");
  assert.equal(result.outputType, "application/super+json");
  assert.deepEqual(JSON.parse(result.output).meta.values.at, ["Date"]);
});

test("an error keeps its name, message and stack, which points into the source", async () => {
  const result = await host.run("fails");
  const { error, retry } = result;
  assert.deepEqual([error.type, error.name, error.message], ["BUILT_IN_ERROR", "RangeError", "out of range"]);
  const line = TASKS.split("\n").findIndex((text) => text.includes("function inner")) + 1;
  assert.match(error.stackTrace, new RegExp(`trigger/tasks\\.ts:${line}:`));
  assert.equal(retry.delay, 100);
});

test("the last attempt is not tried again, nor is what gives up", async () => {
  assert.equal((await host.run("fails", {}, { attempt: 3 })).retry, undefined);
  assert.equal((await host.run("gives-up")).skippedRetrying, true);
});

test("a task without a policy is tried three times, or as the host says", async () => {
  const again = async (attempt, retries) => (await host.run("bare", {}, { attempt, retries })).retry !== undefined;
  assert.deepEqual([await again(1), await again(2), await again(3)], [true, true, false]);
  assert.equal(await again(1, { default: { maxAttempts: 1 } }), false);
});

test("a run's own number of attempts does not become the task's", async () => {
  assert.ok((await host.run("policy", {}, { attempt: 2, run: { maxAttempts: 5 } })).retry);
  assert.equal((await host.run("policy", {}, { attempt: 2 })).retry, undefined);
});

test("a payload that does not fit its schema fails without another attempt", async () => {
  const result = await host.run("checked", { n: "one" });
  assert.deepEqual([result.ok, result.error.code, result.skippedRetrying ?? result.retry === undefined], [false, "TASK_INPUT_ERROR", true]);
  assert.equal(output(await host.run("checked", { n: 1 })), 2);
});

test("hooks are called in the SDK's order", async () => {
  host.onWait = usual;
  await host.run("hooked", {});
  assert.deepEqual(output(await host.run("told")), ["init", "start", "run", "wait", "resume", "success", "complete", "cleanup"]);
  await host.run("hooked", { fail: true }, { attempt: 2 });
  assert.deepEqual(output(await host.run("told")), ["init", "run", "failure", "complete", "cleanup"]);
});

test("waits are asked for with what they wait for, and may be open at once", async () => {
  const open = [];
  host.onWait = async (wait) => {
    open.push(wait);
    if (wait.for !== "run") return usual(wait);
    // The first is answered only when the second is open as well.
    if (open.length < 2) await host.message((message) => message.type === "wait" && message.id !== wait.id);
    return usual(wait);
  };
  const result = output(await host.run("parent", {}, { id: "run_p" }));
  assert.deepEqual([result.one.output, result.many, result.none], [{ n: 1 }, 2, 0]);
  assert.deepEqual(open.map((wait) => wait.for), ["run", "run", "batch", "waitpoint"]);
  assert.ok(open[3].until);
  const trigger = host.requests.find(({ path: at, body }) => at.endsWith("/echo/trigger") && body.includes("idempotencyKey"));
  assert.equal(JSON.parse(trigger.body).options.idempotencyKey, createHash("sha256").update("k-run_p").digest("hex"));
  const metadata = host.requests.findIndex(({ path: at }) => at.endsWith("/metadata"));
  const duration = host.requests.findIndex(({ path: at }) => at.endsWith("/wait/duration"));
  assert.ok(metadata >= 0 && duration >= 0);
});

test("calls tell whether anything else was pending", async () => {
  host.onWait = usual;
  host.requests.length = 0;
  await host.run("parent");
  const beside = (part) => host.requests.filter(({ path: at }) => at.endsWith(part)).map(({ headers }) => headers["x-oncekey-beside"]);
  assert.ok(beside("/trigger").every((count) => Number(count) > 0));
  assert.deepEqual(beside("/wait/duration"), ["0"]);
  const numbers = host.requests.map(({ headers }) => Number(headers["x-oncekey-call"]));
  assert.equal(new Set(numbers).size, numbers.length);
});

test("a wait that is refused ends the run without another attempt, unless the task catches it", async () => {
  host.onWait = () => ({ refused: "this wait cannot be had" });
  assert.equal(output(await host.run("caught")), "AbortTaskRunError: this wait cannot be had");
  const result = await host.run("refused");
  assert.deepEqual([result.error.message, result.skippedRetrying], ["this wait cannot be had", true]);
});

test("a replay says nothing until everything is live again", async () => {
  let silent;
  host.onWait = async () => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    silent = host.printed;
    host.say({ type: "live" });
    return usual({ waitpoint: "w" });
  };
  host.printed = "";
  await host.run("talks", {}, { replaying: true });
  assert.equal(silent, "");
  assert.equal(host.printed, "second\n");
  host.printed = "";
  await host.run("talks");
  assert.match(host.printed, /first\n.*to stderr|to stderr\nfirst/s);
  assert.match(host.printed, /by number/);
});

test("a step is carried out once, its result keeps its type, and it cannot wait", async () => {
  host.steps = undefined;
  host.onWait = usual;
  const first = output(await host.run("stepped", {}, { id: "run_s" }));
  assert.equal(first.calls, 2);
  assert.deepEqual([first.both, first.failed, first.date], [[2, 2], "not now", true]);
  assert.match(first.waits, /cannot wait/);
  assert.equal(first.key, createHash("sha256").update("step-run_s-one").digest("hex"));
  const again = output(await host.run("stepped", {}, { id: "run_s", attempt: 2 }));
  assert.deepEqual(again, first);
});

test("what a run left going makes no calls in the next one, and does not disturb it", async () => {
  host.printed = "";
  await host.run("leaves", { ms: 30 }, { id: "run_left" });
  host.requests.length = 0;
  host.onWait = () => undefined;
  await host.begin("refused");
  await new Promise((resolve) => setTimeout(resolve, 100));
  host.say({ type: "waited", id: host.messages.find(({ type }) => type === "wait").id, result: { ok: true, id: "w" } });
  assert.equal((await host.end()).ok, true);
  assert.ok(!host.requests.some(({ path: at }) => at.endsWith("/trigger")));
  assert.match(host.printed, /run_left is over/);
});

test("a call that a run does not wait for is made before the run is over", async () => {
  host.requests.length = 0;
  await host.run("forgets");
  assert.equal(host.requests.filter(({ path: at }) => at.endsWith("/echo/trigger")).length, 2);
});

test("a cancelled run has its signal aborted and its hook called", async () => {
  host.printed = "";
  await host.begin("slow");
  await new Promise((resolve) => setTimeout(resolve, 50));
  host.say({ type: "cancel" });
  assert.equal(output(await host.end()), "aborted");
  assert.match(host.printed, /cancelled/);
});

test("a task that is not there is named, beside those that are", async () => {
  const result = await host.run("no-such-task");
  assert.match(result.error.message, /there is no task "no-such-task" here: the task files have echo, /);
  assert.equal(result.skippedRetrying, true);
});

test("a task that writes to the host's pipes gets an error", async () => {
  for (const fd of [3, 4]) assert.match((await host.run("pipes", { fd })).error.message, /file descriptors 3 and 4 are Oncekey's own/);
});

test("a task that ends the process, or throws where nobody catches it, says so", async () => {
  const exited = await host.run("exits", {}, { id: "run_e" });
  assert.deepEqual([exited.type, exited.run, exited.event], ["died", "run_e", "exit"]);
  assert.match(exited.error.message, /process\.exit\(3\)/);
  await host.ended;
  const thrown = await host.run("throws-later");
  assert.deepEqual([thrown.type, thrown.event, thrown.error.message], ["died", "uncaughtException", "nobody catches this"]);
  await host.ended;
  output(await host.run("echo"));
});

test("it leaves Ctrl-C to the host", async () => {
  host.child.kill("SIGINT");
  output(await host.run("echo"));
  assert.equal(host.child.exitCode, null);
});

test("it ends when the host says so, and when the host is gone", async () => {
  host.say({ type: "exit" });
  await host.ended;
  output(await host.run("echo"));
  host.child.stdio[3].end();
  await host.ended;
  output(await host.run("echo"));
});

const broken = {
  "throws while it is imported": [{ "a.ts": `throw new TypeError("no database");` }, /a\.ts failed while it was imported: no database/, /a\.ts:1:/],
  "registers nothing": [{ "a.ts": `export const x = 1;`, "b.ts": "" }, /no file registers a task: a\.ts, b\.ts/],
  "registers an id twice": [
    { "a.ts": `import { task } from "@trigger.dev/sdk"; export const a = task({ id: "same", run: async () => {} });`, "b.ts": `import { task } from "@trigger.dev/sdk"; export const b = task({ id: "same", run: async () => {} });` },
    /two tasks have the id "same"/,
  ],
};
for (const [what, [files, message, stack]] of Object.entries(broken)) {
  test(`a file that ${what} is told with its place`, async () => {
    const other = await startHost(Object.fromEntries(Object.entries(files).map(([name, text]) => [`tasks/${name}`, text])), { tasks: "tasks" });
    try {
      assert.equal(other.ready, undefined);
      assert.match(other.failed.error.message.replaceAll("tasks/", ""), message);
      if (stack) assert.match(other.failed.error.stack, stack);
    } finally {
      await other.stop();
    }
  });
}

test("a bundle of another version is refused", async () => {
  const manifest = path.join(host.out, "tasks.json");
  const text = await readFile(manifest, "utf8");
  await writeFile(manifest, text.replace('"protocol":3', '"protocol":0'));
  try {
    await host.kill();
    host.failed = undefined;
    await host.begin("echo");
    assert.match(host.failed?.error.message ?? "", /bundled by another version of Oncekey/);
  } finally {
    await writeFile(manifest, text);
  }
});

test("a Node that is too old is told", async () => {
  const { wrongNode } = await import("../../shared/node/src/version.mjs");
  assert.match(wrongNode("18.19.0"), /Node 18\.19\.0 is too old/);
  assert.equal(wrongNode("20.0.0"), undefined);
  assert.equal(wrongNode(), undefined);
});

test("the harness needs nothing but Node's own modules", async () => {
  const source = fileURLToPath(new URL("../../shared/node/src/", import.meta.url));
  const { readdir } = await import("node:fs/promises");
  for (const name of (await readdir(source, { recursive: true })).filter((file) => file.endsWith(".mjs"))) {
    const text = await readFile(path.join(source, name), "utf8");
    for (const [, from] of text.matchAll(/^(?:import|export) .*?from "([^"]+)";$/gm)) assert.match(from, /^(node:|\.)|^@trigger\.dev\/core|^oncekey:/, `${name}: ${from}`);
  }
});
