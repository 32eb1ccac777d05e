// zigbee-herdsman's `ember` driver at a virtual dongle: what zigbee2mqtt does with a coordinator, without zigbee2mqtt.
//
//   node drive.js MODULES PORT DATABASE join|resume
//
// Prints a JSON line for each thing that happened; reads orders from standard input:
// {"do": "on", "eui64": ...}, {"do": "read", "eui64": ..., "cluster": ...}, {"do": "stop"}.
"use strict";
const path = require("node:path");
const readline = require("node:readline");

const [modules, port, database, what] = process.argv.slice(2);
const {Controller, setLogger} = require(path.join(modules, "node_modules", "zigbee-herdsman"));

const say = (event, facts) => process.stdout.write(`${JSON.stringify({event, ...facts})}\n`);
const quiet = () => {};
setLogger({debug: quiet, info: quiet, warning: (text) => process.stderr.write(`${text}\n`), error: (text) => process.stderr.write(`${text}\n`)});

const controller = new Controller({
    network: {panID: 0x1a62, extendedPanID: [1, 2, 3, 4, 5, 6, 7, 8], channelList: [15], networkKey: Array.from({length: 16}, (_, n) => n + 1)},
    serialPort: {path: `tcp://127.0.0.1:${port}`, adapter: "ember"},
    databasePath: database,
    databaseBackupPath: `${database}.old`,
    backupPath: `${database}.backup`,
    adapter: {disableLED: true},
    acceptJoiningDeviceHandler: async () => true,
});

const device = (eui64) => controller.getDeviceByIeeeAddr(`0x${eui64.replaceAll(":", "")}`);

async function order({do: what, eui64, cluster}) {
    if (what === "on") {
        await device(eui64).getEndpoint(1).command("genOnOff", "on", {});
        say("done", {what});
    } else if (what === "read") {
        say("done", {what, value: await device(eui64).getEndpoint(1).read(cluster, [0])});
    } else {
        await controller.stop();
        say("stopped", {});
        process.exit(0);
    }
}

async function main() {
    controller.on("deviceInterview", ({status, device}) => say("interview", {status, eui64: device.ieeeAddr, model: device.modelID}));
    controller.on("message", ({type, cluster, data, device}) => say("message", {type, cluster, data, eui64: device.ieeeAddr}));
    const result = await controller.start();
    const {type, meta} = await controller.getCoordinatorVersion();
    say("started", {result, type, ezsp: meta.ezsp, devices: controller.getDevices().map((each) => each.ieeeAddr)});
    if (what === "join") {
        await controller.permitJoin(200);
        say("open", {});
    }
    for await (const line of readline.createInterface({input: process.stdin})) await order(JSON.parse(line));
}

main().catch((error) => {
    say("failed", {text: String(error && error.stack)});
    process.exit(1);
});
