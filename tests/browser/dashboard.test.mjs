// The dashboard as a person meets it: signing in, watching, resetting, cancelling, replaying, and how it looks. Pictures are
// kept in target/screenshots.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { DEV, PROD, comes, finished, makeToken, picture, signIn, start, trigger } from "./browser.mjs";

let stack;
before(async () => {
  stack = await start();
});
after(() => stack.stop());

/** A page whose visitor has signed in. */
async function visit(path = "/", options = {}) {
  const page = await stack.open(options);
  await signIn(page, path);
  return page;
}

const badge = (page) => page.locator("#live .bar .badge");
const leads = (page, id) => page.waitForURL((url) => url.pathname === `/runs/${id}`);

test("a stranger signs in and comes to the page that was asked for", async () => {
  const page = await stack.open();
  await page.goto("/keys?task=echo&key=k");
  await picture(page, "sign-in");
  await page.getByLabel("API key").fill("tr_dev_wrong");
  await page.keyboard.press("Enter");
  assert.match(await page.getByRole("alert").innerText(), /unknown/);
  await page.getByLabel("API key").fill(DEV);
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname === "/keys" && url.search === "?task=echo&key=k");
  assert.equal(await page.evaluate(() => document.cookie), "", "scripts do not see the cookie");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/sign-in/);
  await page.goto("/runs");
  assert.match(page.url(), /sign-in/);
  assert.deepEqual(page.problems, []);
});

test("where nothing is, the page says how to make the first run", async () => {
  const page = await stack.open();
  await signIn(page, "/", PROD);
  const curl = await page.locator("[data-curl]").innerText();
  assert.ok(curl.includes(`${stack.url}/api/v1/tasks/echo/trigger`), curl);
  await picture(page, "empty");
  assert.deepEqual(page.problems, []);
});

test("a run is triggered from the page, and the same key again gets the same run, and why", async () => {
  const page = await visit("/try");
  await page.getByLabel("Payload").fill('{"order": 42}');
  await page.getByLabel("Idempotency key").fill("from-the-page");
  const press = async () => {
    await page.getByRole("button", { name: "Trigger" }).click();
    return page.locator("#outcome");
  };
  const first = await press();
  assert.match(await first.innerText(), /created\s+Nobody held the key/);
  const id = await first.locator("a").innerText();
  // The same request again: the browser asks whether to send the form once more, and no second run is made.
  await page.reload();
  assert.match(await page.locator("#outcome").innerText(), new RegExp(`created[^]*${id}`));
  const second = await press();
  assert.match(await second.innerText(), new RegExp(`cached\\s+A run holds the key[^]*${id}`));
  await picture(page, "try");
  await second.locator("a").click();
  await leads(page, id);
  await comes(page, "#output", '"order": 42');
  assert.deepEqual(page.problems, []);
});

test("a run is watched to its end without reloading", async () => {
  const { id } = await trigger(stack.url, "wait-for-child", { payload: { ms: 2500 } });
  const page = await visit(`/runs/${id}`);
  await page.evaluate(() => { window.here = true; });
  await comes(page, "#live .bar .badge", "WAITING");
  await comes(page, ".lane.child", "sleep");
  await comes(page, "#live .bar .badge", "COMPLETED");
  assert.ok(await page.evaluate(() => window.here), "it was never reloaded");
  const attempt = page.locator(".lane svg").first();
  assert.match(await attempt.getAttribute("aria-label"), /^queued .* then executing .* then waiting .* then executing/);
  await picture(page, "run-that-waited");
  await page.locator(".lane.child a").click();
  await page.getByRole("link", { name: id }).first().click();
  await leads(page, id);
  assert.deepEqual(page.problems, []);
});

