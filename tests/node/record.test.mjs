// Recorded fetch: what a run fetched before it was suspended is answered from the record when it is started again.

import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net from "node:net";
import { after, before, beforeEach, test } from "node:test";
import zlib from "node:zlib";

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
    sent.push(await post(url + "/mail", { to: user.n, mail }));
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
export const clock = task({ id: "clock", run: async ({ url }: any) => {
  const sent = await post(url + "/mail", { at: Date.now() });
  await wait.for({ days: 1 });
  return sent;
} });
export const rpc = task({ id: "rpc", run: async ({ url }: any) => {
  const { n } = await post(url + "/rpc", { jsonrpc: "2.0", id: 1, method: (globalThis as any).changed });
  await wait.for({ days: 1 });
  return n;
} });
const part = (value: any) => Buffer.from(JSON.stringify(value)).toString("base64url");
const signed = (app: string) => "Bearer " + [{ alg: "RS256" }, { iss: app, iat: Math.random(), exp: Math.random() }, Math.random()].map(part).join(".");
export const signs = task({ id: "signs", run: async ({ url }: any) => {
  const all = await Promise.all(["1", "2"].map((app) => post(url + "/token", {}, { authorization: signed(app) })));
  await wait.for({ days: 1 });
  return all.map(({ who }) => JSON.parse(Buffer.from(who.split(".")[1], "base64url").toString()).iss);
} });
export const shared = task({ id: "shared-key", run: async ({ url }: any) => {
  const both = await Promise.all(["a", "b"].map((who) => post(url + "/pay", { who, at: Math.random() }, { "idempotency-key": "k" })));
  await wait.for({ days: 1 });
  return both.map(({ n }) => n);
} });
export const redirected = task({ id: "redirected", run: async ({ url }: any) => {
  const both = await Promise.all(["manual", "follow"].map(async (redirect: any) => { await sleep(Math.random() * 40); return (await fetch(url + "/moved", { redirect })).status; }));
  await wait.for({ days: 1 });
  return both;
} });
export const same = task({ id: "same", run: async ({ url, alike }: any) => {
  const both = await Promise.all([1, 2].map(async () => { await sleep(Math.random() * 40); return post(url + (alike ? "/alike" : "/take"), {}); }));
  await wait.for({ days: 1 });
  return both.map(({ n }) => n);
} });
export const polls = task({ id: "polls", run: async ({ url }: any) => {
  const seen = [];
  for (let poll = 0; poll < 3; poll += 1) {
    seen.push((await post(url + "/take", {})).n);
    if (poll < 2) await wait.for({ days: 1 });
  }
  return seen;
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
  const shown = ({ status, statusText, ok, url, redirected, type, body }: any) => ({ status, statusText, ok, url, redirected, type, body: body !== null });
  const clone = answer.clone();
  const headers = [...answer.headers].filter(([name]) => name !== "date");
  const sizes = [(await answer.arrayBuffer()).byteLength, (await clone.clone().arrayBuffer()).byteLength];
  return { ...shown(answer), clone: shown(clone), again: shown(clone.clone()), headers, cookies: answer.headers.getSetCookie(), sizes };
} });
export const stops = task({ id: "stops", run: async ({ url, how }: any) => {
  const control = new AbortController();
  const init = { signal: how === "any" ? AbortSignal.any([control.signal]) : control.signal };
  const answer = await (how === "request" ? fetch(new Request(url, init)) : fetch(url, init));
  control.abort(new Error("enough"));
  const read = await answer.text().catch((error) => error.message);
  if (how !== "stream") await wait.for({ days: 1 });
  return read;
} });
export const stopped = task({ id: "stopped", run: async ({ url }: any) => fetch(url, { signal: AbortSignal.abort(new Error("before")) }).catch((error) => error.message) });
export const empty = task({ id: "empty", run: async () => {} });
export const trips = task({ id: "trips", run: async ({ url }: any) => { await empty.trigger({}); await fetch(url + "/a"); } });
const forever = () => new ReadableStream({ pull: () => new Promise(() => {}) });
const upload = (url: string, make: (url: string, init: any) => any) => { void fetch(make(url + "/never", { method: "POST", body: forever(), duplex: "half" })).catch(() => {}); };
const going: Record<string, (url: string) => any> = {
  "nothing": () => {},
  "a fetch that is over, of a signal with a time": async (url) => { await (await fetch(url + "/a", { signal: AbortSignal.timeout(60_000) })).text(); },
  "one of a Request": async (url) => { await (await fetch(new Request(url + "/a", { signal: AbortSignal.any([AbortSignal.timeout(60_000)]) }))).text(); },
  "a signal with a time, which somebody hears of": () => { AbortSignal.timeout(60_000).addEventListener("abort", () => {}); },
  "one that has a function for it": () => { AbortSignal.timeout(60_000).onabort = () => {}; },
  "one among others": () => { AbortSignal.any([new AbortController().signal, AbortSignal.timeout(60_000)]).addEventListener("abort", () => {}); },
  "a body that is a stream": (url) => { void fetch(url + "/never", { method: "POST", body: forever(), duplex: "half" } as any).catch(() => {}); },
  "a Request with a stream": (url) => upload(url, (at, init) => new Request(at, init)),
  "an answer that is a stream": async (url) => { void (await fetch(url + "/endless")).text().catch(() => {}); await sleep(20); },
};
export const goes = task({ id: "goes", run: async ({ url, what }: any) => { await going[what](url); await empty.trigger({}); } });
export const form = task({ id: "form", run: async ({ url }: any) => {
  const body = new FormData(); body.set("a", "1"); body.set("file", new Blob(["x"]), "x.txt");
  await fetch(url, { method: "POST", body });
} });
export const streams = task({ id: "streams", run: async ({ url }: any) => {
  await fetch(url, { method: "POST", duplex: "half", body: new ReadableStream({ start(controller) { controller.enqueue(Buffer.from("x")); controller.close(); } }) } as any);
} });
export const requested = task({ id: "requested-stream", run: async ({ url }: any) => {
  await fetch(new Request(url, { method: "POST", duplex: "half", body: new Blob(["x"]).stream() } as any));
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
export const requests = task({ id: "own-requests", run: async ({ url, how }: any) => {
  const dispatcher = new (globalThis as any)[Symbol.for("undici.globalDispatcher.1")].constructor();
  const request = new Request(url, { dispatcher } as any);
  if (!(request instanceof Request) || request.constructor !== Request) throw new Error("it is none");
  await fetch({ itself: request, clone: request.clone(), another: new Request(request) }[how as "itself"]);
} });
export const left = task({ id: "left", run: async ({ url }: any) => { void fetch(url + "/slow").catch(() => {}); } });
export const pages = task({ id: "pages", run: async ({ url, pages, bytes }: any) => { for (let page = 0; page < pages; page++) await (await fetch(url + "/sized/" + bytes + "?page=" + page)).text(); } });
`;

const packed = zlib.gzipSync("x".repeat(1000));

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
    if (pathname === "/alike") return response.writeHead(200, { "content-type": "application/json" }).end('{"n":0}');
    if (pathname === "/redirect" || pathname === "/moved") return response.writeHead(302, { location: "/to" }).end();
    if (pathname.startsWith("/status/")) return response.writeHead(Number(pathname.split("/")[2]), "as it is").end("x");
    if (pathname === "/early") return response.socket.end("HTTP/1.1 150 Wait\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\nx");
    if (pathname === "/gzip") return response.writeHead(200, { "content-encoding": "gzip", "content-length": packed.length }).end(packed);
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

test("one that follows a redirection and one that does not are two", async () => {
  const result = await through("redirected", { url });
  assert.deepEqual(output(result), [302, 200]);
  assert.deepEqual(arrived.toSorted(), ["GET /moved", "GET /moved", "GET /to"]);
});

test("two that say the same may change places where they are answered the same, and else they are an effect", async () => {
  assert.deepEqual(output(await through("same", { url, alike: true })), [0, 0]);
  assert.equal(arrived.length, 2);
  host.onWait = undefined;
  await host.begin("same", { url }, { record: true });
  await host.message(({ type }) => type === "wait");
  assert.match(host.effects.join(), /^fetched the same more than once, and was not answered the same \(give each an idempotency-key\), from 127\.0\.0\.1/);
  await host.kill();
});

test("the same may be asked for after each wait", async () => {
  assert.deepEqual(output(await through("polls", { url })), [1, 2, 3]);
  assert.equal(arrived.length, 3);
});

test("a key that two requests share does not", async () => {
  const end = await through("shared-key", { url });
  assert.deepEqual([end.type, end.unmade?.length, arrived.length], ["stalled", 2, 2]);
  await host.kill();
});

test("two that cannot be told apart are not sent again, and that is told", async () => {
  const end = await through("timed", { url });
  assert.equal(end.type, "stalled");
  const other = `POST ${url}/x (its body or its headers are others than before)`;
  assert.deepEqual([end.fetches, end.unmade], [[other, other], [`POST ${url}/x`, `POST ${url}/x`]]);
  assert.equal(arrived.length, 2);
  await host.kill();
});

test("one with another body is not answered from the record of one to the same address, and that is told", async () => {
  await host.run("change", { to: "balance" });
  host.onWait = undefined;
  await host.begin("rpc", { url }, { record: true });
  await host.message(({ type }) => type === "wait");
  const exchanges = recorded();
  await host.kill();
  await host.run("change", { to: "transfer" });
  await host.begin("rpc", { url }, { record: true, replaying: true, exchanges });
  const stalled = await host.message(({ type }) => ["stalled", "wait"].includes(type));
  assert.deepEqual([stalled.fetches, stalled.unmade], [[`POST ${url}/rpc (its body or its headers are others than before)`], [`POST ${url}/rpc`]]);
  assert.deepEqual(arrived, ["POST /rpc"]);
  await host.kill();
});

test("nor is one that tells the time, though fetches are made one by one", async () => {
  const end = await through("clock", { url });
  assert.equal(end.type, "stalled", JSON.stringify(end));
  assert.deepEqual(arrived, ["POST /mail"]);
  await host.kill();
});

test("a token that a task signs for itself is known by what it claims", async () => {
  const result = await through("signs", { url });
  assert.deepEqual(output(result), ["1", "2"]);
  assert.equal(arrived.length, 2);
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

for (const [at, init] of [
  ["/a"], ["/redirect"], ["/empty"], ["/sized/0"], ["/sized/60000"], ["/gzip"], ["/status/304"], ["/status/599"], ["/status/600"], ["/status/999"], ["/early"],
  ["/sized/60000", { method: "HEAD" }], ["/gzip", { method: "HEAD" }],
]) {
  test(`an answer from the record is like the one of Node's fetch: ${init?.method ?? "GET"} ${at}`, async () => {
    const payload = { url: url + at, init };
    const native = output(await host.run("one", payload));
    assert.deepEqual(output(await host.run("one", payload, { record: true })), native);
    const exchanges = recorded();
    assert.equal(exchanges.length, 1);
    const before = arrived.length;
    host.onWait = undefined;
    await host.begin("one", payload, { record: true, replaying: true, exchanges });
    assert.deepEqual(output(await host.end()), native);
    assert.equal(arrived.length, before);
  });
}

