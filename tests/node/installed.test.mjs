// The package as a user has it: packed, installed into an empty folder from its file, and used from there. npm takes the SDK and
// esbuild from its cache, or from the registry.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, readdir, realpath, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { Host } from "./host.mjs";

const at = (name) => fileURLToPath(new URL(name, import.meta.url));
const run = promisify(execFile);
const QUIET = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];

const TASKS = `
import { task, wait } from "@trigger.dev/sdk";
import { step, stepKey } from "oncekey";
import { double } from "../double";

export const charges = task({ id: "charges", run: async ({ n }: { n: number }) => {
  const charged = await step("charge", async () => double(n));
  await wait.for({ days: 1 });
  return { charged, key: stepKey("charge").length };
} });
`;

/** Where nothing of this repository is above. */
let place;
/** The user's project. */
let app;
let packed;
before(async () => {
  place = await realpath(await mkdtemp(path.join(tmpdir(), "oncekey-installed-")));
  app = path.join(place, "app");
  packed = await pack(path.join(place, "package"));
  await write("package.json", JSON.stringify({ name: "app", private: true }));
  await write("src/trigger/tasks.ts", TASKS);
  await write("src/double.ts", "export const double = (n: number) => 2 * n;\n");
  const { dependencies } = JSON.parse(await readFile(at("package.json"), "utf8"));
  await npm(["install", ...QUIET, path.join(place, packed.filename), `@trigger.dev/sdk@${dependencies["@trigger.dev/sdk"]}`], app);
});
after(() => rm(place, { recursive: true, force: true }));

/** Packs the package, of a copy, since what is made for that would stay where it was made. Returns what npm tells of it. */
async function pack(copy) {
  await cp(at("../../shared/node"), copy, { recursive: true, filter: (file) => !/\/(node_modules|dist)$/.test(file) });
  // Whoever publishes has esbuild there.
  await symlink(at("node_modules"), path.join(copy, "node_modules"));
  const { stdout } = await npm(["pack", "--json", "--loglevel=error", "--pack-destination", place], copy);
  // What the package's own scripts print comes before.
  return JSON.parse(stdout.slice(stdout.indexOf("[\n")))[0];
}

function npm(args, cwd) {
  return run("npm", args, { cwd, maxBuffer: 64 * 1024 * 1024 });
}

async function write(name, text) {
  await mkdir(path.dirname(path.join(app, name)), { recursive: true });
  await writeFile(path.join(app, name), text);
}

const installed = (name) => path.join(app, "node_modules", name);
const oncekey = (...args) => run(installed(".bin/oncekey"), args, { cwd: app });

/** A run of the task in a harness, with its wait over at once. */
async function carryOut(bundle, harness) {
  const host = new Host(bundle, { harness });
  host.root = place;
  await host.start();
  try {
    assert.equal(host.failed, undefined, JSON.stringify(host.failed));
    host.onWait = ({ waitpoint }) => ({ result: { ok: true, id: waitpoint } });
    const result = await host.run("charges", { n: 21 });
    assert.equal(result.ok, true, JSON.stringify(result));
    return JSON.parse(result.output).json;
  } finally {
    await host.stop();
  }
}

test("it has all of its sources, the harness as one file, and nothing else", async () => {
  const sources = await readdir(at("../../shared/node/src"), { recursive: true });
  const wanted = sources.filter((name) => /\.(d\.mts|mjs)$/.test(name)).map((name) => `src/${name}`);
  wanted.push("bin/oncekey.mjs", "bin/pack.mjs", "dist/harness.mjs", "package.json");
  assert.deepEqual(packed.files.map((file) => file.path).toSorted(), wanted.toSorted());
});

test("its command bundles a task file for Lambda, which runs there without the packages", async () => {
  const { stdout } = await oncekey("build", "--out", path.join(place, "out"), "--host", "none");
  assert.match(stdout, /: charges\n/);
  const charged = await carryOut(path.join(place, "out/tasks"), path.join(place, "out/harness.mjs"));
  assert.deepEqual(charged, { charged: 42, key: 64 });
});

test("its bundler for a laptop bundles it, and its harness carries it out", async () => {
  const args = [installed("oncekey/src/dev.mjs"), "--tasks", "src/trigger", "--out", path.join(place, "dev")];
  const bundler = spawn(process.execPath, args, { cwd: app, stdio: ["pipe", "pipe", "inherit"] });
  try {
    const lines = createInterface({ input: bundler.stdout })[Symbol.asyncIterator]();
    const built = JSON.parse((await lines.next()).value);
    assert.deepEqual([built.type, built.files], ["built", ["src/trigger/tasks.ts"]]);
    for (const harness of ["src/harness.mjs", "dist/harness.mjs"]) {
      assert.deepEqual(await carryOut(built.folder, installed(`oncekey/${harness}`)), { charged: 42, key: 64 });
    }
  } finally {
    // It ends with its input.
    bundler.stdin.end();
  }
});

test("what a task imports of it is there, with its types, and says outside of a run that it is for tasks", async () => {
  const { types } = JSON.parse(await readFile(installed("oncekey/package.json"), "utf8")).exports["."];
  assert.match(await readFile(path.join(installed("oncekey"), types), "utf8"), /export declare function step</);
  await write("outside.mjs", `import { step } from "oncekey";\nawait step("charge", () => 1).catch((error) => console.log(error.message));\n`);
  const { stdout } = await run(process.execPath, ["outside.mjs"], { cwd: app });
  assert.match(stdout, /steps work inside a task that Oncekey runs/);
});
