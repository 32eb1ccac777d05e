// Aedes as its users start it, with what it keeps in memory. Arguments: where it is installed, the port.
"use strict";
const [modules, port] = process.argv.slice(2);

import(`${modules}/node_modules/aedes/aedes.js`).then(async ({ Aedes }) => {
  const broker = await Aedes.createBroker();
  require("node:net").createServer(broker.handle).listen(Number(port), "127.0.0.1");
});
