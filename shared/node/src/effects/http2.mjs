// HTTP/2 writes below everything that can be seen of its sockets.

import http2 from "node:http2";

import { replace, watch } from "../replace.mjs";

/** Watches sessions and streams, also those that an earlier run left open. */
export function watchHttp2({ effect, goBlind }) {
  const authorities = new WeakMap();
  const seen = new WeakSet();
  const streamOf = (stream) => {
    let prototype = Object.getPrototypeOf(stream);
    // The class of all streams of HTTP/2 is the one that writes.
    while (prototype && !Object.hasOwn(prototype, "_write")) prototype = Object.getPrototypeOf(prototype);
    if (!prototype || seen.has(prototype)) return;
    seen.add(prototype);
    watch(prototype, ["_write", "_writev", "_final", "close", "priority"], (_, __, self) => {
      const authority = authorities.get(self.session);
      if (authority) effect(`sent to ${authority}`);
    });
  };
  const sessionOf = (session) => {
    const prototype = Object.getPrototypeOf(session);
    if (seen.has(prototype)) return;
    seen.add(prototype);
    replace(prototype, "request", (request) =>
      function (...args) {
        effect(`sent to ${authorities.get(this) ?? "an HTTP/2 server"}`);
        const stream = Reflect.apply(request, this, args);
        streamOf(stream);
        return stream;
      });
    for (let above = prototype; above; above = Object.getPrototypeOf(above)) {
      watch(above, ["ping", "settings", "goaway"].filter((name) => Object.hasOwn(above, name)), (_, __, self) =>
        effect(`sent to ${authorities.get(self) ?? "an HTTP/2 server"}`));
    }
  };
  replace(http2, "connect", (connect) =>
    function (authority, ...rest) {
      effect(`connected to ${authority}`);
      const session = Reflect.apply(connect, this, [authority, ...rest]);
      authorities.set(session, String(authority));
      sessionOf(session);
      return session;
    });
  // What a server of the task's own answers cannot be seen.
  watch(http2, ["createServer", "createSecureServer", "performServerHandshake"], (name) => goBlind(`has an HTTP/2 server (${name})`));
}
