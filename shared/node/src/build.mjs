// A package for Lambda: the host, the harness as one file, and the tasks with all their packages inside.

import { spawn } from "node:child_process";
import { chmod, copyFile, mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { bundle } from "./bundle.mjs";
import { findEsbuild } from "./esbuild.mjs";
import { Unusable, projectOf } from "./project.mjs";

const HARNESS = fileURLToPath(new URL("./harness.mjs", import.meta.url));

/**
 * Writes the package into the folder `out`. `host` is the host's binary, or "none". Returns the tasks that are in it. Throws if
 * the tasks do not compile, or do not load.
 */
export async function build({ tasks, out, minify = false, external = [], host, arch = process.arch }) {
  const project = await projectOf(tasks);
  const esbuild = await findEsbuild({ root: project.root, note: () => {} });
  await mkdir(out, { recursive: true });
  await packHarness({ esbuild, out, minify });
  await bundle({ esbuild, project, out: path.join(out, "tasks"), minify, external });
  const binary = host ?? findHost(project.root, arch);
  if (binary !== "none") {
    await copyFile(binary, path.join(out, "bootstrap")).catch((error) => {
      throw new Unusable(`the host cannot be copied: ${error.message}`);
    });
    await chmod(path.join(out, "bootstrap"), 0o755);
  }
  const ready = await loaded(out, project.root);
  await writeFile(path.join(out, "manifest.json"), manifestOf(ready));
  return ready.tasks;
}

const isLimited = (queue) => queue?.concurrencyLimit !== undefined || queue?.rateLimit !== undefined;

/** What Oncekey is told of the package: `oncekey workers declare NAME @manifest.json`. */
function manifestOf({ tasks, queues }) {
  const limits = new Map(queues.map((queue) => [queue.name, queue]));
  for (const { id, queue } of tasks) if (isLimited(queue)) limits.set(queue.name ?? `task/${id}`, queue);
  const limited = [...limits].filter(([, queue]) => isLimited(queue)).map(([name, { concurrencyLimit, rateLimit }]) => ({ name, concurrencyLimit, rateLimit }));
  const declared = {
    tasks: tasks.map(({ id, queue, cron }) => ({ id, queue: queue?.name, cron })),
    ...(limited.length > 0 && { queues: limited }),
  };
  return `${JSON.stringify(declared, null, 2)}\n`;
}

/** The harness as one file. */
export function packHarness({ esbuild, out, minify = false }) {
  return esbuild.build({
    entryPoints: [HARNESS], outfile: path.join(out, "harness.mjs"), bundle: true, platform: "node", format: "esm", target: "node20", minify, logLevel: "silent",
  });
}

function findHost(root, arch) {
  const name = `oncekey-linux-${arch}`;
  for (const place of [path.join(root, "_.js"), import.meta.url]) {
    try {
      return createRequire(place).resolve(`${name}/bootstrap`);
    } catch {
      // Looked for in the next place.
    }
  }
  throw new Unusable(`the host's binary is not there: install ${name}, or say with --host where a bootstrap is that was built of functions/worker-node (--host none leaves it out)`);
}

/** Loads the package as Lambda would, and returns what it says of itself. */
function loaded(out, root) {
  const { TRIGGER_VERSION: _, ...environment } = process.env;
  const child = spawn(process.execPath, [path.join(out, "harness.mjs")], {
    cwd: root, stdio: ["ignore", "ignore", "inherit", "pipe", "pipe"],
    env: { ...environment, ONCEKEY_BUNDLE: path.join(out, "tasks"), TRIGGER_API_URL: "http://127.0.0.1:9", TRIGGER_SECRET_KEY: "tr_host_build" },
  });
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdio[4] }).on("line", (line) => {
      const message = JSON.parse(line);
      if (message.type === "ready") resolve(message);
      if (message.type === "failed") reject(new Unusable(`the tasks do not load: ${message.error.stack ?? message.error.message}`));
      child.stdio[3].end();
    });
    child.stdio[3].on("error", () => {});
    child.on("error", reject);
    child.on("exit", (code) => reject(new Unusable(`the tasks do not load: Node ended with ${code}`)));
  });
}
