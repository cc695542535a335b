// What a page has for a shell: its blocks, their commands, and what it says that each prints.

import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The pages whose commands are run: the README, docs/ and what is beside the examples. */
export async function pages() {
  const docs = (await readdir(`${root}docs`)).filter((name) => name.endsWith(".md")).sort();
  const examples = (await readdir(`${root}examples`)).sort();
  return ["README.md", ...docs.map((name) => `docs/${name}`), ...examples.map((name) => `examples/${name}/README.md`)];
}

/** The files of a folder of the repository, by their names under another. */
export async function filesOf(folder, under) {
  const names = await readdir(`${root}${folder}`);
  const texts = await Promise.all(names.map((name) => readFile(`${root}${folder}/${name}`, "utf8")));
  return Object.fromEntries(names.map((name, at) => [`${under}/${name}`, texts[at]]));
}

/** The blocks of a page in one language, as their texts. */
export async function blocksOf(page, language) {
  const text = await readFile(root + page, "utf8");
  return [...text.matchAll(/^```(\S*)\n([\s\S]*?)^```$/gm)].filter((found) => found[1] === language).map((found) => found[2].trimEnd());
}

/** What a list calls a block by: its first line, without a prompt and a comment. */
export function nameOf(block) {
  return block.split("\n")[0].replace(/^\$ /, "").replace(/\s+# .*$/, "").replace(/ \\$/, "");
}

/**
 * The commands of a block, each with what it prints. Where lines have a prompt, those without one are output; where none
 * has, all are commands, of which nothing is said. `# the same again` stands for the command before it.
 */
export function commandsOf(block) {
  const prompts = /^\$ /m.test(block);
  const commands = [];
  let goesOn = false;
  for (const line of block.split("\n")) {
    const last = commands.at(-1);
    if (goesOn) last.command += `\n${line}`;
    else if (!prompts || line.startsWith("$ ")) commands.push({ command: line.replace(/^\$ /, ""), printed: prompts ? [] : undefined });
    else last.printed.push(line);
    goesOn = (goesOn || !prompts || line.startsWith("$ ")) && line.endsWith("\\");
  }
  for (const [at, one] of commands.entries()) {
    if (one.command.startsWith("# the same again")) one.command = commands[at - 1].command;
    one.printed = one.printed?.join("\n").trim();
    if (one.command.startsWith("#") && one.printed) throw new Error(`Nobody can type "${one.command}", which is said to print:\n${one.printed}`);
  }
  // A comment, or an empty line, is nothing to run.
  return commands.filter(({ command }) => /^[^#\s]/.test(command));
}
