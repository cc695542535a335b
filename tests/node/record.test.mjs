// Recorded fetch: what a run fetched before it was suspended is answered from the record when it is started again.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { after, before, beforeEach, test } from "node:test";

import { startHost } from "./host.mjs";

const TASKS = `
import { task, wait } from "@trigger.dev/sdk";
import http from "node:http";
import { once } from "node:events";

const post = async (url: string, body: any, headers: any = {}) => (await fetch(url, { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers } })).json();
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export const drip = task({ id: "drip", run: async ({ url }: any) => {
  const user = await (await fetch(url + "/user")).json();
  const sent = [];
  for (const mail of [1, 2, 3]) {
    sent.push(await post(url + "/mail", { to: user.n, mail, at: Date.now() }));
    if (mail < 3) await wait.for({ days: 1 });
  }
  return sent.map(({ n }) => n);
} });
export const beside = task({ id: "beside", run: async ({ url }: any) => {
  const both = await Promise.all([1, 2, 3].map(async (n) => { await sleep(Math.random() * 20); return post(url + "/" + n, { n }); }));
  await wait.for({ days: 1 });
  return both.map(({ path }) => path);
} });
export const accounts = task({ id: "accounts", run: async ({ url }: any) => {
  const all = await Promise.all(["a", "b", "c", "d"].map(async (who) => { await sleep(Math.random() * 40); return post(url + "/me", {}, { authorization: who }); }));
  await wait.for({ days: 1 });
  return all.map(({ who }) => who);
} });
export const keyed = task({ id: "keyed", run: async ({ url }: any) => {
  const both = await Promise.all(["a", "b"].map((key) => post(url + "/pay", { at: Math.random() }, { "idempotency-key": key })));
  await wait.for({ days: 1 });
  return both.map(({ n }) => n);
} });
export const timed = task({ id: "timed", run: async ({ url }: any) => {
  const both = await Promise.all([post(url + "/x", { at: Math.random() }), post(url + "/x", { at: Math.random() })]);
  await wait.for({ days: 1 });
  return both;
} });
export const late = task({ id: "late", run: async ({ url }: any) => {
  await Promise.all([
    (async () => { await post(url + "/first", 1); await wait.for({ days: 1 }); })(),
    // Has not fetched when the run is suspended.
    (async () => { await sleep(120); await post(url + "/first", 1); })(),
  ]);
} });
export const race = task({ id: "race", run: async ({ url }: any) => {
  const first = await Promise.race([post(url + "/slow", 1).then(() => "fetch"), wait.for({ seconds: 30 }).then(() => "wait")]);
  await sleep(50);
  await wait.for({ days: 1 });
  return first;
} });
export const one = task({ id: "one", run: async ({ url, init, take }: any) => {
  const answer = await fetch(url, init);
  if (take === "chunk") { const reader = answer.body!.getReader(); const { value } = await reader.read(); void reader.cancel(); return Buffer.from(value!).toString(); }
  return { status: answer.status, url: answer.url, redirected: answer.redirected, header: answer.headers.get("x-a"), cookies: answer.headers.getSetCookie(), size: (await answer.arrayBuffer()).byteLength };
} });
export const empty = task({ id: "empty", run: async () => {} });
export const trips = task({ id: "trips", run: async ({ url }: any) => { await empty.trigger({}); await fetch(url + "/a"); } });
export const form = task({ id: "form", run: async ({ url }: any) => {
  const body = new FormData(); body.set("a", "1"); body.set("file", new Blob(["x"]), "x.txt");
  await fetch(url, { method: "POST", body });
} });
export const streams = task({ id: "streams", run: async ({ url }: any) => {
  await fetch(url, { method: "POST", duplex: "half", body: new ReadableStream({ start(controller) { controller.enqueue(Buffer.from("x")); controller.close(); } }) } as any);
} });
export const gives = task({ id: "gives-up", run: async ({ url }: any) => { await fetch(url, { signal: AbortSignal.timeout(50) }).catch(() => {}); } });
const agent = new http.Agent({ keepAlive: true });
const get = (url: string) => new Promise((resolve) => http.get(url, { agent }, (answer) => answer.resume().on("end", resolve)));
export const other = task({ id: "other", run: async ({ url }: any) => {
  await get(url + "/before");
  const open = fetch(url + "/slow");
  await sleep(20);
  await get(url + "/beside");
  await open;
} });
export const warm = task({ id: "warm", run: async ({ url }: any) => { await get(url); } });
export const differs = task({ id: "differs", run: async ({ url }: any) => { await fetch(url + "/" + (process.env.CHANGED ?? "") + (globalThis as any).changed); await wait.for({ days: 1 }); } });
export const change = task({ id: "change", run: async ({ to }: any) => { (globalThis as any).changed = to; } });
export const own = task({ id: "own", run: async ({ url }: any) => {
  const dispatcher = new (globalThis as any)[Symbol.for("undici.globalDispatcher.1")].constructor();
  await fetch(url, { dispatcher } as any);
} });
export const left = task({ id: "left", run: async ({ url }: any) => { void fetch(url + "/slow").catch(() => {}); } });
export const pages = task({ id: "pages", run: async ({ url, pages, bytes }: any) => { for (let page = 0; page < pages; page++) await (await fetch(url + "/sized/" + bytes + "?page=" + page)).text(); } });
`;

