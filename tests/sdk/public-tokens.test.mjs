// R68, R69: public tokens, made and used by the official npm client.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { auth, batch, configure, runs, tasks, wait } from "@trigger.dev/sdk";
import { isPublicJWT } from "@trigger.dev/core/v3/jwt";
import { DEV, PROD, startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

/** What whoever holds this token gets. */
const holding = (accessToken, call, baseURL = stack.url) => auth.withAuth({ baseURL, accessToken }, call);
const refused = (status, words) => (error) => (error.status === status && words.test(error.message)) || assert.fail(error.stack);

test("r68: the token of a handle shows its run, and no other", async () => {
  const handle = await tasks.trigger("echo", { hello: "Zoë" }, { delay: "1h", tags: ["file:1"] });
  const other = await tasks.trigger("echo", 1, { delay: "1h" });
  await holding(handle.publicAccessToken, async () => {
    assert.deepEqual((await runs.retrieve(handle.id)).payload, { hello: "Zoë" });
    await assert.rejects(runs.retrieve(other.id), refused(403, /needs read:runs:run_/));
    await assert.rejects(runs.cancel(handle.id), refused(403, /a public token does not open/));
    await assert.rejects(runs.list(), refused(403, /needs read:runs/));
    await assert.rejects(tasks.trigger("echo", 1), refused(403, /needs trigger:tasks:echo/));
  });
  assert.equal((await runs.retrieve(handle.id)).status, "DELAYED");
});

test("r68: the token of a batch shows it and its runs", async () => {
  const handle = await tasks.batchTrigger("echo", [{ payload: 1 }, { payload: 2 }]);
  await holding(handle.publicAccessToken, async () => {
    const { runs: ids, runCount } = await batch.retrieve(handle.batchId);
    assert.deepEqual([ids.length, runCount], [2, 2]);
    assert.equal((await runs.poll(ids[1])).output, 2);
    const listed = [];
    for await (const run of runs.list({ batch: handle.batchId })) listed.push(run.id);
    assert.deepEqual(listed.sort(), ids.sort());
  });
});

test("r68: the token of a wait token completes it", async () => {
  const token = await wait.createToken({ timeout: "1h" });
  const other = await wait.createToken({ timeout: "1h" });
  await holding(token.publicAccessToken, async () => {
    await assert.rejects(wait.completeToken(other, 1), refused(403, /needs write:waitpoints:waitpoint_/));
    assert.deepEqual(await wait.completeToken(token, { approved: true }), { success: true });
  });
  assert.deepEqual((await wait.retrieveToken(token)).output, { approved: true });
  assert.equal((await wait.retrieveToken(other)).status, "WAITING");
});

test("r68: a token opens what it was created for, until it expires", async () => {
  const tag = `t-${process.pid}-${Date.now()}`;
  const run = await tasks.trigger("echo", 1, { delay: "1h", tags: [tag] });
  const token = await auth.createPublicToken({ scopes: { read: { tags: [tag], tasks: "none" } }, expirationTime: "1h" });
  assert.ok(isPublicJWT(token));
  await holding(token, async () => {
    assert.equal((await runs.retrieve(run.id)).id, run.id);
    assert.deepEqual((await runs.list({ tag })).data.map((run) => run.id), [run.id]);
  });
  await auth.withPublicToken({ scopes: { read: { runs: true } } }, async () => {
    assert.equal((await runs.retrieve(run.id)).id, run.id);
  });
  const scopes = { read: { runs: [run.id] } };
  const ended = await auth.createPublicToken({ scopes, expirationTime: Date.now() / 1000 - 0.5 });
  await assert.rejects(holding(ended, () => runs.retrieve(run.id)), refused(401, /has expired/));
  await assert.rejects(holding(await auth.createPublicToken(), () => runs.retrieve(run.id)), refused(403, /the scope none/));
  configure({ baseURL: stack.url, accessToken: PROD });
  try {
    const elsewhere = await auth.createPublicToken({ scopes });
    await assert.rejects(holding(elsewhere, () => runs.retrieve(run.id)), refused(404, /there is no run/));
  } finally {
    configure({ baseURL: stack.url, accessToken: DEV });
  }
});

test("r69: a token triggers once, and the client's own retry of a lost answer is that once", async () => {
  const token = await auth.createTriggerPublicToken("echo");
  // Between the client and the stack: what it hands on is answered, and the first answer is lost.
  let seen = 0;
  const between = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const { host, connection, "content-length": length, ...headers } = request.headers;
    const answer = await fetch(stack.url + request.url, { method: request.method, headers, body: Buffer.concat(chunks) });
    const text = await answer.text();
    if (seen++ === 0) return request.socket.destroy();
    response.writeHead(answer.status, { "content-type": "application/json", "x-trigger-jwt": answer.headers.get("x-trigger-jwt") });
    response.end(text);
  });
  await new Promise((resolve) => between.listen(0, "127.0.0.1", resolve));
  try {
    const url = `http://127.0.0.1:${between.address().port}`;
    const handle = await holding(token, () => tasks.trigger("echo", { once: true }), url);
    assert.deepEqual([seen, handle.isCached], [2, false]);
    // Whoever has triggered it is given a token that shows it.
    assert.deepEqual((await holding(handle.publicAccessToken, () => runs.poll(handle.id))).output, { once: true });
    await assert.rejects(holding(token, () => tasks.trigger("echo", { once: true })), refused(422, /may be used once, and was/));
    await assert.rejects(holding(token, () => tasks.trigger("slow", 1)), refused(403, /needs trigger:tasks:slow/));
  } finally {
    between.close();
  }
  await auth.withTriggerPublicToken("echo", { multipleUse: true }, async () => {
    const [one, two] = [await tasks.trigger("echo", 1), await tasks.trigger("echo", 1)];
    assert.notEqual(one.id, two.id);
  });
});

test("r69: a token makes one batch of its tasks", async () => {
  const token = await auth.createBatchTriggerPublicToken(["echo", "slow"]);
  const handle = await holding(token, () => tasks.batchTrigger("echo", [{ payload: 1 }, { payload: 2 }]));
  const made = await holding(handle.publicAccessToken, () => batch.retrieve(handle.batchId));
  assert.deepEqual([made.runs.length, made.status], [2, "COMPLETED"]);
  await assert.rejects(holding(token, () => tasks.batchTrigger("echo", [{ payload: 3 }])), /may be used once, and was/);
  const other = await auth.createBatchTriggerPublicToken("slow");
  await assert.rejects(holding(other, () => tasks.batchTrigger("echo", [{ payload: 3 }])), /needs batchTrigger:tasks:echo/);
});