test("a key is reset from its run's page, and triggered again to a new run", async () => {
  const options = { idempotencyKey: "to-be-reset", idempotencyKeyOptions: { key: "to-be-reset", scope: "global" } };
  const { id } = await trigger(stack.url, "echo", { payload: 1, options });
  await finished(stack.url, id);
  const page = await visit(`/runs/${id}`);
  const section = page.locator("section", { hasText: "Idempotency key" });
  for (const text of ["to-be-reset", "global", "30 d long", "29 d 23 h left", "Yes"]) {
    assert.ok((await section.innerText()).includes(text), text);
  }
  await section.getByText("Reset", { exact: true }).click();
  await section.getByRole("button", { name: "Reset this key" }).click();
  await comes(page, "[role=status]", "The key is free");
  assert.match(await page.locator("#held").innerText(), /^No: it was reset/);
  const next = await trigger(stack.url, "echo", { payload: 1, options });
  assert.deepEqual([next.id === id, next.isCached], [false, false]);
  await page.reload();
  assert.match(await page.locator("#held").innerText(), new RegExp(`^No: ${next.id} holds it now`));
  // A failed run's page says why its key is free.
  const failed = await trigger(stack.url, "fail", { options: { idempotencyKey: "of-a-failure" } });
  await finished(stack.url, failed.id);
  await page.goto(`/runs/${failed.id}`);
  assert.match(await page.locator("#held").innerText(), /^No: this run is FAILED, which gives its key up/);
  assert.match(await page.locator(".failure").innerText(), /this task always fails/);
  await picture(page, "run-that-failed");
  assert.deepEqual(page.problems, []);
});

test("a key is looked up by text and scope as the client hashes it, and reset", async () => {
  const parent = await trigger(stack.url, "process-order", { payload: { orderId: "7", email: "ada@example.com" } });
  const { output } = await finished(stack.url, parent.id);
  const page = await visit("/keys");
  await page.getByLabel("Task").fill("send-email");
  await page.getByLabel("Key").fill("confirm-order-7");
  await page.getByRole("button", { name: "Look it up" }).click();
  assert.match(await page.locator("#found").innerText(), /No: it was never used/, "outside a task it is another key");
  await page.getByLabel("Parent run").fill(parent.id);
  await page.getByRole("button", { name: "Look it up" }).click();
  assert.ok((await page.locator("#found").innerText()).includes(output.child));
  await picture(page, "keys");
  await page.getByText("Reset", { exact: true }).click();
  await page.getByRole("button", { name: "Reset this key" }).click();
  await comes(page, "[role=status]", "The key is free");
  assert.ok(!(await page.locator("#found").innerText()).includes(output.child));
  assert.deepEqual(page.problems, []);
});

test("a run is cancelled and replayed", async () => {
  const { id } = await trigger(stack.url, "sleep", { payload: { ms: 600 }, options: { delay: "1h", idempotencyKey: "c" } });
  const page = await visit(`/runs/${id}`);
  await page.getByRole("button", { name: "Cancel" }).click();
  await comes(page, "#live .bar .badge", "CANCELED");
  assert.match(await page.locator("#held").innerText(), /^Yes/, "R33");
  await page.getByRole("button", { name: "Replay" }).click();
  await comes(page, "[role=status]", "This is the replay");
  assert.ok(!page.url().includes(id));
  await comes(page, "#live .bar .badge", "COMPLETED");
  assert.deepEqual(page.problems, []);
});

test("all runs of a filter are cancelled, and then replayed, and watched to their end", async () => {
  for (let n = 0; n < 3; n += 1) await trigger(stack.url, "echo", { payload: n, options: { tags: ["many"], delay: "1h" } });
  const page = await visit("/runs");
  assert.equal(await page.getByRole("link", { name: /all of these/ }).count(), 0);
  await page.goto("/runs?tag=many");
  await page.getByRole("link", { name: "Cancel all of these" }).click();
  await page.getByText("3 runs:").waitFor();
  await picture(page, "bulk-asks");
  await page.getByRole("button", { name: "Cancel all" }).click();
  await page.waitForURL(/\/bulk\/bulk_/);
  await comes(page, "#live .badge", "COMPLETED");
  await comes(page, "#live dl", "Cancelled");
  await picture(page, "bulk-done");
  await page.goto("/runs?tag=many&status=CANCELED");
  await page.getByRole("link", { name: "Replay all of these" }).click();
  await page.getByRole("button", { name: "Replay all" }).click();
  await comes(page, "#live .badge", "COMPLETED");
  await page.goto("/runs?tag=many&status=COMPLETED");
  await comes(page, "#live table.runs tbody", "echo");
  await page.goto("/bulk");
  assert.equal(await page.locator("tbody tr").count(), 2);
  assert.deepEqual(page.problems, []);
});

