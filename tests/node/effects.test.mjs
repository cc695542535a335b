// Whatever leaves the process is told before it happens: once for each way out, also over what an earlier run left open.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import dgram from "node:dgram";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";

import { startHost } from "./host.mjs";

const SOURCE = `
import { metadata, task, wait } from "@trigger.dev/sdk";
import { step } from "oncekey";
import childProcess from "node:child_process";
import cluster from "node:cluster";
import crypto from "node:crypto";
import dgram from "node:dgram";
import dns from "node:dns/promises";
import { once } from "node:events";
import fs from "node:fs";
import { appendFile } from "node:fs/promises";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import tls from "node:tls";
import { promisify } from "node:util";
import traceEvents from "node:trace_events";
import v8 from "node:v8";
import { Worker } from "node:worker_threads";
import zlib from "node:zlib";

// Kept from run to run.
const kept: any = {};
const got = (request: any) => new Promise((resolve) => request.on("response", (answer: any) => answer.resume().on("end", resolve)).on("error", resolve).end());
const ignored = async (promise: any) => { try { await promise } catch {} };
const { spawn, exec } = childProcess;

const ways: Record<string, (p: any) => any> = {
  "fetch": (p) => fetch(p.url).then((answer) => answer.text()),
  "a request of http": (p) => got(http.get(p.url)),
  "a request of https": (p) => got(https.get(p.url.replace("http:", "https:"))),
  "a socket": async (p) => { const socket = net.connect(p.port, "127.0.0.1"); await once(socket, "connect"); socket.destroy(); },
  "a socket by address": async (p) => { const socket = net.createConnection({ port: p.port, host: "localhost" }); await once(socket, "connect"); socket.destroy(); },
  "a socket of TLS": async (p) => { const socket = tls.connect(p.port, "127.0.0.1"); await once(socket, "error").catch(() => {}); },
  "a Unix socket": async () => { const socket = net.connect("/tmp/there-is-no-such-socket"); await once(socket, "error"); },
  "HTTP/2": async (p) => { const session = http2.connect(p.http2); const stream = session.request({ ":path": "/" }); stream.resume(); await once(stream, "end"); session.close(); },
  // Where this Node has one.
  "a WebSocket": async (p) => { const { WebSocket } = globalThis as any; await (WebSocket ? once(new WebSocket(p.url.replace("http", "ws")), "error") : fetch(p.url)); },
  "a datagram": async (p) => { const socket = dgram.createSocket("udp4"); await new Promise((resolve) => socket.send("x", p.udp, "127.0.0.1", resolve)); socket.close(); },
  "a connected datagram socket": async (p) => { const socket = dgram.createSocket("udp4"); socket.connect(p.udp, "127.0.0.1"); await once(socket, "connect"); socket.close(); },
  "spawn": async () => { await once(spawn("true"), "exit"); },
  "exec": () => new Promise((resolve) => exec("true", resolve)),
  "exec, promisified": () => promisify(exec)("true"),
  "execFile, promisified": () => promisify(childProcess.execFile)("true"),
  "spawnSync": () => { childProcess.spawnSync("true"); },
  "execSync": () => { childProcess.execSync("true"); },
  "execFileSync": () => { childProcess.execFileSync("true"); },
  "fork": async (p) => { await once(childProcess.fork(p.nothing), "exit"); },
  "a cluster": async (p) => { cluster.setupPrimary({ exec: p.nothing }); const worker = cluster.fork(); await once(worker, "online"); worker.process.kill("SIGKILL"); await once(worker, "exit"); },
  "a signal": (p) => { try { process.kill(p.stranger, 0 as any); process.kill(p.stranger, "SIGURG") } catch {} },
  "a thread": async () => { await once(new Worker("", { eval: true }), "exit"); },
  "writeFile": (p) => fs.promises.writeFile(p.file, "x"),
  "appendFile, imported by name": (p) => appendFile(p.file, "x"),
  "writeFileSync": (p) => fs.writeFileSync(p.file, "x"),
  "a stream into a file": (p) => new Promise((resolve) => fs.createWriteStream(p.file).end("x", resolve)),
  "a WriteStream": (p) => new Promise((resolve) => (new (fs as any).WriteStream(p.file)).end("x", resolve)),
  "a file opened for writing": async (p) => { await (await fs.promises.open(p.file, "a")).close(); },
  "a file opened with flags": (p) => fs.closeSync(fs.openSync(p.file, fs.constants.O_WRONLY)),
  "readFile with a flag that writes": (p) => fs.promises.readFile(p.file, { flag: "w+" }),
  "readFile with a number for a flag that writes": (p) => fs.promises.readFile(p.file, { flag: fs.constants.O_RDWR | fs.constants.O_TRUNC }),
  "readFile by callback with a flag that writes": (p) => new Promise((resolve) => fs.readFile(p.file, { flag: "w+" }, resolve)),
  "readFileSync with a flag that writes": (p) => { fs.readFileSync(p.file, { encoding: "utf8", flag: "a+" }); },
  "a stream for reading that empties its file": (p) => once(fs.createReadStream(p.file, { flags: "w+" }).resume(), "end"),
  "a ReadStream that empties its file": (p) => once(new (fs as any).ReadStream(p.file, { flags: "w+" }).resume(), "end"),
  "traces of Node's events": () => { const traces = traceEvents.createTracing({ categories: ["node.perf"] }); traces.enable(); traces.disable(); },
  "a heap snapshot": (p) => { v8.writeHeapSnapshot(p.file); },
  "a report": (p) => { process.report!.writeReport(p.file); },
};
const keeps: Record<string, [(p: any) => any, (p: any) => any, ((p: any) => any)?]> = {
  "a socket": [
    async (p) => { kept.socket = net.connect(p.port, "127.0.0.1"); await once(kept.socket, "connect"); },
    () => kept.socket.write("GET / HTTP/1.0\\r\\n\\r\\n"),
    () => kept.socket.destroy(),
  ],
  "an agent that keeps its sockets": [
    (p) => { kept.agent = new http.Agent({ keepAlive: true }); return got(http.get(p.url, { agent: kept.agent })); },
    (p) => got(http.get(p.url, { agent: kept.agent })),
    () => kept.agent.destroy(),
  ],
  "a session of HTTP/2": [
    (p) => { kept.session = http2.connect(p.http2); return once(kept.session, "connect"); },
    async () => { const stream = kept.session.request({ ":path": "/" }); stream.resume(); await once(stream, "end"); },
    () => kept.session.destroy(),
  ],
  "a stream of HTTP/2": [
    async (p) => { kept.session = http2.connect(p.http2); kept.stream = kept.session.request({ ":path": "/", ":method": "POST" }); kept.stream.on("error", () => {}); await once(kept.session, "connect"); },
    () => kept.stream.write("more"),
    () => kept.session.destroy(),
  ],
  "an open file": [(p) => { kept.fd = fs.openSync(p.file, "a"); }, () => fs.writeSync(kept.fd, "x"), () => fs.closeSync(kept.fd)],
  "an open file, by callback": [(p) => { kept.fd = fs.openSync(p.file, "a"); }, () => new Promise((resolve) => fs.write(kept.fd, "x", resolve)), () => fs.closeSync(kept.fd)],
  "a handle": [async (p) => { kept.handle = await fs.promises.open(p.file, "a"); }, () => kept.handle.write("x"), () => kept.handle.close()],
  "a handle that a file is written with": [async (p) => { kept.handle = await fs.promises.open(p.file, "a"); }, () => kept.handle.writeFile("x"), () => kept.handle.close()],
  "a log": [(p) => { kept.log = fs.createWriteStream(p.file); return once(kept.log, "open"); }, () => new Promise((resolve) => kept.log.write("x", resolve)), () => kept.log.destroy()],
  "a datagram socket": [
    async () => { kept.udp = dgram.createSocket("udp4"); kept.udp.bind(0, "127.0.0.1"); await once(kept.udp, "listening"); },
    (p) => new Promise((resolve) => kept.udp.send("x", p.udp, "127.0.0.1", resolve)),
    () => kept.udp.close(),
  ],
  "a server that answers": [
    async () => { kept.server = http.createServer((_, response) => response.end("x")).listen(0, "127.0.0.1"); await once(kept.server, "listening"); },
    // Whoever asks is outside; here a process that the test starts would do, and a raw socket that was there does as well.
    async () => { await kept.asked; },
    () => { kept.server.closeAllConnections(); kept.server.close(); },
  ],
  "an inherited descriptor": [
    (p) => { kept.fifo = new net.Socket({ fd: fs.openSync(p.fifo, "r+"), readable: false, writable: true }); },
    () => new Promise((resolve) => kept.fifo.write("x", resolve)),
    () => kept.fifo.destroy(),
  ],
  "a process": [() => { kept.child = spawn("sleep", ["60"]); }, () => {}, () => { kept.child.kill("SIGKILL"); return once(kept.child, "exit"); }],
  "a trace of Node's events": [
    () => { kept.traces = traceEvents.createTracing({ categories: ["node.perf"] }); kept.traces.enable(); },
    () => {},
    () => kept.traces.disable(),
  ],
  "a thread": [async () => { kept.thread = new Worker("setInterval(() => {}, 1e6)", { eval: true }); await once(kept.thread, "online"); }, () => {}, () => kept.thread.terminate()],
};
const harmless: Record<string, (p: any) => any> = {
  "nothing": () => {},
  "reading a file": async (p) => { fs.readFileSync(p.there); await fs.promises.readFile(p.there, { flag: "rs" }); fs.readFileSync(p.there, "utf8"); await (await fs.promises.open(p.there)).close(); fs.createReadStream(p.there).destroy(); },
  "looking at a folder": () => { fs.readdirSync("/"); fs.statSync("/"); fs.existsSync("/x"); },
  "a look-up of a name": () => dns.lookup("localhost"),
  "timers": () => new Promise((resolve) => setTimeout(resolve, 5)),
  "an import": () => import("node:querystring"),
  "the console": () => { console.log("x"); process.stdout.write("y"); fs.writeSync(1, "z"); console.error("w"); },
  "hashes and keys": async () => { crypto.createHash("sha256").update("x").digest(); await crypto.subtle.digest("SHA-256", Buffer.from("x")); await promisify(crypto.generateKeyPair)("ed25519"); },
  "packing": () => promisify(zlib.gzip)("x"),
  "a fetch of data": () => fetch("data:,x").then((answer) => answer.text()),
  "a child": () => way.trigger({ kind: "harmless", name: "nothing" } as any),
  "what it says of itself": async () => { metadata.set("a", 1); await metadata.flush(); },
  "a wait": () => wait.for({ seconds: 10 }),
  "a step": (p) => step("out", async () => {
    await fetch(p.url).then((answer) => answer.text());
    await got(http.get(p.url));
    fs.writeFileSync(p.file, "x");
    await once(spawn("true"), "exit");
  }),
};
const blind: Record<string, (p: any) => any> = {
  "process.binding": () => { (process as any).binding("fs"); },
  "native code": (p) => { try { process.dlopen({ exports: {} } as any, p.nothing) } catch {} },
  "an engine of OpenSSL": (p) => { try { crypto.setEngine(p.nothing) } catch {} },
  "a server of HTTP/2": () => { http2.createServer(); },
  "WASI": async () => { const { WASI } = await import("node:wasi"); new WASI({ version: "preview1" } as any); },
  "a database of Node's own": async () => { const { DatabaseSync } = await import("node:sqlite" as any); new DatabaseSync(":memory:"); },
};
export const way = task({
  id: "way", retry: { maxAttempts: 1 },
  run: async (p: any) => {
    const body = { ways, harmless, blind }[p.kind as "ways"]?.[p.name] ?? keeps[p.name][p.half];
    await body(p);
  },
});
export const files = task({
  id: "files", retry: { maxAttempts: 1 },
  run: async ({ of, name }: any) => {
    const object = of === "fs" ? fs : fs.promises;
    const args = /^(f(chmod|chown|truncate|utimes)|write|writev)(Sync)?$/.test(name) ? [99, [Buffer.from("x")], 1] : ["/dev/null/x", "/dev/null/y", 1];
    await ignored((async () => { await new Promise((resolve, reject) => {
      const answer = (object as any)[name](...args, ...(of === "fs" && !name.endsWith("Sync") ? [resolve] : []));
      if (of !== "fs") answer.then(resolve, reject); else if (name.endsWith("Sync")) resolve(answer);
    }) })());
  },
});
export const flagged = task({
  id: "flagged", retry: { maxAttempts: 1 },
  run: async ({ of, name, file }: any) => {
    const object: any = of === "fs" ? fs : fs.promises;
    for (const options of [{ flag: "w+" }, { flags: "w+" }, "w+"]) {
      await ignored((async () => {
        const made = object[name](file, options, ...(of === "fs" ? [() => {}] : []));
        if (typeof made?.resume === "function") { made.on("error", () => {}).resume(); await once(made, "close"); }
        return made;
      })());
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return fs.existsSync(file);
  },
});
export const names = task({ id: "names", run: async (p: any) => ({ ways, keeps, harmless, blind } as any)[p.of] && Object.keys(({ ways, keeps, harmless, blind } as any)[p.of]) });
`;

