// A task in TypeScript that is triggered by the ticks of a schedule.

import assert from "node:assert/strict";
import { test } from "node:test";

import { startTasks } from "./stack.mjs";

const TASKS = `
import { schedules } from "@trigger.dev/sdk";

export const told = schedules.task({ id: "told", run: async (payload) => ({
  ...payload,
  dates: [payload.timestamp, payload.lastTimestamp, ...payload.upcoming].map((date) => date instanceof Date),
  minute: payload.timestamp.toISOString(),
}) });
export const declared = schedules.task({ id: "declared", cron: "0 9 * * *", run: async () => 1 });
`;

test("r81: a scheduled task is told the time of its tick as a date, and the earlier one's", { timeout: 240_000 }, async () => {
  const stack = await startTasks({ "told.ts": TASKS });
  try {
    assert.match(stack.printed, /its cron "0 9 \* \* \*" is not read.*task=declared/);
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
