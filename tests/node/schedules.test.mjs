// A task in TypeScript that is triggered by the ticks of a schedule.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { test } from "node:test";

import { startTasks } from "./stack.mjs";

const TASKS = `
import { schedules } from "@trigger.dev/sdk";

export const told = schedules.task({ id: "told", run: async (payload) => ({
  ...payload,
  dates: [payload.timestamp, payload.lastTimestamp, ...payload.upcoming].map((date) => date instanceof Date),
  minute: payload.timestamp.toISOString(),
}) });
`;

const declares = (cron) => `
import { schedules, task } from "@trigger.dev/sdk";

export const declared = schedules.task({ id: "declared", cron: ${cron}, run: async (payload) => ({ type: payload.type, at: payload.timestamp.toISOString() }) });
export const other = task({ id: "other", run: async () => 1 });
`;
const AT_NINE = `{ pattern: "0 9 * * 1-5", timezone: "Europe/Berlin", environments: ["DEVELOPMENT", "PRODUCTION"] }`;

test("r81: a scheduled task is told the time of its tick as a date, and the earlier one's", { timeout: 240_000 }, async () => {
  const stack = await startTasks({ "told.ts": TASKS });
  try {
    const told = { timezone: "Europe/Berlin", externalId: "customer-7" };
    const wanted = { task: "told", cron: "* * * * *", deduplicationKey: "k", ...told };
    const { status, body: schedule } = await stack.call("POST", "/api/v1/schedules", wanted);
    assert.equal(status, 200, JSON.stringify(schedule));
    const ticked = async () => {
      const runs = await stack.runsOf("told");
      return runs.length === 2 && runs;
    };
    const runs = await stack.until(ticked, "it does not tick twice", 180);
    const [first, second] = [await stack.end(runs[0].id), await stack.end(runs[1].id)];
    assert.equal(first.status, "COMPLETED", JSON.stringify(first.error));
    const { scheduleId, type, timezone, externalId, minute, dates } = first.output;
    assert.deepEqual([scheduleId, type], [schedule.id, "IMPERATIVE"]);
    assert.deepEqual({ timezone, externalId }, told);
    assert.equal(minute, schedule.nextRun);
    // Nothing was before the first.
    assert.deepEqual(dates, [true, false, ...Array(10).fill(true)]);
    assert.deepEqual(second.output.dates, Array(12).fill(true));
    assert.equal(second.output.lastTimestamp, first.output.timestamp);
  } finally {
    await stack.stop();
  }
});

test("r97: a task's file declares when it runs, its reload declares it otherwise, and what it declares no longer goes", { timeout: 240_000 }, async () => {
  const stack = await startTasks({ "declared.ts": declares(AT_NINE) });
  const schedules = async () => (await stack.call("GET", "/api/v1/schedules")).body.data;
  const reload = async (cron) => {
    await writeFile(path.join(stack.root, "declared.ts"), declares(cron));
  };
  try {
    const [{ id, type, task, timezone, generator, declaredBy }] = await schedules();
    assert.deepEqual({ type, task, timezone, declaredBy }, { type: "DECLARATIVE", task: "declared", timezone: "Europe/Berlin", declaredBy: "dev" });
    assert.equal(generator.expression, "0 9 * * 1-5");
    const { body: workers } = await stack.call("GET", "/api/v1/workers");
    assert.deepEqual(workers.data[0].tasks.map((task) => task.id), ["declared", "other"]);

    await reload(`"* * * * *"`);
    await stack.until(async () => (await schedules())[0]?.timezone === "UTC", "it is not declared anew", 60);
    assert.equal((await schedules())[0].id, id);
    const ticked = async () => (await stack.runsOf("declared"))[0];
    const run = await stack.end((await stack.until(ticked, "it does not tick", 90)).id);
    assert.equal(run.output?.type, "DECLARATIVE", JSON.stringify(run));
    assert.match(run.output.at, /:00\.000Z$/);

    // A mistake is told, and what was declared stays.
    await reload(`"every day"`);
    await stack.until(async () => /declared\.ts: cron: declared: "every day" is no cron expression.*\n?.*the code before goes on/.test(stack.printed), "the mistake is not told", 60);
    await reload(`{ pattern: "@daily", environments: "PRODUCTION" }`);
    await stack.until(async () => /declared\.ts: the cron of task "declared" cannot be read: its environments is no list/.test(stack.printed), "nor is this one", 60);
    const [{ generator: before }] = await schedules();
    assert.equal(before.expression, "* * * * *");

    await reload("undefined");
    await stack.until(async () => (await schedules()).length === 0, "it does not go", 60);
  } finally {
    await stack.stop();
  }
});
