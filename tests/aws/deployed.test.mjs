// What only a deployment shows: queues that people send to, a worker that dies, paths that a gateway has decoded, metrics.
// Run by tests/aws/run, which says where the deployment is.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { call, processes, trigger, until } from "./deployment.mjs";

const { ONCEKEY_TEST_URL: url, ONCEKEY_TEST_DEV: key, ONCEKEY_TEST_ENVIRONMENT: environment, STACK: stack } = process.env;

const aws = (...args) => {
  // Said here too: for SQS the command line does not always look into the environment.
  const endpoint = ["--endpoint-url", process.env.AWS_ENDPOINT_URL, "--output", "json"];
  const text = execFileSync("aws", [...args, ...endpoint], { encoding: "utf8", maxBuffer: 2 ** 28 });
  return text ? JSON.parse(text) : undefined;
};
const queue = (name) => aws("sqs", "get-queue-url", "--queue-name", `${stack}-${name}`).QueueUrl;

// It ticks beside the other tests, the last of which looks at what came of it.
let schedule;
before(async () => {
  const minutely = { task: "echo", cron: "* * * * *", deduplicationKey: "minutely", onOverlap: "skip" };
  const made = await call("POST", "/api/v1/schedules", minutely);
  assert.equal(made.status, 200, JSON.stringify(made.body));
  schedule = made.body;
});

test("a killed worker's run goes on in another attempt, and keeps its key", async () => {
  const body = { payload: { ms: 20_000 }, options: { idempotencyKey: "killed" } };
  const run = await trigger("sleep", body);
  await until(run.id, ({ status }) => status === "EXECUTING");
  const workers = processes(`${stack}-WorkerFunction`);
  assert.ok(workers.length > 0);
  for (const pid of workers) process.kill(Number(pid), "SIGKILL");
  assert.equal((await trigger("sleep", body)).id, run.id);
  // Its message comes back after the queue's visibility timeout: six times the worker's, so 180 seconds here.
  const ended = await until(run.id, ({ isCompleted }) => isCompleted, 400);
  assert.deepEqual([ended.status, ended.attemptCount], ["COMPLETED", 2]);
});

test("a trigger message makes a run, and a poisonous one is put away with the reason", async () => {
  const triggers = queue("triggers");
  const send = (text) => aws("sqs", "send-message", "--queue-url", triggers, "--message-body", text);
  const message = { environment, task: "echo", payload: 7, options: { idempotencyKey: "by-message" } };
  send(JSON.stringify(message));
  send("no message of ours");
  const held = "/api/v1/idempotencyKeys/by-message?taskIdentifier=echo";
  let answer;
  for (let tries = 0; tries < 100 && answer?.status !== 200; tries += 1) {
    await sleep(100);
    answer = await call("GET", held);
  }
  const run = await until(answer.body.runId, ({ isCompleted }) => isCompleted);
  assert.deepEqual([run.status, run.output], ["COMPLETED", 7]);
  const dead = aws("sqs", "receive-message", "--queue-url", queue("triggers-dead"), "--wait-time-seconds", "20",
    "--message-attribute-names", "All").Messages[0];
  assert.equal(dead.Body, "no message of ours");
  assert.match(dead.MessageAttributes["oncekey-error"].StringValue, /expected/);
});

test("tasks and keys with any character find their way through the gateway", async () => {
  const run = await trigger("mail/send:now", { options: { idempotencyKey: "50 $/ü", delay: "1h" } });
  const path = `/api/v1/idempotencyKeys/${encodeURIComponent("50 $/ü")}`;
  const found = await call("GET", `${path}?taskIdentifier=mail%2Fsend%3Anow`);
  assert.equal(found.body.runId, run.id);
  assert.equal((await call("POST", `${path}/reset`, { taskIdentifier: "mail/send:now" })).status, 200);
  // Some gateways leave this escape as it is: what may be either of two keys is none.
  const either = await call("POST", "/api/v1/idempotencyKeys/%2525/reset", { taskIdentifier: "mail/send:now" });
  assert.equal(either.status, 400);
  assert.match(either.body.error, /give the key's hash/);
});

test("what is not there is answered by us, and not by the gateway", async () => {
  for (const path of ["/api/v1/nothing", "/no such place"]) {
    const { status, body } = await call("GET", encodeURI(path));
    assert.deepEqual([status, body.error], [404, `there is no GET ${encodeURI(path)}`]);
  }
});

test("a trigger's queue leads to a worker of somebody's own, and its child back to the other", async () => {
  const body = { payload: { name: "Ada", email: "ada@example.com" }, options: { queue: { name: "my-worker" } } };
  const ended = await until((await trigger("invite", body)).id, ({ isCompleted }) => isCompleted);
  assert.deepEqual([ended.status, ended.output?.greeting], ["COMPLETED", "Welcome, Ada"], JSON.stringify(ended));
  const child = await until(ended.output.sent_by, ({ isCompleted }) => isCompleted);
  assert.deepEqual([child.status, child.taskIdentifier], ["COMPLETED", "send-email"]);
  const unknown = await trigger("echo", { payload: 1, options: { queue: { name: "nobodys" } } });
  assert.equal((await until(unknown.id, ({ isCompleted }) => isCompleted)).status, "COMPLETED");
});

test("a long delay is a schedule that sends to the queue, and goes with a cancellation", async () => {
  const run = await trigger("echo", { payload: 1, options: { delay: "2h" } });
  const named = (...args) => aws("scheduler", ...args, "--group-name", stack);
  const ours = () => named("list-schedules").Schedules.map(({ Name }) => named("get-schedule", "--name", Name)).find(({ Target }) => Target.Input.includes(run.id));
  const { Name, CreationDate, Target, FlexibleTimeWindow } = ours();
  // Its time is soon, and that of what it sends is now: the worker finds that the run is due later, and has it scheduled again.
  const soon = new Date(Date.now() + 5_000).toISOString().slice(0, 19);
  const Input = JSON.stringify({ ...JSON.parse(Target.Input), due_at: Date.now() });
  const asked = { Name, GroupName: stack, ScheduleExpression: `at(${soon})`, ActionAfterCompletion: "DELETE", FlexibleTimeWindow, Target: { ...Target, Input } };
  aws("scheduler", "update-schedule", "--cli-input-json", JSON.stringify(asked));
  const isNew = (found) => found && found.CreationDate !== CreationDate && found.ScheduleExpression !== asked.ScheduleExpression;
  let found;
  for (const end = Date.now() + 120_000; Date.now() < end && !isNew(found); await sleep(1000)) found = ours();
  assert.ok(isNew(found), JSON.stringify(found));
  assert.equal((await call("GET", `/api/v3/runs/${run.id}`)).body.status, "DELAYED");
  assert.equal((await call("POST", `/api/v2/runs/${run.id}/cancel`)).status, 200);
  assert.equal(ours(), undefined);
});

test("the dashboard is at the API's address", async () => {
  const form = await fetch(`${url}/`);
  assert.match(form.url, /\/sign-in\?to=%2F$/);
  const cookie = form.headers.get("set-cookie").split(";")[0];
  const token = (await form.text()).match(/name="token" value="([^"]+)"/)[1];
  const signedIn = await fetch(`${url}/sign-in`, {
    method: "POST", redirect: "manual", headers: { cookie }, body: new URLSearchParams({ token, key, to: "/runs" }),
  });
  assert.deepEqual([signedIn.status, signedIn.headers.get("location")], [303, "/runs"]);
  const run = await trigger("echo", { payload: "shown on a page" });
  const page = await fetch(`${url}/runs/${run.id}`, { headers: { cookie: signedIn.headers.get("set-cookie").split(";")[0] } });
  assert.equal(page.status, 200);
  assert.match(await page.text(), /shown on a page/);
});

