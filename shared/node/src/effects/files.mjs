// Files: opened for writing, written, moved, removed.

import fs from "node:fs";
import inspector from "node:inspector";
import v8 from "node:v8";

import { IN, OUT } from "../pipe.mjs";
import { replace, watch } from "../replace.mjs";

const CHANGES = [
  "writeFile", "appendFile", "mkdir", "mkdtemp", "mkdtempDisposable", "rm", "rmdir", "unlink", "rename", "copyFile", "cp", "symlink", "link",
  "truncate", "chmod", "lchmod", "chown", "lchown", "utimes", "lutimes",
];
const DESCRIPTOR_CHANGES = ["write", "writev", "ftruncate", "fchmod", "fchown", "futimes"];
const HANDLE_CHANGES = ["write", "writev", "writeFile", "appendFile", "truncate", "chmod", "chown", "utimes", "createWriteStream"];

/** What reads, but makes or empties its file first if a flag says so. Streams open theirs with `open`. */
const FLAGGED = ["readFile"];

/** Watches files, and keeps the host's pipes from being written to. */
export function watchFiles({ effect, silent }) {
  const change = (name, [path]) => {
    if (typeof path === "number") return descriptor(name, [path]);
    return effect(`${name} ${shown(path)}`);
  };
  const both = (names) => names.flatMap((name) => [name, `${name}Sync`]);
  const descriptor = (name, [fd]) => {
    guard(name, fd);
    if (fd > 2) effect(`${name} of an open file`);
  };
  watch(fs, both(CHANGES), change);
  watch(fs.promises, CHANGES, (name, [path]) => effect(`${name} ${shown(path)}`));
  watch(fs, ["open", "openSync"], (name, args) => opens(name, args));
  watch(fs.promises, ["open"], (name, args) => opens(name, args));
  watch(fs, both(FLAGGED), flagged);
  watch(fs.promises, FLAGGED, flagged);
  watch(fs, ["createWriteStream"], (_, [path, options]) => {
    guard("createWriteStream", options?.fd);
    if (typeof options?.fd !== "number" || options.fd > 2) effect(`wrote ${shown(path)}`);
  });
  watch(fs, both(DESCRIPTOR_CHANGES), descriptor);
  watch(fs, ["close", "closeSync"], (name, [fd]) => guard(name, fd));
  // Loggers write to the standard streams by their numbers: they are silenced as those are.
  silence("writeSync", (args) => length(args[1]));
  silence("writevSync", (args) => args[1].reduce((sum, part) => sum + part.byteLength, 0));
  for (const [name, written] of [["write", (args) => length(args[1])], ["writev", (args) => args[1].reduce((sum, part) => sum + part.byteLength, 0)]]) {
    silence(name, written, (args, bytes) => process.nextTick(args.findLast((argument) => typeof argument === "function"), null, bytes, args[1]));
  }
  watch(v8, ["writeHeapSnapshot", "setHeapSnapshotNearHeapLimit", "startCpuProfile", "takeCoverage", "stopCoverage"], (name) => effect(name));
  watch(process.report, ["writeReport"], (name) => effect(name));
  watch(inspector, ["open"], () => effect("opened the inspector"));
  // Handles have a class that nothing exports. /dev/null is opened for reading, before any run.
  void fs.promises.open("/dev/null", "r").then(async (handle) => {
    watch(Object.getPrototypeOf(handle), HANDLE_CHANGES, (name) => effect(`${name} of an open file`));
    await handle.close();
  }, () => {});

  function opens(name, [path, flags]) {
    if (writes(flags)) effect(`${name} ${shown(path)} for writing`);
  }

  function flagged(name, [path, options]) {
    // An open file has its flags already.
    if (typeof path !== "number" && !isHandle(path)) opens(name, [path, options?.flag]);
  }

  function silence(name, written, later) {
    replace(fs, name, (original) =>
      function (...args) {
        if (!silent() || (args[0] !== 1 && args[0] !== 2)) return Reflect.apply(original, this, args);
        const bytes = written(args);
        return later ? later(args, bytes) : bytes;
      });
  }
}

/** Whether a file that is opened with these flags may be made, emptied or written. */
function writes(flags) {
  if (flags === undefined || flags === null || typeof flags === "function") return false;
  const { O_CREAT, O_TRUNC, O_APPEND } = fs.constants;
  return typeof flags === "number" ? (flags & (3 | O_CREAT | O_TRUNC | O_APPEND)) !== 0 : !/^(r|rs|sr)$/.test(String(flags));
}

const isHandle = (file) => typeof file === "object" && file !== null && "fd" in file;

function guard(name, fd) {
  if (fd === IN || fd === OUT) throw new Error(`${name}: file descriptors ${IN} and ${OUT} are Oncekey's own`);
}

const shown = (path) => (typeof path === "string" || path instanceof URL ? String(path) : "a file").slice(0, 200);
const length = (data) => (typeof data === "string" ? Buffer.byteLength(data) : data.byteLength);
