// The tasks of a bundle: the SDK's managers first, then the user's files.

import path from "node:path";
import { pathToFileURL } from "node:url";

import { FACE } from "./face.mjs";

/** Imports the bundle. Returns the SDK's core, its catalogue, what `ready` tells of the tasks, and the managers. */
export async function load({ folder, core: entry, entries }, waits) {
  const { core, workers, TriggerTracer } = await import(pathToFileURL(path.resolve(folder, entry)).href);
  const catalog = new workers.StandardResourceCatalog();
  core.resourceCatalog.setGlobalResourceCatalog(catalog);
  const managers = {
    hooks: new workers.StandardLifecycleHooksManager(),
    locals: new workers.StandardLocalsManager(),
    metadata: new workers.StandardMetadataManager(core.apiClientManager.clientOrThrow()),
    until: new workers.StandardWaitUntilManager(),
  };
  core.lifecycleHooks.setGlobalLifecycleHooksManager(managers.hooks);
  core.localsAPI.setGlobalLocalsManager(managers.locals);
  core.runMetadata.setGlobalManager(managers.metadata);
  core.waitUntil.setGlobalManager(managers.until);
  core.runtime.setGlobalRuntimeManager(runtime(core, managers.metadata, waits));
  globalThis[FACE] = { ...globalThis[FACE], queue: (options) => core.resourceCatalog.registerQueueMetadata(options) };

  for (const { file, source } of entries) {
    // What is registered while no file is being imported is dropped by the SDK.
    core.resourceCatalog.setCurrentFileContext(source, source);
    try {
      await import(pathToFileURL(path.join(folder, file)).href);
    } catch (error) {
      throw inFile(source, error);
    }
    core.resourceCatalog.clearCurrentFileContext();
  }
  const [twice] = catalog.listTaskIdCollisions();
  if (twice) throw new Error(`two tasks have the id "${twice.id}"${twice.filePaths?.length ? ` (${[...new Set(twice.filePaths)].join(", ")})` : ""}: give one of them another`);
  // Tasks that a run imports while it is under way.
  core.resourceCatalog.setCurrentFileContext(workers.NO_FILE_CONTEXT, workers.NO_FILE_CONTEXT);
  const tasks = catalog.listTaskManifests().map(({ id, filePath, queue, concurrency, retry, maxDuration, machine, schedule }) => {
    if (concurrency?.inline || concurrency?.limits) {
      throw new Error(`${filePath}: task "${id}": concurrency is not supported: give it queue: { concurrencyLimit }, and its runs a concurrencyKey`);
    }
    if (queue?.rateLimit) rate(`${filePath}: task "${id}"`, queue.rateLimit);
    return { id, filePath, queue, retry, maxDuration, machine, cron: schedule && declared(id, filePath, schedule) };
  });
  const queues = catalog.listQueueManifests().map(({ name, concurrencyLimit, combinedConcurrencyLimit, rateLimit }) => {
    if (combinedConcurrencyLimit !== undefined) {
      throw new Error(`queue "${name}": combinedConcurrencyLimit is not supported: a concurrencyLimit holds for each concurrencyKey by itself`);
    }
    return { name, concurrencyLimit, rateLimit: rateLimit && rate(`queue "${name}"`, rateLimit) };
  });
  if (tasks.length === 0) {
    throw new Error(`no file registers a task: ${entries.map(({ source }) => source).join(", ") || "there is none"}. A task is made by task({ id, run }) of @trigger.dev/sdk, and exported`);
  }
  return { core: { ...core, TaskExecutor: workers.TaskExecutor, ConsoleInterceptor: workers.ConsoleInterceptor, TriggerTracer }, catalog, tasks, queues, managers };
}

/** When a task runs by itself, as the host is told. */
function declared(id, filePath, { cron: pattern, timezone, environments, window }) {
  const isText = (value) => typeof value === "string";
  const wrong = !isText(pattern) ? "pattern is no text" : timezone !== undefined && !isText(timezone) ? "timezone is no text"
    : environments !== undefined && !(Array.isArray(environments) && environments.every(isText)) ? `environments is no list, such as ["PRODUCTION"]` : undefined;
  if (wrong) throw new Error(`${filePath}: the cron of task "${id}" cannot be read: its ${wrong}`);
  return { pattern, timezone, environments, window };
}

/** How often attempts of a queue start, as the host is told; whether its numbers are in range is for the host to say. */
function rate(whose, { limit, period, burst }) {
  const isCount = (value) => Number.isInteger(value) && value >= 0;
  const wrong = !isCount(limit) ? "limit is no whole number" : typeof period !== "string" ? `period is no text, such as "1m"`
    : burst !== undefined && !isCount(burst) ? "burst is no whole number" : undefined;
  if (wrong) throw new Error(`${whose}: its rateLimit cannot be read: its ${wrong}`);
  return { limit, period, burst };
}

function inFile(source, error) {
  const { name = "Error", stack = "" } = error instanceof Error ? error : {};
  const message = `${source} failed while it was imported: ${error instanceof Error ? error.message : String(error)}`;
  // A stack begins with the message, which may have several lines.
  const frames = stack.includes("\n    at ") ? stack.slice(stack.indexOf("\n    at ")) : "";
  return Object.assign(new Error(message), { name, stack: `${name}: ${message}${frames}` });
}

/** The SDK's runtime manager: what it waits for, the host waits for. */
function runtime(core, metadata, waits) {
  const waiting = async (hook, question) => {
    // What the task said of itself is sent before it may be suspended.
    await metadata.flush();
    await core.lifecycleHooks.callOnWaitHookListeners(hook);
    const answer = await waits.ask(question);
    await core.lifecycleHooks.callOnResumeHookListeners(hook);
    return answer;
  };
  return {
    disable() {},
    waitForTask: ({ id }) => waiting({ type: "task", runId: id }, { for: "run", run: id }),
    waitForBatch: ({ id, runCount }) =>
      runCount === 0 ? Promise.resolve({ id, items: [] }) : waiting({ type: "batch", batchId: id, runCount }, { for: "batch", batch: id, count: runCount }),
    waitForWaitpoint: ({ waitpointFriendlyId: id, finishDate }) =>
      waiting(
        finishDate ? { type: "duration", date: finishDate } : { type: "token", token: id },
        { for: "waitpoint", waitpoint: id, ...(finishDate && { until: finishDate.toISOString() }) },
      ),
  };
}