let host;
let outside;
let payload;
const servers = [];

before(async () => {
  host = await startHost({ "a.ts": SOURCE, "there.txt": "x", "nothing.cjs": "" });
  assert.equal(host.failed, undefined, JSON.stringify(host.failed));
  host.onWait = ({ waitpoint }) => ({ result: { ok: true, id: waitpoint } });
  outside = http.createServer((_, response) => response.end("ok")).listen(0, "127.0.0.1");
  const second = http2.createServer((request, response) => request.method === "GET" && response.end("ok")).listen(0, "127.0.0.1");
  const third = dgram.createSocket("udp4").bind(0, "127.0.0.1");
  servers.push(outside, second, third);
  await Promise.all(servers.map((server) => once(server, "listening")));
  const at = (name) => path.join(host.root, name);
  execFileSync("mkfifo", [at("fifo")]);
  payload = {
    url: `http://127.0.0.1:${outside.address().port}`, port: outside.address().port, http2: `http://127.0.0.1:${second.address().port}`, udp: third.address().port,
    file: at("written.txt"), there: at("there.txt"), nothing: at("nothing.cjs"), fifo: at("fifo"), stranger: process.pid,
  };
});
after(async () => {
  await host.stop();
  for (const server of servers) {
    server.closeAllConnections?.();
    server.close();
  }
});

