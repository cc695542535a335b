// Pages of another origin, in a browser that keeps to CORS: they call with a public token, and with an API key they learn nothing.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import { after, before, test } from "node:test";

import { DEV, start, trigger } from "./browser.mjs";

let stack;
let elsewhere;
let page;
before(async () => {
  stack = await start();
  elsewhere = createServer((_, response) => response.setHeader("content-type", "text/html").end("<title>elsewhere</title>"));
  await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
  page = await stack.open();
  await page.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
});
after(async () => {
  elsewhere.close();
  await stack.stop();
});

/** A token as a backend makes one. */
async function tokenFor(...scopes) {
  const answer = await fetch(`${stack.url}/api/v1/auth/jwt/claims`, { method: "POST", headers: { authorization: `Bearer ${DEV}` } });
  const claims = { ...(await answer.json()), scopes, iss: "https://id.trigger.dev", aud: "https://api.trigger.dev", exp: Date.now() / 1000 + 60 };
  const text = [{ alg: "HS256" }, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${createHmac("sha256", DEV).update(text).digest("base64url")}`;
}

/** What the page is told, with the headers that the official client sends in a browser. */
const ask = (bearer, path, method = "GET", body = undefined) =>
  page.evaluate(
    async ({ url, bearer, method, body }) => {
      const client = { "content-type": "application/json", "trigger-version": "4.8.3", "x-trigger-client": "browser", "x-trigger-source": "sdk" };
      const id = { "x-trigger-request-idempotency-key": crypto.randomUUID(), "x-trigger-api-version": "2025-07-16" };
      try {
        const answer = await fetch(url, { method, body, headers: { authorization: `Bearer ${bearer}`, ...client, ...id } });
        return { status: answer.status, token: answer.headers.get("x-trigger-jwt"), ...(await answer.json()) };
      } catch (error) {
        return { blocked: String(error) };
      }
    },
    { url: `${stack.url}${path}`, bearer, method, body },
  );

test("a page triggers with a public token, and reads the run with the one that it is given", async () => {
  const handle = await ask(await tokenFor("trigger:tasks:echo"), "/api/v1/tasks/echo/trigger", "POST", '{"payload":"from a page"}');
  assert.deepEqual([handle.status, handle.isCached], [200, false]);
  const run = await ask(handle.token, `/api/v3/runs/${handle.id}`);
  assert.deepEqual([run.id, run.payload], [handle.id, "from a page"]);
  const refused = await ask(handle.token, "/api/v1/tasks/echo/trigger", "POST", "{}");
  assert.match(refused.error, /needs trigger:tasks:echo/);
});

test("a page learns nothing with an API key, and nothing where no public token is taken", async () => {
  const { id } = await trigger(stack.url, "echo", { payload: 1 });
  assert.match((await ask(DEV, `/api/v3/runs/${id}`)).blocked, /Failed to fetch/);
  assert.match((await ask(DEV, "/api/v1/schedules")).blocked, /Failed to fetch/);
  const token = await tokenFor(`read:runs:${id}`);
  assert.match((await ask(token, `/api/v2/runs/${id}/cancel`, "POST")).blocked, /Failed to fetch/);
  assert.equal((await ask(token, `/api/v3/runs/${id}`)).id, id);
});
