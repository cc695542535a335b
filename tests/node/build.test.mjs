// The bundler: for a laptop, where it watches, and for Lambda, where everything is inside.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { Host, folder } from "./host.mjs";

const at = (name) => fileURLToPath(new URL(`../../shared/node/${name}`, import.meta.url));
const task = (id, body = "payload") => `import { task } from "@trigger.dev/sdk";\nexport const made_${id} = task({ id: "${id}", run: async (payload: any) => ${body} });\n`;

/** Starts the bundler for a laptop, and reads its lines. */
function dev(root, tasks) {
  const child = spawn(process.execPath, [at("src/dev.mjs"), "--tasks", path.join(root, tasks), "--out", path.join(root, ".out")], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise((resolve) => child.once("exit", resolve));
  return {
    next: async () => JSON.parse((await lines.next()).value),
    stop: async () => {
      child.stdin.end();
      return ended;
    },
  };
}

/** Runs the package's own command. */
function command(args, options = {}) {
  return new Promise((resolve) => {
    execFile(process.execPath, [at("bin/oncekey.mjs"), ...args], options, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, stdout, stderr }));
  });
}

test("it bundles at once, after each change, and tells a mistake with its place", async () => {
  const { root, remove } = await folder({ "package.json": "{}", "tasks/a.ts": task("one"), "lib/b.ts": `export const b: number = 1;` });
  const bundler = dev(root, "tasks");
  try {
    const first = await bundler.next();
    assert.deepEqual([first.type, first.files], ["built", ["tasks/a.ts"]]);
    const manifest = JSON.parse(await readFile(path.join(first.folder, "tasks.json"), "utf8"));
    assert.deepEqual([manifest.project, manifest.contentHash, manifest.entries.length], [root, first.contentHash, 1]);
    await writeFile(path.join(root, "tasks/b.ts"), "const x: = 1;\n");
    assert.deepEqual((await bundler.next()).errors, [{ file: "tasks/b.ts", line: 1, column: 10, message: 'Unexpected "="' }]);
    await writeFile(path.join(root, "tasks/b.ts"), `import { b } from "../lib/b";\n${task("two", "b")}`);
    const second = await bundler.next();
    assert.deepEqual([second.type, second.files], ["built", ["tasks/a.ts", "tasks/b.ts"]]);
    // What a task file imports is watched as well; what changes nothing is not told.
    await writeFile(path.join(root, "tasks/a.ts"), `// a remark\n${task("one")}`);
    await writeFile(path.join(root, "lib/b.ts"), `export const b: number = 2;`);
    const third = await bundler.next();
    assert.equal(third.type, "built");
    assert.notEqual(third.contentHash, second.contentHash);
    await rm(path.join(root, "lib/b.ts"));
    assert.match((await bundler.next()).errors[0].message, /Could not resolve/);
    await writeFile(path.join(root, "lib/b.ts"), `export const b: number = 2;`);
    assert.equal((await bundler.next()).contentHash, third.contentHash);
    assert.equal(await bundler.stop(), 0);
  } finally {
    await bundler.stop();
    await remove();
  }
});

test("of a project's own root it takes the files that name the SDK, without tests", async () => {
  const { root, remove } = await folder({ "package.json": "{}", "a.ts": task("one"), "a.test.ts": task("two"), "next.config.js": "process.exit(1)", ".hidden/b.ts": task("three"), "deep/er/c.ts": task("four") });
  const bundler = dev(root, ".");
  try {
    assert.deepEqual((await bundler.next()).files, ["a.ts", "deep/er/c.ts"]);
  } finally {
    await bundler.stop();
    await remove();
  }
});

test("a folder without the SDK, without tasks, or that is not there is told", async () => {
  const lonely = path.join(tmpdir(), `oncekey-test-${process.pid}`);
  await mkdir(lonely, { recursive: true });
  await writeFile(path.join(lonely, "a.ts"), task("one"));
  const { root, remove } = await folder({ "package.json": "{}", "empty/readme.md": "" });
  const said = [];
  for (const [from, tasks] of [[lonely, "."], [root, "empty"], [root, "nowhere"]]) {
    const bundler = dev(from, tasks);
    const { message, errors } = await bundler.next();
    said.push(message ?? errors[0].message);
    await bundler.stop();
  }
  await Promise.all([remove(), rm(lonely, { recursive: true })]);
  assert.match(said[0], /has no @trigger\.dev\/sdk: run `npm i @trigger\.dev\/sdk@4\.8` in it/);
  assert.match(said[1], /has no task files/);
  assert.match(said[2], /nowhere is not there/);
});

