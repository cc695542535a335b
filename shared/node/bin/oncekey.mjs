#!/usr/bin/env node
// `npx oncekey build` makes a package for Lambda. Everything else is Oncekey's own command line, whose binary is looked for.

import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";

import { wrongNode } from "../src/version.mjs";

const USAGE = `oncekey build --out DIR [--tasks DIR] [--external PACKAGE]… [--minify] [--host FILE|none] [--arch x64|arm64]
  bundles the tasks of a folder (src/trigger, if it is not named) into a package for Lambda

oncekey dev, trigger, runs, keys, …
  the command line of Oncekey; its binary is the one of ONCEKEY_BINARY, of the package for this platform, or on the PATH`;

const [command, ...rest] = process.argv.slice(2);
const wrong = wrongNode();
if (wrong) fail(wrong);
else if (command === "build") await build();
else if (command === undefined || command === "--help") console.log(USAGE);
else pass();

async function build() {
  const { build: make } = await import("../src/build.mjs");
  let values;
  try {
    ({ values } = parseArgs({
      args: rest,
      options: {
        out: { type: "string" }, tasks: { type: "string", default: "src/trigger" }, external: { type: "string", multiple: true }, minify: { type: "boolean" },
        host: { type: "string" }, arch: { type: "string", default: process.arch },
      },
    }));
    if (!values.out) throw new Error("--out names the folder to write to");
  } catch (error) {
    return fail(`${error.message}\n\n${USAGE}`);
  }
  try {
    const tasks = await make(values);
    console.log(`${values.out}: ${tasks.map(({ id }) => id).join(", ")}`);
    const queues = Object.fromEntries(tasks.filter(({ queue }) => queue?.name).map(({ id, queue }) => [id, queue.name]));
    if (Object.keys(queues).length > 0) console.log(`queues of tasks, for a stack that has them: TaskQueues=${JSON.stringify(JSON.stringify(queues))}`);
  } catch (error) {
    // What is the user's to mend has words of its own.
    fail(["Unusable", "DoesNotCompile"].includes(error.constructor.name) ? error.message : error.stack);
  }
}

function pass() {
  // What is on the PATH may be this very file.
  const names = [process.env.ONCEKEY_BINARY, packaged(), process.env.ONCEKEY_FROM_NPM ? undefined : "oncekey"].filter(Boolean);
  for (const name of names) {
    const { error, status, signal } = spawnSync(name, [command, ...rest], { stdio: "inherit", env: { ...process.env, ONCEKEY_FROM_NPM: "1" } });
    if (error?.code === "ENOENT") continue;
    if (error) return fail(`${name}: ${error.message}`);
    process.exitCode = status ?? (signal ? 1 : 0);
    return;
  }
  fail(`there is no Oncekey for ${process.platform}-${process.arch}: build it (cargo install --path infra/local), or say in ONCEKEY_BINARY where it is`);
}

function packaged() {
  try {
    return createRequire(import.meta.url).resolve(`oncekey-${process.platform}-${process.arch}/oncekey`);
  } catch {
    return undefined;
  }
}

function fail(message) {
  console.error(message);
  process.exitCode = 1;
}
