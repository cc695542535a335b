// Twenty small programs, to the byte as somebody else wrote them, against the real binary. The one that takes minutes has a file of
// its own.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFile, mkdir, rm } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";

import esbuild from "esbuild";

import { EXAMPLES, read, skip } from "./reference.mjs";
import { startTasks } from "./stack.mjs";

const sha = (text) => createHash("sha256").update(text).digest("hex");

/** Runs a test on a stack whose worker has one of the files. */
function withFile(name, what, body) {
  test(`${name}: ${what}`, { skip }, async () => {
    const stack = await startTasks({ "trigger/tasks.ts": await read(name) }, { tasks: "trigger" });
    try {
      await body(stack);
    } finally {
      await stack.stop();
    }
  });
}
const completed = (run) => {
  assert.equal(run.status, "COMPLETED", JSON.stringify(run.error));
  return run;
};
const children = async (stack, task, count) => {
  const runs = await stack.runsOf(task);
  assert.equal(runs.length, count);
  return Promise.all(runs.map(({ id }) => stack.end(id)));
};
const holder = (stack, hash, task) => stack.call("GET", `/api/v1/idempotencyKeys/${hash}?taskIdentifier=${task}`);

withFile("01-key-per-run.task.ts", "one child over four attempts, another for another run", async (stack) => {
  const first = await stack.run("my-task");
  assert.deepEqual([first.status, first.attemptCount, first.error.message], ["FAILED", 4, "Something went wrong"]);
  const [child] = await children(stack, "child-task", 1);
  assert.deepEqual([child.status, child.idempotencyKey], ["COMPLETED", "my-task-key"]);
  assert.equal((await holder(stack, sha(`my-task-key-${first.id}`), "child-task")).body.runId, child.id);
  await stack.run("my-task");
  await children(stack, "child-task", 2);
});
withFile("02-key-global.task.ts", "one child for all", async (stack) => {
  completed(await stack.run("my-task"));
  completed(await stack.run("my-task"));
  const [child] = await children(stack, "child-task", 1);
  assert.equal((await holder(stack, sha("my-task-key"), "child-task")).body.runId, child.id);
});
withFile("06-scope-run.task.ts", "one e-mail a parent", async (stack) => {
  for (let time = 0; time < 2; time += 1) completed(await stack.run("process-order", { orderId: "42", email: "a@b.c" }));
  for (const child of await children(stack, "send-email", 2)) assert.deepEqual(child.payload, { to: "a@b.c", subject: "Order confirmed" });
});
withFile("07-scope-attempt.task.ts", "one child an attempt", async (stack) => {
  const run = completed(await stack.run("sync-data", { userId: "7" }));
  const [child] = await children(stack, "fetch-latest-data", 1);
  assert.equal((await holder(stack, sha(`fetch-7-${run.id}-1`), "fetch-latest-data")).body.runId, child.id);
});
withFile("07b-scope-attempt-retried.task.ts", "three children of three attempts", async (stack) => {
  const run = completed(await stack.run("sync-data", { userId: "7" }));
  assert.deepEqual([run.attemptCount, run.output.ok, run.output.output], [3, true, { fetched: "7" }]);
  await children(stack, "fetch-latest-data", 3);
  for (const attempt of [1, 2, 3]) assert.equal((await holder(stack, sha(`fetch-7-${run.id}-${attempt}`), "fetch-latest-data")).status, 200);
});
withFile("08-scope-global.task.ts", "one e-mail a user, for seven days", async (stack) => {
  const first = completed(await stack.run("onboard-user", { userId: "7", email: "a@b.c" }));
  completed(await stack.run("onboard-user", { userId: "7", email: "a@b.c" }));
  await children(stack, "send-welcome-email", 1);
  const { body } = await holder(stack, sha("welcome-email-7"), "send-welcome-email");
  assert.ok(first.id && new Date(body.windowEndsAt) - new Date(body.firstTriggeredAt) === 7 * 24 * 60 * 60 * 1000, JSON.stringify(body));
});
withFile("09-raw-string.task.ts", "a text is a key of scope run", async (stack) => {
  const run = completed(await stack.run("my-task"));
  const [child] = await children(stack, "child-task", 1);
  assert.equal((await holder(stack, sha(`my-key-${run.id}`), "child-task")).body.runId, child.id);
});
withFile("10-explicit-global.task.ts", "one child", async (stack) => {
  completed(await stack.run("my-task"));
  completed(await stack.run("my-task"));
  await children(stack, "child-task", 1);
  assert.equal((await holder(stack, sha("my-key"), "child-task")).status, 200);
});
withFile("15-payload-hash.task.ts", "a child a parent, with a key of its payload", async (stack) => {
  for (let time = 0; time < 2; time += 1) {
    const run = completed(await stack.run("my-task", { order: 1 }));
    assert.equal((await holder(stack, sha(`${sha('{"order":1}')}-${run.id}`), "child-task")).status, 200);
  }
  await children(stack, "child-task", 2);
});
withFile("16-reset-created-key.task.ts", "two children, and the key is free", async (stack) => {
  completed(await stack.run("parent-task", { a: 1 }));
  completed(await stack.run("parent-task", { a: 1 }));
  await children(stack, "child-task", 2);
  assert.equal((await holder(stack, sha("my-key"), "child-task")).status, 404);
});
withFile("18-reset-run-scoped.task.ts", "one child, and the key is free", async (stack) => {
  const run = completed(await stack.run("parent-task"));
  await children(stack, "child-task", 1);
  assert.equal((await holder(stack, sha(`my-key-${run.id}`), "child-task")).status, 404);
});

