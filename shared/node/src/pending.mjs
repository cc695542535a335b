// What else is under way in this process: only calls that a task makes one by one are known by their place.

import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import zlib from "node:zlib";

import { replace } from "./replace.mjs";
import { isHeeded } from "./requests.mjs";

/** What works in the thread pool, and is not among Node's active resources. */
let hidden = 0;

/** How much works in the thread pool that Node does not tell of. */
export const hiddenWork = () => hidden + transforming();

/** What may yet follow from an answer without a timer or a socket: the thread pool, files, and what is put off to the next turn. */
export const follows = () => hiddenWork() + process.getActiveResourcesInfo().filter((kind) => /^(FSReq|CloseReq|Immediate)/.test(kind)).length;

/** Streams that compress, with a chunk under way. */
const packing = new Set();

/** How many of them work: one whose reader has enough waits for that. */
function transforming() {
  for (const stream of packing) if (stream.destroyed) packing.delete(stream);
  return [...packing].filter(({ readableLength, readableHighWaterMark }) => readableLength < readableHighWaterMark).length;
}

function countPacking() {
  const base = Object.getPrototypeOf(Object.getPrototypeOf(zlib.Gzip.prototype));
  for (const name of ["_transform", "_flush"]) {
    replace(base, name, (original) =>
      function (...args) {
        const done = args.pop();
        packing.add(this);
        return Reflect.apply(original, this, [...args, (...results) => {
          packing.delete(this);
          return done(...results);
        }]);
      });
  }
}

/** What was begun beside, and is not over, whatever it waits for: a body that is a stream may wait for anything. */
let begun = 0;

/** Counts something as going on beside until it is over. Returns what it comes to: nobody else hears of its failure. */
export function aside(promise) {
  begun += 1;
  return promise.finally(() => {
    begun -= 1;
  });
}

/** Signals that a timer will abort. Node does not count that timer, since it does not keep the loop alive. */
const timed = new Set();
const known = new WeakSet();

/** How many of them do something then, other than to end a fetch: one whose fetch is over goes on for nothing. */
function heededTimers() {
  let count = 0;
  for (const reference of timed) {
    const signal = reference.deref();
    if (!signal || signal.aborted) timed.delete(reference);
    else if (isHeeded(signal)) count += 1;
  }
  return count;
}

function countTimedSignals() {
  const note = (signal) => {
    known.add(signal);
    timed.add(new WeakRef(signal));
    return signal;
  };
  replace(AbortSignal, "timeout", (timeout) => (...args) => note(Reflect.apply(timeout, AbortSignal, args)));
  replace(AbortSignal, "any", (any) => (signals, ...rest) => {
    const all = [...signals];
    const made = Reflect.apply(any, AbortSignal, [all, ...rest]);
    return all.some((signal) => known.has(signal)) ? note(made) : made;
  });
}

/** Counts what Node does not tell of. */
export function countHidden() {
  countTimedSignals();
  countPacking();
  const done = () => {
    hidden -= 1;
  };
  for (const name of Object.getOwnPropertyNames(crypto.webcrypto.subtle.constructor.prototype)) {
    if (name === "constructor") continue;
    replace(crypto.webcrypto.subtle.constructor.prototype, name, (original) =>
      function (...args) {
        hidden += 1;
        const answer = Reflect.apply(original, this, args);
        Promise.prototype.then.call(answer, done, done);
        return answer;
      });
  }
  const callbacks = (object, names) => {
    for (const name of names) {
      replace(object, name, (original) =>
        function (...args) {
          const last = args.at(-1);
          if (typeof last !== "function") return Reflect.apply(original, this, args);
          hidden += 1;
          const called = function (...results) {
            done();
            return Reflect.apply(last, this, results);
          };
          try {
            return Reflect.apply(original, this, [...args.slice(0, -1), called]);
          } catch (error) {
            done();
            throw error;
          }
        });
    }
  };
  callbacks(crypto, ["pbkdf2", "scrypt", "hkdf", "randomBytes", "randomFill", "randomInt", "generateKeyPair", "generateKey", "generatePrime", "checkPrime", "sign", "verify", "diffieHellman"]);
  callbacks(zlib, ["deflate", "inflate", "gzip", "gunzip", "deflateRaw", "inflateRaw", "unzip", "brotliCompress", "brotliDecompress", "zstdCompress", "zstdDecompress"]);
  syncBuiltinESMExports();
}

/** Counts what keeps the loop alive: by kind, what was there at the start of the process does not count. */
export class Loop {
  #first;
  #own;

  /** `own()` counts the sockets to the host that keep the loop alive. */
  constructor(own) {
    this.#own = own;
    this.#first = kinds();
  }

  /** How much is under way beside the host's own answers. */
  busy() {
    const now = kinds();
    let count = hiddenWork() + begun + heededTimers();
    for (const [kind, number] of now) {
      // What was there and ended must not hide what begins later.
      const first = Math.min(this.#first.get(kind) ?? 0, number);
      this.#first.set(kind, first);
      if (kind !== "Immediate") count += number - first;
    }
    return Math.max(0, count - this.#own());
  }
}

function kinds() {
  const counts = new Map();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}
