// Wait tokens, through the official npm client.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { configure, wait } from "@trigger.dev/sdk";
import { DEV, PROD, startStack } from "./stack.mjs";

let stack;
before(async () => {
  stack = await startStack();
});
after(() => stack.stop());

/** A text that no run of these tests has used. */
const fresh = (name) => `${name}-${process.pid}-${Date.now()}`;

test("r92, r93: a token is completed once, and says with what", async () => {
  const tag = fresh("tag");
  const token = await wait.createToken({ timeout: new Date(Date.now() + 3_600_000), tags: [tag] });
  assert.match(token.id, /^waitpoint_[0-9a-v]{32}$/);
  assert.deepEqual([token.isCached, typeof token.publicAccessToken], [false, "string"]);
  const waiting = await wait.retrieveToken(token);
  assert.deepEqual([waiting.status, waiting.tags, waiting.output, waiting.url], ["WAITING", [tag], undefined, token.url]);

  const approval = { approved: true, by: { name: "Zoë" } };
  assert.deepEqual(await wait.completeToken(token, approval), { success: true });
  assert.deepEqual(await wait.completeToken(token.id, { approved: false }), { success: true });
  const done = await wait.retrieveToken(token.id);
  assert.deepEqual([done.status, done.output, done.error], ["COMPLETED", approval, undefined]);
  assert.ok(done.completedAt instanceof Date);

  const listed = [];
  for await (const one of wait.listTokens({ tags: [tag], status: "COMPLETED", limit: 10 })) listed.push(one.id);
  assert.deepEqual(listed, [token.id]);
});

test("r92: a token whose time is over has an error", async () => {
  const token = await wait.createToken({ timeout: "1s" });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const over = await wait.retrieveToken(token);
  assert.deepEqual([over.status, over.output], ["TIMED_OUT", undefined]);
  assert.match(over.error.message, new RegExp(token.id));
});

test("r94: a key gives one token of an environment", async () => {
  const idempotencyKey = fresh("key");
  const first = await wait.createToken({ idempotencyKey, idempotencyKeyTTL: "1h" });
  const again = await wait.createToken({ idempotencyKey });
  assert.deepEqual([again.id, again.isCached, again.url], [first.id, true, first.url]);
  configure({ baseURL: stack.url, accessToken: PROD });
  try {
    assert.equal((await wait.createToken({ idempotencyKey })).isCached, false);
    await assert.rejects(wait.retrieveToken(first), (error) => error.status === 404);
  } finally {
    configure({ baseURL: stack.url, accessToken: DEV });
  }
});

test("r96: whoever has its URL completes a token", async () => {
  const token = await wait.createToken();
  const { pathname, search } = new URL(token.url);
  // By the address that we have: an emulator's own name for it is nobody's.
  const answer = await fetch(stack.url + pathname + search, { method: "POST", body: JSON.stringify({ event: "paid" }) });
  assert.deepEqual([answer.status, await answer.json()], [200, { success: true }]);
  assert.deepEqual((await wait.retrieveToken(token)).output, { event: "paid" });
});

test("what a token cannot be is refused at once", async () => {
  await assert.rejects(wait.createToken({ timeout: "soon" }), (error) => error.status === 400 && /timeout: /.test(error.message));
});