test("a package for Lambda has everything inside, and runs from anywhere", async () => {
  const { root, remove } = await folder({
    "package.json": "{}", "tsconfig.json": JSON.stringify({ compilerOptions: { baseUrl: ".", paths: { "~/*": ["lib/*"] } } }),
    "lib/double.ts": `export enum By { Two = 2 }\nexport const double = (n: number) => n * By.Two;`,
    "src/trigger/a.ts": `import { queue, schemaTask } from "@trigger.dev/sdk";\nimport { z } from "zod";\nimport { step } from "oncekey";\nimport { double } from "~/double";\nexport const doubled = schemaTask({ id: "doubled", queue: queue({ name: "numbers", concurrencyLimit: 4 }), schema: z.object({ n: z.number() }), run: async ({ n }) => step("double", () => double(n)) });\nexport const fails = schemaTask({ id: "fails", queue: { concurrencyLimit: 1 }, schema: z.any(), run: async () => {\n  throw new Error("here");\n} });`,
    "host": "the host",
  });
  const out = path.join(tmpdir(), `oncekey-package-${process.pid}`);
  try {
    const made = await command(["build", "--out", out, "--host", path.join(root, "host"), "--minify"], { cwd: root });
    assert.deepEqual([made.code, made.stderr], [0, ""]);
    assert.match(made.stdout, /: doubled, fails\n.*TaskQueues="\{\\"doubled\\":\\"numbers\\"\}"/);
    assert.deepEqual((await readdir(out)).toSorted(), ["bootstrap", "harness.mjs", "manifest.json", "tasks"]);
    assert.deepEqual(JSON.parse(await readFile(path.join(out, "manifest.json"), "utf8")), {
      tasks: [{ id: "doubled", queue: "numbers" }, { id: "fails" }], queues: [{ name: "numbers", concurrencyLimit: 4 }, { name: "task/fails", concurrencyLimit: 1 }],
    });
    await rm(path.join(root, "src"), { recursive: true });
    const host = new Host(path.join(out, "tasks"), { harness: path.join(out, "harness.mjs") });
    host.root = tmpdir();
    await host.start();
    try {
      assert.equal(host.failed, undefined, JSON.stringify(host.failed));
      assert.equal(JSON.parse((await host.run("doubled", { n: 21 })).output).json, 42);
      assert.match((await host.run("fails", {})).error.stackTrace, /src\/trigger\/a\.ts:7:/);
    } finally {
      await host.stop();
    }
  } finally {
    await rm(out, { recursive: true, force: true });
    await remove();
  }
});

test("what cannot be built is told, and ends with 1", async () => {
  const { root, remove } = await folder({
    "package.json": "{}", "wrong/a.ts": "const x: = 1;", "throws/a.ts": `import "@trigger.dev/sdk";\nthrow new Error("no database");`, "right/a.ts": task("one"),
  });
  try {
    const build = (...args) => command(["build", ...args], { cwd: root });
    for (const [args, message] of [
      [[], /--out names the folder/],
      [["--out", "o", "--what"], /Unknown option '--what'/],
      [["--out", "o", "--tasks", "wrong", "--host", "none"], /wrong\/a\.ts:1:10: Unexpected "="/],
      [["--out", "o", "--tasks", "throws", "--host", "none"], /the tasks do not load:.*no database/s],
      [["--out", "o", "--tasks", "right"], /the host's binary is not there/],
      [["--out", "o", "--tasks", "right", "--host", "nowhere"], /the host cannot be copied/],
    ]) {
      const { code, stderr } = await build(...args);
      assert.equal(code, 1);
      assert.match(stderr, message);
    }
  } finally {
    await remove();
  }
});

test("other commands are the binary's own", async () => {
  const { root, remove } = await folder({ "oncekey.mjs": `console.log(JSON.stringify(process.argv.slice(2)));\nprocess.exitCode = 3;` });
  try {
    const binary = path.join(root, "binary");
    await writeFile(binary, `#!/bin/sh\nexec '${process.execPath}' '${path.join(root, "oncekey.mjs")}' "$@"\n`, { mode: 0o755 });
    const { code, stdout } = await command(["runs", "list", "--json"], { env: { ...process.env, ONCEKEY_BINARY: binary } });
    assert.deepEqual([code, JSON.parse(stdout)], [3, ["runs", "list", "--json"]]);
    const missing = await command(["runs"], { env: { ...process.env, ONCEKEY_BINARY: "", PATH: "/nowhere" } });
    assert.match(missing.stderr, /there is no Oncekey for/);
    // What the PATH leads to is this command itself.
    await symlink(at("bin/oncekey.mjs"), path.join(root, "oncekey"));
    const itself = await command(["runs"], { env: { ...process.env, ONCEKEY_BINARY: "", PATH: `${root}:${path.dirname(process.execPath)}:/usr/bin:/bin` } });
    assert.deepEqual([itself.code, /there is no Oncekey for/.test(itself.stderr)], [1, true]);
  } finally {
    await remove();
  }
});
