// Runs the tasks of a bundle for a host, one run at a time. See PROTOCOL.md.
//
// This file is read by any Node: what needs a new one is loaded after its version is known.

import fs from "node:fs";

import { wrongNode } from "./version.mjs";

const wrong = wrongNode();
if (wrong) {
  fs.writeSync(4, `${JSON.stringify({ type: "failed", error: { name: "Error", message: wrong } })}\n`);
  process.exit(1);
}
import("./serve.mjs").then(({ serve }) => serve());
