// What tasks in TypeScript cost: the start of a process from a package for Lambda, a warm run's CPU in the task's process, and runs
// end to end through the real binary; beside a service of Restate in Node.js, if tests/bench/peers/run has installed that.
//
// npm ci --prefix tests/node; cargo build --release -p oncekey
// node tests/bench/typescript.mjs [--starts 10] [--runs 2000] [--workers 2] [--peers target/peers]

import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";

import { folder, startHost } from "../node/host.mjs";
import { startTasks } from "../node/stack.mjs";

const { values } = parseArgs({ options: { starts: { type: "string", default: "10" }, runs: { type: "string", default: "2000" }, workers: { type: "string", default: "2" }, peers: { type: "string" } } });
const runs = Number(values.runs);
const TASKS = `import { task } from "@trigger.dev/sdk";\nexport const echo = task({ id: "echo", run: async (payload: any) => payload });\n`;
const TICK_MS = 1000 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** The CPU that a process has used, in milliseconds, without its children. */
function cpu(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
const memory = (pid) => Number(readFileSync(`/proc/${pid}/status`, "utf8").match(/VmRSS:\s+(\d+)/)[1]) / 1024;
const middle = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];
const row = (name, ...cells) => console.log(`${name.padEnd(52)} ${cells.join("  ")}`);

async function starts() {
  const { root, remove } = await folder({ "package.json": "{}", "src/trigger/tasks.ts": TASKS });
  const out = path.join(root, "package");
  execFileSync(process.execPath, [fileURLToPath(new URL("../../shared/node/bin/oncekey.mjs", import.meta.url)), "build", "--out", out, "--host", "none"], { cwd: root });
  const measured = [];
  for (let start = 0; start < Number(values.starts); start += 1) {
    const began = performance.now();
    const child = spawn(process.execPath, ["--enable-source-maps", path.join(out, "harness.mjs")], {
      stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"], env: { ...process.env, ONCEKEY_BUNDLE: path.join(out, "tasks"), TRIGGER_API_URL: "http://127.0.0.1:9", TRIGGER_SECRET_KEY: "tr_host_bench" },
    });
    child.stdio[3].on("error", () => {});
    await new Promise((resolve) => createInterface({ input: child.stdio[4] }).once("line", resolve));
    measured.push({ cpu: cpu(child.pid), wall: performance.now() - began, memory: memory(child.pid) });
    child.kill("SIGKILL");
  }
  await remove();
  const of = (what) => middle(measured.map((one) => one[what])).toFixed(0);
  row("start of a process, packaged (median)", `${of("cpu")} ms CPU`, `${of("wall")} ms`, `${of("memory")} MB`);
}

async function warm() {
  const host = await startHost({ "a.ts": TASKS });
  for (let run = 0; run < 200; run += 1) await host.run("echo", { run });
  const before = cpu(host.child.pid);
  const took = [];
  for (let run = 0; run < runs; run += 1) {
    const began = performance.now();
    await host.run("echo", { run });
    took.push(performance.now() - began);
  }
  row("a warm run, in the task's process", `${((cpu(host.child.pid) - before) / runs).toFixed(2)} ms CPU`, `${middle(took).toFixed(2)} ms (p50)`);
  await host.stop();
}

/** Does something so many times, 32 at a time. */
async function atOnce(count, make) {
  let next = 0;
  await Promise.all(Array.from({ length: 32 }, async () => {
    while (next < count) await make(next++);
  }));
}

/** The same task as a service of Restate, whose server is a process of its own. */
async function restate(installed) {
  const data = mkdtempSync(path.join(tmpdir(), "restate-"));
  const server = spawn(path.join(installed, "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server"), ["--no-logo"], {
    stdio: "ignore", env: { ...process.env, RESTATE_BASE_DIR: data, RESTATE_BIND_IP: "127.0.0.1", RESTATE_ADVERTISED_HOST: "127.0.0.1", RESTATE_LISTEN_MODE: "tcp", RESTATE_DISABLE_TELEMETRY: "true", RUST_LOG: "error" },
  });
  const service = spawn(process.execPath, [path.join(installed, "restate.mjs")], { stdio: "ignore", env: { ...process.env, PORT: "9080", RESTATE_LOGGING: "ERROR", NODE_ENV: "production" } });
  const json = (body) => ({ method: "POST", headers: { "content-type": "application/json", accept: "application/json" }, body: JSON.stringify(body) });
  const ask = async (url, body) => (await fetch(url, json(body))).json();
  for (let tries = 0; !(await fetch("http://127.0.0.1:9070/deployments", json({ uri: "http://127.0.0.1:9080" })).catch(() => {}))?.ok; tries += 1) {
    if (tries > 100) throw new Error("Restate does not start");
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const load = async (count) => {
    await atOnce(count, (run) => ask("http://127.0.0.1:8080/bench/echo/send", { run }));
    const left = { query: "select count(*) as n from sys_invocation where status <> 'completed'" };
    while ((await ask("http://127.0.0.1:9070/query", left)).rows[0].n > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await load(200);
  const used = () => [cpu(server.pid), cpu(service.pid)];
  const before = used();
  const began = performance.now();
  await load(runs);
  const seconds = (performance.now() - began) / 1000;
  const [host, child] = used().map((now, place) => (now - before[place]) / runs);
  row("echo as a service of Restate in Node.js", `${(runs / seconds).toFixed(0)} per s`, `server ${host.toFixed(2)} ms CPU`, `process ${child.toFixed(2)} ms CPU`);
  for (const child of [service, server]) child.kill("SIGKILL");
  rmSync(data, { recursive: true, force: true });
}

async function whole() {
  const stack = await startTasks({ "trigger/tasks.ts": TASKS }, { tasks: "trigger", profile: "release", args: ["--workers", values.workers], env: { RUST_LOG: "warn" } });
  const processes = () => {
    const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" }).trim().split("\n").map((line) => line.trim().split(/\s+/));
    return lines.filter(([, parent, ...args]) => Number(parent) === stack.child.pid && args.some((arg) => arg.endsWith("harness.mjs"))).map(([pid]) => Number(pid));
  };
  const load = async (count) => {
    const ids = [];
    await atOnce(count, async (run) => ids.push(await stack.trigger("echo", { run })));
    for (const id of ids) await stack.end(id, 300);
  };
  await load(200);
  const children = processes();
  const used = () => [cpu(stack.child.pid), children.reduce((sum, pid) => sum + (existsSync(`/proc/${pid}`) ? cpu(pid) : 0), 0)];
  const before = used();
  const began = performance.now();
  await load(runs);
  const seconds = (performance.now() - began) / 1000;
  const [host, child] = used().map((now, place) => (now - before[place]) / runs);
  row(`echo in TypeScript, end to end, ${values.workers} processes`, `${(runs / seconds).toFixed(0)} per s`, `host ${host.toFixed(2)} ms CPU`, `processes ${child.toFixed(2)} ms CPU`);
  await stack.stop();
}

await starts();
await warm();
await whole();
if (values.peers) await restate(path.resolve(values.peers));
