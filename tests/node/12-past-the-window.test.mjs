// The one program of reference.test.mjs that takes minutes: its window of a minute has to end. It waits for almost all of that time,
// beside the other files.

import assert from "node:assert/strict";
import { test } from "node:test";

import { read, skip } from "./reference.mjs";
import { startTasks } from "./stack.mjs";

const program = "12-past-the-window.task.ts";

test(`${program}: two children of four attempts that wait past the window, with a timeout of 30 s`, { skip }, async () => {
  const stack = await startTasks({ "trigger/tasks.ts": await read(program) }, { tasks: "trigger", args: ["--timeout", "30"] });
  try {
    const id = await stack.trigger("my-task");
    await stack.inState(id, "WAITING");
    const run = await stack.end(id, 900);
    assert.deepEqual([run.status, run.attemptCount], ["FAILED", 4]);
    const children = await stack.runsOf("child-task");
    assert.equal(children.length, 2);
  } finally {
    await stack.stop();
  }
});
