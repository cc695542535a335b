// Task files made into a folder that a harness loads: an ES module a file, what they share beside them, loaded once.

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, realpath, rename, rm, stat, writeFile } from "node:fs/promises";
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

/** What all bundles have in common. */
const COMMON = {
  outExtension: { ".js": ".mjs" }, entryNames: "[name]", chunkNames: "shared-[hash]", bundle: true, splitting: true, platform: "node", format: "esm",
  target: "node20", sourcemap: "linked", sourcesContent: false, logLevel: "silent", legalComments: "none", banner: { js: BANNER },
};

/**
 * The SDK as a few files in the folder `cache`, made once a version: it has hundreds, and every process would load them. Returns
 * where the harness finds its insides, and which file stands for which.
 */
export async function prepareSdk({ esbuild, project, cache }) {
  const { folder, version } = project.sdk;
  const { mtimeMs } = await stat(path.join(folder, "package.json"));
  const key = createHash("sha256").update([PROTOCOL, esbuild.version, folder, mtimeMs, CORE_SOURCE, NAMES, WORKERS].join("\n")).digest("hex").slice(0, 12);
  const made = path.join(cache, `sdk-${version}-${key}`);
  const manifest = path.join(made, "sdk.json");
  if (!existsSync(manifest)) {
    const files = {};
    const draft = `${made}.${process.pid}`;
    await esbuild.build({
      ...COMMON, absWorkingDir: folder, outdir: draft,
      entryPoints: [{ in: CORE, out: "core" }, { in: "@trigger.dev/sdk", out: "sdk" }, { in: "@trigger.dev/sdk/v3", out: "v3" }],
      plugins: [own(project), {
        name: "oncekey-entries",
        setup(build) {
          build.onResolve({ filter: /^@trigger\.dev\/sdk(\/v3)?$/ }, async ({ path: name, kind, pluginData }) => {
            if (kind !== "entry-point" || pluginData === "oncekey") return undefined;
            const found = await build.resolve(name, { kind: "import-statement", resolveDir: folder, pluginData: "oncekey" });
            if (found.path) files[await realpath(found.path)] = name.endsWith("v3") ? "v3.mjs" : "sdk.mjs";
            return found;
          });
        },
      }],
    });
    await writeFile(path.join(draft, "sdk.json"), JSON.stringify(files));
    // Whole or not at all: another process may be making the same.
    await rename(draft, made).catch(async (error) => {
      await rm(draft, { recursive: true });
      if (!existsSync(manifest)) throw error;
    });
  }
  const files = Object.entries(JSON.parse(await readFile(manifest, "utf8")));
  return { core: path.join(made, "core.mjs"), files: new Map(files.map(([file, name]) => [file, path.join(made, name)])) };
}

/**
 * Bundles a project's tasks into the folder `out`. Without `sdk`, which `prepareSdk` makes, its packages become part of the bundle,
 * except those of `external`; with it they stay where they are. Returns what is in `tasks.json`, and `inputs`, the files it was
 * made of.
 */
export async function bundle({ esbuild, project, out, sdk, minify = false, external = [] }) {
  const files = await taskFiles(project);
  if (files.length === 0) throw new Unusable(`${project.tasks} has no task files: a task file imports @trigger.dev/sdk and exports what task({ id, run }) makes`);
  const name = (file) => path.relative(project.root, file).split(path.sep).join("/");
  let result;
  try {
    result = await esbuild.build({
      ...COMMON, absWorkingDir: project.root, outdir: out, minify, keepNames: minify, metafile: true, write: false, external,
      entryPoints: [...(sdk ? [] : [{ in: CORE, out: "core" }]), ...files.map((file, place) => ({ in: file, out: String(place) }))],
      plugins: [own(project), ...(sdk ? [outside(external, sdk.files)] : [])],
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
    protocol: PROTOCOL, project: project.root, sdk: project.sdk.version, contentHash: hash.digest("hex"), core: sdk?.core ?? "core.mjs",
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
const outside = (external, prepared) => ({
  name: "oncekey-outside",
  setup(build) {
    build.onResolve({ filter: /^[^./]/ }, async ({ path: name, kind, resolveDir, importer, namespace, pluginData }) => {
      if (pluginData === "oncekey-outside" || name.startsWith("oncekey") || name.startsWith("node:") || external.includes(name) || path.isAbsolute(name)) return undefined;
      const found = await build.resolve(name, { kind, resolveDir, importer, namespace, pluginData: "oncekey-outside" });
      if (found.errors.length > 0 || found.external || found.namespace !== "file") return found;
      const file = await realpath(found.path);
      // What a workspace links is source, and so is what Node cannot import by itself.
      if (!file.split(path.sep).includes("node_modules") || !/\.[cm]?js$/.test(file)) return found;
      const instead = prepared.get(file);
      if (instead && !kind.startsWith("require")) return { path: pathToFileURL(instead).href, external: true };
      return { path: kind === "require-call" || kind === "require-resolve" ? file : pathToFileURL(file).href, external: true };
    });
  },
});
