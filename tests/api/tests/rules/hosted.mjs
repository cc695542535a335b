// A child of a host that speaks the protocol by hand, without any SDK: what it says and when is the test's.

import { appendFileSync, existsSync, readFileSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { createInterface } from "node:readline";

const say = (message) => writeSync(4, `${JSON.stringify(message)}\n`);
const asked = new Map();
let calls = 0;
let open = 0;
let waits = 0;
let run;
let cancelled;

async function call(method, path, body, { beside = 0, name = crypto.randomUUID(), at = Date.now() } = {}) {
  calls += 1;
  open += 1;
  const response = await fetch(new URL(path, process.env.TRIGGER_API_URL), {
    method,
    headers: {
      authorization: `Bearer ${process.env.TRIGGER_SECRET_KEY}`,
      "content-type": "application/json",
      "x-oncekey-at": String(at),
      "x-oncekey-call": String(calls),
      "x-oncekey-beside": String(beside),
      "x-trigger-request-idempotency-key": name,
    },
    body: body && JSON.stringify(body),
  }).finally(() => {
    open -= 1;
  });
  const answer = response.status === 204 ? undefined : await response.json();
  if (!response.ok) throw new Error(`${response.status}: ${answer?.error}`);
  return answer;
}

/** Says that nothing but waits keeps this process going. */
const stand = (waiting) => {
  say({ type: "stalled", calls: [], fetches: [], unmade: [], waits: [...asked.keys()] });
  return waiting;
};
const wait = (what) =>
  new Promise((resolve, reject) => {
    const id = ++waits;
    asked.set(id, { resolve, reject });
    say({ type: "wait", id, ...what });
  });

const packed = (payload) => ({ payload: JSON.stringify({ json: payload }), options: { payloadType: "application/super+json" } });
const trigger = (task, payload, { options, ...more } = {}) => {
  const body = packed(payload);
  return call("POST", `/api/v1/tasks/${task}/trigger`, { ...body, options: { ...body.options, parentRunId: run.id, ...options } }, more);
};
const start = (task, payload, { options, ...more } = {}) =>
  trigger(task, payload, { options: { resumeParentOnCompletion: true, lockToVersion: "1", ...options }, ...more });
const end = async ({ id }) => {
  const result = await wait({ for: "run", run: id });
  if (!result.ok) throw Object.assign(new Error(result.error.message), { name: result.error.name ?? result.error.code });
  return result.output === undefined ? undefined : JSON.parse(result.output);
};
const triggerAndWait = async (...child) => {
  const started = await start(...child);
  return stand(end(started));
};
const timer = async (ms) => {
  const { waitpoint } = await call("POST", `/engine/v1/runs/${run.id}/wait/duration`, { date: new Date(Date.now() + ms).toISOString() });
  return { over: wait({ for: "waitpoint", waitpoint: waitpoint.id }) };
};
const sleep = async (ms) => stand((await timer(ms)).over);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const tasks = {
  echo: async (payload) => payload,
  "parent": async ({ n }) => ({ child: await triggerAndWait("echo", n), pid: process.pid, attempt: run.attempt }),
  "fails": async () => {
    throw new TypeError("no way");
  },
  "parent-of-fails": async () => triggerAndWait("fails", 1, { options: { maxAttempts: 1 } }).catch((error) => `${error.name}: ${error.message}`),
  // Does what would be done twice, and waits.
  "mails": async ({ ms, log }) => {
    say({ type: "effect", what: "connected to mail.example:25" });
    appendFileSync(log, "mail\n");
    const child = ms === undefined ? await triggerAndWait("slow", 300) : await sleep(ms);
    return { child, pid: process.pid };
  },
  "slow": async (ms) => {
    await pause(ms);
    return ms;
  },
  // The effect comes while the wait is on its way.
  "mails-beside": async ({ log }) => {
    const child = await start("slow", 300);
    const waited = end(child);
    say({ type: "effect", what: "connected to mail.example:25" });
    appendFileSync(log, "mail\n");
    return { child: await waited, pid: process.pid };
  },
  // Goes on beside its wait.
  "ticks": async ({ log }) => {
    appendFileSync(log, `${process.pid}\n`);
    setInterval(() => appendFileSync(log, "tick\n"), 10);
    await sleep(3_600_000);
  },
  // Comes to stand in its wait when that is over.
  "late": async ({ log }) => {
    appendFileSync(log, `${process.pid}\n`);
    while (!existsSync(`${log}.go`)) await pause(10);
    const { over } = await timer(200);
    await pause(600);
    await stand(over);
    return String(process.pid);
  },
  // Beside the wait, twenty children are triggered one after another, each with the time in its payload's place.
  "busy": async ({ log }) => {
    appendFileSync(log, "start\n");
    const child = await start("slow", 50);
    const beside = (async () => {
      const ids = [];
      for (let n = 0; n < 20; n += 1) ids.push((await trigger("echo", n, { beside: 1 })).id);
      return ids;
    })();
    const [slow, ids] = await Promise.all([end(child), beside]);
    return { slow, ids };
  },
  // Which of two comes first.
  "race": async ({ delay, ms }) => {
    const child = await start("echo", "child", { options: { delay }, beside: 1 });
    return Promise.race([end(child), sleep(ms).then(() => "time")]);
  },
  // Of two waits at once each is asked for late when the run is started again, as by a process that has to wait for its turn.
  "asks-late": async () => {
    const ask = async (ms) => {
      const at = Date.now();
      if (run.replaying) await pause(1_500);
      const body = { date: new Date(at + ms).toISOString() };
      const { waitpoint } = await call("POST", `/engine/v1/runs/${run.id}/wait/duration`, body, { beside: 1, at });
      return wait({ for: "waitpoint", waitpoint: waitpoint.id });
    };
    return (await Promise.all([ask(6_000), ask(9_000)])).length;
  },
  // Computes when it is told of one end, and does then what leads to the other one.
  "computes": async () => {
    const [quick, late] = [await start("echo", 1, { beside: 1 }), await start("echo", 2, { options: { delay: "1h" }, beside: 1 })];
    const [first, second] = [end(quick), end(late)];
    await stand(first);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_000);
    // Done again when the run is resumed, and then refused: it has run.
    await call("POST", `/api/v1/runs/${late.id}/reschedule`, { delay: "1s" }).catch(() => {});
    return second;
  },
  // On each way another call.
  "other": async ({ log }) => {
    appendFileSync(log, "start\n");
    const child = trigger("echo", Math.random(), { beside: 1 });
    await pause(200);
    say({ type: "stalled", calls: [1], fetches: [], unmade: [], waits: [] });
    await child;
    return triggerAndWait("slow", 50);
  },
  "batch": async ({ n }) => {
    const batch = await call("POST", "/api/v3/batches", { runCount: n, taskIdentifiers: ["echo"], parentRunId: run.id, resumeParentOnCompletion: true });
    if (!batch.isCached) {
      calls += 1;
      const lines = Array.from({ length: n }, (_, index) => JSON.stringify({ index, task: "echo", ...packed(index) }));
      const response = await fetch(new URL(`/api/v3/batches/${batch.id}/items`, process.env.TRIGGER_API_URL), {
        method: "POST",
        headers: { authorization: `Bearer ${process.env.TRIGGER_SECRET_KEY}`, "content-type": "application/x-ndjson" },
        body: lines.join("\n"),
      });
      const answer = await response.json();
      if (!answer.sealed) throw new Error(JSON.stringify(answer));
    }
    const { items } = await wait({ for: "batch", batch: batch.id, count: n });
    return items.map(({ output }) => JSON.parse(output));
  },
  // A fetch that is recorded, and answered from the record when the run is started again.
  "records": async ({ log }) => {
    if (run.exchanges.length === 0) {
      say({ type: "fetching", id: 1, what: "POST https://mail.example" });
      await pause(50);
      appendFileSync(log, "mail\n");
      say({ type: "recorded", id: 1, record: { what: "POST https://mail.example", status: 202 } });
    }
    await triggerAndWait("echo", 1);
    await triggerAndWait("echo", 2);
    return run.exchanges;
  },
  // What was fetched before is not asked for again, or its answer waits for another: every answer that came after it is kept back.
  "records-once": async ({ name }) => {
    if (run.exchanges.length === 0) {
      say({ type: "fetching", id: 1, what: "GET https://x.example" });
      say({ type: "recorded", id: 1, record: { what: "GET https://x.example", status: 200 } });
      return triggerAndWait("slow", 50);
    }
    say({ type: "stalled", calls: [], fetches: [], unmade: [], [name]: ["GET https://x.example"], waits: [] });
    return new Promise(() => {});
  },
  // The run comes to its wait while the fetch is under way.
  "records-beside": async ({ log }) => {
    if (run.exchanges.length > 0) return [await triggerAndWait("echo", 1), run.exchanges.length];
    say({ type: "fetching", id: 1, what: "POST https://mail.example" });
    appendFileSync(log, "mail\n");
    const child = triggerAndWait("echo", 1);
    await pause(300);
    say({ type: "recorded", id: 1, record: { what: "POST https://mail.example", status: 202 } });
    return [await child, 0];
  },
  // A payload that is put to a place first, as the SDK does with large ones.
  "packet": async () => {
    const text = JSON.stringify({ json: { large: "x".repeat(300_000) } });
    const path = `packets/${Math.random()}/payload.json`;
    const { presignedUrl, storagePath } = await call("PUT", `/api/v2/packets/${path}`);
    await fetch(presignedUrl, { method: "PUT", body: text, headers: { "content-type": "application/super+json" } });
    const child = await call("POST", "/api/v1/tasks/echo/trigger", {
      payload: storagePath,
      options: { payloadType: "application/store", resumeParentOnCompletion: true },
    });
    return (await stand(end(child))).large.length;
  },
  "bundle": async () => process.env.ONCEKEY_BUNDLE,
  "exits": async () => process.exit(3),
  "kills-itself": async () => process.kill(process.pid, "SIGKILL"),
  "garbage": async () => writeSync(4, "hello\n"),
  "spins": async ({ log }) => {
    appendFileSync(log, `${process.pid}\n`);
    for (;;);
  },
  "listens": async ({ log }) => {
    appendFileSync(log, `${process.pid}\n`);
    await new Promise((resolve) => (cancelled = resolve));
    appendFileSync(log, "cancelled\n");
    return "cancelled";
  },
  "retrieves": async () => (await call("GET", `/api/v3/runs/${run.id}`)).status,
  // What the task's own host reads for it, of a run that has a key.
  "reads": async () => {
    const { id } = await trigger("echo", 1, { options: { idempotencyKey: "k" } });
    const { idempotencyKey } = await call("GET", `/api/v3/runs/${id}`);
    const { data } = await call("GET", "/api/v1/runs?filter[taskIdentifier]=echo");
    return { idempotencyKey, listed: data.map((run) => run.id === id) };
  },
  "step": async ({ log }) => {
    const name = encodeURIComponent("charge it");
    let step = await call("POST", `/oncekey/v1/steps/${name}`);
    if (!step) {
      appendFileSync(log, "charged\n");
      step = await call("PUT", `/oncekey/v1/steps/${name}`, { output: "7", outputType: "application/json" });
    }
    if (run.attempt === 1) throw new Error("again");
    return JSON.parse(step.output);
  },
  "same-name": async () => {
    const name = crypto.randomUUID();
    const [one, other] = await Promise.all([trigger("echo", 1, { name }), trigger("echo", 1, { name })]);
    return one.id === other.id;
  },
};

