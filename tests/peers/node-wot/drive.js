// node-wot as its users use it. Arguments: where it is installed, and credentials as JSON: {psk: {identity, key}, token,
// basic: {username, password}}. Lines on standard input are requests as JSON; each answer is a line of JSON.
"use strict";
const [modules, secrets] = process.argv.slice(2);
const load = (name) => require(`${modules}/node_modules/${name}`);
const { Servient } = load("@node-wot/core");
const { CoapsClientFactory } = load("@node-wot/binding-coap");
const { HttpClientFactory } = load("@node-wot/binding-http");
const { MqttClientFactory } = load("@node-wot/binding-mqtt");
const { CoapClient } = load("node-coap-client");
const http = require("node:http");
const https = require("node:https");
const { psk, token, basic } = JSON.parse(secrets);
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");
const CREDENTIALS = { coaps: { identity: psk.identity, psk: psk.key }, http: { token }, mqtt: basic };
const FACTORIES = {
  coaps: () => new CoapsClientFactory(),
  http: () => new HttpClientFactory(null),
  mqtt: () => new MqttClientFactory(),
};
const things = {};

// What node-wot can't do over HTTP: it opens event streams without a token. A proxy at home would add it so.
function proxy(port, target) {
  const forward = (request, response) => {
    const headers = { ...request.headers, host: new URL(target).host, authorization: `Bearer ${token}` };
    const onward = https.request(target + request.url, { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  };
  return new Promise((done) => http.createServer(forward).listen(port, "127.0.0.1", done));
}

async function carryOut({ id, what, thing: called, carriage, name, value, options, url, td, port }) {
  const thing = things[called];
  const report = async (output) => {
    try {
      say({ id, value: (await output.value()) ?? null });
    } catch (error) {
      say({ id, error: String(error) });
    }
  };
  switch (what) {
    case "proxy":
      await proxy(port, url);
      return say({ id, value: true });
    case "fetch": {  // over coaps: the one client whose fetching takes credentials
      CoapClient.setSecurityParams(new URL(url).hostname, { psk: { [psk.identity]: psk.key } });
      const servient = new Servient();
      servient.addClientFactory(FACTORIES.coaps());
      return say({ id, value: await (await servient.start()).requestThingDescription(url) });
    }
    case "consume": {
      const servient = new Servient();
      servient.addClientFactory(FACTORIES[carriage]());
      servient.addCredentials({ [td.id]: CREDENTIALS[carriage] });
      things[called] = await (await servient.start()).consume(td);
      return say({ id, value: Object.keys(td.properties ?? {}) });
    }
    case "read":
      return report(await thing.readProperty(name));
    case "write":
      await thing.writeProperty(name, value);
      return say({ id, value: true });
    case "invoke":
      await thing.invokeAction(name, value ?? undefined, options);
      return say({ id, value: true });
    case "observe":
      return void thing.observeProperty(name, report, (error) => say({ id, error: String(error) }));
    case "subscribe":
      return void thing.subscribeEvent(name, report, (error) => say({ id, error: String(error) }));
    case "script":  // the one of docs/things.md
      console.log = (...words) => say({ id, value: words });
      module.paths.push(`${modules}/node_modules`);
      return module._compile(`${value}\nmodule.exports = main;`, `${modules}/things.js`) ?? module.exports(td, token);
  }
}

require("node:readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  carryOut(request).catch((error) => say({ id: request.id, error: String(error) }));
}).on("close", () => process.exit(0));
