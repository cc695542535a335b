// What a run fetches from outside is recorded, and answered from the record when the run is started again from the top. So a run
// whose only effects are fetches can be suspended. What cannot be recorded is an effect.

import { createHash } from "node:crypto";

import { answer, restOf } from "./answers.mjs";
import { currentRun, never } from "./context.mjs";
import { hasStream, onAbort, signalOf } from "./requests.mjs";

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
  #recorded = [];
  #left = [];
  #open = new Set();
  #parked = new Map();
  #live = true;
  #total = 0;
  #ids = 0;

  /**
   * `say(message)` tells the host, `effect(what)` notes an effect, `order` is in which order answers are given, `beside()` counts
   * what else is under way but for recorded fetches, and `send(request)` sends over sockets that are not watched.
   */
  constructor({ say, effect, order, beside, send }) {
    Object.assign(this, { say, effect, order, beside, send });
  }

  /** A run begins. It was suspended before if it is replayed: `exchanges` is what it had recorded. */
  start(run, { exchanges, replaying }) {
    this.#run = run;
    this.#recorded = exchanges.toSorted((one, other) => one.id - other.id);
    this.#left = [...this.#recorded];
    this.#ids = exchanges.reduce((most, { id }) => Math.max(most, id), 0);
    this.#total = exchanges.reduce((sum, record) => sum + JSON.stringify(record).length, 0);
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
    const unmade = new Set(this.unmade);
    const other = " (its body or its headers are others than before)";
    return [...this.#parked.values()].map((what) => (unmade.has(what) ? `${what}${other}` : what));
  }

  /** Fetches under way. */
  get open() {
    return this.#open.size;
  }

  /** Whether this fetch may be recorded: one of the present run, with a body that can be read twice. */
  records(input, init) {
    const run = currentRun();
    return run !== undefined && run === this.#run && !run.over && !hasStream(input, init);
  }

  /** Fetches: from the record, or from outside and into it. */
  async fetch(input, init) {
    const run = this.#run;
    const request = new Request(input, init);
    // Nothing of it goes out.
    request.signal.throwIfAborted();
    const signal = signalOf(input, init);
    const mine = Symbol("fetch");
    const before = this.order.all;
    this.#open.add(mine);
    try {
      const sent = request.body ? Buffer.from(await request.clone().arrayBuffer()) : Buffer.alloc(0);
      // What is about to fetch beside this one does so first.
      await new Promise(setImmediate);
      // What an earlier run left going takes nothing that is recorded of this one.
      if (run !== this.#run || run.over) return await this.send(request);
      const what = `${request.method} ${request.url}`;
      // One that is aborted before it goes out leaves no record, so it must not take another's.
      request.signal.throwIfAborted();
      const alone = this.open === 1 && this.beside() === 0;
      const asked = { what, print: print(request, sent), key: request.headers.get("idempotency-key") ?? undefined, asked: before, alone };
      const found = this.#claim(asked);
      if (found) {
        await this.order.exchange(found.id, what);
        return answered(found, signal);
      }
      if (this.behind || !this.#live) {
        await this.#park(request, what);
        if (run.over) return never(run, what);
      }
      request.signal.throwIfAborted();
      return await this.#exchange(run, request, asked, signal);
    } finally {
      this.#open.delete(mine);
    }
  }

  /**
   * The recorded exchange that this one is: it says the same, to the last letter, or comes under a key that stood for one request
   * alone. How far the task has got tells nothing: the next request to an address may be quite another.
   */
  #claim({ what, print, key }) {
    const isLike = (record) => record.what === what && record.key === key;
    const like = this.#left.filter(isLike);
    const isTold = key !== undefined && new Set(this.#recorded.filter(isLike).map((record) => record.print)).size === 1;
    const found = like.find((record) => record.print === print) ?? (isTold ? like[0] : undefined);
    if (!found) return undefined;
    this.#left.splice(this.#left.indexOf(found), 1);
    this.#release();
    return found;
  }

  /** Until all of before was asked for again. Who is aborted meanwhile has sent nothing, and will not. */
  async #park({ signal }, what) {
    let over;
    await new Promise((resolve, reject) => {
      this.#parked.set(resolve, what);
      over = onAbort(signal, (reason) => this.#parked.delete(resolve) && reject(reason));
    }).finally(() => over());
  }

  #release() {
    if (!this.#live || this.behind) return;
    for (const resolve of this.#parked.keys()) resolve();
    this.#parked.clear();
  }

  async #exchange(run, request, asked, signal) {
    // What a run sends in its last moment is sent: there is nothing to start again any more.
    if (run.over) return this.send(request);
    const id = ++this.#ids;
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
    try {
      response = await this.send(request);
    } catch (error) {
      // It may have arrived: nobody can tell, so it must not be sent again.
      lost("sent something, and got no answer, to");
      throw error;
    }
    const { complete, ...body } = await whole(response);
    if (!complete) {
      lost("fetched what cannot be recorded (a stream, or much) from");
      return answer(response, { ...body, signal });
    }
    await this.order.fetched(asked.what);
    if (request.signal.aborted) {
      lost("sent something, and did not wait for the answer, to");
      throw request.signal.reason;
    }
    const record = {
      id, ...asked, after: this.order.given, status: response.status, statusText: response.statusText, url: response.url,
      redirected: response.redirected, type: response.type, headers: [...response.headers],
      body: body.chunks && Buffer.concat(body.chunks).toString("base64"),
    };
    const size = JSON.stringify(record).length;
    if (this.#recorded.some((other) => isSame(other, record) && !isAnsweredAlike(other, record))) {
      lost("fetched the same more than once, and was not answered the same (give each an idempotency-key), from");
    } else if (size > LARGEST_RECORD || this.#total + size > LARGEST_TOTAL) {
      lost("fetched more than can be recorded from");
    } else if (!closed) {
      this.#total += size;
      // Of a run that is over nothing is left to the next.
      if (!run.over) this.#recorded.push(record);
      close({ type: "recorded", id, record });
    }
    return answered(record, signal);
  }
}

/** Headers that are another each time, and tell nothing of what is asked for. */
const VOLATILE = /^(traceparent|tracestate|baggage|b3|x-b3-.*|x-request-id|x-correlation-id|x-amzn-trace-id|sentry-trace|date|idempotency-key)$/;

/**
 * Whether either could be taken for the other when the run is started again: they say the same, and something else was going on
 * when either was made, so that nobody knows which comes first then. Old records do not tell of that.
 */
function isSame(one, other) {
  const isAlone = ({ alone = true }) => alone;
  return one.what === other.what && one.key === other.key && one.print === other.print && !(isAlone(one) && isAlone(other));
}

/** Whether it makes no difference which of two answers somebody gets. */
function isAnsweredAlike(one, other) {
  const told = ({ status, url, body, headers }) => JSON.stringify([status, url, body, headers.filter(([name]) => !VOLATILE.test(name))]);
  return told(one) === told(other);
}

/** How a request is made, where Node's `fetch` heeds it, with what it is unless somebody says otherwise. */
const MADE = { redirect: "follow", integrity: "", credentials: "same-origin", cache: "default", mode: "cors", referrer: "about:client" };

/** What stands for a body, and for who asks and how: two who ask for the same in other headers are two. The boundary of a form is another each time. */
function print(request, sent) {
  const boundary = /^multipart\/form-data;.*boundary=("?)([^";]+)\1/.exec(request.headers.get("content-type") ?? "")?.[2];
  const plain = (text) => (boundary ? text.replaceAll(boundary, "boundary") : text);
  const said = (name, value) => (name === "authorization" ? claims(value) : plain(value));
  const telling = [...request.headers].filter(([name]) => !VOLATILE.test(name));
  const headers = telling.map(([name, value]) => `${name}: ${said(name, value)}\n`);
  const made = Object.entries(MADE).filter(([name, usual]) => request[name] !== usual).map(([name]) => `:${name} ${request[name]}\n`);
  return sha(made.join("") + headers.join("") + plain(sent.toString("latin1")));
}

