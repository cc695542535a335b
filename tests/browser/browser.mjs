// A browser on a local stack, and what the tests do with it again and again.

import { existsSync, mkdirSync } from "node:fs";
import { chromium } from "playwright-core";

import { startLocalStack, target } from "../tools/local-stack.mjs";

export const DEV = "tr_dev_local";
export const PROD = "tr_prod_local";

const pictures = `${target}/screenshots`;
const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts a stack and a browser. */
export async function start() {
  const executablePath = process.env.CHROMIUM ?? paths.find((path) => existsSync(path));
  if (!executablePath) throw new Error("no Chromium: install Debian's chromium, or say in CHROMIUM where one is");
  mkdirSync(pictures, { recursive: true });
  const stack = await startLocalStack();
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const stop = async () => {
    await browser.close();
    await stack.stop();
  };

  /** A window of its own, with its own cookies; whatever goes wrong in its pages fails the test. */
  const open = async (options = {}) => {
    const context = await browser.newContext({ baseURL: stack.url, ...options });
    const page = await context.newPage();
    page.problems = [];
    page.on("pageerror", (error) => page.problems.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") page.problems.push(message.text());
    });
    return page;
  };
  return { url: stack.url, open, stop };
}

/** Signs in with an API key, and so comes to the page that was asked for. */
export async function signIn(page, path = "/", key = DEV) {
  await page.goto(path);
  await page.getByLabel("API key").fill(key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL((url) => !url.pathname.startsWith("/sign-in"));
}

/** Triggers over the HTTP API; its answer. */
export async function trigger(url, task, body = {}, key = DEV) {
  const answer = await fetch(`${url}/api/v1/tasks/${task}/trigger`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify(body),
  });
  return answer.json();
}

/** Makes a wait token over the HTTP API. */
export async function makeToken(url, options = {}, key = DEV) {
  const answer = await fetch(`${url}/api/v1/waitpoints/tokens`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify(options),
  });
  return answer.json();
}

/** A run once it is final. */
export async function finished(url, id, key = DEV) {
  for (let tries = 0; tries < 400; tries += 1) {
    const answer = await fetch(`${url}/api/v3/runs/${id}`, { headers: { authorization: `Bearer ${key}` } });
    const run = await answer.json();
    if (run.isCompleted) return run;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`${id} did not end`);
}

/** Waits for a text that comes without anybody reloading the page. */
export const comes = (page, selector, text) => page.locator(selector, { hasText: text }).first().waitFor({ timeout: 15_000 });

/** Keeps a picture of the page beside the other outputs of the build. */
export const picture = (page, name) => page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
