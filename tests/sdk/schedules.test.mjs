// Cron schedules, through the official npm client.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { configure, runs, schedules } from "@trigger.dev/sdk";
import { DEV, PROD, startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

/** One that does not tick before the year is over. */
const yearly = { task: "echo", cron: "0 0 1 1 *" };
/** A deduplication key that no run of these tests has used. */
const key = (name) => `${name}-${process.pid}-${Date.now()}`;
const gone = (error) => error.status === 404 || assert.fail(error.stack);

/** Does something with a schedule, which is deleted afterwards. */
async function having(options, use) {
  const schedule = await schedules.create(options);
  try {
    await use(schedule);
  } finally {
    await schedules.del(schedule.id);
  }
}

test("r80: a schedule is created, and changed by who creates it again", async () => {
  const deduplicationKey = key("again");
  const told = { ...yearly, deduplicationKey, timezone: "America/New_York", externalId: "customer-7" };
  await having(told, async (first) => {
    assert.match(first.id, /^sched_[a-z2-7]{32}$/);
    assert.deepEqual([first.type, first.task, first.active], ["IMPERATIVE", "echo", true]);
    assert.deepEqual([first.deduplicationKey, first.externalId], [deduplicationKey, "customer-7"]);
    assert.equal(first.timezone, "America/New_York");
    assert.deepEqual([first.generator.type, first.generator.expression], ["CRON", "0 0 1 1 *"]);
    assert.ok(first.generator.description.length > 10, first.generator.description);
    assert.match(first.nextRun.toISOString(), /-01-01T05:00:00\.000Z$/);
    assert.equal(first.environments.length, 1);
    assert.deepEqual(await schedules.create(told), first);
    assert.deepEqual(await schedules.retrieve(first.id), first);

    const second = await schedules.create({ task: "fail", cron: "@daily", deduplicationKey });
    assert.deepEqual([second.id, second.task, second.generator.expression], [first.id, "fail", "@daily"]);
    assert.deepEqual([second.timezone, second.externalId], ["UTC", undefined]);
    assert.deepEqual(await schedules.retrieve(first.id), second);
  });
});

test("r83: a schedule is updated, deactivated, activated and deleted", async () => {
  const schedule = await schedules.create({ ...yearly, deduplicationKey: key("life"), externalId: "a" });
  const updated = await schedules.update(schedule.id, { task: "echo", cron: "30 12 * * *", timezone: "Asia/Tokyo" });
  assert.deepEqual([updated.id, updated.deduplicationKey], [schedule.id, schedule.deduplicationKey]);
  assert.deepEqual([updated.generator.expression, updated.timezone], ["30 12 * * *", "Asia/Tokyo"]);
  assert.equal(updated.externalId, undefined);
  assert.match(updated.nextRun.toISOString(), /T03:30:00\.000Z$/);

  const stopped = await schedules.deactivate(schedule.id);
  assert.deepEqual([stopped.active, stopped.nextRun], [false, undefined]);
  assert.equal((await schedules.update(schedule.id, { task: "echo", cron: "@daily" })).active, false);
  const started = await schedules.activate(schedule.id);
  assert.ok(started.active && started.nextRun > new Date());
  assert.equal((await schedules.create({ ...yearly, deduplicationKey: schedule.deduplicationKey })).active, true);

  assert.deepEqual(await schedules.del(schedule.id), { id: schedule.id });
  await assert.rejects(schedules.retrieve(schedule.id), gone);
  await assert.rejects(schedules.del(schedule.id), gone);
  await assert.rejects(schedules.activate(schedule.id), gone);
});

test("schedules are listed by pages, each environment's own", async () => {
  configure({ baseURL: stack.url, accessToken: PROD });
  const made = [];
  try {
    const before = (await schedules.list()).pagination.count;
    for (let n = 0; n < 5; n += 1) made.push((await schedules.create({ ...yearly, deduplicationKey: key(`page-${n}`) })).id);
    const count = before + 5;
    const first = await schedules.list({ perPage: 2 });
    assert.deepEqual(first.pagination, { currentPage: 1, totalPages: Math.ceil(count / 2), count });
    assert.equal(first.data.length, 2);
    assert.ok(first.hasNextPage() && !first.hasPreviousPage());
    const second = await first.getNextPage();
    const page = await schedules.list({ page: 2, perPage: 2 });
    assert.deepEqual([second.data, second.pagination], [page.data, page.pagination]);
    assert.deepEqual((await second.getPreviousPage()).data, first.data);

    const all = [];
    for await (const schedule of schedules.list({ perPage: 2 })) all.push(schedule.id);
    assert.equal(all.length, count);
    assert.deepEqual(made.filter((id) => !all.includes(id)), []);
    configure({ baseURL: stack.url, accessToken: DEV });
    await assert.rejects(schedules.retrieve(made[0]), gone);
    configure({ baseURL: stack.url, accessToken: PROD });
  } finally {
    for (const id of made) await schedules.del(id);
    configure({ baseURL: stack.url, accessToken: DEV });
  }
});

test("time zones are listed, with UTC or without", async () => {
  const { timezones } = await schedules.timezones();
  for (const name of ["UTC", "Europe/Berlin", "America/New_York"]) assert.ok(timezones.includes(name), name);
  const others = await schedules.timezones({ excludeUtc: true });
  assert.deepEqual(others.timezones, timezones.filter((name) => name !== "UTC"));
});

test("what no schedule can be made of is refused without a retry", async () => {
  const options = { ...yearly, deduplicationKey: key("refused") };
  const refused = (status, words) => (error) =>
    (error.status === status && error.message.includes(words)) || assert.fail(error.stack);
  const begun = Date.now();
  await assert.rejects(schedules.create({ ...options, window: "30m" }), refused(422, "window is not supported"));
  await assert.rejects(schedules.create({ ...options, cron: "* * * * * *" }), refused(400, "cron: "));
  await assert.rejects(schedules.create({ ...options, timezone: "Mars/Olympus" }), refused(400, "timezone: "));
  await assert.rejects(schedules.create(yearly), refused(400, "deduplicationKey: is missing"));
  assert.ok(Date.now() - begun < 900, "the client would have paused a second before a retry");
  for await (const schedule of schedules.list()) assert.notEqual(schedule.deduplicationKey, options.deduplicationKey);
});

test("r81: a schedule of every minute makes a run of the next minute, whose task is told", { timeout: 150_000 }, async () => {
  const deduplicationKey = key("tick");
  await having({ task: "echo", cron: "* * * * *", deduplicationKey, externalId: "customer-7" }, async (schedule) => {
    const ticked = async () => (await runs.list({ schedule: schedule.id })).data;
    let made;
    for (made = []; made.length === 0; made = await ticked()) await sleep(250);
    const late = Date.now() - schedule.nextRun;
    assert.ok(late >= 0 && late < 20_000, `${late} ms after its time`);
    await schedules.deactivate(schedule.id);
    const run = await runs.poll(made.at(-1).id, { pollIntervalMs: 50 });
    assert.equal(run.status, "COMPLETED");
    assert.deepEqual(run.output, run.payload);
    const { timestamp, upcoming, ...rest } = run.payload;
    assert.deepEqual(rest, { type: "IMPERATIVE", scheduleId: schedule.id, timezone: "UTC", externalId: "customer-7" });
    assert.deepEqual(new Date(timestamp), schedule.nextRun);
    const minutes = upcoming.map((date) => (new Date(date) - schedule.nextRun) / 60_000);
    assert.deepEqual(minutes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    const { id, generator, ...of } = run.schedule;
    assert.deepEqual([id, generator.expression], [schedule.id, "* * * * *"]);
    assert.deepEqual(of, { externalId: "customer-7", deduplicationKey });
  });
});