const names = (of) => {
  const text = SOURCE.slice(SOURCE.indexOf(`const ${of}:`));
  return [...text.slice(0, text.indexOf("\n};")).matchAll(/^ {2}"([^"]+)":/gm)].map(([, name]) => name);
};
const clean = async (on = host) => {
  await on.run("way", { kind: "harmless", name: "nothing" });
  return on.effects;
};
const ran = (result) => assert.equal(result.ok, true, JSON.stringify(result));

for (const name of names("ways")) {
  test(`${name} is told, and only in its run`, async () => {
    ran(await host.run("way", { ...payload, kind: "ways", name }));
    assert.ok(host.effects.length > 0);
    assert.deepEqual(await clean(), []);
  });
}

for (const name of names("keeps")) {
  test(`${name} that an earlier run left open is told when it is used`, async () => {
    ran(await host.run("way", { ...payload, name, half: 0 }));
    if (name === "a server that answers") return; // has a test of its own below
    ran(await host.run("way", { ...payload, name, half: 1 }));
    assert.ok(host.effects.length > 0);
    ran(await host.run("way", { ...payload, name, half: 2 }));
    assert.deepEqual(await clean(), []);
  });
}

for (const name of names("harmless")) {
  test(`${name} is not told`, async () => {
    ran(await host.run("way", { ...payload, kind: "harmless", name }));
    assert.deepEqual(host.effects, []);
  });
}

