// Where the twenty small programs are that somebody else wrote. They lie outside this repository: where they are not there, a test
// that wants them says so.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const EXAMPLES = process.env.ONCEKEY_REFERENCE_EXAMPLES ?? fileURLToPath(new URL("../../../shared/reference-examples/", import.meta.url));
export const skip = existsSync(EXAMPLES) ? false : `${EXAMPLES} is not there`;
export const read = (name) => readFile(path.join(EXAMPLES, name), "utf8");

