// Random programs of fetches, calls, waits, branches and races, suspended at random moments and started again from the top, on the
// recorder and the order that the harness has. No fetch may go out twice, and each must get its own answer, the same each time: none to what another says.
//
// node generated.mjs [--seed 1] [--count 20000]

import { parseArgs } from "node:util";
import { fileURLToPath } from "node:url";

import { Order } from "../../shared/node/src/order.mjs";
import { Recorder } from "../../shared/node/src/record.mjs";

const forever = new Promise(() => {});
const turn = () => new Promise(setImmediate);

/** Numbers that are the same for the same seed. */
function dice(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { below: (limit) => Math.floor(next() * limit), chance: (part) => next() < part };
}

/** A program: a tree of what is done one after the other, at once, or in a race. */
function program(random, depth = 0, state = { ops: 0, timed: random.chance(0.3), odd: random.chance(0.4), jitter: random.chance(0.3) }) {
  const kind = depth === 0 ? 0 : random.below(depth > 3 ? 4 : 10);
  if (kind > 0 && kind < 7) {
    state.ops += 1;
    if (kind <= 3) {
      // Some say the same as others; of some programs some tell the time, and are not known again.
      // Some are aborted before they go out, never waited for, or answered with more than can be recorded.
      const how = state.odd && random.chance(0.3) ? ["abort", "left", "large"][random.below(3)] : "plain";
      return { op: "fetch", how, name: random.chance(0.25) ? "same" : `f${state.ops}`, timed: state.timed && random.chance(0.2), turns: random.below(6) };
    }
    if (kind <= 5) return { op: "wait", name: `w${state.ops}`, turns: random.below(8) };
    // Work of the thread pool takes another time in each execution, and so do pauses of some programs.
    if (random.chance(0.4)) return { op: "io" };
    return { op: "sleep", turns: random.below(6), jitter: state.jitter };
  }
  const op = depth === 0 || kind === 0 || kind === 7 ? "seq" : kind === 8 ? "all" : "race";
  const parts = Array.from({ length: 1 + random.below(4) }, () => program(random, depth + 1, state));
  return { op, parts };
}

const some = (node, wanted) => wanted(node) || Boolean(node.parts?.some((part) => some(part, wanted)));
const races = (tree) => some(tree, ({ op }) => op === "race");

/** Whether it must come to its end: a race with a timer, or times that are told, may make it another program. */
const strict = (tree) => !(races(tree) && some(tree, ({ op }) => op === "sleep")) && !some(tree, ({ timed }) => timed);

/** The outside, and what the host keeps of an attempt. */
class World {
  arrived = [];
  exchanges = [];
  /** What each fetch of the program was answered. */
  told = new Map();
  /** Who won each race. */
  won = new Map();
  /** Ends of waits in the order in which they were given. */
  given = [];
}

