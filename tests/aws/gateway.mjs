// Gives an emulated HTTP API an address: passes requests on with the Host by which the emulator knows the API, whose own name
// no resolver knows. A header that was sent twice comes joined, as from AWS. `node gateway.mjs <emulator's URL> <API's host>`
// prints where it listens.

import http from "node:http";

const [emulator, host] = process.argv.slice(2);
const { hostname, port } = new URL(emulator);

const server = http.createServer((request, response) => {
  const { method, url: path, headersDistinct } = request;
  const joined = Object.entries(headersDistinct).map(([name, values]) => [name, values.join(",")]);
  const headers = { ...Object.fromEntries(joined), host };
  const onward = http.request({ hostname, port, method, path, headers }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on("error", () => response.destroy());
  request.pipe(onward);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
