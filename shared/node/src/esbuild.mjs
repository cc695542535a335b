// esbuild: the project's own, this package's, or one that is installed beside the data of Oncekey.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

import { Unusable } from "./project.mjs";

const VERSION = "0.28.2";

/** Finds esbuild, and installs it into the folder `cache` if it is nowhere. `note(message)` tells of that. */
export async function findEsbuild({ root, cache, note }) {
  const installed = cache && path.join(cache, `esbuild-${VERSION}`);
  for (const place of [import.meta.url, pathToFileURL(path.join(root, "_.js")), installed && pathToFileURL(path.join(installed, "_.js"))].filter(Boolean)) {
    const found = await from(place);
    if (found) return found;
  }
  if (!installed) throw new Unusable("esbuild is not installed: run `npm i --save-dev oncekey`, which brings it along");
  note(`installing esbuild ${VERSION} into ${installed}, once`);
  await mkdir(installed, { recursive: true });
  await writeFile(path.join(installed, "package.json"), JSON.stringify({ private: true }));
  await install(installed);
  const found = await from(pathToFileURL(path.join(installed, "_.js")));
  if (!found) throw new Unusable(`esbuild ${VERSION} was installed into ${installed}, and does not work: run \`npm i --save-dev esbuild\` in ${root}`);
  return found;
}

async function from(place) {
  try {
    const file = createRequire(place).resolve("esbuild");
    const { default: esbuild } = await import(pathToFileURL(file).href);
    return Number(esbuild.version.split(".")[1]) >= 17 ? esbuild : undefined;
  } catch {
    return undefined;
  }
}

function install(folder) {
  // npm's own program beside this Node, if it is there: on Windows `npm` is a script of the shell.
  const npm = process.env.npm_execpath && existsSync(process.env.npm_execpath) && /npm-cli\.js$/.test(process.env.npm_execpath)
    ? [process.execPath, [process.env.npm_execpath]]
    : [process.platform === "win32" ? "npm.cmd" : "npm", []];
  return new Promise((resolve, reject) => {
    const child = spawn(npm[0], [...npm[1], "install", "--no-audit", "--no-fund", "--ignore-scripts", `esbuild@${VERSION}`], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
    let said = "";
    child.stderr.on("data", (chunk) => {
      said += chunk;
    });
    const failed = (why) => reject(new Unusable(`esbuild cannot be installed (${why.trim().slice(0, 500)}): run \`npm i --save-dev esbuild\` in your project`));
    child.on("error", (error) => failed(error.message));
    child.on("exit", (code) => (code === 0 ? resolve() : failed(said || `npm ended with ${code}`)));
  });
}