test("a parent waits for its child across invocations", async () => {
  const run = await trigger("wait-for-child", { payload: { ms: 500 } });
  const ended = await until(run.id, ({ isCompleted }) => isCompleted);
  assert.deepEqual([ended.status, ended.attemptCount], ["COMPLETED", 1]);
});

test("metrics are told", async () => {
  const { id } = await trigger("echo", { options: { idempotencyKey: "metered" } });
  await trigger("echo", { options: { idempotencyKey: "metered" } });
  await until(id, ({ isCompleted }) => isCompleted);
  const failed = await trigger("fail", { options: { idempotencyKey: "metered" } });
  await until(failed.id, ({ isCompleted }) => isCompleted);
  assert.equal((await call("POST", "/api/v1/idempotencyKeys/metered/reset", { taskIdentifier: "echo" })).status, 200);
  const wanted = ["Triggers", "CachedHits", "KeysCleared", "KeysReset", "RunsEnded", "QueueLatency"];
  for (const name of wanted) {
    let line;
    for (let tries = 0; tries < 50 && !line; tries += 1, await sleep(200)) {
      const filter = ["--log-group-name", `/oncekey/${stack}`, "--filter-pattern", name, "--max-items", "1"];
      line = aws("logs", "filter-log-events", ...filter).events[0]?.message;
    }
    const told = JSON.parse(line);
    assert.deepEqual([told._aws.CloudWatchMetrics[0].Metrics[0].Name, told.Stack], [name, stack]);
    assert.equal(typeof told[name], "number");
  }
});

test("a cron schedule has ticked, each of its times once, and does not tick once it is deleted", async () => {
  const path = `/api/v1/schedules/${schedule.id}`;
  const ticks = async () => (await call("GET", `/api/v1/runs?page[size]=100&filter[schedule]=${schedule.id}`)).body.data;
  for (const end = Date.now() + 180_000; (await ticks()).length < 2; await sleep(1_000)) assert.ok(Date.now() < end, "it does not tick");
  const runs = await Promise.all((await ticks()).map(({ id }) => until(id, ({ isCompleted }) => isCompleted)));
  assert.deepEqual([...new Set(runs.map(({ status }) => status))], ["COMPLETED"]);
  const times = runs.map(({ output }) => output.timestamp);
  assert.equal(new Set(times).size, times.length, `a time twice: ${times}`);
  assert.equal((await call("DELETE", path)).status, 200);
  assert.equal((await call("GET", path)).status, 404);
});

test("the sweep of every day is there, and does what it is asked for", async () => {
  const sweep = aws("scheduler", "get-schedule", "--name", "sweep", "--group-name", stack);
  assert.equal(sweep.ScheduleExpression, "rate(1 days)");
  assert.equal(sweep.Target.Input, '{"sweep":{}}');
  const completions = queue("completions");
  aws("sqs", "send-message", "--queue-url", completions, "--message-body", sweep.Target.Input);
  const counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"];
  const left = () => {
    const args = ["get-queue-attributes", "--queue-url", completions, "--attribute-names", ...counts];
    return Object.values(aws("sqs", ...args).Attributes).some((count) => count !== "0");
  };
  const end = Date.now() + 60_000;
  while (left()) {
    assert.ok(Date.now() < end, "the sweep does not come to its end");
    await sleep(500);
  }
});
