// A folder of tasks as a package for Lambda, made by the project's own `oncekey build`.

"use strict";

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

/** Returns the package's folder, and the ids of the tasks in it. A folder that has a `manifest.json` is such a package already. */
function build(folder, { host, architecture }) {
  if (!fs.existsSync(folder)) throw new Error(`${folder} is not there`);
  const out = fs.existsSync(path.join(folder, "manifest.json")) ? folder : made(folder, { host, architecture });
  const { tasks } = JSON.parse(fs.readFileSync(path.join(out, "manifest.json"), "utf8"));
  return { folder: out, tasks: tasks.map(({ id }) => id) };
}

function made(folder, { host = process.env.ONCEKEY_HOST, architecture }) {
  const out = fs.mkdtempSync(path.join(os.tmpdir(), "oncekey-tasks-"));
  // CDK copies it into its own output; a synthesis leaves nothing behind.
  process.once("exit", () => fs.rmSync(out, { recursive: true, force: true }));
  const args = [commandFor(folder), "build", "--tasks", folder, "--out", out, "--arch", architecture === "arm64" ? "arm64" : "x64"];
  const { status, stderr, error } = spawnSync(process.execPath, host ? [...args, "--host", host] : args, { encoding: "utf8" });
  if (error || status !== 0) throw new Error(`${folder} cannot be built: ${error?.message ?? stderr.trim()}`);
  return out;
}

function commandFor(folder) {
  for (let at = folder; ; at = path.dirname(at)) {
    const command = path.join(at, "node_modules/oncekey/bin/oncekey.mjs");
    if (fs.existsSync(command)) return command;
    if (at === path.dirname(at)) throw new Error(`${folder}: the package oncekey is not there; npm i --save-dev oncekey`);
  }
}

module.exports = { build };