for (const name of names("blind")) {
  test(`${name} is told in that run and in all that follow in its process`, async (context) => {
    if (name.startsWith("a database") && Number(process.versions.node.split(".")[0]) < 22) return context.skip("this Node has none");
    const other = await startHost({ "a.ts": SOURCE, "nothing.cjs": "" });
    try {
      ran(await other.run("way", { ...payload, kind: "blind", name }));
      assert.ok(other.effects.length > 0);
      assert.equal((await clean(other)).length, 1);
    } finally {
      await other.stop();
    }
  });
}

// What Node has of files, as a list of what does not change any: whatever a newer Node brings along must be told.
const READS = /^(access|exists|read.*|l?stat|fstat|statfs|opendir|realpath|open|openAsBlob|close|fsync|fdatasync|watch|watchFile|unwatchFile|glob|createReadStream|createWriteStream|_toUnixTimestamp)(Sync)?$/;
for (const [of, object] of [["fs", fs], ["fs.promises", fs.promises]]) {
  for (const name of Object.keys(object).filter((name) => typeof object[name] === "function" && /^[a-z_]/.test(name) && !READS.test(name))) {
    test(`${of}.${name} is told`, async () => {
      ran(await host.run("files", { of, name }));
      assert.ok(host.effects.length > 0);
    });
  }
}

