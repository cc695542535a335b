// Answers as `fetch` gives them, made of what is known of them.

import { aside } from "./pending.mjs";
import { onAbort } from "./requests.mjs";

/** Statuses whose answers have no body. */
const NO_BODY = [101, 204, 205, 304];

/**
 * An answer with what `like` tells of it: status, statusText, headers, url, redirected, type. Its body has the chunks that are
 * there, and then those of `more`, or none if `chunks` is missing. It breaks when the signal is aborted, also after the headers
 * came.
 */
export function answer(like, { chunks, more, signal }) {
  const body = chunks === undefined || NO_BODY.includes(like.status) ? null : bodyOf([...chunks], more, signal);
  // A response that is made may have some statuses only.
  const status = like.status >= 200 && like.status <= 599 ? like.status : 200;
  return dressed(new Response(body, { status, headers: like.headers }), like);
}

/** The rest of a body whose next chunk is being read. */
export function restOf(reader, reading) {
  let next = reading;
  return {
    async next() {
      const { value } = await aside(next);
      next = reader.read();
      // Whoever reads no further does not hear that it broke.
      next.catch(() => {});
      return value;
    },
    cancel: (why) => reader.cancel(why),
  };
}

/** A response that is made has no address of its own, and neither has its clone. */
function dressed(response, like) {
  const { status, statusText, url, redirected, type = response.type } = like;
  const clone = () => dressed(Response.prototype.clone.call(response), like);
  const own = { status, statusText, ok: status >= 200 && status <= 299, url, redirected, type, clone };
  for (const [name, value] of Object.entries(own)) {
    Object.defineProperty(response, name, { value, configurable: true, writable: true });
  }
  return response;
}

function bodyOf(chunks, more, signal) {
  let over;
  return new ReadableStream({
    type: "bytes",
    start(controller) {
      const broken = (reason) => {
        controller.error(reason);
        void more?.cancel(reason).catch(() => {});
      };
      over = onAbort(signal, broken);
      if (signal?.aborted) broken(signal.reason);
    },
    async pull(controller) {
      let chunk;
      do chunk = chunks.shift() ?? (await more?.next());
      while (chunk?.length === 0);
      // What is given away is gone: others have a part of the same memory, maybe.
      if (chunk) return controller.enqueue(Uint8Array.from(chunk));
      over();
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel(why) {
      over();
      return more?.cancel(why);
    },
  });
}