async function carryOut({ execution, exchanges, replaying }) {
  run = { id: execution.run.id, attempt: execution.attempt.number, exchanges, replaying };
  cancelled = undefined;
  calls = 0;
  waits = 0;
  const { json } = execution.run.payloadType === "application/super+json" ? JSON.parse(execution.run.payload) : { json: execution.run.payload && JSON.parse(execution.run.payload) };
  try {
    console.log(`begin ${run.id}`);
    const output = await tasks[execution.task.id](json);
    return { ok: true, output: JSON.stringify(output), outputType: "application/json" };
  } catch (error) {
    const left = execution.attempt.number < (execution.run.maxAttempts ?? 2);
    return {
      ok: false,
      error: { type: "BUILT_IN_ERROR", name: error.name, message: error.message, stackTrace: error.stack },
      ...(left && error.name !== "AbortTaskRunError" && { retry: { timestamp: Date.now() + 50, delay: 50 } }),
    };
  }
}

const handlers = {
  run: async (message) => say({ type: "result", run: message.execution.run.id, result: await carryOut(message) }),
  waited: ({ id, result, refused }) => {
    const { resolve, reject } = asked.get(id);
    if (refused === undefined) return resolve(result);
    reject(Object.assign(new Error(refused), { name: "AbortTaskRunError" }));
  },
  cancel: () => cancelled?.(),
  look: ({ look }) => setImmediate(() => say({ type: "looked", look, open })),
};
const lines = createInterface({ input: new Socket({ fd: 3, readable: true, writable: false }) });
lines.on("line", (line) => {
  const message = JSON.parse(line);
  void handlers[message.type]?.(message);
});
lines.on("close", () => process.exit(0));
say({
  type: "ready",
  protocol: 3,
  // A bundle of a test's may have one more.
  tasks: [...Object.keys(tasks), ...(existsSync(`${process.env.ONCEKEY_BUNDLE}/id`) ? [readFileSync(`${process.env.ONCEKEY_BUNDLE}/id`, "utf8")] : [])].map((id) => ({
    id,
    filePath: "hosted.mjs",
    retry: { maxAttempts: 2, minTimeoutInMs: 50, maxTimeoutInMs: 50, factor: 1, randomize: false },
    ...(["spins", "listens"].includes(id) && { maxDuration: 1 }),
  })),
});
