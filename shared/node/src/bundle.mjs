// Task files made into a folder that a harness loads: an ES module a file, what they share beside them, loaded once.

import { createHash } from "node:crypto";
import { mkdir, realpath, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import { Unusable, taskFiles } from "./project.mjs";
import { PROTOCOL } from "./version.mjs";

const FACE = fileURLToPath(new URL("./face.mjs", import.meta.url));
const CORE = "oncekey:core";
/** What the harness takes of the SDK's insides. */
const CORE_SOURCE = `
export * as core from "oncekey:names";
export { TriggerTracer } from "@trigger.dev/core/v3/tracer";
export * as workers from "oncekey:workers";
`;
const NAMES = `
export {
  TaskRunContext, apiClientManager, lifecycleHooks, localsAPI, parsePacket, resetIdempotencyKeyCatalog, resourceCatalog, runMetadata, runtime,
  stringifyIO, taskContext, waitUntil,
} from "@trigger.dev/core/v3";
`;
const WORKERS = `
export {
  ConsoleInterceptor, NO_FILE_CONTEXT, StandardLifecycleHooksManager, StandardLocalsManager, StandardMetadataManager, StandardResourceCatalog,
  StandardWaitUntilManager, TaskExecutor,
} from "@trigger.dev/core/v3/workers";
`;
const BANNER = 'import{createRequire as __oncekeyRequire}from"node:module";const require=__oncekeyRequire(import.meta.url);';

/** Why files cannot be bundled: `errors` has the place of each. */
export class DoesNotCompile extends Error {
  constructor(errors) {
    super(errors.map(({ file, line, column, message }) => `${file ? `${file}:${line}:${column}: ` : ""}${message}`).join("\n"));
    this.errors = errors;
  }
}

/**
 * Bundles a project's tasks into the folder `out`. With `inside`, its packages become part of the bundle, except those of
 * `external`; otherwise they stay where they are. Returns what is in `tasks.json`, and `inputs`, the files it was made of.
 */
export async function bundle({ esbuild, project, out, inside = false, minify = false, external = [] }) {
  const files = await taskFiles(project);
  if (files.length === 0) throw new Unusable(`${project.tasks} has no task files: a task file imports @trigger.dev/sdk and exports what task({ id, run }) makes`);
  const name = (file) => path.relative(project.root, file).split(path.sep).join("/");
  let result;
  try {
    result = await esbuild.build({
      absWorkingDir: project.root,
      entryPoints: [{ in: CORE, out: "core" }, ...files.map((file, place) => ({ in: file, out: String(place) }))],
      outdir: out, outExtension: { ".js": ".mjs" }, entryNames: "[name]", chunkNames: "shared-[hash]",
      bundle: true, splitting: true, platform: "node", format: "esm", target: "node20", minify, keepNames: minify,
      sourcemap: "linked", sourcesContent: false, metafile: true, write: false, logLevel: "silent", legalComments: "none",
      banner: { js: BANNER }, external,
      plugins: [own(project), ...(inside ? [] : [outside(external)])],
    });
  } catch (error) {
    if (!error.errors) throw error;
    throw new DoesNotCompile(error.errors.map(({ text, location }) => ({
      ...(location && { file: location.file, line: location.line, column: location.column + 1 }),
      message: /"\.node"/.test(text) ? `${text}: a package with native code stays outside with --external` : text,
    })));
  }
  const written = result.outputFiles.toSorted((one, other) => (one.path < other.path ? -1 : 1));
  const hash = createHash("sha256");
  for (const { path: file, contents } of written) if (!file.endsWith(".map")) hash.update(path.basename(file)).update(contents);
  const manifest = {
    protocol: PROTOCOL, project: project.root, sdk: project.sdk.version, contentHash: hash.digest("hex"), core: "core.mjs",
    entries: files.map((file, place) => ({ file: `${place}.mjs`, source: name(file) })),
  };
  await mkdir(out, { recursive: true });
  await Promise.all(written.map(({ path: file, contents }) => writeFile(file, contents)));
  // Last: a folder that has it is whole.
  await writeFile(path.join(out, "tasks.json"), JSON.stringify(manifest));
  const inputs = Object.keys(result.metafile.inputs).filter((input) => !/^oncekey[-:]/.test(input)).map((input) => path.resolve(project.root, input));
  return { manifest, inputs };
}

/** What is ours: the SDK's insides, found from the SDK as its own dependency, and the package's face. */
const own = (project) => ({
  name: "oncekey",
  setup(build) {
    const sources = { [CORE]: CORE_SOURCE, "oncekey:names": NAMES, "oncekey:workers": WORKERS };
    build.onResolve({ filter: /^oncekey:/ }, ({ path: name }) => ({ path: name, namespace: "oncekey-core" }));
    build.onLoad({ filter: /.*/, namespace: "oncekey-core" }, ({ path: name }) => ({ contents: sources[name], resolveDir: project.sdk.folder }));
    build.onResolve({ filter: /^oncekey$/ }, () => ({ path: FACE }));
  },
});

/** Packages stay where they are, under the places that they have now: the bundle may lie anywhere. */
const outside = (external) => ({
  name: "oncekey-outside",
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, async ({ path: name, kind, resolveDir, importer, namespace, pluginData }) => {
      if (pluginData === "oncekey-outside" || name.startsWith("oncekey") || name.startsWith("node:") || external.includes(name) || path.isAbsolute(name)) return undefined;
      const found = await build.resolve(name, { kind, resolveDir, importer, namespace, pluginData: "oncekey-outside" });
      if (found.errors.length > 0 || found.external || found.namespace !== "file") return found;
      const file = await realpath(found.path);
      // What a workspace links is source, and so is what Node cannot import by itself.
      if (!file.split(path.sep).includes("node_modules") || !/\.[cm]?js$/.test(file)) return found;
      return { path: kind === "require-call" || kind === "require-resolve" ? file : pathToFileURL(file).href, external: true };
    });
  },
});