let host;
let server;
let url;
let arrived;
before(async () => {
  server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://x");
    arrived.push(`${request.method} ${request.url}`);
    for await (const _ of request);
    const n = arrived.length;
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 120));
    if (pathname === "/never") return;
    if (pathname === "/redirect") return response.writeHead(302, { location: "/to" }).end();
    if (pathname === "/empty") return response.writeHead(204).end();
    if (pathname === "/events") return response.writeHead(200, { "content-type": "text/event-stream" }).write("data: x\n\n");
    if (pathname === "/endless") return response.writeHead(200).write("chunk");
    if (pathname === "/broken") return response.writeHead(200, { "content-length": 10 }).write("x", () => response.destroy());
    if (pathname.startsWith("/sized/")) return response.end("x".repeat(Number(pathname.split("/")[2])));
    response.writeHead(200, { "content-type": "application/json", "x-a": "b", "set-cookie": ["a=1", "b=2"] }).end(JSON.stringify({ n, path: pathname, who: request.headers.authorization }));
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
});

const output = (result) => {
  assert.equal(result.ok, true, JSON.stringify(result));
  return result.outputType === "text/plain" ? result.output : JSON.parse(result.output ?? "null")?.json;
};
const recorded = () => host.messages.filter(({ type }) => type === "recorded").map(({ record }) => record);

/** A run that is suspended in each of its waits in a process that is killed, and resumed in another. */
async function through(task, payload, { waits = () => 0 } = {}) {
  const ends = new Map();
  let exchanges = [];
  for (let start = 0; ; start += 1) {
    assert.ok(start < 10, "it does not come to an end");
    let asked = 0;
    let given = 0;
    const known = ends.size;
    // Waits are known by their order here: these tasks make them one by one.
    host.onWait = (wait) => {
      asked += 1;
      if (!ends.has(asked)) return undefined;
      given += 1;
      if (given === known) host.say({ type: "live" });
      return { result: { ok: true, id: wait.waitpoint } };
    };
    await host.begin(task, payload, { id: "run_r", record: true, replaying: start > 0, exchanges });
    const stopped = await host.message((message) => ["result", "died", "stalled"].includes(message.type) || (message.type === "wait" && !ends.has(message.id)  && message.id > 0 && asked > known));
    if (stopped.type !== "wait") return stopped.type === "result" ? { ...stopped.result, starts: start + 1 } : stopped;
    await new Promise((resolve) => setTimeout(resolve, waits(start)));
    // As the host does: no run is suspended while it fetches.
    const open = () => host.messages.filter(({ type, id }) => type === "fetching" && !host.messages.some((message) => message.type === "recorded" && message.id === id));
    for (const end = Date.now() + 30_000; open().length > 0 && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 5));
    await host.kill();
    assert.deepEqual([host.effects, open()], [[], []]);
    exchanges = [...exchanges, ...recorded()];
    ends.set(asked, true);
  }
}

