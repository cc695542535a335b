// What a run fetches from outside is recorded, and answered from the record when the run is started again from the top. So a run
// whose only effects are fetches can be suspended. What cannot be recorded is an effect.

import { createHash } from "node:crypto";

import { currentRun, never } from "./context.mjs";

/** The largest body that is recorded, in bytes. */
export const LARGEST_BODY = 64 * 1024;
/** The most that a record has, and those of an attempt together, as JSON. */
export const LARGEST_RECORD = 96 * 1024;
export const LARGEST_TOTAL = 1024 * 1024;
/** How long an answer may take from its first byte to its last, in milliseconds: what takes longer is a stream. */
const SLOWEST_BODY = 500;

const sha = (bytes) => createHash("sha256").update(bytes).digest("hex");

export class Recorder {
  #run;
  #left = [];
  #open = new Map();
  #parked = new Map();
  #live = true;
  #total = 0;
  #places = 0;
  #ids = 0;

  /**
   * `say(message)` tells the host, `effect(what)` notes an effect, `beside()` counts what else is under way but for fetches,
   * `order` is in which order answers are given, and `send(request)` sends over sockets that are not watched.
   */
  constructor({ say, effect, beside, order, send }) {
    Object.assign(this, { say, effect, beside, order, send });
  }

  /** A run begins. It was suspended before if it is replayed: `exchanges` is what it had recorded. */
  start(run, { exchanges, replaying }) {
    this.#run = run;
    this.#left = exchanges.toSorted((one, other) => one.id - other.id);
    this.#ids = exchanges.reduce((most, { id }) => Math.max(most, id), 0);
    this.#total = exchanges.reduce((sum, record) => sum + JSON.stringify(record).length, 0);
    this.#places = 0;
    this.#live = !replaying;
    this.#parked.clear();
    this.#open.clear();
  }

  /** Everything that the host holds of the run was made and given again. */
  live() {
    this.#live = true;
    this.#release();
  }

  /** Whether exchanges were recorded that were not asked for again. */
  get behind() {
    return this.#left.length > 0;
  }

  /** What was recorded and not asked for again. */
  get unmade() {
    return this.#left.map(({ what }) => what);
  }

