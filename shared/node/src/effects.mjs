// Notices what a run does that a second execution would do again: anything that leaves the process but by the host.
// Deliberately coarse: a read of a database counts as well. What is missed here would be done twice without a word.

import { syncBuiltinESMExports } from "node:module";

import { currentStep } from "./context.mjs";
import { watchFiles } from "./effects/files.mjs";
import { watchHttp2 } from "./effects/http2.mjs";
import { watchNative } from "./effects/native.mjs";
import { watchProcesses } from "./effects/processes.mjs";
import { watchSockets } from "./effects/sockets.mjs";
import { watchTraces } from "./effects/traces.mjs";

/** As many are told of one run: one is enough to know, a few more are for the error message. */
const TOLD = 5;

/**
 * Watches every way out that is known. `notify(what)` is called before it is taken, at most five times a run. `silent()` tells
 * whether the standard streams are silenced, and `harmless` lists hosts that do not count.
 */
export function watchEffects({ notify, silent, harmless = "" }) {
  let watching = false;
  let told = new Set();
  /** Why no run of this process can be told to be without effects, from now on. */
  let blind;
  /** What goes on beside all runs, such as a thread that was started by an earlier one. */
  const alive = new Map();

  const effect = (what) => {
    // What a step does is recorded with the step.
    if (!watching || currentStep() || told.has(what) || told.size === TOLD) return;
    told.add(what);
    notify(what);
  };
  const report = {
    effect,
    /** From now on nobody can see what the runs of this process do. */
    goBlind(what) {
      blind ??= what;
      effect(what);
    },
    /** Something began that can act by itself. Returns what to call when it is over. */
    began(what) {
      const thing = {};
      alive.set(thing, what);
      return () => alive.delete(thing);
    },
    silent,
    harmless: matcher(harmless),
  };
  const sockets = watchSockets(report);
  watchHttp2(report);
  watchFiles(report);
  watchProcesses(report);
  watchNative(report);
  watchTraces(report);
  syncBuiltinESMExports();

  return {
    /** A run begins. */
    start() {
      told = new Set();
      watching = true;
      if (blind) effect(blind);
      for (const what of new Set(alive.values())) effect(`has ${what} that was there before it`);
    },
    /** It is over. */
    stop() {
      watching = false;
    },
    effect,
    /** Tells whether traffic with a host does not count. */
    harmless: report.harmless,
    /** Lets a socket, made by whoever records what goes over it, pass. */
    exempt: sockets.exempt,
  };
}

/** Tells whether a peer is in a list such as `*.sentry.io,localhost:4318`. */
function matcher(list) {
  const patterns = list.split(",").map((pattern) => pattern.trim()).filter(Boolean).map((pattern) => {
    const [, host, port] = /^(.*?)(?::(\d+))?$/.exec(pattern);
    const escaped = host.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*");
    return { host: new RegExp(`^${escaped}$`, "i"), port };
  });
  return (host, port) => patterns.some((pattern) => pattern.host.test(host) && (!pattern.port || pattern.port === String(port)));
}
