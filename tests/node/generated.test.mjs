// The short form of `node generated.mjs`.

import { test } from "node:test";

import { carryOut } from "./generated.mjs";

test("no program of a few hundred sends a fetch twice, whenever it is suspended", async () => {
  for (let seed = 1; seed <= 400; seed += 1) await carryOut(seed);
});
