// The user's project: where it is, which of its files have tasks, which SDK it has.

import { existsSync, realpathSync, statSync } from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";

import { SDK } from "./version.mjs";

const SOURCE = /\.[cm]?[jt]sx?$/;
const NO_TASKS = /(\.d\.[cm]?ts|\.(test|spec)\.[cm]?[jt]sx?)$/;

/** What keeps tasks from being bundled or run at all. Its message says what to do. */
export class Unusable extends Error {}

/** The project that a folder (or a file) of tasks belongs to. */
export async function projectOf(tasks) {
  const place = path.resolve(tasks);
  if (!existsSync(place)) throw new Unusable(`${tasks} is not there: name the folder that your task files are in`);
  const real = realpathSync(place);
  const start = statSync(real).isDirectory() ? real : path.dirname(real);
  let root = start;
  while (!existsSync(path.join(root, "package.json"))) {
    if (path.dirname(root) === root) {
      root = start;
      break;
    }
    root = path.dirname(root);
  }
  return { root, tasks: real, sdk: await sdkOf(start) };
}

async function sdkOf(start) {
  let entry;
  try {
    entry = createRequire(path.join(start, "_.js")).resolve("@trigger.dev/sdk");
  } catch {
    throw new Unusable(`${start} has no @trigger.dev/sdk: run \`npm i @trigger.dev/sdk@${SDK}\` in it`);
  }
  for (let folder = path.dirname(entry); path.dirname(folder) !== folder; folder = path.dirname(folder)) {
    const manifest = path.join(folder, "package.json");
    if (!existsSync(manifest)) continue;
    const { name, version } = JSON.parse(await readFile(manifest, "utf8"));
    if (name !== "@trigger.dev/sdk") continue;
    if (Number(version.split(".")[0]) !== Number(SDK.split(".")[0])) throw new Unusable(`@trigger.dev/sdk ${version} cannot be used: run \`npm i @trigger.dev/sdk@${SDK}\``);
    return { folder, version, expected: version.startsWith(`${SDK}.`) };
  }
  throw new Unusable(`${entry} is not of a package @trigger.dev/sdk: run \`npm i @trigger.dev/sdk@${SDK}\``);
}

/**
 * The files that are imported for their tasks: all of the folder, without tests. Of a project's own root, where other programs
 * lie as well, those that name the SDK.
 */
export async function taskFiles({ root, tasks }) {
  if (!statSync(tasks).isDirectory()) return [tasks];
  const found = [];
  await walk(tasks, found);
  found.sort();
  if (tasks !== root) return found;
  const texts = await Promise.all(found.map((file) => readFile(file, "utf8").catch(() => "")));
  return found.filter((_, place) => texts[place].includes("@trigger.dev/sdk"));
}

async function walk(folder, found) {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.name.startsWith(".") || entry.name === "node_modules") continue;
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) await walk(file, found);
    else if (SOURCE.test(entry.name) && !NO_TASKS.test(entry.name)) found.push(file);
  }
}
