// Before the package is published: the harness as one file, for hosts that bring no bundler.

import esbuild from "esbuild";
import { fileURLToPath } from "node:url";

import { packHarness } from "../src/build.mjs";

await packHarness({ esbuild, out: fileURLToPath(new URL("../dist", import.meta.url)) });