// Whatever of these makes a file, if a flag says so, must be told: also what a newer Node brings along.
for (const [of, object] of [["fs", fs], ["fs.promises", fs.promises]]) {
  for (const name of Object.keys(object).filter((name) => typeof object[name] === "function" && READS.test(name) && !/^(close|watch|unwatch|_)/.test(name))) {
    test(`${of}.${name} is told if it makes its file`, async () => {
      const result = await host.run("flagged", { of, name, file: path.join(host.root, `flagged-${of}-${name}`) });
      ran(result);
      if (JSON.parse(result.output).json) assert.ok(host.effects.length > 0);
    });
  }
}

test("an answer of a server of the task's own is told", async () => {
  const other = await startHost({
    "a.ts": `
      import { task } from "@trigger.dev/sdk";
      import { once } from "node:events";
      import http from "node:http";
      const server = http.createServer((_, response) => { asked(); response.end("x") });
      let asked = () => {};
      server.listen(0, "127.0.0.1");
      export const port = task({ id: "port", run: async () => { if (!server.listening) await once(server, "listening"); return (server.address() as any).port } });
      export const answer = task({ id: "answer", run: () => new Promise<void>((resolve) => { asked = () => setTimeout(resolve, 10) }) });
    `,
  });
  try {
    const port = JSON.parse((await other.run("port")).output).json;
    await other.begin("answer");
    await Promise.all([other.end(), fetch(`http://127.0.0.1:${port}`).then((answer) => answer.text())]);
    assert.match(other.effects.join(), /sent to 127\.0\.0\.1/);
  } finally {
    await other.stop();
  }
});

test("hosts that are named as harmless do not count, others do", async () => {
  const { port } = outside.address();
  const other = await startHost({ "a.ts": SOURCE }, { env: { ONCEKEY_HARMLESS: `*.sentry.io, 127.0.0.*:${port}` } });
  try {
    ran(await other.run("way", { ...payload, kind: "ways", name: "fetch" }));
    assert.deepEqual(other.effects, []);
    ran(await other.run("way", { ...payload, kind: "ways", name: "fetch", url: payload.url.replace("127.0.0.1", "localhost") }));
    assert.equal(other.effects.length > 0, true);
  } finally {
    await other.stop();
  }
});

test("the five first are told, and each once", async () => {
  const other = await startHost({
    "a.ts": `
      import { task } from "@trigger.dev/sdk";
      import fs from "node:fs";
      export const many = task({ id: "many", run: async () => { for (let i = 0; i < 40; i++) try { fs.rmSync("/dev/null/" + (i >> 1)) } catch {} } });
    `,
  });
  try {
    await other.run("many");
    assert.equal(new Set(other.effects).size, 5);
    assert.equal(other.effects.length, 5);
  } finally {
    await other.stop();
  }
});

test("what is sent is told before it arrives", async () => {
  const arrived = once(outside, "request");
  await host.begin("way", { ...payload, kind: "ways", name: "fetch" });
  await arrived;
  // It was in the pipe before the request was: nothing but reading is left.
  await host.message(({ type }) => type === "effect");
  const told = host.messages.findIndex(({ type }) => type === "effect");
  const ended = host.messages.findIndex(({ type }) => type === "result");
  assert.ok(told >= 0 && (ended === -1 || told < ended));
  await host.end();
});
