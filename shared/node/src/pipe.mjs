// The conversation with the host: fd 3 in, fd 4 out, a JSON line each.

import fs from "node:fs";
import { Socket } from "node:net";
import { createInterface } from "node:readline";

/** The file descriptors that are the host's. */
export const IN = 3;
export const OUT = 4;

// Before anything else replaces it.
const { writeSync } = fs;

/** Tells the host, and returns when the whole message is in the pipe. */
export function say(message) {
  let left = Buffer.from(`${JSON.stringify(message)}\n`);
  while (left.length > 0) {
    try {
      left = left.subarray(writeSync(OUT, left));
    } catch (error) {
      if (error.code === "EPIPE") process.kill(process.pid, "SIGKILL");
      if (error.code !== "EAGAIN") throw error;
      // Whoever made the pipe made it non-blocking, and it is full.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/**
 * Calls `handlers[type](message)` for each message of the host, and ends the process when there can be no more. Returns the
 * socket: a file stream would read in the thread pool, and a read that is under way there keeps `process.exit()` from ending
 * the process.
 */
export function listen(handlers, ended) {
  const socket = new Socket({ fd: IN, readable: true, writable: false });
  const lines = createInterface({ input: socket });
  lines.on("line", (line) => {
    const message = JSON.parse(line);
    handlers[message.type]?.(message);
  });
  lines.on("close", ended);
  socket.on("error", ended);
  return socket;
}

/** An error as messages have it. */
export function described(error) {
  if (!(error instanceof Error)) return { name: "Error", message: typeof error === "string" ? error : `${inspect(error)} was thrown` };
  return { name: error.name, message: error.message, stack: error.stack };
}

function inspect(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return String(value);
  }
}
