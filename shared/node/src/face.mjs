// What a task imports from "oncekey".

/** Under this name the harness leaves what it offers to the tasks of its process. */
export const FACE = Symbol.for("oncekey.face");

const face = (name) => {
  const found = globalThis[FACE];
  if (!found) throw new Error(`step "${name}": steps work inside a task that Oncekey runs`);
  return found;
};

/**
 * Carries out a side effect once a run: its result is recorded, and later attempts and resumes get that. Should the process die
 * after the side effect and before it is recorded, it is carried out again: give `stepKey` to whatever it calls.
 */
export async function step(name, effect) {
  return face(name).step(name, effect);
}

/** A token that is the same on every attempt and resume of this run, and differs from any other. */
export function stepKey(name) {
  return face(name).stepKey(name);
}

/**
 * The SDK's `queue`, whose options have a `rateLimit` besides. Where tasks are only named, as in whoever triggers them, it declares
 * nothing.
 */
export function queue(options) {
  globalThis[FACE]?.queue?.(options);
  return Object.assign(options, { [Symbol.for("trigger.dev/queue")]: true });
}
