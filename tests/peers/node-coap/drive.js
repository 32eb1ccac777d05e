// node-coap-client as its users use it. Arguments: where it is installed, the origin, an identity and its key.
// Lines on standard input are requests as JSON; each answer is a line of JSON.
"use strict";
const [modules, origin, identity, key] = process.argv.slice(2);
const { CoapClient } = require(`${modules}/node_modules/node-coap-client`);
const lines = require("node:readline").createInterface({ input: process.stdin });
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

CoapClient.setSecurityParams(new URL(origin).hostname, { psk: { [identity]: key } });

async function carryOut({ id, method, path, payload, blocks }) {
  const options = blocks ? { preferredBlockSize: blocks } : {};
  if (method === "observe") {
    const report = (answer) => say({ id, code: String(answer.code), payload: String(answer.payload ?? "") });
    return CoapClient.observe(`${origin}${path}`, "get", report, undefined, options);
  }
  const body = payload === undefined ? undefined : Buffer.from(payload);
  const answer = await CoapClient.request(`${origin}${path}`, method, body, options);
  say({ id, code: String(answer.code), payload: String(answer.payload ?? "") });
}

lines.on("line", (line) => {
  const request = JSON.parse(line);
  carryOut(request).catch((error) => say({ id: request.id, error: String(error) }));
});
lines.on("close", () => process.exit(0));
