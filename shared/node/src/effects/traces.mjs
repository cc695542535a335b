// Traces of Node's own events, which a thread of Node's writes to a file from when they are switched on.

import { createRequire } from "node:module";

import { replace, watch } from "../replace.mjs";

/** Watches who switches traces on, and notes which of them go on beside later runs. */
export function watchTraces({ effect, began }) {
  let seen = false;
  replace(found(), "createTracing", (createTracing) =>
    function (...args) {
      const tracing = Reflect.apply(createTracing, this, args);
      // Nothing exports their class.
      if (!seen) watchSwitch(Object.getPrototypeOf(tracing));
      seen = true;
      return tracing;
    });

  function watchSwitch(prototype) {
    const ends = new WeakMap();
    watch(prototype, ["enable"], (_, __, tracing) => {
      effect("wrote traces of Node's events");
      if (!tracing.enabled) ends.set(tracing, began("a trace of Node's events"));
    });
    watch(prototype, ["disable"], (_, __, tracing) => ends.get(tracing)?.());
  }
}

/** The module, where this Node was built with it. */
function found() {
  try {
    return createRequire(import.meta.url)("node:trace_events");
  } catch {
    return undefined;
  }
}
