// The short form of `node kills.mjs`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { killAtRandom } from "./kills.mjs";

test("whatever is killed at whatever moment, runs end, and nothing is done twice within an attempt", async () => {
  const { host, child, effects } = await killAtRandom({ kills: 20 });
  assert.equal(host + child, 20);
  assert.ok(effects > 0);
});