  /** Fetches that wait until everything recorded was asked for again. */
  get parked() {
    return [...this.#parked.values()];
  }

  /** Fetches under way. */
  get open() {
    return this.#open.size;
  }

  /** Whether this fetch may be recorded: one of the present run, with a body that can be read twice. */
  records(init) {
    const run = currentRun();
    return run !== undefined && run === this.#run && !run.over && !init?.dispatcher && !streamed(init?.body);
  }

  /** Fetches: from the record, or from outside and into it. */
  async fetch(input, init) {
    const run = this.#run;
    const request = new Request(input, init);
    const state = { alone: false };
    const mine = Symbol("fetch");
    this.#open.set(mine, state);
    try {
      const sent = request.body ? Buffer.from(await request.clone().arrayBuffer()) : Buffer.alloc(0);
      // What is about to fetch beside this one does so first.
      await new Promise(setImmediate);
      // What an earlier run left going takes nothing that is recorded of this one.
      if (run !== this.#run || run.over) return await this.send(request);
      state.alone = this.#open.size === 1 && this.beside() === 0;
      const what = `${request.method} ${request.url}`;
      const asked = { what, print: print(request, sent), key: request.headers.get("idempotency-key") ?? undefined, alone: state.alone };
      const found = this.#claim(asked);
      if (found) {
        await this.order.exchange(found.id);
        return answer(found);
      }
      if (this.behind || !this.#live) {
        await new Promise((resolve) => this.#parked.set(resolve, what));
        if (run.over) return never(run, what);
      }
      return await this.#exchange(run, request, asked);
    } finally {
      this.#open.delete(mine);
    }
  }

  /** The recorded exchange that this one is. */
  #claim(asked) {
    const like = this.#left.filter(({ what, key }) => what === asked.what && key === asked.key);
    let found = like.find(({ print }) => print === asked.print);
    // With another body it is the same only under the same key, or if nothing could have come between.
    if (!found && asked.key !== undefined) found = like[0];
    if (!found && asked.alone && this.#left[0]?.alone && like[0] === this.#left[0] && this.#left[0].place === this.#places) found = like[0];
    if (!found) return undefined;
    this.#places += 1;
    this.#left.splice(this.#left.indexOf(found), 1);
    this.#release();
    return found;
  }

  #release() {
    if (!this.#live || this.behind) return;
    for (const resolve of this.#parked.keys()) resolve();
    this.#parked.clear();
  }

  async #exchange(run, request, asked) {
    // What a run sends in its last moment is sent: there is nothing to start again any more.
    if (run.over) return this.send(request);
    const id = ++this.#ids;
    const place = this.#places++;
    let closed = false;
    const close = (message) => {
      if (closed) return;
      closed = true;
      if (!run.over) this.say(message);
    };
    const lost = (why) => close({ type: "effect", what: `${why} ${new URL(request.url).host}`, fetching: id });
    if (this.#total >= LARGEST_TOTAL) {
      this.effect(`fetched more than can be recorded, from ${new URL(request.url).host}`);
      closed = true;
    } else {
      this.say({ type: "fetching", id, what: asked.what });
    }
    let response;
    let body;
    try {
      response = await this.send(request);
      body = await whole(response);
    } catch (error) {
      // It may have arrived: nobody can tell, so it must not be sent again.
      lost("sent something, and got no answer, to");
      throw error;
    }
    if (!body.complete) {
      lost("fetched what cannot be recorded (a stream, or much) from");
      return answerOf(response, body.stream);
    }
    const record = {
      id, place, ...asked, after: this.order.given, status: response.status, statusText: response.statusText, url: response.url,
      redirected: response.redirected, headers: [...response.headers].filter(([name]) => !/^content-(encoding|length)$/.test(name)),
      body: body.bytes.toString("base64"),
    };
    const size = JSON.stringify(record).length;
    if (size > LARGEST_RECORD || this.#total + size > LARGEST_TOTAL) {
      lost("fetched more than can be recorded from");
    } else if (!closed) {
      this.#total += size;
      close({ type: "recorded", id, record });
    }
    return answer(record);
  }
}

const streamed = (body) =>
  body !== null && typeof body === "object" && (typeof body.getReader === "function" || (Symbol.asyncIterator in body && !(body instanceof Blob)));

/** Headers that are another each time, and tell nothing of what is asked for. */
const VOLATILE = /^(traceparent|tracestate|baggage|b3|x-b3-.*|x-request-id|x-correlation-id|x-amzn-trace-id|sentry-trace|date|idempotency-key)$/;

/** What stands for a body, and for who asks: two who ask for the same in other headers are two. The boundary of a form is another each time. */
function print(request, sent) {
  const boundary = /^multipart\/form-data;.*boundary=("?)([^";]+)\1/.exec(request.headers.get("content-type") ?? "")?.[2];
  const plain = (text) => (boundary ? text.replaceAll(boundary, "boundary") : text);
  const headers = [...request.headers].filter(([name]) => !VOLATILE.test(name)).map(([name, value]) => `${name}: ${plain(value)}\n`);
  return sha(headers.join("") + plain(sent.toString("latin1")));
}

/** The body of an answer if it is small and there soon; else what is there and the rest, as a stream. */
async function whole(response) {
  if (!response.body) return { complete: true, bytes: Buffer.alloc(0) };
  const reader = response.body.getReader();
  const chunks = [];
  let size = 0;
  let late;
  const endless = /event-stream/.test(response.headers.get("content-type") ?? "") || Number(response.headers.get("content-length") ?? 0) > LARGEST_BODY;
  const limit = new Promise((resolve) => {
    late = setTimeout(resolve, endless ? 0 : SLOWEST_BODY, "late").unref();
  });
  try {
    for (;;) {
      const reading = reader.read();
      const next = endless ? "late" : await Promise.race([reading, limit]);
      if (next === "late" || (!next.done && size + next.value.length > LARGEST_BODY)) {
        // Whoever does not read the stream does not hear that it broke.
        reading.catch(() => {});
        return { complete: false, stream: rest(chunks, next === "late" ? reading : Promise.resolve(next), reader) };
      }
      if (next.done) return { complete: true, bytes: Buffer.concat(chunks) };
      chunks.push(next.value);
      size += next.value.length;
    }
  } finally {
    clearTimeout(late);
  }
}

function rest(chunks, reading, reader) {
  let next = reading;
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
    },
    async pull(controller) {
      const { done, value } = await next;
      if (done) return controller.close();
      controller.enqueue(value);
      next = reader.read();
    },
    cancel: (why) => reader.cancel(why),
  }, { highWaterMark: 0 });
}

const NO_BODY = [101, 204, 205, 304];

function answer(record) {
  return answerOf(record, NO_BODY.includes(record.status) ? null : Buffer.from(record.body, "base64"));
}

/** An answer as `fetch` gives it: a response that is made has no address of its own. */
function answerOf({ status, statusText, headers, url, redirected }, body) {
  const made = new Response(body, { status, statusText, headers });
  for (const [name, value] of [["url", url], ["redirected", redirected]]) Object.defineProperty(made, name, { value, configurable: true });
  return made;
}
