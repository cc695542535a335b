// Tasks in TypeScript in a function of their own: the package of examples/my-ts-worker, whose host starts Node beside it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { call, processes, retrieve, trigger, until } from "./deployment.mjs";

const { STACK: stack } = process.env;

const invite = async (email, seconds) => {
  const body = { payload: { email, seconds }, options: { queue: { name: "my-ts-worker" } } };
  return (await trigger("invite-later", body)).id;
};
// One invitation an address: another time the test is another's.
const ada = `ada-${Date.now()}@example.com`;
const children = () => processes(`${stack}-ts-Worker`, "ONCEKEY_BUNDLE=");
const kill = (pid) => {
  try {
    process.kill(Number(pid), "SIGKILL");
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
};
const ended = (id, seconds) => until(id, ({ isCompleted }) => isCompleted, seconds);
const invitations = async (email) => {
  const { body } = await call("GET", "/api/v1/runs?filter[taskIdentifier]=send-invitation&page[size]=100");
  return body.data.filter(({ idempotencyKey }) => idempotencyKey === `invite-${email}`);
};

test("a parent is suspended in a wait, and then waits for a child that is tried again", async () => {
  const id = await invite(ada, 8);
  const waiting = await until(id, ({ status, isCompleted }) => status === "WAITING" || isCompleted);
  assert.ok(waiting.waitingFor?.until, JSON.stringify(waiting));
  const run = await ended(id, 120);
  assert.deepEqual([run.status, run.attemptCount, run.output?.sentTo, run.output?.attempts], ["COMPLETED", 1, ada, 2], JSON.stringify(run));
  assert.ok(Date.parse(run.output.at) >= Date.parse(waiting.waitingFor.until), JSON.stringify(run));
  const [child] = await invitations(ada);
  const shown = await retrieve(child.id);
  assert.deepEqual([shown.relatedRuns.parent.id, shown.attemptCount, shown.attempts[0].error.message], [id, 2, "the mail server is busy"]);
  assert.deepEqual(run.relatedRuns.children?.map(({ id: made }) => made), [child.id]);
  // Another that comes to the same key gets what that child gave.
  const again = await ended(await invite(ada, 1), 60);
  assert.deepEqual([again.status, again.output?.attempts], ["COMPLETED", 2], JSON.stringify(again));
  assert.equal((await invitations(ada)).length, 1);
});

test("a killed process is another attempt's to make good", async () => {
  // So short a wait is held in the process.
  const id = await invite("grace@example.com", 5);
  let run = await until(id, ({ status }) => status === "EXECUTING");
  for (; run.attemptCount === 1 && !run.isCompleted; run = await retrieve(id)) {
    if (run.status === "EXECUTING") children().forEach(kill);
    await sleep(200);
  }
  const { status, attemptCount, attempts, output } = await ended(id, 120);
  assert.deepEqual([status, attemptCount > 1, output?.sentTo], ["COMPLETED", true, "grace@example.com"]);
  assert.deepEqual([attempts[0].error.name, /signal: 9 \(SIGKILL\)/.test(attempts[0].error.message)], ["Crashed", true], JSON.stringify(attempts));
});

test("what its tasks declare was declared when it was deployed", async () => {
  const { body } = await call("GET", "/api/v1/schedules");
  const declared = body.data.find(({ declaredBy }) => declaredBy === `${stack}-ts`);
  const { type, task, timezone, generator, active } = declared;
  assert.deepEqual([type, task, timezone, generator.expression, active], ["DECLARATIVE", "digest", "Europe/Berlin", "0 9 * * 1-5", true]);
  assert.ok(Date.parse(declared.nextRun) > Date.now());
  const { body: workers } = await call("GET", "/api/v1/workers");
  const tasks = workers.data.find(({ worker }) => worker === `${stack}-ts`).tasks.map(({ id }) => id);
  assert.deepEqual(tasks.toSorted(), ["digest", "invite-later", "send-invitation"]);
});
