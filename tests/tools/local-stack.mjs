// A local stack of its own for a test file: the real binary, in memory, on a free port.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";

export const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));
const binary = `${target}/debug/oncekey`;

/** Starts a stack, and returns its URL and how to stop it. */
export async function startLocalStack() {
  const child = spawn(binary, ["dev", "--memory", "--port", "0"], { stdio: ["ignore", "pipe", "ignore"] });
  const url = await new Promise((resolve, reject) => {
    let printed = "";
    child.stdout.on("data", (chunk) => {
      printed += chunk;
      const found = printed.match(/listening on (http:\S+)/);
      if (found) resolve(found[1]);
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`${binary} ended with ${code}: ${printed}`)));
  });
  const stop = () =>
    new Promise((resolve) => {
      child.removeAllListeners("exit");
      child.on("exit", resolve);
      child.kill("SIGTERM");
    });
  return { url, stop };
}
