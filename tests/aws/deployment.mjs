// The deployment that tests/aws/run has made: what it is asked over HTTP, and what of it is processes here.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const { ONCEKEY_TEST_URL: url, ONCEKEY_TEST_DEV: key } = process.env;

export async function call(method, path, body) {
  const headers = { authorization: `Bearer ${key}` };
  const answer = await fetch(`${url}${path}`, { method, headers, body: body && JSON.stringify(body) });
  return { status: answer.status, body: await answer.json() };
}

export const trigger = async (task, body = {}) => {
  const answer = await call("POST", `/api/v1/tasks/${encodeURIComponent(task)}/trigger`, body);
  assert.equal(answer.status, 200, JSON.stringify(answer.body));
  return answer.body;
};

export const retrieve = async (id) => (await call("GET", `/api/v3/runs/${id}`)).body;

/** The run once it is as wanted. */
export async function until(id, wanted, seconds = 60) {
  let run;
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await sleep(200)) {
    run = await retrieve(id);
    if (wanted(run)) return run;
  }
  assert.fail(`the run never got there: ${JSON.stringify(run)}`);
}

/** The processes of a function whose name begins so, with what they started, of which each has these words in its environment. */
export function processes(name, ...words) {
  return readdirSync("/proc").filter((pid) => {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8");
      return [`AWS_LAMBDA_FUNCTION_NAME=${name}-`, ...words].every((word) => environment.includes(word));
    } catch {
      return false; // not a process, not ours, or gone
    }
  });
}
