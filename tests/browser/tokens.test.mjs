// Wait tokens as a person meets them: asked to approve or reject, in the list and on the page of the run that waits.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { DEV, comes, makeToken, picture, signIn, start, trigger } from "./browser.mjs";

let stack;
before(async () => {
  stack = await start();
});
after(() => stack.stop());

/** A page whose visitor has signed in. */
async function visit(path, options = {}) {
  const page = await stack.open(options);
  await signIn(page, path);
  return page;
}

/** A run that waits for the token that it has made, and that token. */
async function waiting() {
  const { id } = await trigger(stack.url, "wait-for-token");
  const headers = { authorization: `Bearer ${DEV}` };
  for (;;) {
    const run = await (await fetch(`${stack.url}/api/v3/runs/${id}`, { headers })).json();
    if (run.waitingFor?.tokens) return [id, run.waitingFor.tokens[0]];
    assert.ok(!run.isCompleted, run.status);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

for (const width of [1280, 390]) {
  test(`a token is rejected in the list, and another approved on its run's page, ${width} wide`, async () => {
    const options = { viewport: { width, height: 700 } };
    const asked = await makeToken(stack.url, { tags: [`order-${width}`], timeout: "1h" });
    const page = await visit(`/tokens?tag=order-${width}`, options);
    const row = page.locator("table.tokens tbody tr");
    assert.match((await row.innerText()).replace(/\s+/g, " "), new RegExp(`^${asked.id} order-${width} WAITING in 59 min`));
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    for (const name of ["Approve", "Reject"]) {
      const { x, width: wide } = await page.getByRole("button", { name }).boundingBox();
      assert.ok(x >= 0 && x + wide <= width, `${name} is at ${x}, ${wide} wide`);
    }
    await page.getByRole("group", { name: asked.id }).getByRole("button", { name: "Reject" }).click();
    await comes(page, "[role=status]", `Rejected: whoever waits for the token is told so. ${asked.id}`);
    assert.match(page.url(), new RegExp(`/tokens\\?tag=order-${width}&done=rejected`));
    assert.match(await row.innerText(), /COMPLETED/);
    assert.equal(await row.getByRole("button").count(), 0);

    const [run, waited] = await waiting();
    await page.goto(`/runs/${run}`);
    const note = page.locator("#waiting-for");
    assert.ok((await note.innerText()).includes(`Waits for the token ${waited}`));
    await picture(page, `run-that-waits-for-a-token-${width}`);
    await note.getByRole("button", { name: "Approve" }).click();
    await comes(page, "[role=status]", "Approved: whoever waits");
    await comes(page, "#live .bar .badge", "COMPLETED");
    assert.equal(new URL(page.url()).pathname, `/runs/${run}`);
    assert.match(await page.locator("#output").innerText(), /"approved": true/);
    await page.goto("/tokens");
    await picture(page, `tokens-${width}`);
    assert.deepEqual(page.problems, []);
  });
}

test("a list of tokens is live, and does not move under whoever points at a button", async () => {
  const first = await makeToken(stack.url);
  const page = await visit("/tokens");
  const newest = page.locator("table.tokens tbody tr .id").first();
  const isNewest = (token) => page.waitForFunction((id) => document.querySelector("table.tokens tbody .id").textContent === id, token.id);
  await isNewest(first);
  await page.getByRole("button", { name: "Approve" }).first().hover();
  const second = await makeToken(stack.url);
  // Longer than two refreshes take.
  await page.waitForTimeout(4_000);
  assert.equal(await newest.innerText(), first.id);
  await page.mouse.move(0, 0);
  await isNewest(second);
  await page.getByRole("button", { name: "Reject" }).first().focus();
  await makeToken(stack.url);
  await page.waitForTimeout(4_000);
  assert.equal(await newest.innerText(), second.id);
  await page.keyboard.press("Enter");
  await comes(page, "[role=status]", `Rejected: whoever waits for the token is told so. ${second.id}`);
  assert.deepEqual(page.problems, []);
});
