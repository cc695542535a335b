// What a task in TypeScript says of its retries by `catchError`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startTasks } from "./stack.mjs";

const TASKS = `
import { task } from "@trigger.dev/sdk";

const retry = { maxAttempts: 3, minTimeoutInMs: 20, maxTimeoutInMs: 20, factor: 1, randomize: false };
const run = async () => { throw new Error("busy"); };
export const later = task({ id: "later", retry: { ...retry, maxAttempts: 2 }, run, catchError: () => ({ retryDelayInMs: 1500 }) });
export const at = task({ id: "at", retry: { ...retry, maxAttempts: 2 }, run, catchError: () => ({ retryAt: new Date(Date.now() + 1500) }) });
export const never = task({ id: "never", retry, run, catchError: () => ({ skipRetrying: true }) });
export const other = task({ id: "other", retry, run, catchError: () => ({ error: new Error("another") }) });
export const policy = task({ id: "policy", retry: { ...retry, maxAttempts: 5 }, run, catchError: () => ({ retry: { ...retry, maxAttempts: 2 } }) });
`;

test("r36: what catchError says of the next attempt counts, but for how many there are in all", { timeout: 120_000 }, async () => {
  const stack = await startTasks({ "retries.ts": TASKS });
  try {
    const names = ["later", "at", "never", "other", "policy"];
    const runs = Object.fromEntries(await Promise.all(names.map(async (name) => [name, await stack.run(name)])));
    assert.deepEqual(names.map((name) => runs[name].attemptCount), [2, 2, 1, 1, 2], JSON.stringify(runs));
    for (const name of ["later", "at"]) {
      const [first, second] = runs[name].attempts;
      const pause = Date.parse(second.startedAt) - Date.parse(first.completedAt);
      assert.ok(pause >= 1000 && pause < 20_000, `${name}: ${pause} ms`);
    }
    assert.equal(runs.other.error.message, "another");
    const once = await stack.run("later", {}, { maxAttempts: 1 });
    assert.equal(once.attemptCount, 1);
  } finally {
    await stack.stop();
  }
});