/** Who asks. A token that a task signs for itself is another each time: it is the same if it claims the same, but for when. */
function claims(value) {
  const [, key, claimed] = /^Bearer ([\w-]+)\.([\w-]+)\.[\w-]+$/i.exec(value) ?? [];
  try {
    const { iat, exp, nbf, jti, ...who } = JSON.parse(Buffer.from(claimed, "base64url").toString());
    return Object.keys(who).length > 0 ? `${key} ${JSON.stringify(who)}` : value;
  } catch {
    return value;
  }
}

/** What is there of the body of an answer: all, if it is small and there soon; else `more` is the rest. None has no chunks. */
async function whole(response) {
  if (!response.body) return { complete: true };
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
      // One that breaks off does so for whoever reads it: the answer has come.
      const next = endless ? "late" : await Promise.race([reading, limit]).catch(() => "broken");
      if (typeof next === "string" || (!next.done && size + next.value.length > LARGEST_BODY)) {
        // Whoever does not read the stream does not hear that it broke.
        reading.catch(() => {});
        return { complete: false, chunks, more: restOf(reader, reading) };
      }
      if (next.done) return { complete: true, chunks };
      chunks.push(next.value);
      size += next.value.length;
    }
  } finally {
    clearTimeout(late);
  }
}

function answered(record, signal) {
  const chunks = typeof record.body === "string" ? [Buffer.from(record.body, "base64")] : undefined;
  return answer(record, { chunks, signal });
}
