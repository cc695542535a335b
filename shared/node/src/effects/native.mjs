// What is done below JavaScript, where nobody can watch from here.

import crypto from "node:crypto";

import { watch } from "../replace.mjs";

/** Bindings of Node's that can write, by their names for `process.binding`. */
const WRITING = /^(fs|pipe_wrap|process_wrap|spawn_sync|stream_wrap|js_stream|tcp_wrap|tls_wrap|tty_wrap|udp_wrap|cares_wrap)$/;

/** Watches native add-ons, databases and sandboxes that Node brings along, and its own insides. */
export function watchNative({ effect, goBlind }) {
  watch(process, ["dlopen"], (_, [, file]) => goBlind(`loaded native code: ${file}`));
  watch(process, ["binding", "_linkedBinding"], (_, [name]) => {
    if (WRITING.test(name)) goBlind(`used Node's own process.binding(${JSON.stringify(name)})`);
  });
  watch(crypto, ["setEngine"], () => goBlind("loaded an engine of OpenSSL"));
  if (process.execArgv.concat(process.env.NODE_OPTIONS ?? "").some((flag) => flag.includes("--localstorage-file"))) goBlind("has a localStorage in a file");
  const load = process.getBuiltinModule;
  if (!load) return;
  for (const [module, classes] of [["node:sqlite", ["DatabaseSync"]], ["node:wasi", ["WASI"]]]) {
    const found = quietly(() => load(module));
    for (const name of classes.filter((name) => found?.[name])) {
      const Original = found[name];
      found[name] = class extends Original {
        constructor(...args) {
          effect(`opened a ${name}`);
          super(...args);
          // It may be used by every run from now on.
          goBlind(`has a ${name} open`);
        }
      };
    }
    watch(found ?? {}, ["backup"], () => effect("made a backup of a database"));
  }
}

/** Without the warning that a module is experimental, for everybody who does not use it. */
function quietly(body) {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return body();
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}