/** One execution of a program, from the top. Ends with its result, or with `suspended`. */
function execute(tree, world, random, { suspendable }) {
  let sleeping = 0;
  let working = 0;
  const order = new Order({ follows: () => working, later: setImmediate });
  order.start(world.exchanges, { rests: true });
  const said = [];
  const fetching = new Set();
  let alive = true;
  let isEffect = false;
  const waits = new Map();
  const before = [...world.given];
  const replaying = before.length > 0 || world.exchanges.length > 0;
  const recorder = new Recorder({
    say(message) {
      said.push(message);
      if (message.type === "fetching") fetching.add(message.id);
      if (message.type === "recorded") {
        fetching.delete(message.id);
        world.exchanges.push(message.record);
      }
      if (message.type !== "effect") return;
      // Two that say the same, and were answered otherwise: from then on the host starts it no more from the top.
      if (!/^fetched (the same more than once|what cannot be recorded)/.test(message.what)) throw new Error(`an effect: ${message.what}`);
      fetching.delete(message.fetching);
      isEffect = true;
    },
    effect(what) {
      throw new Error(`an effect: ${what}`);
    },
    order,
    beside: () => waits.size + sleeping + working,
    async send(request) {
      if (!alive) return forever;
      const what = `${request.url}#${request.headers.get("x-op")}`;
      world.arrived.push(what);
      const n = world.arrived.length;
      for (let turns = Number(request.headers.get("x-turns")); turns > 0; turns -= 1) await turn();
      const more = request.headers.get("x-how") === "large" ? "x".repeat(70_000) : "";
      return alive ? new Response(JSON.stringify({ n, name: request.headers.get("x-op"), to: await request.text(), more })) : forever;
    },
  });
  const run = { id: "run", over: false };
  recorder.start(run, { exchanges: world.exchanges.map((record) => structuredClone(record)), replaying });
  const look = () => {
    if (before.length === 0) recorder.live();
  };
  look();

  // The host: ends of before in their order, new ones only after all of them.
  const end = async (name) => {
    if (world.given.includes(name) && before[0] !== name) return;
    if (!before.includes(name) && before.length > 0) return;
    const wait = waits.get(name);
    if (!wait || wait.ending) return;
    wait.ending = true;
    await order.answer();
    if (!alive) return;
    if (before[0] === name) before.shift();
    else world.given.push(name);
    waits.delete(name);
    wait.resolve();
    look();
    if (waits.has(before[0])) void end(before[0]);
  };
  const ops = {
    async fetch(node) {
      const { name, how, timed, turns } = node;
      const says = timed ? String(world.arrived.length * 1000 + Math.random()) : name;
      const control = new AbortController();
      const open = recorder.fetch(`http://outside/${name}`, {
        method: "POST", body: says, signal: control.signal, headers: { "x-op": name, "x-turns": String(turns), "x-how": how },
      });
      if (how === "abort") {
        control.abort();
        return open.then(() => { throw new Error(`${name} was aborted, and answered`); }, () => "aborted");
      }
      if (how === "left") return void open.catch(() => {});
      const answer = await open;
      const body = await answer.json();
      if (body.name !== name || body.to !== says) throw new Error(`${name}, which says ${says}, got the answer of ${body.name} to ${body.to}`);
      if (!alive) return forever;
      const told = world.told.get(node) ?? body.n;
      if (told !== body.n) throw new Error(`${name} was answered ${told}, and then ${body.n}`);
      world.told.set(node, told);
      return told;
    },
    wait: ({ name, turns }) => new Promise((resolve) => {
      waits.set(name, { resolve });
      if (before[0] === name) return void end(name);
      void (async () => {
        for (let left = turns; left > 0; left -= 1) await turn();
        // Nobody but the host ends it, when nothing of before is left.
        while (alive && before.length > 0 && waits.has(name)) await turn();
        if (alive && waits.has(name)) await end(name);
      })();
    }),
    async io() {
      working += 1;
      for (let left = random.below(8); left > 0; left -= 1) await turn();
      working -= 1;
      return alive ? 0 : forever;
    },
    async sleep({ turns: usual, jitter }) {
      const turns = strict(tree) && !jitter ? usual : random.below(6);
      sleeping += 1;
      for (let left = turns; left > 0; left -= 1) await turn();
      sleeping -= 1;
      return alive ? 0 : forever;
    },
    async seq({ parts }) {
      const all = [];
      for (const part of parts) all.push(await go(part));
      return all;
    },
    all: ({ parts }) => Promise.all(parts.map(go)),
    async race(node) {
      const won = await Promise.race(node.parts.map(async (part, place) => [place, await go(part)]));
      if (!alive) return forever;
      const before = world.won.get(node) ?? won[0];
      // Which work of the thread pool, or abort, is done first, nobody decides.
      const isDecided = strict(tree) && node.parts.filter((part) => some(part, ({ op, how }) => op === "io" || how === "abort")).length < 2;
      if (isDecided && before !== won[0]) throw new Error(`a race was won by ${before}, and then by ${won[0]}`);
      world.won.set(node, won[0]);
      return won;
    },
  };
  const go = (node) => ops[node.op](node);

  return new Promise((resolve, reject) => {
    const stop = (answer) => {
      alive = false;
      run.over = true;
      resolve(answer);
    };
    go(tree).then((result) => stop({ result }), reject);
    let looks = 0;
    const watch = async () => {
      for (let idle = 0; alive; idle += 1) {
        await turn();
        looks += 1;
        // As the host does: only in a wait, with no exchange open.
        if (suspendable && !isEffect && waits.size > 0 && fetching.size === 0 && random.chance(0.25)) return stop({ suspended: true });
        if (idle > 2000 && !strict(tree)) return stop({ stalled: true });
        if (idle > 20_000) return reject(new Error(`it hangs: waits ${[...waits.keys()]}, before ${before}, unmade ${recorder.unmade}, parked ${recorder.parked}`));
      }
    };
    watch().catch(reject);
  });
}

/** Runs the program of a seed to its end. Throws if anything went out twice, or came to a wrong branch. */
export async function carryOut(seed) {
  const random = dice(seed);
  const tree = program(random);
  const world = new World();
  let starts = 0;
  for (;;) {
    starts += 1;
    const ended = await execute(tree, world, random, { suspendable: starts < 12 });
    if (ended.suspended) continue;
    const most = new Map();
    (function count(node) {
      if (node.op === "fetch") most.set(node.name, (most.get(node.name) ?? 0) + 1);
      for (const part of node.parts ?? []) count(part);
    })(tree);
    for (const [name, times] of most) {
      const went = world.arrived.filter((what) => what.endsWith(`#${name}`)).length;
      if (went > times) throw new Error(`${name} went out ${went} times, and the program has it ${times} times`);
    }
    return { starts, fetches: world.arrived.length, stalled: Boolean(ended.stalled) };
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({ options: { seed: { type: "string", default: "1" }, count: { type: "string", default: "20000" } } });
  let starts = 0;
  let fetches = 0;
  let stalled = 0;
  const first = Number(values.seed);
  for (let seed = first; seed < first + Number(values.count); seed += 1) {
    try {
      const done = await carryOut(seed);
      starts += done.starts;
      fetches += done.fetches;
      stalled += done.stalled ? 1 : 0;
    } catch (error) {
      console.error(`seed ${seed}: ${error.stack}`);
      process.exitCode = 1;
    }
    if ((seed - first) % 1000 === 999) console.log(`${seed - first + 1} programs, ${starts} starts, ${fetches} fetches, ${stalled} told that they cannot go on`);
  }
}