test("the list is filtered, paged, and live", async () => {
  for (let n = 0; n < 60; n += 1) {
    const options = { tags: n % 2 ? ["odd"] : [], idempotencyKey: `listed-${n}`, delay: "1h" };
    await trigger(stack.url, "listed", { options });
  }
  const page = await visit("/runs");
  const rows = page.locator("table.runs tbody tr");
  assert.equal(await rows.count(), 50);
  await page.getByLabel("Task").fill("listed");
  await page.getByLabel("Tag").fill("odd");
  await page.getByLabel("Status").selectOption("DELAYED");
  await page.getByRole("button", { name: "Filter" }).click();
  assert.equal(await rows.count(), 30);
  await page.goto("/runs?key=listed-17");
  assert.equal(await rows.count(), 1);
  await page.goto("/runs?task=listed");
  const before = await rows.first().innerText();
  await page.getByRole("link", { name: "Older" }).click();
  await page.waitForURL(/after=/);
  assert.equal(await rows.count(), 10);
  const fresh = await trigger(stack.url, "listed", { options: { idempotencyKey: "the-newest", delay: "1h" } });
  assert.equal(await rows.count(), 10, "an older page stays put");
  await page.getByRole("link", { name: "Newer" }).click();
  await page.waitForURL(/before=/);
  assert.ok((await rows.allInnerTexts()).some((row) => row.split("\t")[0] === before.split("\t")[0]));
  await page.goto("/runs?task=listed");
  await comes(page, "table.runs td .key", "the-newest");
  const another = trigger(stack.url, "listed", { options: { idempotencyKey: "newer-still", delay: "1h" } });
  await comes(page, "table.runs td .key", "newer-still");
  assert.notEqual((await another).id, fresh.id);
  await picture(page, "runs");
  assert.deepEqual(page.problems, []);
});

test("what users gave stays text", async () => {
  const evil = '"><img src=x onerror=alert(1)><script>window.evil = true</script>';
  const { id } = await trigger(stack.url, "echo", { payload: evil, options: { idempotencyKey: evil, tags: [evil], metadata: { note: evil } } });
  await finished(stack.url, id);
  await makeToken(stack.url, { idempotencyKey: evil, tags: [evil] });
  const page = await visit(`/runs/${id}`);
  for (const path of [`/runs/${id}`, "/runs", "/", `/runs?key=${encodeURIComponent(evil)}`, "/tokens", `/tokens?tag=${encodeURIComponent(evil)}`]) {
    await page.goto(path);
    assert.equal(await page.evaluate(() => window.evil), undefined);
    assert.equal(await page.locator("main img, main script").count(), 0);
  }
  await page.goto(`/runs/${id}`);
  assert.ok((await page.locator("#payload").innerText()).includes("<script>"));
  assert.deepEqual(page.problems, []);
});

test("the environment switcher shows what the session has keys of", async () => {
  const { id } = await trigger(stack.url, "echo", { options: { idempotencyKey: "in-prod" } }, PROD);
  const page = await visit("/");
  assert.deepEqual(await page.getByLabel("Environment").locator("option").allInnerTexts(), ["local/dev"]);
  await page.goto(`/runs/${id}`);
  assert.match(await page.locator("main").innerText(), /there is no run/);
  await signIn(page, "/sign-in", PROD);
  for (const environment of ["local/dev", "local/prod"]) {
    const loaded = page.waitForEvent("load");
    await page.getByLabel("Environment").selectOption(environment);
    await loaded;
  }
  await page.goto(`/runs/${id}`);
  await comes(page, "h1", "echo");
  // The one refused page is a 404, which the browser notes.
  assert.ok(page.problems.every((problem) => problem.includes("404")), page.problems.join());
});

