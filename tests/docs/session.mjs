// A reader's shell beside a stack: one bash for a page, in a folder of its own, with `oncekey` on the path.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { target } from "../tools/local-stack.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const PAGE = "localhost:3030";
const PATIENCE = 90_000;
const ASKS = /\[y\/N\] (\w+)$/m;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** A folder inside this package, so that files in it find the SDK. */
export async function readersFolder(files) {
  const folder = await mkdtemp(path.join(here, ".test-"));
  for (const [name, text] of Object.entries({ "package.json": "{}", ...files })) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
  await mkdir(path.join(folder, "bin"));
  await symlink(`${target}/debug/oncekey`, path.join(folder, "bin", "oncekey"));
  return folder;
}

/** Starts what goes on in another shell. `args` are those of `oncekey dev` beside where it listens and what it keeps. */
async function startStack(folder, args) {
  const { NODE_TEST_CONTEXT, NODE_OPTIONS, ...env } = process.env;
  const child = spawn("oncekey", ["dev", "--memory", "--port", "0", ...args], {
    cwd: folder, stdio: ["ignore", "pipe", "pipe"], env: { ...env, PATH: `${folder}/bin:${env.PATH}` },
  });
  const ended = new Promise((resolve) => child.once("close", resolve));
  let printed = "";
  const port = await new Promise((resolve, reject) => {
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => {
      printed += chunk;
      const found = printed.match(/listening on http:\S+:(\d+)/);
      if (found) resolve(found[1]);
    });
    child.once("error", reject);
    ended.then((code) => reject(new Error(`oncekey ended with ${code}: ${printed}`)));
  });
  return { port, stop: () => (child.kill("SIGTERM"), ended) };
}

export class Session {
  #printed = "";

  static async start({ files = {}, dev = [] }) {
    const session = new Session();
    session.folder = await readersFolder(files);
    session.stack = await startStack(session.folder, dev);
    session.host = `localhost:${session.stack.port}`;
    session.shell = spawn("bash", ["--norc"], {
      cwd: session.folder, detached: true, stdio: ["pipe", "pipe", "inherit"],
      env: {
        PATH: `${session.folder}/bin:${process.env.PATH}`, HOME: session.folder, LANG: "C.UTF-8",
        TRIGGER_API_URL: `http://${session.host}`, TRIGGER_SECRET_KEY: "tr_dev_local",
      },
    });
    session.shell.stdout.on("data", (chunk) => {
      session.#printed += chunk;
    });
    // At a terminal it shows no progress of so short an answer either.
    session.shell.stdin.write('curl() { command curl --silent --show-error "$@"; }\n');
    return session;
  }

  /** Runs a command of a page, once all that was triggered has ended, and returns what it prints. Throws if it fails. */
  async run(command, said = "") {
    await this.#idle();
    const answer = said.match(ASKS)?.[1];
    const here = command.replaceAll(PAGE, this.host);
    // A command that asks wants a terminal.
    const typed = answer ? `script --quiet --return --command ${quoted(here)} /dev/null <<< ${answer}` : here;
    const end = `end-of-${Math.random()}`;
    this.#printed = "";
    this.shell.stdin.write(`{ ${typed}\n} ${answer ? "" : "</dev/null"} 2>&1; printf '\\n${end} %s\\n' $?\n`);
    const ended = await this.#until(() => this.#printed.match(new RegExp(`\n${end} (\\d+)\n`)), () => `${command} goes on`);
    // What a line of a terminal was overwritten with is what stands there; what is typed is shown before or after the question.
    const printed = this.#printed.slice(0, ended.index).replaceAll("\r\n", "\n").replace(/^.*\x1b\[2K/gm, "").replaceAll(this.host, PAGE);
    if (ended[1] !== "0") throw new Error(`${command}\nends with ${ended[1]}:\n${printed}`);
    return answer ? printed.replace(new RegExp(`(^|\\[y/N\\] )${answer}\n`), "$1").replace("[y/N] ", `[y/N] ${answer}\n`) : printed;
  }

  /** A reader is slower than the tasks. Runs with a delay stay where they are. */
  #idle() {
    return this.#until(async () => {
      const response = await fetch(`http://${this.host}/api/v1/runs?page[size]=100`, { headers: { authorization: "Bearer tr_dev_local" } });
      const { data } = await response.json();
      return data.every((run) => run.isCompleted || run.status === "DELAYED");
    }, () => "its runs do not end");
  }

  async #until(look, what) {
    for (const end = Date.now() + PATIENCE; Date.now() < end; await sleep(20)) {
      const found = await look();
      if (found) return found;
      if (this.shell.exitCode !== null) throw new Error(`the shell has ended: ${this.#printed}`);
    }
    throw new Error(`${what()}:\n${this.#printed}`);
  }

  async stop() {
    // With what it has started, should a command still go on.
    if (this.shell.exitCode === null) process.kill(-this.shell.pid, "SIGKILL");
    await this.stack.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
