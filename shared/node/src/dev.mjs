// Bundles a folder of tasks, and again whenever something of it has changed, for the host that started it. See PROTOCOL.md.

import { rm, stat } from "node:fs/promises";
import path from "node:path";
import { parseArgs } from "node:util";

import { wrongNode } from "./version.mjs";

const LOOK_MS = 300;

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const fatal = (message) => process.stdout.write(`${JSON.stringify({ type: "fatal", message })}\n`, () => process.exit(1));

async function main() {
  const { bundle, prepareSdk, DoesNotCompile } = await import("./bundle.mjs");
  const { findEsbuild } = await import("./esbuild.mjs");
  const { Unusable, projectOf, taskFiles } = await import("./project.mjs");
  const { values } = parseArgs({ options: { tasks: { type: "string" }, out: { type: "string" }, cache: { type: "string" } } });
  if (!values.tasks || !values.out) throw new Unusable("--tasks and --out are needed");
  const project = await projectOf(values.tasks);
  const cache = path.resolve(values.cache ?? values.out);
  const { version, expected } = project.sdk;
  if (!expected) tell({ type: "note", message: `@trigger.dev/sdk ${version} is not the version that this was tested with` });
  const esbuild = await findEsbuild({ root: project.root, cache, note: (message) => tell({ type: "note", message }) });
  const sdk = await prepareSdk({ esbuild, project, cache });

  let builds = 0;
  let inputs = [];
  let told;
  let failed = false;
  const build = async () => {
    const began = performance.now();
    const folder = path.resolve(values.out, `${process.pid}-${++builds}`);
    try {
      const made = await bundle({ esbuild, project, sdk, out: folder });
      inputs = made.inputs;
      failed = false;
      const { contentHash, entries } = made.manifest;
      if (told === contentHash) return await rm(folder, { recursive: true });
      told = contentHash;
      tell({ type: "built", folder, contentHash, files: entries.map(({ source }) => source), ms: Math.round(performance.now() - began) });
    } catch (error) {
      if (!(error instanceof DoesNotCompile) && !(error instanceof Unusable)) throw error;
      const errors = error.errors ?? [{ message: error.message }];
      if (told !== JSON.stringify(errors)) tell({ type: "failed", errors });
      told = JSON.stringify(errors);
      failed = true;
    }
  };
  const look = async () => {
    const files = await taskFiles(project).catch(() => []);
    const all = [...new Set([...files, ...inputs, path.join(project.root, "tsconfig.json"), path.join(project.root, "package.json")])].sort();
    const states = await Promise.all(all.map((file) => stat(file).then(({ mtimeMs, size }) => `${file} ${mtimeMs} ${size}`, () => file)));
    return states.join("\n");
  };

  process.stdin.resume().on("end", () => process.exit(0)).on("error", () => process.exit(0));
  let seen;
  for (let looks = 0; ; looks += 1) {
    // Looked at before it is bundled, so that nothing that changes meanwhile is missed.
    const now = await look();
    // What a failed bundle lacks may come anywhere.
    if (now !== seen || (failed && looks % 4 === 0)) {
      seen = now;
      await build();
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

const wrong = wrongNode();
if (wrong) fatal(wrong);
else main().catch((error) => fatal(error.constructor.name === "Unusable" ? error.message : error.stack));