test("the overview tells how the environment does", async () => {
  const parent = await trigger(stack.url, "process-order", {
    payload: { orderId: "42", email: "ada@example.com", failTimes: 2 },
    options: { idempotencyKey: "order-of-ada" },
  });
  await finished(stack.url, parent.id);
  const page = await visit("/?period=1h");
  for (const heading of ["Failures", "Tasks", "Slowest", "Latest"]) {
    await page.getByRole("heading", { name: heading }).waitFor();
  }
  assert.ok((await page.locator(".chart rect").count()) > 0);
  assert.match(await page.locator(".chart svg").getAttribute("aria-label"), /^Runs over time: \d+ runs/);
  await picture(page, "overview");
  await page.goto(`/runs/${parent.id}`);
  assert.equal(await page.locator(".lane:not(.child):not(.axis)").count(), 3, "a line an attempt");
  await picture(page, "run");
  assert.deepEqual(page.problems, []);
});

/** WCAG's contrast of the text of every element that has some, against what is behind it. */
function poorContrasts() {
  const context = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const linear = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join("");
    if (!text || element.closest("noscript, .hidden, option")) continue;
    const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) poor.push(`${contrast.toFixed(2)} ${element.tagName} ${text.slice(0, 40)}`);
  }
  return poor;
}

for (const colorScheme of ["light", "dark"]) {
  test(`text can be read in ${colorScheme} mode`, async () => {
    const failed = await trigger(stack.url, "fail", {});
    await finished(stack.url, failed.id);
    const page = await visit("/", { colorScheme });
    for (const path of ["/", "/runs", `/runs/${failed.id}`, "/tokens?done=approved", "/keys?task=a&key=b", "/try"]) {
      await page.goto(path);
      assert.deepEqual(await page.evaluate(poorContrasts), [], path);
    }
    await page.goto(`/runs/${failed.id}`);
    await picture(page, `run-${colorScheme}`);
    assert.deepEqual(page.problems, []);
  });
}

test("schedules are told with their next time, wide and narrow, and lead to their runs", async () => {
  const headers = { authorization: `Bearer ${DEV}` };
  const schedule = async (body) => (await fetch(`${stack.url}/api/v1/schedules`, { method: "POST", headers, body: JSON.stringify(body) })).json();
  const daily = { task: "echo", cron: "0 9 * * 1-5", timezone: "Europe/Berlin", onOverlap: "skip", externalId: "user_1" };
  const { id } = await schedule({ ...daily, deduplicationKey: "<b>the digest of a customer with a long name</b>" });
  for (const width of [1280, 390]) {
    const page = await visit("/schedules", { viewport: { width, height: 700 } });
    assert.match(await page.locator("table").innerText(), /<b>the digest of a customer/);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
    const next = page.locator("tbody time").first();
    const { x, width: wide } = await next.boundingBox();
    assert.ok(x + wide <= width && /^in \d+/.test(await next.innerText()), `at ${x}, ${wide} wide`);
    await picture(page, `schedules-${width}`);
    await page.locator("tbody a").first().click();
    await page.waitForURL((url) => url.pathname === "/runs" && url.search === `?schedule=${id}`);
    assert.match(await page.locator("#live").innerText(), /No run is like that/);
    assert.deepEqual(page.problems, []);
  }
});

test("dark and light can be chosen, and stay", async () => {
  const page = await visit("/", { colorScheme: "light" });
  const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await back();
  await page.getByRole("button", { name: "Switch between dark and light" }).click();
  const dark = await back();
  assert.notEqual(dark, light);
  await page.goto("/runs");
  assert.equal(await back(), dark);
  await picture(page, "runs-dark");
});

