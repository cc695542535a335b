// What the two sides must agree on. See PROTOCOL.md.

/** The version of the messages between host and harness. */
export const PROTOCOL = 3;
/** The version of the package, the same as in package.json. */
export const VERSION = "0.1.0";
/** The oldest Node that works. */
export const OLDEST_NODE = 20;
/** The version of `@trigger.dev/sdk` that this is made for and tested with: its first two numbers. */
export const SDK = "4.8";

/** Says what is wrong with the Node that runs this, if something is. */
export function wrongNode(version = process.versions.node) {
  if (Number(version.split(".")[0]) >= OLDEST_NODE) return undefined;
  return `Node ${version} is too old: tasks in TypeScript need Node ${OLDEST_NODE} or newer`;
}