// Programs of a backend: each is run as a program of its own, which prints what each of its calls was told.
let stack;
before(async () => {
  if (skip) return;
  stack = await startTasks({ "trigger/myTasks.ts": await read("trigger/myTasks.ts"), "observe.mjs": await read("observe.mjs") }, { tasks: "trigger" });
});
after(() => stack?.stop());

async function backend(name, env = {}) {
  const from = path.join(stack.root, "backend");
  await mkdir(path.join(from, "trigger"), { recursive: true });
  await copyFile(path.join(EXAMPLES, name), path.join(from, name));
  await copyFile(path.join(EXAMPLES, "trigger/myTasks.ts"), path.join(from, "trigger/myTasks.ts"));
  const outfile = path.join(from, `${name}.mjs`);
  await esbuild.build({ entryPoints: [path.join(from, name)], outfile, bundle: true, packages: "external", format: "esm", platform: "node", logLevel: "silent" });
  const { NODE_TEST_CONTEXT, NODE_OPTIONS, ...environment } = process.env;
  const child = spawn(process.execPath, ["--import", path.join(stack.root, "observe.mjs"), outfile], {
    cwd: stack.root, env: { ...environment, TRIGGER_API_URL: stack.url, TRIGGER_SECRET_KEY: "tr_dev_local", ...env }, stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  child.stdout.on("data", (chunk) => {
    said += chunk;
  });
  await new Promise((resolve) => child.on("close", resolve));
  await rm(outfile);
  const lines = said.trim().split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  return { calls: lines.filter(({ method }) => method), ended: lines.find(({ ended }) => ended) };
}
const triggers = ({ calls }) => calls.filter(({ path: at }) => at.endsWith("/trigger")).map(({ answer }) => answer);
/** Each of these has keys of its own. */
const anew = async () => {
  await stack.stop();
  stack = await startTasks({ "trigger/myTasks.ts": await read("trigger/myTasks.ts"), "observe.mjs": await read("observe.mjs") }, { tasks: "trigger" });
};

test("03-array-key, 04-raw-string: one run a key, whoever triggers", { skip }, async () => {
  const [[first], [again]] = [triggers(await backend("03-array-key.backend.ts")), triggers(await backend("03-array-key.backend.ts"))];
  assert.deepEqual([first.isCached, again.isCached, again.id], [false, true, first.id]);
  assert.equal((await holder(stack, sha("user_1-my-task"), "my-task")).body.runId, first.id);
  const raw = [];
  for (const user of ["user_1", "user_1", "user_2"]) raw.push(triggers(await backend("04-raw-string.backend.ts", { USER_ID: user }))[0].id);
  assert.ok(raw[0] === raw[1] && raw[1] !== raw[2]);
  assert.equal((await holder(stack, sha("user_1"), "my-task")).body.runId, raw[0]);
});
test("05-batch: two batches have one run", { skip }, async () => {
  await anew();
  const batches = [];
  for (let time = 0; time < 2; time += 1) {
    const { calls } = await backend("05-batch.backend.ts");
    batches.push(calls.find(({ path: at }) => at.endsWith("/batches")).answer.id);
  }
  await children(stack, "my-task", 1);
  assert.notEqual(batches[0], batches[1]);
});
test("11-scopes-outside: one run for all three", { skip }, async () => {
  await anew();
  const three = triggers(await backend("11-scopes-outside.backend.ts"));
  assert.deepEqual(three.map(({ isCached }) => isCached), [false, true, true]);
  assert.equal(new Set(three.map(({ id }) => id)).size, 1);
});
test("13-reset-and-again: the SDK throws before any request", { skip }, async () => {
  await anew();
  const { calls, ended } = await backend("13-reset-and-again.backend.ts");
  assert.deepEqual([calls.length, ended.ended], [0, "threw"]);
  await children(stack, "my-task", 0);
});
test("14-short-ttl: the window is five minutes", { skip }, async () => {
  await anew();
  const [[first], [again]] = [triggers(await backend("14-short-ttl.backend.ts")), triggers(await backend("14-short-ttl.backend.ts"))];
  assert.equal(again.id, first.id);
  const { windowEndsAt, firstTriggeredAt } = (await holder(stack, sha("my-key"), "my-task")).body;
  assert.equal(new Date(windowEndsAt) - new Date(firstTriggeredAt), 5 * 60 * 1000);
});
for (const [name, key] of [["17-reset-global", "my-key"], ["19-reset-run-scoped", "my-key-run_abc123"], ["20-reset-attempt-scoped", "my-key-run_abc123-1"]]) {
  test(`${name}: 404 while nobody holds the key, then it is freed`, { skip }, async () => {
    await anew();
    const free = await backend(`${name}.backend.ts`);
    assert.deepEqual([free.calls[0].status, free.ended.ended], [404, "threw"]);
    await stack.trigger("my-task", {}, { idempotencyKey: sha(key) });
    const held = await backend(`${name}.backend.ts`);
    assert.deepEqual([held.calls[0].status, held.calls[0].answer.id, held.ended.ended], [200, sha(key), "ok"]);
  });
}
