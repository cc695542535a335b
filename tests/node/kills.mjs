// Hosts and children killed at random moments: every run comes to its end, and nothing is done twice within an attempt.
//
// node kills.mjs [--kills 200] [--seed 1]

import { execFileSync } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";

import { startTasks } from "./stack.mjs";

const TASKS = `
import { task, wait } from "@trigger.dev/sdk";
import { step } from "oncekey";
import http from "node:http";

const get = (url: string) => new Promise<void>((resolve, reject) => http.get(url, (answer) => answer.resume().on("end", () => resolve())).on("error", reject));
const retry = { maxAttempts: 60, minTimeoutInMs: 50, maxTimeoutInMs: 200, factor: 1 };
export const child = task({ id: "child", retry, run: async ({ url }: any, { ctx }) => { await get(url + "/child/" + ctx.run.id + "/" + ctx.attempt.number); return { ended: true }; } });
export const clean = task({ id: "clean", retry, run: async ({ url }: any, { ctx }) => {
  const one = await child.triggerAndWait({ url }).unwrap();
  await step("step", () => get(url + "/step/" + ctx.run.id + "/" + ctx.attempt.number));
  await wait.for({ seconds: 6 });
  const two = await Promise.all([child.triggerAndWait({ url }).unwrap(), child.triggerAndWait({ url }).unwrap()]);
  return [one, ...two];
} });
export const dirty = task({ id: "dirty", retry, run: async ({ url }: any, { ctx }) => {
  await get(url + "/dirty/" + ctx.run.id + "/" + ctx.attempt.number);
  const one = await child.triggerAndWait({ url }).unwrap();
  await get(url + "/again/" + ctx.run.id + "/" + ctx.attempt.number);
  return [one];
} });
`;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Kills as often, and returns how often what was killed and how many runs there were. Throws if anything went twice or got lost. */
export async function killAtRandom({ kills, seed = 1, say = () => {} }) {
  let state = seed;
  const below = (limit) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * limit);
  };
  const arrived = new Map();
  const server = http.createServer((request, response) => {
    arrived.set(request.url, (arrived.get(request.url) ?? 0) + 1);
    response.end();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${server.address().port}`;
  const stack = await startTasks({ "trigger/tasks.ts": TASKS }, { tasks: "trigger", data: true, args: ["--timeout", "20", "--workers", "3"] });
  const killed = { host: 0, child: 0 };
  const runs = [];
  try {
    for (let kill = 0; kill < kills; kill += 1) {
      if (runs.length < kills / 2) runs.push(await stack.trigger(below(2) ? "clean" : "dirty", { url }));
      await sleep(200 + below(1800));
      const children = childrenOf(stack.child.pid);
      if (children.length > 0 && below(3) > 0) {
        process.kill(children[below(children.length)], "SIGKILL");
        killed.child += 1;
      } else {
        await stack.kill();
        killed.host += 1;
        await stack.start();
      }
      say(`${kill + 1} kills, ${arrived.size} effects`);
    }
    const ended = [];
    for (const id of runs) ended.push(await stack.end(id, 300));
    const twice = [...arrived].filter(([, times]) => times > 1);
    if (twice.length > 0) throw new Error(`done twice within an attempt: ${JSON.stringify(twice)}`);
    // On a slow machine a child that was killed may outlast what its parent, which did something, can be held for: that is told.
    const refused = ({ taskIdentifier, error }) => taskIdentifier === "dirty" && error?.message.startsWith("this wait cannot be had");
    const lost = ended.filter((run) => run.status !== "COMPLETED" && !refused(run));
    if (lost.length > 0) throw new Error(`not completed: ${JSON.stringify(lost.map(({ id, status, error }) => ({ id, status, error })))}`);
    return { ...killed, runs: runs.length, refused: ended.filter(refused).length, effects: arrived.size };
  } finally {
    await stack.stop();
    server.close();
  }
}

/** The harnesses that a host has started. */
function childrenOf(host) {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,args="], { encoding: "utf8" }).trim().split("\n");
  return lines.map((line) => line.trim().split(/\s+/)).filter(([, parent, ...args]) => Number(parent) === host && args.some((arg) => arg.endsWith("harness.mjs"))).map(([pid]) => Number(pid));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { kills: { type: "string", default: "200" }, seed: { type: "string", default: "1" } } });
  console.log(await killAtRandom({ kills: Number(values.kills), seed: Number(values.seed), say: console.log }));
}
