// A way to the outside of our own: only what we send goes over its sockets, so that those need not be watched.

import net from "node:net";
import tls from "node:tls";

const GLOBAL = Symbol.for("undici.globalDispatcher.1");
const CONNECT_TIMEOUT_MS = 10_000;

/** Node's own dispatcher, which everybody's `fetch` uses who names none. */
export const ordinary = () => globalThis[GLOBAL];

/**
 * A dispatcher for Node's `fetch` with sockets of its own, each of which is given to `made` before anything goes over it.
 * `options` are undici's.
 */
export async function dispatcher(made, options = {}) {
  // Node loads its HTTP client with the first request; this one goes nowhere.
  if (!ordinary()) await fetch("data:,");
  const Agent = ordinary().constructor;
  const sessions = new Map();
  const connect = ({ hostname, host, protocol, port, servername }, done) => {
    const secure = protocol === "https:";
    const name = hostname.replace(/^\[(.*)\]$/, "$1");
    const plain = new net.Socket();
    made(plain);
    let socket = plain;
    let pending = true;
    const finish = (error) => {
      if (!pending) return;
      pending = false;
      clearTimeout(timer);
      if (error) socket.destroy();
      done(error ?? null, error ? undefined : socket);
    };
    const timer = setTimeout(() => {
      finish(Object.assign(new Error("Connect Timeout Error"), { name: "ConnectTimeoutError", code: "UND_ERR_CONNECT_TIMEOUT" }));
      plain.destroy();
    }, CONNECT_TIMEOUT_MS).unref();
    plain.setNoDelay(true);
    plain.setKeepAlive(true, 60_000);
    plain.once("error", finish);
    plain.once("connect", () => {
      if (!secure) return finish();
      const server = servername || (net.isIP(name) ? undefined : name);
      socket = tls.connect({ socket: plain, servername: server, host: name, session: sessions.get(host), ALPNProtocols: ["http/1.1"] });
      made(socket);
      socket.on("session", (session) => sessions.set(host, session));
      socket.once("error", (error) => {
        sessions.delete(host);
        finish(error);
      });
      socket.once("secureConnect", () => finish());
    });
    plain.connect({ host: name, port: Number(port) || (secure ? 443 : 80) });
  };
  return new Agent({ ...options, connect });
}
