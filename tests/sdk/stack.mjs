// The official client, pointed at a local stack; or at a deployment, where ONCEKEY_TEST_URL says where one is, and
// ONCEKEY_TEST_DEV and ONCEKEY_TEST_PROD are API keys of it.

import { configure } from "@trigger.dev/sdk";

import { startLocalStack } from "../tools/local-stack.mjs";

const deployed = process.env.ONCEKEY_TEST_URL;

export const DEV = process.env.ONCEKEY_TEST_DEV ?? "tr_dev_local";
export const PROD = process.env.ONCEKEY_TEST_PROD ?? "tr_prod_local";

/** Starts a stack, points the client at it, and returns its URL and how to stop it. */
export async function startStack() {
  const stack = deployed ? { url: deployed, stop: async () => {} } : await startLocalStack();
  configure({ baseURL: stack.url, accessToken: DEV });
  return stack;
}
