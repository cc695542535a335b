// Stream sockets (TLS's too) and datagrams.

import dgram from "node:dgram";
import net from "node:net";

import { replace, watch } from "../replace.mjs";

/** Watches every socket but those that are exempt: the pipes to the host, the standard streams, what is recorded. */
export function watchSockets({ effect, harmless }) {
  const exempt = new WeakSet();
  const peers = new WeakMap();
  const standard = (socket) => socket === process.stdout || socket === process.stderr || socket === process.stdin;

  replace(net.Socket.prototype, "connect", (connect) =>
    function (...args) {
      const { host, port, name } = peer(args);
      peers.set(this, name);
      if (harmless(host, port)) exempt.add(this);
      if (!exempt.has(this)) effect(`connected to ${name}`);
      return Reflect.apply(connect, this, args);
    });
  // Every write of a stream ends here, also on a socket that was accepted, inherited, or connected by an earlier run.
  watch(net.Socket.prototype, ["_writeGeneric"], (_, __, socket) => {
    if (exempt.has(socket) || standard(socket)) return;
    // TLS over a socket that may pass.
    if (socket._parent && exempt.has(socket._parent)) return;
    effect(`sent to ${peers.get(socket) ?? peers.get(socket._parent) ?? remote(socket)}`);
  });

  watch(dgram.Socket.prototype, ["send"], (_, args) => {
    const text = args.findLast((argument) => typeof argument === "string");
    const port = args.find((argument, place) => place > 0 && typeof argument === "number");
    if (!harmless(text ?? "localhost", port)) effect(`sent a datagram to ${text ?? "localhost"}`);
  });
  watch(dgram.Socket.prototype, ["connect", "addMembership", "addSourceSpecificMembership"], (name) => effect(`called ${name} of a datagram socket`));

  return { exempt: (socket) => exempt.add(socket) };
}

/** Whom `connect` is asked to connect to: Node's own callers give the arguments as an array. */
function peer(args) {
  const [first, second] = Array.isArray(args[0]) ? args[0] : args;
  const to = typeof first === "object" && first !== null ? first : typeof first === "string" && Number.isNaN(Number(first)) ? { path: first } : { port: first, host: second };
  if (to.path) return { host: to.path, port: undefined, name: `unix:${to.path}` };
  const host = String(to.servername || to.host || "localhost");
  return { host, port: to.port, name: `${host}:${to.port}` };
}

const remote = (socket) => (socket.remoteAddress ? `${socket.remoteAddress}:${socket.remotePort}` : "a socket that it was given");