test("everything fits 375 pixels", async () => {
  const run = await trigger(stack.url, "echo", { payload: { text: "x".repeat(300) }, options: { idempotencyKey: "y".repeat(200) } });
  await finished(stack.url, run.id);
  await makeToken(stack.url, { idempotencyKey: "y".repeat(200), tags: ["x".repeat(128), "short"] });
  const page = await visit("/", { viewport: { width: 375, height: 700 } });
  for (const path of ["/", "/runs", `/runs/${run.id}`, "/bulk", "/runs?task=echo", "/bulk?task=echo&action=replay", "/tokens", "/keys?task=echo&key=b", "/try"]) {
    await page.goto(path);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= 375, `${path} is ${width} wide`);
    await picture(page, `narrow${path.split("?")[0].replaceAll("/", "-").slice(0, 8)}`);
  }
});

test("it can be used by keyboard alone", async () => {
  const page = await visit("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  for (let n = 0; n < 3; n += 1) await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/runs$/);
  const outline = () => page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  await page.keyboard.press("Tab");
  assert.equal(await outline(), "solid");
});

test("the page works without scripts", async () => {
  const { id } = await trigger(stack.url, "echo", { options: { idempotencyKey: "no-script" } });
  await finished(stack.url, id);
  const page = await visit(`/runs/${id}`, { javaScriptEnabled: false });
  assert.equal(await badge(page).innerText(), "COMPLETED");
  await page.getByText("Reset", { exact: true }).click();
  await page.getByRole("button", { name: "Reset this key" }).click();
  await comes(page, "[role=status]", "The key is free");
  await makeToken(stack.url);
  await page.goto("/tokens");
  await page.getByRole("button", { name: "Approve" }).first().click();
  await comes(page, "[role=status]", "Approved: whoever waits");
});

test("queues show their limits, are paused and go on, and fit a phone", async () => {
  const headers = { authorization: `Bearer ${DEV}`, "content-type": "application/json" };
  const put = (path, method, body) => fetch(`${stack.url}${path}`, { method, headers, body: JSON.stringify(body) });
  await put("/api/v1/workers/pictured", "PUT", { tasks: [{ id: "letter", queue: "a-queue-for-letters-of-every-kind" }], queues: [{ name: "a-queue-for-letters-of-every-kind", concurrencyLimit: 3 }] });
  await put("/api/v1/queues/a-queue-for-letters-of-every-kind/concurrency/override", "POST", { type: "custom", concurrencyLimit: 12 });
  for (const [width, name] of [[1280, "queues"], [390, "queues-phone"]]) {
    const page = await visit("/queues", { viewport: { width, height: 700 } });
    const row = page.locator("tr", { hasText: "a-queue-for-letters-of-every-kind" });
    assert.match(await row.innerText(), /letter\s+12\s+declared: 3/);
    await row.getByRole("button", { name: "Pause" }).click();
    await row.getByText("paused").waitFor();
    await picture(page, name);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "the page is no wider than its window");
    const button = await row.getByRole("button", { name: "Resume" }).boundingBox();
    assert.ok(button.x + button.width <= width, "the button is seen whole, without moving the table");
    await row.getByRole("button", { name: "Resume" }).click();
    await row.getByRole("button", { name: "Pause" }).waitFor();
    assert.deepEqual(page.problems, []);
    await page.close();
  }
});

test("a key that is held no more is marked so, however long it is and narrow the page", async () => {
  const run = await trigger(stack.url, "fail", { options: { idempotencyKey: `freed-${"z".repeat(80)}`, maxAttempts: 1 } });
  await finished(stack.url, run.id);
  for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
    const page = await visit("/runs?task=fail", { viewport: { width, height: 700 }, colorScheme });
    const mark = await page.locator("tr", { hasText: "freed-zzz" }).getByText("(freed)").boundingBox();
    assert.ok(mark.x + mark.width <= width);
    assert.ok(await page.evaluate(() => [...document.querySelectorAll(".scroll")].every((one) => one.scrollWidth <= one.clientWidth)), "no table has to be moved");
    await picture(page, `freed-${width}-${colorScheme}`);
    await page.close();
  }
});