test("a task that fetches a user and sends three mails a day apart sends each once", async () => {
  const result = await through("drip", { url });
  assert.deepEqual(output(result), [2, 3, 4]);
  assert.equal(result.starts, 3);
  assert.deepEqual(arrived, ["GET /user", "POST /mail", "POST /mail", "POST /mail"]);
});

test("fetches beside one another find their own answers, whatever their order", async () => {
  const result = await through("beside", { url });
  assert.deepEqual(output(result), ["/1", "/2", "/3"]);
  assert.equal(arrived.length, 3);
});

test("so do those of several accounts, which only a header tells apart", async () => {
  const result = await through("accounts", { url });
  assert.deepEqual(output(result), ["a", "b", "c", "d"]);
  assert.equal(arrived.length, 4);
});

test("a key of the request tells which is which, whatever its body", async () => {
  const result = await through("keyed", { url });
  assert.deepEqual(output(result).toSorted(), [1, 2]);
  assert.equal(arrived.length, 2);
});

test("two that cannot be told apart are not sent again, and that is told", async () => {
  const end = await through("timed", { url });
  assert.equal(end.type, "stalled");
  assert.deepEqual([end.fetches, end.unmade], [[`POST ${url}/x`, `POST ${url}/x`], [`POST ${url}/x`, `POST ${url}/x`]]);
  assert.equal(arrived.length, 2);
  await host.kill();
});

test("a branch that had not fetched before fetches for itself", async () => {
  const result = await through("late", { url });
  assert.equal(result.ok, true, JSON.stringify(result));
  assert.equal(arrived.length, 2);
});

test("a race is won by whom it was won before", async () => {
  // The wait was over first, and the fetch came in after that.
  const stop = { result: { ok: true, id: "w" } };
  let waits = 0;
  host.onWait = (wait) => (++waits === 1 ? stop : undefined);
  await host.begin("race", { url }, { id: "run_race", record: true });
  await host.message(({ type, id }) => type === "wait" && id > 1 && waits === 2);
  await host.message(({ type }) => type === "recorded");
  const exchanges = recorded();
  await host.kill();
  // In the replay the record is at hand at once, and the wait's end takes its time.
  let again = 0;
  host.onWait = async () => {
    again += 1;
    if (again === 1) await new Promise((resolve) => setTimeout(resolve, 100));
    if (again === 2) host.say({ type: "live" });
    return stop;
  };
  assert.equal(output(await host.run("race", { url }, { id: "run_race", record: true, replaying: true, exchanges })), "wait");
  assert.deepEqual(arrived, ["POST /slow"]);
});

test("an answer from the record is like the one from outside", async () => {
  for (const at of ["/a", "/redirect", "/empty", "/sized/0", "/sized/60000"]) {
    const payload = { url: url + at };
    const first = output(await host.run("one", payload, { record: true }));
    const exchanges = recorded();
    assert.equal(exchanges.length, 1, at);
    const before = arrived.length;
    host.onWait = undefined;
    await host.begin("one", payload, { record: true, replaying: true, exchanges });
    assert.deepEqual(output(await host.end()), first, at);
    assert.equal(arrived.length, before, at);
  }
});

test("an answer of the host that the SDK does not take is not counted among those that were given", async () => {
  let refused = 0;
  host.onRequest = ({ path }) => (path.endsWith("/trigger") && refused++ === 0 ? { status: 503, json: { error: "not now" } } : undefined);
  assert.equal((await host.run("trips", { url }, { record: true })).ok, true);
  host.onRequest = undefined;
  assert.deepEqual([refused, recorded().map(({ after }) => after)], [2, [1]]);
});

test("it is said before its bytes go, and closed when it is over", async () => {
  host.onWait = undefined;
  await host.begin("one", { url: `${url}/slow` }, { record: true });
  const fetching = await host.message(({ type }) => type === "fetching");
  assert.equal(fetching.what, `GET ${url}/slow`);
  assert.deepEqual([host.effects, recorded()], [[], []]);
  await host.end();
  assert.deepEqual(host.messages.map(({ type, id }) => [type, id]).slice(0, 2), [["fetching", fetching.id], ["recorded", fetching.id]]);
});

