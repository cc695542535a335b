// Waits: the run asks the host, and may be suspended until it answers.

import { currentRun, currentStep, never } from "./context.mjs";

export class Waits {
  #asked = new Map();
  #ids = 0;
  #held = 0;

  constructor({ say, order }) {
    this.say = say;
    this.order = order;
  }

  /** A run begins. */
  start() {
    this.#asked.clear();
    this.#held = 0;
  }

  /** The ids of waits that are not over. */
  get open() {
    return [...this.#asked.keys()];
  }

  /** How many of them have an answer that waits for its turn. */
  get held() {
    return this.#held;
  }

  /** Asks the host, and returns its answer. */
  ask(question) {
    const run = currentRun();
    if (run?.over) return never(run, "a wait");
    if (currentStep()) return Promise.reject(new Error(`step "${currentStep().name}" cannot wait: it would begin again from its start. Wait before it or after it`));
    return new Promise((resolve, reject) => {
      const id = ++this.#ids;
      this.#asked.set(id, { what: `a wait for a ${question.for}`, resolve, reject });
      this.say({ type: "wait", id, ...question });
    });
  }

  /** The host's answer. A refusal ends the run without another attempt, unless the task catches it. */
  async answer({ id, result, refused }) {
    const asked = this.#asked.get(id);
    if (!asked) return;
    this.#held += 1;
    await this.order.answer(asked.what);
    this.#held -= 1;
    if (!this.#asked.delete(id)) return;
    if (refused === undefined) asked.resolve(result);
    else asked.reject(Object.assign(new Error(refused), { name: "AbortTaskRunError" }));
  }
}
