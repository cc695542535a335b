// Which run, and which of its steps, the code that asks belongs to.

import { AsyncLocalStorage } from "node:async_hooks";

const storage = new AsyncLocalStorage();

/**
 * Runs `body` as part of a run: `{ id, over }`. Whoever makes it sets `over` at its end, so that what a run left going is known
 * as such.
 */
export const within = (run, body) => storage.run({ run }, body);

/** Runs `body` as a step of the present run: `{ name, over }`. */
export const withinStep = (step, body) => storage.run({ ...storage.getStore(), step }, body);

/** The run that the caller belongs to, which may be over; none for code of no run, such as a timer of a module. */
export const currentRun = () => storage.getStore()?.run;

/** The step that the caller is in, if it is still going. */
export function currentStep() {
  const step = storage.getStore()?.step;
  return step && !step.over ? step : undefined;
}

/**
 * What a run that is over gets for what it left going: it ended with its run. An error would end the process, and with it a run
 * that has nothing to do with it.
 */
export function never(run, what) {
  console.error(`run ${run.id} is over: ${what}, which it left going, is not carried out`);
  return new Promise(() => {});
}
