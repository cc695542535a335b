// Steps: side effects whose results are recorded at once, so that a run does each once over all its attempts.

import { createHash } from "node:crypto";

import { currentRun, currentStep, never, withinStep } from "./context.mjs";
import { FACE } from "./face.mjs";

/** The longest name of a step, in characters. */
const LONGEST_NAME = 256;

/** Has `step` and `stepKey` of the package work in the runs of this process. Returns what forgets the steps of a run. */
export function offerSteps({ api, core, run }) {
  const going = new Map();

  const request = async (name, method, body) => {
    const response = await api.fetch(`${api.url}/oncekey/v1/steps/${encodeURIComponent(name)}`, {
      method,
      headers: { authorization: `Bearer ${process.env.TRIGGER_SECRET_KEY}`, ...(body && { "content-type": "application/json" }) },
      body: body && JSON.stringify(body),
    });
    if (response.status === 204) return undefined;
    const answer = await response.json().catch(() => undefined);
    if (response.ok) return answer;
    const error = new Error(`step "${name}": ${answer?.error ?? `the host answered ${response.status}`}`);
    // No further attempt can mend what is wrong with the request.
    throw response.status < 500 ? Object.assign(error, { name: "AbortTaskRunError" }) : error;
  };
  const read = ({ output, outputType }) => (output === undefined ? undefined : core.parsePacket({ data: output, dataType: outputType }));

  async function carryOut(name, effect) {
    const recorded = await request(name, "POST");
    if (recorded) return read(recorded);
    const step = { name, over: false };
    let packet;
    try {
      packet = await core.stringifyIO(await withinStep(step, effect));
    } catch (error) {
      step.over = true;
      await request(name, "DELETE");
      throw error;
    }
    step.over = true;
    const { data: output, dataType: outputType } = packet;
    return read(await request(name, "PUT", { output, outputType }));
  }

  const mine = (name) => {
    const current = currentRun() ?? run();
    if (!current) throw new Error(`step "${name}": no run is under way. Steps are for code inside a task`);
    return current;
  };
  globalThis[FACE] = {
    ...globalThis[FACE],
    async step(name, effect) {
      const current = mine(check(name));
      if (current.over) return never(current, `step "${name}"`);
      if (currentStep()?.name === name) throw new Error(`step "${name}" is within itself`);
      // A name stands for one step of the run, also for two branches that come to it at once.
      const key = `${current.id} ${name}`;
      if (!going.has(key)) going.set(key, carryOut(name, effect).finally(() => going.delete(key)));
      return going.get(key);
    },
    stepKey: (name) => createHash("sha256").update(["step", mine(check(name)).id, name].join("-")).digest("hex"),
  };
}

function check(name) {
  if (typeof name !== "string" || name === "" || name.length > LONGEST_NAME) throw new TypeError(`a step's name is a text of 1 to ${LONGEST_NAME} characters`);
  return name;
}
