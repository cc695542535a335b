// The life of a harness: watch what leaves the process, load the tasks, answer the host until it says no more.

import { readFile } from "node:fs/promises";
import path from "node:path";

import { Api } from "./api.mjs";
import { dispatcher, ordinary } from "./connect.mjs";
import { currentStep } from "./context.mjs";
import { watchEffects } from "./effects.mjs";
import { load } from "./load.mjs";
import { Order } from "./order.mjs";
import { Loop, aside, countHidden, follows, hiddenWork } from "./pending.mjs";
import { described, listen, say } from "./pipe.mjs";
import { Quiet } from "./quiet.mjs";
import { Recorder } from "./record.mjs";
import { hasDispatcher, heedless, noteRequests } from "./requests.mjs";
import { Runner } from "./run.mjs";
import { watchForStall } from "./stall.mjs";
import { offerSteps } from "./steps.mjs";
import { PROTOCOL, VERSION } from "./version.mjs";
import { Waits } from "./waits.mjs";

/** Starts, says that it is ready, and serves the host until the process ends. */
export async function serve() {
  const quiet = new Quiet();
  const effects = watchEffects({
    notify: (what) => say({ type: "effect", what }),
    silent: () => quiet.silent,
    harmless: process.env.ONCEKEY_HARMLESS,
  });
  countHidden();
  let runner;
  // What upstream's worker does: an error that nobody caught ends the run, and the process with it.
  const die = (event, error) => {
    say({ type: "died", run: runner?.run?.id, event, error: described(error) });
    process.reallyExit(1);
  };
  process.on("uncaughtException", (error, event) => die(event, error));
  // Ctrl-C in a terminal reaches every process of it: the host decides what ends, and when.
  process.on("SIGINT", () => {});
  process.on("exit", (code) => {
    if (runner?.run) say({ type: "died", run: runner.run.id, event: "exit", error: { name: "Error", message: `the task called process.exit(${code}): it must return or throw instead` } });
  });

  try {
    const hostSockets = new Set();
    const toHost = await dispatcher(
      (socket) => {
        effects.exempt(socket);
        hostSockets.add(socket);
        socket.once("close", () => hostSockets.delete(socket));
      },
      // A parked call has its answer when it has it.
      { headersTimeout: 0, bodyTimeout: 0 },
    );
    const recorded = await dispatcher((socket) => effects.exempt(socket));
    const { fetch } = globalThis;
    noteRequests();
    const usual = ordinary();

    const order = new Order({ follows });
    let loop;
    const waits = new Waits({ say, order });
    const api = new Api({
      url: required("TRIGGER_API_URL"),
      beside: () => waits.open.length + recorder.open + loop.busy(),
      order,
      send: (input, init) => fetch(input, { ...init, dispatcher: toHost }),
    });
    const recorder = new Recorder({
      say,
      effect: effects.effect,
      order,
      beside: () => api.open.length + waits.open.length + loop.busy(),
      send: (request) => fetch(request, { dispatcher: recorded }),
    });
    globalThis.fetch = function (input, init) {
      const url = address(input);
      if (url?.origin === api.origin) return api.fetch(input, init);
      const native = (from = init) => heedless([input, from], () => aside(fetch(input, from)));
      // A dispatcher of the task's own may do anything.
      if (!/^https?:$/.test(url?.protocol ?? "") || hasDispatcher(input, init) || ordinary() !== usual) return native();
      if (currentStep()) return native({ ...init, dispatcher: recorded });
      const port = url.port || (url.protocol === "https:" ? 443 : 80);
      const isRecorded = runner?.records && recorder.records(input, init) && !effects.harmless(url.hostname, port);
      return isRecorded ? recorder.fetch(input, init) : native();
    };

    const bundle = await read(required("ONCEKEY_BUNDLE"));
    const { core, catalog, tasks, queues, managers } = await load(bundle, waits);
    const steps = offerSteps({ api, core, run: () => runner.run });
    runner = new Runner({ say, core, catalog, managers, effects, quiet, order, waits, api, recorder, steps });
    const handlers = {
      run: (message) => void runner.start(message).catch((error) => die("harness", error)),
      waited: (message) => waits.answer(message),
      parked: ({ call }) => api.park(call),
      look: async ({ look }) => {
        // What was told before is heard by then, and what follows from it has begun.
        await new Promise(setImmediate);
        await new Promise(setImmediate);
        say({ type: "looked", look, open: api.open.length + recorder.open + order.held.length + hiddenWork() });
      },
      live: () => {
        quiet.live();
        recorder.live();
      },
      cancel: () => runner.cancel(),
      exit: () => process.reallyExit(0),
    };
    const pipe = listen(handlers, () => process.reallyExit(0));
    effects.exempt(pipe);
    loop = new Loop(() => [...hostSockets].reduce((count, socket) => count + (socket._handle?.hasRef?.() ? 1 : 0) + (socket.connecting ? 1 : 0), 0));
    watchForStall({ say, api, waits, recorder, order, loop, run: () => runner.run });
    say({
      type: "ready", protocol: PROTOCOL, version: VERSION, sdk: bundle.sdk, node: process.version, pid: process.pid, tasks, queues,
      startedMs: Math.round(performance.now()),
    });
  } catch (error) {
    say({ type: "failed", error: described(error) });
    process.reallyExit(1);
  }
}

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: the harness is started by Oncekey, not by hand`);
  return value;
}

function address(input) {
  try {
    return new URL(typeof input === "string" || input instanceof URL ? input : input.url);
  } catch {
    return undefined;
  }
}

async function read(folder) {
  const bundle = JSON.parse(await readFile(path.join(folder, "tasks.json"), "utf8"));
  if (bundle.protocol !== PROTOCOL) {
    throw new Error(`${folder} was bundled by another version of Oncekey (${bundle.protocol}, and this is ${PROTOCOL}): bundle it again`);
  }
  return { ...bundle, folder: path.resolve(folder) };
}
