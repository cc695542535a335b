// What becomes of runs whose process, host or task is gone, or whose time is over.

import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import { startOutside, startTasks } from "./stack.mjs";

const TASKS = `
import { task, wait } from "@trigger.dev/sdk";
import http from "node:http";

const get = (url: string) => new Promise<string>((resolve, reject) => http.get(url, (answer) => { let text = ""; answer.on("data", (chunk) => { text += chunk; }).on("end", () => resolve(text)); }).on("error", reject));

export const echo = task({ id: "echo", run: async (payload: any) => payload });
export const pid = task({ id: "pid", run: async ({ url }: any) => { await get(url + "/pid/" + process.pid); await new Promise(() => setInterval(() => {}, 1000)); } });
export const hangs = task({ id: "hangs", retry: { maxAttempts: 1 }, run: async () => { await new Promise(() => setInterval(() => {}, 1000)); } });
export const blocks = task({ id: "blocks", retry: { maxAttempts: 1 }, run: async () => { for (;;); } });
export const parent = task({ id: "parent", retry: { maxAttempts: 3 }, run: async ({ url, delay }: any) => {
  await get(url + "/parent");
  const child = await echo.triggerAndWait({ n: 1 }, { delay });
  await get(url + "/after");
  return child;
} });
export const allocates = task({ id: "allocates", retry: { maxAttempts: 1 }, run: async () => { const all = []; for (;;) all.push(new Array(1e6).fill(Math.random())); } });
`;

/** Whether a process is there, and not a zombie that nobody has looked at. */
const alive = (pid) => readFile(`/proc/${pid}/stat`, "utf8").then((text) => !["Z", "X"].includes(text.split(") ")[1][0]), () => false);

describe("where runs and processes end", { concurrency: 2 }, () => {
  let stack;
  let outside;
  let url;
  const arrived = [];
  before(async () => {
    outside = await startOutside(arrived);
    url = `http://127.0.0.1:${outside.address().port}`;
    stack = await startTasks({ "trigger/tasks.ts": TASKS }, { tasks: "trigger", args: ["--timeout", "8", "--workers", "3"], env: { NODE_OPTIONS: "--max-old-space-size=300" } });
  });
  after(async () => {
    await stack?.stop();
    outside?.close();
  });

  test("a task without a limit that hangs, and one that blocks its loop, end with the invocation's time", async () => {
    for (const task of ["hangs", "blocks"]) {
      const { status, error } = await stack.run(task);
      assert.deepEqual([status, error.name], ["CRASHED", "Crashed"], task);
      assert.match(error.message, /time ran out/);
    }
    assert.equal((await stack.run("echo")).status, "COMPLETED");
  });

  test("a child that a held run waits for longer than the invocation lasts is an error that says so, and nothing is done twice", async () => {
    const id = await stack.trigger("parent", { url, delay: "1h" });
    const run = await stack.end(id);
    assert.deepEqual([run.status, run.attemptCount], ["FAILED", 1], JSON.stringify(run.error));
    assert.match(run.error.message, /wait.*connected to 127\.0\.0\.1/s);
    assert.deepEqual(arrived.filter((at) => !at.startsWith("/pid")), ["/parent"]);
    assert.equal(run.relatedRuns.children.length, 1);
  });

  test("a task that allocates without end is its own attempt's end, and nobody else's", async () => {
    const { status, error } = await stack.run("allocates");
    assert.equal(status, "CRASHED", JSON.stringify(error));
    assert.match(error.message, /process/);
    assert.equal((await stack.run("echo")).status, "COMPLETED");
  });

  test("the processes of a host that is killed are gone with it", async () => {
    const other = await startTasks({ "trigger/tasks.ts": TASKS }, { tasks: "trigger" });
    try {
      await other.trigger("pid", { url });
      const at = await other.until(() => arrived.find((at) => at.startsWith("/pid/")), "the task does not begin");
      const pid = Number(at.split("/").at(-1));
      assert.ok(await alive(pid));
      await other.kill();
      await other.until(async () => !await alive(pid), `process ${pid} goes on`, 20);
    } finally {
      await other.stop();
    }
  });

  test("what a run leaves going or unfinished does not stand in the lines of a run of another environment", async () => {
    const files = `
      import { task } from "@trigger.dev/sdk";
      export const leaves = task({ id: "leaves", run: async () => { setInterval(() => console.log("left going"), 50); process.stdout.write("no end"); return process.pid; } });
      export const sleeps = task({ id: "sleeps", run: async () => { console.log("begins"); await new Promise((resolve) => setTimeout(resolve, 500)); return process.pid; } });
    `;
    const other = await startTasks({ "trigger/a.ts": files }, { tasks: "trigger" });
    try {
      const first = await other.run("leaves");
      const texts = async (id) => (await other.call("GET", `/api/v1/runs/${id}/logs`)).body.data.map(({ text }) => text);
      await other.until(async () => (await texts(first.id)).some((text) => text.startsWith("no end")), "the line without an end is not there");
      const prod = { method: "POST", headers: { authorization: "Bearer tr_prod_local", "content-type": "application/json" }, body: "{}" };
      const { id } = await (await fetch(`${other.url}/api/v1/tasks/sleeps/trigger`, prod)).json();
      const ask = async (at) => (await fetch(`${other.url}${at}`, { headers: prod.headers })).json();
      const run = await other.until(async () => {
        const run = await ask(`/api/v3/runs/${id}`);
        return run.isCompleted && run;
      }, "it does not end");
      assert.notEqual(run.output, first.output);
      assert.deepEqual((await ask(`/api/v1/runs/${id}/logs`)).data.map(({ text }) => text), ["begins"]);
    } finally {
      await other.stop();
    }
  });

  test("a task whose file was removed is not there any more, and its runs say so", async () => {
    const of = (id) => `import { task } from "@trigger.dev/sdk";\nexport const it = task({ id: "${id}", retry: { maxAttempts: 1 }, run: async () => "${id}" });\n`;
    const other = await startTasks({ "trigger/stays.ts": of("stays"), "trigger/goes.ts": of("goes") }, { tasks: "trigger" });
    try {
      assert.equal((await other.run("goes")).output, "goes");
      await rm(path.join(other.root, "trigger/goes.ts"));
      const run = await other.until(async () => {
        const run = await other.run("goes", {}, { maxAttempts: 1 });
        return run.status !== "COMPLETED" && run;
      }, "it is still there");
      assert.equal(run.status, "FAILED");
      assert.match(run.error.message, /goes.*stays/s);
      assert.equal((await other.run("stays")).output, "stays");
    } finally {
      await other.stop();
    }
  });
});
