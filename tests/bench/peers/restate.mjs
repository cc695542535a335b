// A service of Restate that does what Oncekey's task `echo` does, on loopback.

import { createServer } from "node:http2";

import * as restate from "@restatedev/restate-sdk";

const bench = restate.service({
  name: "bench",
  handlers: { echo: async (_, payload) => payload },
});
createServer(restate.endpoint().bind(bench).http2Handler()).listen(Number(process.env.PORT), "127.0.0.1");
