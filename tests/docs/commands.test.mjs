// The commands of the README, of docs/ and beside the examples do what is said: each block for a shell is run, or stands in a list with the reason
// why not, and what it prints is compared with the page.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, describe, test } from "node:test";

import { blocksOf, commandsOf, filesOf, nameOf, pages } from "./page.mjs";
import { compare, Ids } from "./printed.mjs";
import { Session } from "./session.mjs";

const GOES_ON = "it goes on until it is stopped: the test starts the stack in its place";
const AWS = "it deploys to an account of AWS, or asks one";

/** Blocks that are not run: page, first line, reason. */
const NOT_RUN = [
  ["README.md", "cargo run", GOES_ON],
  ["README.md", "sam build && sam deploy", AWS],
  ["docs/local-stack.md", "cargo run -- dev --functions http://localhost:9000", "it goes on until it is stopped, and builds functions"],
  ["docs/operations.md", "python3 -m venv ~/.oncekey-tools && . ~/.oncekey-tools/bin/activate", AWS],
  ["docs/operations.md", "oncekey env create acme/prod --stack oncekey", AWS],
  ["docs/typescript.md", "npm init -y && npm i @trigger.dev/sdk@4.8", "it installs from a registry: the folder of the test has the package"],
  ["docs/typescript.md", "oncekey dev --tasks trigger", GOES_ON],
  ["examples/my-ts-worker/README.md", "npm install", `it installs from a registry; and ${GOES_ON}`],
  ["examples/my-ts-worker/README.md", "cargo lambda build --release --package oncekey-function-worker-node", AWS],
  ["examples/my-ts-worker/README.md", "sam deploy --config-env prod --parameter-overrides", AWS],
  ["examples/my-worker/README.md", "sam build --template-file template.yaml", AWS],
  ["examples/my-worker/README.md", `sam deploy --config-env prod --parameter-overrides 'Stage=prod MoreRunQueues="{\\"my-worker\\": \\"<QueueUrl>\\"}"'`, AWS],
  ["examples/my-worker/README.md", `curl "$TRIGGER_API_URL/api/v1/tasks/invite/trigger" -H "Authorization: Bearer $TRIGGER_SECRET_KEY"`, AWS],
];

/** Pages that are read in a row, by a reader with these files, who has started `oncekey dev` with these arguments. */
const READINGS = [
  { pages: ["README.md", "docs/tour.md"] },
  { pages: ["docs/cli.md"], files: { "items.ndjson": [1, 2, 3].map((n) => `{"task": "echo", "payload": ${n}}\n`).join("") } },
  { pages: ["docs/typescript.md"], files: { "trigger/tasks.ts": (await blocksOf("docs/typescript.md", "ts"))[0] }, dev: ["--tasks", "trigger"] },
  {
    pages: ["examples/my-ts-worker/README.md"],
    files: await filesOf("examples/my-ts-worker/src/trigger", "src/trigger"), dev: ["--tasks", "src/trigger"],
  },
];

const isRun = (page, block) => !NOT_RUN.some(([at, name]) => at === page && name === nameOf(block));

test("each block for a shell is run, or listed with a reason", async () => {
  const read = new Set(READINGS.flatMap((reading) => reading.pages));
  const forgotten = [];
  for (const page of await pages()) {
    for (const block of await blocksOf(page, "sh")) if (!read.has(page) && isRun(page, block)) forgotten.push(`${page}: ${nameOf(block)}`);
  }
  assert.deepEqual(forgotten, []);
});

test("what is listed as not run is still there", async () => {
  for (const [page, name] of NOT_RUN) {
    const names = (await blocksOf(page, "sh")).map(nameOf);
    assert.ok(names.includes(name), `${page} has no block ${name}, but ${names.join(", ")}`);
  }
});

for (const reading of READINGS) {
  describe(reading.pages.join(", then "), async () => {
    let session;
    const ids = new Ids();
    before(async () => {
      session = await Session.start(reading);
    });
    after(() => session?.stop());

    for (const page of reading.pages) {
      for (const block of (await blocksOf(page, "sh")).filter((one) => isRun(page, one))) {
        test(`${page}: ${nameOf(block)}`, async () => {
          for (const { command, printed } of commandsOf(block)) {
            const real = await session.run(ids.known(command), printed);
            if (printed !== undefined) compare(printed, real, ids);
          }
        });
      }
      for (const [at, program] of (await blocksOf(page, "js")).entries()) {
        test(`${page}: program ${at + 1}`, async () => {
          await writeFile(path.join(session.folder, "program.mjs"), program);
          const said = [...program.matchAll(/^console\.log\(.*\); \/\/ (.*)$/gm)].map((found) => found[1]).join("\n");
          assert.notEqual(said, "", "the program says what it prints");
          compare(said, await session.run("node program.mjs"), ids);
        });
      }
    }
  });
}
