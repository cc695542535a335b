// The real binary on a folder of task files, and what a test asks of it over HTTP.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import http from "node:http";
import path from "node:path";

import { target } from "../tools/local-stack.mjs";
import { folder } from "./host.mjs";

const FINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELED", "TIMED_OUT", "EXPIRED", "SYSTEM_FAILURE"];
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A server outside, which notes in `arrived` the paths that it is asked for, and answers how often it was asked for each. */
export async function startOutside(arrived) {
  const server = http.createServer((request, response) => {
    arrived.push(request.url);
    response.end(String(arrived.filter((at) => at === request.url).length));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Starts `oncekey dev --tasks` on files, given by their names. Options: `args`, `env`, `data` (a folder instead of memory), `profile`. */
export async function startTasks(files, options = {}) {
  const made = await folder({ "package.json": "{}", ...files });
  const stack = new Stack(made, options);
  await stack.start();
  return stack;
}

export class Stack {
  printed = "";

  constructor({ root, remove }, { args = [], env = {}, data = false, tasks = ".", profile = "debug" }) {
    Object.assign(this, { root, remove, args, env, data, tasks, binary: `${target}/${profile}/oncekey` });
  }

  /** Starts the binary, and waits until it listens. */
  async start() {
    const kept = this.data ? ["--data", path.join(this.root, ".data")] : ["--memory"];
    const { NODE_TEST_CONTEXT, NODE_OPTIONS, ...environment } = process.env;
    this.child = spawn(this.binary, ["dev", ...kept, "--port", "0", "--tasks", path.join(this.root, this.tasks), ...this.args], {
      stdio: ["ignore", "pipe", "pipe"], env: { ...environment, ...this.env },
    });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (chunk) => {
      this.printed += chunk;
    });
    this.ended = new Promise((resolve) => this.child.once("close", resolve));
    const listening = () => this.printed.match(/listening on (http:\S+)/g)?.at(-1)?.split(" ").at(-1);
    this.printed = "";
    const url = await Promise.race([this.until(listening, "it does not start"), this.ended.then((code) => { throw new Error(`it ended with ${code}: ${this.printed}`); })]);
    this.url = url;
  }

  /** Polls until something is so. What is so is returned. */
  async until(look, what, seconds = 60) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(30)) {
      const found = await look();
      if (found) return found;
    }
    throw new Error(`${what}\n${this.printed.slice(-4000)}`);
  }

  async call(method, at, body) {
    const response = await fetch(`${this.url}${at}`, {
      method, headers: { authorization: "Bearer tr_dev_local", "content-type": "application/json" }, body: body && JSON.stringify(body),
    });
    return { status: response.status, body: await response.json() };
  }

  /** Triggers a task, and returns the run's id. */
  async trigger(task, payload = {}, options = {}) {
    const { status, body } = await this.call("POST", `/api/v1/tasks/${task}/trigger`, { payload, options });
    if (status !== 200) throw new Error(`${status}: ${JSON.stringify(body)}`);
    return body.id;
  }

  async get(id) {
    return (await this.call("GET", `/api/v3/runs/${id}`)).body;
  }

  /** The run when it has ended. */
  async end(id, seconds = 60) {
    return this.until(async () => {
      const run = await this.get(id).catch(() => undefined);
      return FINAL.includes(run?.status) && run;
    }, `${id} does not end`, seconds);
  }

  /** The run when it is in a state. */
  inState(id, status) {
    return this.until(async () => {
      const run = await this.get(id);
      if (FINAL.includes(run.status) && run.status !== status) throw new Error(`${id} ended ${run.status}: ${JSON.stringify(run.error)}`);
      return run.status === status && run;
    }, `${id} is never ${status}`);
  }

  /** Triggers, and waits for the end. */
  async run(task, payload, options) {
    return this.end(await this.trigger(task, payload, options));
  }

  /** All runs of a task, oldest first. */
  async runsOf(task) {
    const { body } = await this.call("GET", `/api/v1/runs?filter[taskIdentifier]=${task}&page[size]=100`);
    return body.data.toReversed();
  }

  write(name, text) {
    return writeFile(path.join(this.root, name), text);
  }

  async kill() {
    this.child.kill("SIGKILL");
    await this.ended;
  }

  async stop() {
    this.child.kill("SIGTERM");
    const patience = setTimeout(() => this.child.kill("SIGKILL"), 5000);
    await this.ended;
    clearTimeout(patience);
    await this.remove();
    await rm(this.root, { recursive: true, force: true });
  }
}
