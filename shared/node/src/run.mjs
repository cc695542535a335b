// One run: the SDK's own executor, with what it needs around it.

import { within } from "./context.mjs";
import { hiddenWork } from "./pending.mjs";

/** How often what a run says of itself is sent, in milliseconds. */
const METADATA_MS = 1000;
/** A task without a policy of its own is tried as often as a Rust task. */
const RETRIES = { default: { maxAttempts: 3, minTimeoutInMs: 1000, maxTimeoutInMs: 60_000, factor: 2, randomize: true } };

export class Runner {
  /** The run under way: `{ id, over }`. */
  run;
  /** Whether its fetches are recorded. */
  records = false;
  #parts;
  #tracer;
  #count = 0;
  #cancel = () => {};

  constructor(parts) {
    this.#parts = parts;
    this.#tracer = new parts.core.TriggerTracer({ name: "oncekey", version: "0" });
  }

  /** Carries a run out and tells the host how it ended. */
  async start(message) {
    const { say, effects, quiet, api, managers } = this.#parts;
    const { id } = message.execution.run;
    if (this.run) throw new Error(`the host sent ${id} while ${this.run.id} is under way`);
    const run = { id, over: false };
    this.run = run;
    let result;
    try {
      result = await within(run, () => this.#carryOut(run, message));
      await api.settled(run, hiddenWork);
    } finally {
      run.over = true;
      managers.metadata.reset();
      effects.stop();
      quiet.stop();
      this.run = undefined;
      this.#cancel = () => {};
    }
    say({ type: "result", run: id, result });
  }

  /** The host has cancelled the run. */
  cancel() {
    this.#cancel();
  }

  async #carryOut(run, { execution, worker, retries = RETRIES, replaying, record, exchanges }) {
    const { core, catalog, managers, effects, quiet, order, waits, api, recorder } = this.#parts;
    const { hooks, locals, metadata, until } = managers;
    const task = catalog.getTask(execution.task.id);
    if (!task) {
      const known = catalog.listTaskManifests().map(({ id }) => id).join(", ");
      return failed("COULD_NOT_FIND_TASK", `there is no task "${execution.task.id}" here: the task files have ${known}`);
    }
    core.resetIdempotencyKeyCatalog();
    hooks.reset();
    locals.reset();
    until.reset();
    metadata.reset();
    metadata.runId = run.id;
    metadata.runIdIsRoot = execution.run.rootTaskRunId === undefined;
    this.records = Boolean(record) || (exchanges ?? []).length > 0;
    order.start(exchanges ?? [], { rests: this.records });
    waits.start();
    api.start();
    recorder.start(run, { exchanges: exchanges ?? [], replaying: Boolean(replaying) });
    if (replaying) quiet.replay(() => recorder.behind);
    const ctx = core.TaskRunContext.parse(execution);
    core.taskContext.setGlobalTaskContext({ ctx, worker, isWarmStart: this.#count > 0 });
    const flushing = setInterval(() => void metadata.flush(), METADATA_MS).unref();
    const abort = new AbortController();
    this.#cancel = () => {
      void core.lifecycleHooks.callOnCancelHookListeners().catch(() => {});
      abort.abort();
    };
    effects.start();
    try {
      const executor = new core.TaskExecutor(copied(task), {
        tracer: this.#tracer,
        consoleInterceptor: new core.ConsoleInterceptor(undefined, true, true),
        retries: structuredClone(retries),
        isWarmStart: this.#count > 0,
        executionCount: ++this.#count,
      });
      const { result } = await executor.execute({ ...execution, run: { ...execution.run } }, ctx, abort.signal);
      await metadata.flush();
      return result;
    } finally {
      clearInterval(flushing);
    }
  }
}

/** The SDK writes a run's own `maxAttempts` into the task's policy, where the next run would find it. */
const copied = (task) => ({ ...task, ...(task.retry && { retry: { ...task.retry } }) });

const failed = (code, message) => ({ ok: false, error: { type: "INTERNAL_ERROR", code, message }, skippedRetrying: true });
