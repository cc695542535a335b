// A host for one harness, in JavaScript: it answers the harness's messages and HTTP calls as a test wants them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import esbuild from "esbuild";

import { bundle, prepareSdk } from "../../shared/node/src/bundle.mjs";
import { projectOf } from "../../shared/node/src/project.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const HARNESS = fileURLToPath(new URL("../../shared/node/src/harness.mjs", import.meta.url));

/** A folder for one test, inside this package so that its files find the SDK. Returns its path and how to remove it. */
export async function folder(files) {
  const root = await mkdtemp(path.join(here, ".test-"));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(root, name)), { recursive: true });
    await writeFile(path.join(root, name), text);
  }
  return { root, remove: () => rm(root, { recursive: true, force: true }) };
}

/** Bundles files, given by their names, and starts a harness on them. */
export async function startHost(files, options = {}) {
  const { root, remove } = await folder({ "package.json": "{}", ...files });
  const out = path.join(root, "out");
  const project = await projectOf(path.join(root, options.tasks ?? "."));
  await bundle({ esbuild, project, out, sdk: await prepareSdk({ esbuild, project, cache: path.join(here, ".test-cache") }) });
  const host = new Host(out, options);
  host.root = root;
  host.removing = remove;
  await host.start();
  return host;
}

/** One harness after another: a harness that ended is started anew with the next run. */
export class Host {
  requests = [];
  messages = [];
  #waiting = [];
  #runs = 0;
  #children = 0;

  constructor(out, options) {
    this.out = out;
    this.options = options;
  }

  async start() {
    this.server = http.createServer((request, response) => void this.#serve(request, response));
    this.server.listen(0, "127.0.0.1");
    await once(this.server, "listening");
    this.url = `http://127.0.0.1:${this.server.address().port}`;
    await this.#spawn();
  }

  async #spawn() {
    const { NODE_OPTIONS, NODE_TEST_CONTEXT, ...environment } = process.env;
    this.child = spawn(process.execPath, ["--enable-source-maps", ...(this.options.flags ?? []), this.options.harness ?? HARNESS], {
      cwd: this.root,
      env: { ...environment, TRIGGER_API_URL: this.url, TRIGGER_SECRET_KEY: "tr_host_test", ONCEKEY_BUNDLE: this.out, ...this.options.env },
      stdio: ["ignore", "pipe", "pipe", "pipe", "pipe"],
    });
    this.printed = "";
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (chunk) => {
      this.printed += chunk;
    });
    this.ended = once(this.child, "exit");
    this.child.stdio[3].on("error", () => {});
    this.messages = [];
    createInterface({ input: this.child.stdio[4] }).on("line", (line) => this.#heard(JSON.parse(line)));
    void this.ended.then(() => this.#heard({ type: "ended" }));
    const first = await this.message(({ type }) => type === "ready" || type === "failed" || type === "ended");
    if (first.type === "ready") this.ready = first;
    else this.failed = first;
  }

  #heard(message) {
    this.messages.push(message);
    if (message.type === "wait") void this.#answerWait(message);
    this.#waiting = this.#waiting.filter(({ wanted, resolve }) => !wanted(message) || resolve(message));
  }

  async #answerWait(message) {
    const answer = await this.onWait?.(message);
    if (answer !== undefined) this.say({ type: "waited", id: message.id, ...answer });
  }

  say(message) {
    this.child.stdio[3].write(`${JSON.stringify(message)}\n`);
  }

  /** The first message that is wanted: one that was said, or will be. */
  message(wanted) {
    const found = this.messages.find(wanted);
    if (found) return Promise.resolve(found);
    return new Promise((resolve) => this.#waiting.push({ wanted, resolve }));
  }

  /** Begins a run, in a new process if the last one has ended. */
  async begin(task, payload, { id = `run_${++this.#runs}`, attempt = 1, run, replaying = false, record = false, exchanges = [], retries, environment } = {}) {
    if (this.child.exitCode !== null || this.child.signalCode !== null) await this.#spawn();
    this.messages = [];
    const now = new Date().toISOString();
    this.say({
      type: "run", replaying, record, exchanges, retries,
      worker: { id: "worker", version: "1", contentHash: "hash" },
      execution: {
        task: { id: task, filePath: "a.ts" },
        attempt: { number: attempt, startedAt: now, id: "", backgroundWorkerId: "", backgroundWorkerTaskId: "", status: "EXECUTING" },
        run: {
          id, payload: payload === undefined ? "" : JSON.stringify(payload), payloadType: "application/json", tags: [], isTest: false, createdAt: now, startedAt: now,
          context: {}, durationMs: 0, costInCents: 0, baseCostInCents: 0, ...run,
        },
        queue: { id: "q", name: "task/a" },
        environment: { id: "e", slug: "dev", type: "DEVELOPMENT", ...environment },
        organization: { id: "o", slug: "o", name: "o" },
        project: { id: "p", ref: "p", slug: "p", name: "p" },
        machine: { name: "small-1x", cpu: 1, memory: 1, centsPerMs: 0 },
      },
    });
    return id;
  }

  /** A run from its begin to its end: its result, or how the process died. */
  async run(task, payload, options) {
    await this.begin(task, payload, options);
    return this.end();
  }

  async end() {
    const end = await this.message(({ type }) => type === "result" || type === "died" || type === "ended");
    return end.type === "result" ? end.result : end;
  }

  /** What the run under way said that it did outside. */
  get effects() {
    return this.messages.filter(({ type }) => type === "effect").map(({ what }) => what);
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  async stop() {
    this.child.stdio[3]?.end();
    await Promise.race([this.ended, new Promise((resolve) => setTimeout(resolve, 2000).unref())]);
    this.child.kill("SIGKILL");
    this.server.close();
    this.server.closeAllConnections();
    await this.removing?.();
  }

  async #serve(request, response) {
    let body = "";
    for await (const chunk of request) body += chunk;
    const url = new URL(request.url, this.url);
    const call = { method: request.method, path: url.pathname, headers: request.headers, body };
    this.requests.push(call);
    const answer = (await this.onRequest?.(call)) ?? this.#usual(call);
    if (answer === "never") return;
    const { status = 200, json } = answer;
    response.writeHead(status, { "content-type": "application/json" }).end(status === 204 ? undefined : JSON.stringify(json));
  }

  #usual({ method, path: at, body }) {
    const child = `run_child${++this.#children}`;
    if (/\/trigger$/.test(at)) return { json: { id: child, isCached: false } };
    if (at === "/api/v3/batches") return { status: 202, json: { id: `batch_${this.#children}`, runCount: JSON.parse(body).runCount, isCached: false } };
    if (/\/items$/.test(at)) return { json: { id: "batch", itemsAccepted: body.trim().split("\n").length, itemsDeduplicated: 0, sealed: true } };
    if (/\/wait\/duration$/.test(at)) return { json: { waitUntil: JSON.parse(body).date, waitpoint: { id: `waitpoint_${this.#children}` } } };
    if (/\/metadata$/.test(at)) return { json: { metadata: {} } };
    if (/^\/oncekey\/v1\/steps\//.test(at)) {
      if (method === "PUT") this.steps = { ...this.steps, [at]: this.steps?.[at] ?? JSON.parse(body) };
      if (method === "DELETE") return { status: 204 };
      return this.steps?.[at] ? { json: this.steps[at] } : { status: 204 };
    }
    return { status: 501, json: { error: `${method} ${at} is not there` } };
  }
}
