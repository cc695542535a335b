// Recorded fetch: which of several branches comes first is decided on the replay as before, and where nobody can tell, that is said.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { after, before, beforeEach, test } from "node:test";

import { answer } from "../../shared/node/src/answers.mjs";
import { startHost } from "./host.mjs";

const TASKS = `
import { task, wait } from "@trigger.dev/sdk";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import zlib from "node:zlib";

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
const text = async (url: string, init?: any) => (await fetch(url, init)).text();
const post = (url: string) => text(url, { method: "POST" });
export const noop = task({ id: "noop", run: async () => {} });
export const coupons = task({ id: "coupons", run: async ({ url }: any) => {
  const got: any = {};
  await Promise.all(["alice", "bob"].map(async (who, place) => { await sleep(place * 300); got[who] = await post(url + "/take"); await noop.trigger({}); }));
  await wait.for({ days: 1 });
  return got;
} });
export const loop = task({ id: "loop", run: async ({ url }: any) => {
  const seen = [];
  for (let poll = 0; poll < 3; poll += 1) { seen.push(await post(url + "/take")); await sleep(20); }
  await wait.for({ days: 1 });
  return seen;
} });
export const dead = task({ id: "dead", run: async ({ url, other }: any) => {
  await text(url + "/a");
  if (!other) await noop.trigger({});
  await text(url + "/b");
  await wait.for({ days: 1 });
} });
export const leaves = task({ id: "leaves", run: async ({ url, other }: any) => {
  const waited = wait.for({ days: 1 });
  await sleep(100);
  if (!other) await text(url + "/a");
  await waited;
} });
const work: Record<string, () => any> = {
  "a file": () => readFile("/etc/passwd"),
  "many files": async () => { for (let n = 0; n < 10; n += 1) await readFile("/etc/passwd"); },
  "the thread pool": () => promisify(zlib.gzip)(Buffer.alloc(3_000_000)),
  "a digest": () => crypto.subtle.digest("SHA-512", new Uint8Array(20_000_000)),
  "a stream that compresses": () => new Response(new Blob([Buffer.alloc(3_000_000)]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  "turns": async () => { for (let n = 0; n < 10; n += 1) await new Promise(setImmediate); },
};
export const first = task({ id: "first", run: async ({ url, what }: any) => {
  const log: string[] = [];
  await Promise.all([
    (async () => { await text(url + "/x"); await work[what](); log.push("quick"); })(),
    (async () => { await text(url + "/slow"); log.push("slow"); })(),
  ]);
  await wait.for({ days: 1 });
  return log;
} });
export const aborts = task({ id: "aborts", run: async ({ url }: any) => {
  const control = new AbortController();
  const open = fetch(url + "/a", { signal: control.signal });
  control.abort(new Error("at once"));
  const why = await open.catch((error) => error.message);
  const b = await text(url + "/b");
  await wait.for({ days: 1 });
  return [why, b];
} });
export const parks = task({ id: "parks", run: async ({ url, other }: any) => {
  const control = new AbortController();
  const why = other && fetch(url + "/a", { signal: control.signal }).catch((error) => error.message);
  await sleep(50);
  control.abort(new Error("parked"));
  const said = await why;
  await text(url + "/b");
  await wait.for({ days: 1 });
  return said;
} });
export const flag = task({ id: "flag", run: async ({ url }: any) => {
  let cancelled = false;
  const both = await Promise.all([
    (async () => { await sleep(300); return cancelled ? "cancelled" : text(url + "/slow"); })(),
    (async () => { await wait.for({ seconds: 30 }); cancelled = true; })(),
  ]);
  await wait.for({ days: 1 });
  return both[0];
} });
export const chain = task({ id: "chain", run: async ({ url }: any) => {
  let cancelled = false;
  const both = await Promise.all([
    (async () => { await sleep(100); return cancelled ? "cancelled" : text(url + "/slow?second"); })(),
    (async () => { await text(url + "/slow"); cancelled = true; })(),
  ]);
  await wait.for({ days: 1 });
  return both[0];
} });
`;