for (const how of ["fetch", "request", "any"]) {
  test(`an abort after the headers came breaks the body, now and again (${how})`, async () => {
    const result = await through("stops", { url: `${url}/sized/100`, how });
    assert.equal(output(result), "enough");
    assert.equal(arrived.length, 1);
  });
}

test("so it does that of a stream", async () => {
  assert.equal(output(await host.run("stops", { url: `${url}/endless`, how: "stream" }, { record: true })), "enough");
});

test("a fetch that was aborted before is not sent, and no effect", async () => {
  assert.equal(output(await host.run("stopped", { url }, { record: true })), "before");
  assert.deepEqual([arrived, host.effects, recorded()], [[], [], []]);
});

test("an answer of the host that the SDK does not take is not counted among those that were given", async () => {
  let refused = 0;
  host.onRequest = ({ path }) => (path.endsWith("/trigger") && refused++ === 0 ? { status: 503, json: { error: "not now" } } : undefined);
  assert.equal((await host.run("trips", { url }, { record: true })).ok, true);
  host.onRequest = undefined;
  assert.deepEqual([refused, recorded().map(({ after }) => after)], [2, [1]]);
});

for (const [what, counts] of [
  ["nothing", false], ["a fetch that is over, of a signal with a time", false], ["one of a Request", false], ["a signal with a time, which somebody hears of", true],
  ["one that has a function for it", true], ["one among others", true], ["a body that is a stream", true], ["a Request with a stream", true],
  ["an answer that is a stream", true],
]) {
  test(`${what} ${counts ? "goes" : "does not go"} on beside a call`, async () => {
    host.requests.length = 0;
    await host.begin("goes", { url, what }, { record: true });
    await Promise.race([host.end(), new Promise((resolve) => setTimeout(resolve, 1000))]);
    const { headers } = host.requests.find(({ path }) => path.endsWith("/trigger"));
    assert.equal(Number(headers["x-oncekey-beside"]) > 0, counts);
    await host.kill();
  });
}

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
for (const [what, task, how] of [
  ["a body that can be read once", "streams"], ["a Request whose body can be read once", "requested-stream"], ["a dispatcher of the task's own", "own"],
  ["a Request with a dispatcher of the task's own", "own-requests", "itself"], ["the clone of one", "own-requests", "clone"],
  ["a Request that is made of one", "own-requests", "another"],
]) {
  test(`a fetch with ${what} is an effect`, async () => {
    assert.equal((await host.run(task, { url, how }, { record: true })).ok, true);
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
  const exchanges = recorded();
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
