// Other processes, and threads.

import childProcess from "node:child_process";
import workerThreads from "node:worker_threads";

import { replace, watch } from "../replace.mjs";

/** Watches processes and threads that are started, and notes which of them live on beside later runs. */
export function watchProcesses({ effect, began }) {
  watch(childProcess, ["spawnSync", "execSync", "execFileSync"], (_, [command]) => effect(`started ${shown(command)}`));
  // Every other way to start one ends here.
  replace(childProcess.ChildProcess.prototype, "spawn", (spawn) =>
    function (...args) {
      effect(`started ${shown(args[0]?.file)}`);
      const ended = began("a process");
      this.once("exit", ended);
      const failed = Reflect.apply(spawn, this, args);
      if (failed) ended();
      return failed;
    });
  watch(childProcess.ChildProcess.prototype, ["kill"], () => effect("sent a signal to a process"));
  watch(process, ["kill"], (_, [pid, signal]) => {
    if (signal !== 0 && Number(pid) !== process.pid) effect("sent a signal to a process");
  });

  const { Worker } = workerThreads;
  workerThreads.Worker = class extends Worker {
    constructor(...args) {
      effect("started a thread");
      super(...args);
      this.once("exit", began("a thread"));
    }
  };
}

const shown = (command) => String(command).slice(0, 60);