for (const [what, task, payload] of [
  ["a stream of events", "one", { url: "/events", take: "chunk" }],
  ["an answer without an end", "one", { url: "/endless", take: "chunk" }],
  ["a large answer", "one", { url: "/sized/70000" }],
  ["an answer that breaks off", "one", { url: "/broken" }],
  ["a request without an answer", "gives-up", { url: "/never" }],
]) {
  test(`${what} is an effect`, async () => {
    await host.run(task, { ...payload, url: url + payload.url }, { record: true });
    assert.equal(host.effects.length, 1, JSON.stringify(host.messages));
    assert.equal(host.messages.find(({ type }) => type === "effect").fetching, host.messages.find(({ type }) => type === "fetching").id);
    assert.deepEqual(recorded(), []);
  });
}
for (const [what, task] of [["a body that can be read once", "streams"], ["a dispatcher of the task's own", "own"]]) {
  test(`a fetch with ${what} is an effect`, async () => {
    await host.run(task, { url }, { record: true });
    assert.ok(host.effects.length > 0);
    assert.deepEqual(recorded(), []);
  });
}

test("a stream is given to the task as it comes", async () => {
  assert.equal(output(await host.run("one", { url: `${url}/endless`, take: "chunk" }, { record: true })), "chunk");
});

test("without leave to record, a fetch is an effect", async () => {
  await host.run("one", { url });
  assert.ok(host.effects.length > 0);
});

test("a form is known again, though its boundary is another", async () => {
  await host.run("form", { url }, { record: true });
  const exchanges = recorded().map((record) => ({ ...record, alone: false }));
  const before = arrived.length;
  assert.equal((await host.run("form", { url }, { record: true, replaying: true, exchanges })).ok, true);
  assert.equal(arrived.length, before);
});

test("another client's traffic with the same host is an effect, also while a recorded fetch is open", async () => {
  // The client's socket is there and was used before.
  await host.run("warm", { url });
  await host.run("other", { url }, { record: true });
  const kinds = host.messages.map(({ type }) => type);
  assert.ok(kinds.includes("effect") && kinds.includes("recorded"), kinds.join());
  const beside = net.connect(server.address().port, "127.0.0.1");
  beside.destroy();
  assert.deepEqual(arrived.filter((line) => line.endsWith("/beside")).length, 1);
});

test("an attempt records no more than a megabyte, and what is beyond is an effect", async () => {
  await host.run("pages", { url, pages: 30, bytes: 50_000 }, { record: true });
  const total = recorded().reduce((sum, record) => sum + JSON.stringify(record).length, 0);
  assert.ok(total <= 1024 * 1024 && total > 900 * 1024, String(total));
  assert.ok(host.effects.length > 0);
  const exchanges = recorded();
  // The limit is the attempt's: it holds when it is resumed.
  await host.begin("pages", { url, pages: 31, bytes: 50_000 }, { record: true, replaying: true, exchanges });
  host.say({ type: "live" });
  await host.end();
  assert.ok(recorded().length <= 1);
});

test("what a run left open is not recorded in the next one, and what it sends at last is sent", async () => {
  await host.run("left", { url }, { record: true, id: "run_1st" });
  await host.run("one", { url: `${url}/a` }, { record: true, id: "run_2nd" });
  await host.run("one", { url: `${url}/slow?2` }, { record: true, id: "run_3rd" });
  assert.deepEqual(recorded().map(({ what }) => what), [`GET ${url}/slow?2`]);
  assert.deepEqual(arrived.toSorted(), ["GET /a", "GET /slow", "GET /slow?2"]);
});

test("a task that fetches something else than before fetches nothing, and that is told", async () => {
  await host.run("change", { to: "a" });
  host.onWait = undefined;
  await host.begin("differs", { url }, { record: true });
  await host.message(({ type }) => type === "wait");
  const exchanges = recorded();
  await host.kill();
  await host.run("change", { to: "b" });
  const before = arrived.length;
  await host.begin("differs", { url }, { record: true, replaying: true, exchanges });
  const stalled = await host.message(({ type }) => type === "stalled");
  assert.deepEqual([stalled.fetches, stalled.unmade], [[`GET ${url}/b`], [`GET ${url}/a`]]);
  assert.equal(arrived.length, before);
  await host.kill();
});
