// Whether something was printed as a page says. Ids, times and durations are others each time, `…` stands for anything, and
// a line that begins with a space belongs to the one before, broken for the page's width. All else has to be the same.

// What differs each time, and what it may look like. An id of the page is the same id wherever the page has it.
const VARYING = [
  { name: "id", is: /\b(?:run|batch|bulk|sched|waitpoint)_[a-z0-9]{32}\b/, asked: (id) => `${id.split("_")[0]}_[a-z0-9]{32}` },
  { name: "code", is: /(?<=code=)[0-9a-f]{32}\b/, asked: () => "[0-9a-f]{32}" },
  { name: "time", is: /\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/, asked: () => "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z" },
  { name: "duration", is: /\b\d+(?:\.\d+)? m?s\b/, asked: () => "\\d+(?:\\.\\d+)? m?s" },
  { name: "elision", is: /\s*…/, asked: () => "[\\s\\S]*?" },
  { name: "broken line", is: /\n +/, asked: () => "\\s*" },
  { name: "columns", is: / {2,}/, asked: () => " {2,}" },
];
const TOKENS = new RegExp(VARYING.map(({ is }) => `(${is.source})`).join("|"), "g");

/** The ids of a page beside those of this run of it. */
export class Ids {
  #real = new Map();

  /** A text of the page with the ids that are known by now. */
  known(text) {
    return text.replace(new RegExp(VARYING[0].is, "g"), (id) => this.#real.get(id) ?? id);
  }

  /** Throws unless the two are one and the same id here and there. */
  learn(id, real) {
    const before = this.#real.get(id);
    const another = [...this.#real].find(([other, is]) => is === real && other !== id)?.[0];
    if (before && before !== real) throw new Error(`${id} was ${before}, and is ${real} here`);
    if (another) throw new Error(`${id} and ${another} are two on the page, and one here: ${real}`);
    this.#real.set(id, real);
  }
}

const quoted = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

/** Compares, and learns the ids. Throws an error that shows both, if it is not so. */
export function compare(said, real, ids) {
  let pattern = "";
  let at = 0;
  const found = [];
  for (const token of said.matchAll(TOKENS)) {
    const which = token.slice(1).findIndex((part) => part !== undefined);
    pattern += quoted(said.slice(at, token.index));
    const asked = VARYING[which].asked(token[0]);
    pattern += VARYING[which].name === "id" ? `(${asked})` : `(?:${asked})`;
    if (VARYING[which].name === "id") found.push(token[0]);
    at = token.index + token[0].length;
  }
  pattern += quoted(said.slice(at));
  const printed = real.replace(/[ \t]+$/gm, "").trim();
  const match = printed.match(new RegExp(`^${pattern}$`));
  const shown = `\nThe page says:\n${said}\n\nPrinted was:\n${printed}\n`;
  if (!match) throw new Error(`Another is printed than the page says.\n${shown}`);
  try {
    for (const [index, id] of found.entries()) ids.learn(id, match[index + 1]);
  } catch (error) {
    throw new Error(`${error.message}\n${shown}`);
  }
}
