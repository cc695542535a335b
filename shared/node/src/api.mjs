// The way to the host's API: the SDK's calls as they are, with what the host must know of them beside.

import { currentRun, currentStep, never } from "./context.mjs";

/** Answers whose order decides how the task goes on: those that the host journals. */
const JOURNALLED = /^\/(api\/v1\/tasks\/[^/]+\/trigger|api\/v3\/batches|engine\/v1\/runs\/[^/]+\/(wait\/duration|waitpoints\/tokens\/[^/]+\/wait)|api\/v1\/waitpoints\/tokens|api\/v1\/idempotencyKeys\/[^/]+\/reset|api\/v1\/runs\/[^/]+\/replay)$/;
/** What the SDK sends by itself, at any time. */
const BY_ITSELF = /^\/api\/v1\/runs\/[^/]+\/metadata$/;

export class Api {
  #open = new Map();
  #numbers = 0;

  /**
   * `beside()` counts what else is under way but for calls of this API, `order` is in which order answers are given, and
   * `send(url, init)` sends.
   */
  constructor({ url, beside, order, send }) {
    this.origin = new URL(url).origin;
    this.url = url.replace(/\/$/, "");
    this.beside = beside;
    this.order = order;
    this.send = send;
  }

  /** A run begins. */
  start() {
    this.#numbers = 0;
  }

  /** The numbers of calls that have no answer yet. */
  get open() {
    return [...this.#open].filter(([, call]) => call.counts).map(([number]) => number);
  }

  /** The numbers of those of them that the host has parked. */
  get parked() {
    return [...this.#open].filter(([, call]) => call.parked).map(([number]) => number);
  }

  /** The host has parked a call. */
  park(number) {
    const call = this.#open.get(number);
    if (call) call.parked = true;
  }

  /** Resolves when each call that the run has begun has its answer, or is parked: `hidden()` is what leads to calls yet. */
  async settled(run, hidden) {
    const open = () => [...this.#open.values()].some((call) => call.run === run && !call.parked);
    do {
      await new Promise(setImmediate);
      while (open() || hidden() > 0) await new Promise((resolve) => setTimeout(resolve, 2));
      // What has had its answer may call once more.
      await new Promise(setImmediate);
    } while (open());
  }

  /** Sends a request to the host. */
  async fetch(input, init = {}) {
    const request = input instanceof Request ? input : undefined;
    const url = new URL(request ? request.url : input);
    const run = currentRun();
    const method = (init.method ?? request?.method ?? "GET").toUpperCase();
    if (run?.over) return never(run, `${method} ${url.pathname}`);
    const headers = new Headers(init.headers ?? request?.headers);
    // A date in it was so far away then: later, this process may have to wait for its turn.
    headers.set("x-oncekey-at", String(Date.now()));
    const number = ++this.#numbers;
    const call = { run, parked: false, counts: !BY_ITSELF.test(url.pathname) };
    const step = currentStep();
    this.#open.set(number, call);
    try {
      // What is about to call beside this one does so before it is told how many there are.
      await new Promise(setImmediate);
      headers.set("x-oncekey-call", String(number));
      headers.set("x-oncekey-beside", String(this.open.filter((other) => other !== number).length + this.beside()));
      if (step) headers.set("x-oncekey-step", encodeURIComponent(step.name));
      const response = await this.send(request ?? url, { ...init, headers });
      if (method !== "POST" || step || !JOURNALLED.test(url.pathname)) return response;
      const body = await response.arrayBuffer();
      // The run does not get one after which the SDK asks once more, and a replay has no such answer.
      if (!isAskedAgain(response)) await this.order.answer(`${method} ${url.pathname}`);
      return new Response(response.status === 204 ? null : body, response);
    } finally {
      this.#open.delete(number);
    }
  }
}

/** Whether the SDK asks again after this answer, as it decides that itself. */
function isAskedAgain({ status, headers }) {
  const told = headers.get("x-should-retry");
  if (told === "true" || told === "false") return told === "true";
  return [408, 409, 429].includes(status) || status >= 500;
}
