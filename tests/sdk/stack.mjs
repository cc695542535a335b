// A local stack of its own for a test file: the real binary, in memory, on a free port. Or a deployment, where
// ONCEKEY_TEST_URL says where one is, and ONCEKEY_TEST_DEV and ONCEKEY_TEST_PROD are API keys of it.

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { configure } from "@trigger.dev/sdk";

const target = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));
const binary = `${target}/debug/oncekey`;

const deployed = process.env.ONCEKEY_TEST_URL;

export const DEV = process.env.ONCEKEY_TEST_DEV ?? "tr_dev_local";
export const PROD = process.env.ONCEKEY_TEST_PROD ?? "tr_prod_local";

/** Starts a stack, points the client at it, and returns its URL and how to stop it. */
export async function startStack() {
  if (deployed) {
    configure({ baseURL: deployed, accessToken: DEV });
    return { url: deployed, stop: async () => {} };
  }
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
  configure({ baseURL: url, accessToken: DEV });
  const stop = () =>
    new Promise((resolve) => {
      child.removeAllListeners("exit");
      child.on("exit", resolve);
      child.kill("SIGTERM");
    });
  return { url, stop };
}
