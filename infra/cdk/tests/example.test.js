// The example of docs/operations.md, compiled against the types and synthesised, with a folder of tasks that is built.

"use strict";

const assert = require("node:assert/strict");
const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");
const { after, test } = require("node:test");

const { template } = require("../src/templates.js");

const root = path.join(__dirname, "../../..");
const example = path.join(__dirname, "../example/app.ts");
const scratch = fs.mkdtempSync(path.join(__dirname, ".test-"));
after(() => fs.rmSync(scratch, { recursive: true }));

test("the example compiles, and makes three stacks", () => {
  const shown = fs.readFileSync(path.join(root, "docs/operations.md"), "utf8");
  assert.ok(shown.includes(`\`\`\`ts\n${fs.readFileSync(example, "utf8")}\`\`\``), "docs/operations.md shows another example");
  const compiler = require.resolve("typescript/bin/tsc");
  run([compiler, "--strict", "--skipLibCheck", "--module", "node16", "--rootDir", path.dirname(example), "--outDir", scratch, example], path.dirname(example));

  fs.cpSync(path.join(root, "examples/my-ts-worker/src"), path.join(scratch, "src"), { recursive: true });
  for (const [name, { Type }] of Object.entries(template("oncekey").Resources)) {
    if (Type !== "AWS::Serverless::Function") continue;
    fs.mkdirSync(path.join(scratch, ".aws-sam/build", name), { recursive: true });
    fs.writeFileSync(path.join(scratch, ".aws-sam/build", name, "bootstrap"), name);
  }
  fs.writeFileSync(path.join(scratch, "host"), "");
  run([path.join(scratch, "app.js")], scratch, { ONCEKEY_HOST: path.join(scratch, "host"), CDK_OUTDIR: path.join(scratch, "out") });
  const stacks = fs.readdirSync(path.join(scratch, "out")).filter((name) => name.endsWith(".template.json"));
  assert.equal(stacks.length, 3);
  const all = stacks.map((name) => fs.readFileSync(path.join(scratch, "out", name), "utf8")).join();
  for (const task of ["invite-later", "send-invitation", "digest"]) assert.ok(all.includes(`\\"${task}\\":\\"mail\\"`), task);
});

function run(args, cwd, env) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd, encoding: "utf8", env: { ...process.env, ...env } });
  assert.equal(status, 0, stdout + stderr);
}