let host;
let server;
let url;
let arrived;
before(async () => {
  server = http.createServer((request, response) => {
    arrived.push(`${request.method} ${request.url}`);
    setTimeout(() => response.end(String(arrived.length)), request.url.startsWith("/slow") ? 700 : 0);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  url = `http://127.0.0.1:${server.address().port}`;
  host = await startHost({ "a.ts": TASKS });
  assert.equal(host.failed, undefined, JSON.stringify(host.failed));
});
after(async () => {
  await host.stop();
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  arrived = [];
  host.onWait = undefined;
});

const output = (result) => {
  assert.equal(result.ok, true, JSON.stringify(result));
  return result.outputType === "text/plain" ? result.output : JSON.parse(result.output ?? "null")?.json;
};
const recorded = () => host.messages.filter(({ type }) => type === "recorded").map(({ record }) => record);
const over = { result: { ok: true, id: "w" } };

/** What a run records until it stands in its `last` wait; those before it end after some time. Its process is killed there. */
async function until(task, payload, { last = 1, waitMs = 0 } = {}) {
  let waits = 0;
  host.onWait = async () => {
    waits += 1;
    if (waits >= last) return undefined;
    await new Promise((resolve) => setTimeout(resolve, waitMs));
    return over;
  };
  await host.begin(task, payload, { id: "run_a", record: true });
  await host.message(({ type }) => type === "wait" && waits >= last);
  const exchanges = recorded();
  const effects = host.effects;
  await host.kill();
  return { exchanges, effects };
}

/** Starts a run again from the top: all its waits are over at once. */
async function again(task, payload, exchanges, { last = 1 } = {}) {
  let waits = 0;
  host.onWait = () => {
    waits += 1;
    if (waits === last) host.say({ type: "live" });
    return over;
  };
  await host.begin(task, payload, { id: "run_a", record: true, replaying: true, exchanges });
  const end = await host.message(({ type }) => ["result", "died", "stalled"].includes(type));
  if (end.type === "stalled") await host.kill();
  return end.type === "result" ? end.result : end;
}

test("two branches that ask for the same are an effect, though the host answered between them", async () => {
  const { exchanges, effects } = await until("coupons", { url });
  assert.equal(exchanges.length, 1);
  assert.match(effects.join(), /^fetched the same more than once, and was not answered the same/);
});

test("one branch may ask for the same as often as it likes: nothing else is open when it does", async () => {
  const { exchanges, effects } = await until("loop", { url });
  assert.deepEqual([exchanges.map(({ alone }) => alone), effects], [[true, true, true], []]);
  assert.deepEqual(output(await again("loop", { url }, exchanges)), ["1", "2", "3"]);
  assert.equal(arrived.length, 3);
});

test("records of before, which do not tell what was open, are read", async () => {
  const { exchanges } = await until("loop", { url });
  const old = exchanges.map(({ alone, asked, ...record }) => record);
  assert.deepEqual(output(await again("loop", { url }, old)), ["1", "2", "3"]);
  assert.equal(arrived.length, 3);
});

test("an answer that waits for what does not come is named", async () => {
  const { exchanges } = await until("dead", { url });
  const end = await again("dead", { url, other: true }, exchanges);
  assert.deepEqual([end.type, end.unmade, end.held], ["stalled", [], [`GET ${url}/b`]]);
});

test("so is that of a wait, which waits for a fetch that is left out", async () => {
  host.onWait = undefined;
  await host.begin("leaves", { url }, { id: "run_a", record: true });
  await host.message(({ type }) => type === "recorded");
  const exchanges = recorded();
  await host.kill();
  const end = await again("leaves", { url, other: true }, exchanges);
  assert.deepEqual([end.type, end.unmade, end.held], ["stalled", [`GET ${url}/a`], ["a wait for a waitpoint"]]);
});

for (const what of ["a file", "many files", "the thread pool", "a digest", "a stream that compresses", "turns"]) {
  test(`what follows from an answer by way of ${what} comes before the next answer`, async () => {
    const { exchanges } = await until("first", { url, what });
    assert.equal(exchanges.length, 2);
    assert.deepEqual(output(await again("first", { url, what }, exchanges)), ["quick", "slow"]);
  });
}

test("a fetch that is aborted at once is aborted at once again", async () => {
  const { exchanges, effects } = await until("aborts", { url });
  assert.deepEqual([exchanges.length, effects], [1, []]);
  assert.deepEqual(output(await again("aborts", { url }, exchanges)), ["at once", "1"]);
  assert.deepEqual(arrived, ["GET /b"]);
});

test("a fetch that is new hears of its abort while others are yet to be asked for again", async () => {
  const { exchanges } = await until("parks", { url });
  assert.equal(output(await again("parks", { url, other: true }, exchanges)), "parked");
  assert.deepEqual(arrived, ["GET /b"]);
});

test("an answer whose signal is aborted already has a broken body", async () => {
  const stop = new Error("enough");
  const body = answer({ status: 200, headers: [] }, { chunks: [Buffer.from("x")], signal: AbortSignal.abort(stop) });
  await assert.rejects(body.text(), stop);
});

test("a wait that ended after a fetch was asked for ends after it is asked for again", async () => {
  const { exchanges } = await until("flag", { url }, { last: 2, waitMs: 600 });
  assert.deepEqual(exchanges.map(({ asked, after }) => [asked, after]), [[1, 2]]);
  assert.equal(output(await again("flag", { url }, exchanges, { last: 2 })), "1");
});

test("a fetch that was answered after another was asked for is answered after it is asked for again", async () => {
  const { exchanges } = await until("chain", { url });
  assert.deepEqual(exchanges.map(({ asked }) => asked), [0, 0]);
  assert.equal(output(await again("chain", { url }, exchanges)), "2");
});
