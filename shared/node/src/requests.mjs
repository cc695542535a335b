// What Node keeps to itself of a request, noted when it is made: a dispatcher of the task's own, a body that can be read once,
// and which of those who hear of an abort are `fetch` itself.

import { getEventListeners } from "node:events";

import { replace } from "./replace.mjs";

const dispatched = new WeakSet();
const streaming = new WeakSet();
const ours = new WeakSet();

/** Whether a fetch goes over a dispatcher that the task brings along. */
export const hasDispatcher = (input, init) => Boolean(init?.dispatcher) || dispatched.has(input);

/** Whether its body can be read once, as it comes. */
export function hasStream(input, init) {
  const body = init?.body ?? undefined;
  return isStream(body) || (body === undefined && streaming.has(input));
}

/** The signal that a fetch heeds, if it has one. */
export const signalOf = (input, init) => (init?.signal === undefined ? input?.signal : init.signal) ?? undefined;

/** Has requests be noted from now on, however they are made. */
export function noteRequests() {
  const { Request } = globalThis;
  const noted = (made, input, init) => {
    if (hasDispatcher(input, init)) dispatched.add(made);
    if (hasStream(input, init)) streaming.add(made);
    return made;
  };
  const Noted = new Proxy(Request, {
    construct: (target, args, type) => noted(heedless(args, () => Reflect.construct(target, args, type)), ...args),
  });
  Object.defineProperty(Request.prototype, "constructor", { value: Noted, writable: true, configurable: true });
  Object.defineProperty(globalThis, "Request", { value: Noted, writable: true, configurable: true });
  replace(Request.prototype, "clone", (clone) =>
    function () {
      return noted(Reflect.apply(clone, this, []), this);
    });
}

/** Makes or fetches a request of these arguments: who hears of its abort because of that is no concern of the task's. */
export function heedless([input, init], body) {
  const signal = signalOf(input, init);
  if (!(signal instanceof AbortSignal)) return body();
  const before = new Set(getEventListeners(signal, "abort"));
  try {
    return body();
  } finally {
    for (const listener of getEventListeners(signal, "abort")) if (!before.has(listener)) ours.add(listener);
  }
}

/** Calls `aborted(reason)` when the signal is. Returns what ends that. */
export function onAbort(signal, aborted) {
  const listener = () => aborted(signal.reason);
  ours.add(listener);
  signal?.addEventListener("abort", listener, { once: true });
  return () => signal?.removeEventListener("abort", listener);
}

/** Whether anybody but `fetch` hears of a signal's abort. */
export const isHeeded = (signal) =>
  Boolean(signal.onabort) || getEventListeners(signal, "abort").some((listener) => !ours.has(listener));

function isStream(body) {
  if (body === undefined || typeof body !== "object" || body instanceof Blob) return false;
  return typeof body.getReader === "function" || Symbol.asyncIterator in body;
}
