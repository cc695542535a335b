// Recorded fetch against the real binary: while a fetch is under way the run is not suspended, and its waits end all the same.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, describe, test } from "node:test";

import { startTasks } from "./stack.mjs";

/** How long the server outside takes: longer than what is waited for beside. */
const SLOW_MS = 15_000;

const TASKS = `
import { task, wait } from "@trigger.dev/sdk";
import http from "node:http";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const get = (url: string) => new Promise((resolve) => http.get(url, (answer) => answer.resume().on("end", resolve)));
export const naps = task({ id: "naps", run: async ({ ms }: any) => { await sleep(ms); return ms; } });
export const timer = task({ id: "timer", run: async ({ url }: any) =>
  Promise.race([fetch(url).then(() => "fetch"), wait.for({ seconds: 6 }).then(() => "wait")]) });
export const child = task({ id: "child", run: async ({ url }: any) =>
  Promise.race([fetch(url).then(() => "fetch"), naps.triggerAndWait({ ms: 300 }).then(() => "child")]) });
export const again = task({ id: "again", run: async ({ url }: any) => {
  const open = fetch(url).then((answer) => answer.text());
  const first = await Promise.race([open.then(() => "fetch"), wait.for({ seconds: 6 }).then(() => "wait")]);
  // It is suspended in this one, once the fetch is over.
  await wait.for({ seconds: 12 });
  return [first, await open];
} });
export const held = task({ id: "held", run: async ({ url }: any) => {
  await get(url);
  return Promise.all([100, 700, 1300].map((ms) => naps.triggerAndWait({ ms }).unwrap()));
} });
`;

let stack;
let outside;
let url;
const arrived = [];
before(async () => {
  outside = http.createServer((request, response) => {
    arrived.push(request.url);
    setTimeout(() => response.end(String(arrived.filter((at) => at === request.url).length)), request.url.startsWith("/slow") ? SLOW_MS : 0);
  }).listen(0, "127.0.0.1");
  await once(outside, "listening");
  url = `http://127.0.0.1:${outside.address().port}`;
  stack = await startTasks({ "trigger/tasks.ts": TASKS }, {
    tasks: "trigger", args: ["--timeout", "60", "--workers", "4"], env: { ONCEKEY_RECORD_FETCH: "1" },
  });
});
after(async () => {
  await stack?.stop();
  outside?.closeAllConnections();
  outside?.close();
});

/** The output of a run, and how long it took, in milliseconds. */
async function timed(task, at) {
  const start = Date.now();
  const { status, output, error } = await stack.run(task, { url: url + at });
  assert.equal(status, "COMPLETED", JSON.stringify(error));
  return { output, ms: Date.now() - start };
}

describe("a wait beside a fetch that is under way", { concurrency: 4 }, () => {
  test("for a time is over when its time has come", async () => {
    const { output, ms } = await timed("timer", "/slow/timer");
    assert.equal(output, "wait");
    assert.ok(ms < SLOW_MS - 2000, `${ms} ms`);
  });

  test("for a child is over when the child is", async () => {
    const { output, ms } = await timed("child", "/slow/child");
    assert.equal(output, "child");
    assert.ok(ms < SLOW_MS - 2000, `${ms} ms`);
  });

  test("has won for good, and the fetch goes out once, though the run is suspended later", async () => {
    const { output } = await timed("again", "/slow/again");
    assert.deepEqual(output, ["wait", "1"]);
    assert.equal(arrived.filter((at) => at === "/slow/again").length, 1);
  });

  test("of a run that is held is heard of for each of its children", async () => {
    const { output, ms } = await timed("held", "/held");
    assert.deepEqual(output, [100, 700, 1300]);
    assert.ok(ms < SLOW_MS - 2000, `${ms} ms`);
  });
});
