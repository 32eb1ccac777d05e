#!/bin/sh
# node-wot finds a token for a Thing's own `security`, and none for the `security` of a form.
#
# Software:     @node-wot/core and @node-wot/binding-http 0.8.16 (npm), Node 18 or later.
# Expected:     W3C WoT TD 1.1, 5.3.4.2: `security` of a form is in place of the Thing's. With one bearer scheme and
#               credentials for the Thing, a read sends `Authorization: Bearer ...` whether the scheme stands in the
#               Thing's `security` or in the form's.
# Happens:      in the Thing's it is sent. In the form's the read fails with "No Bearer credentials for Thing", and
#               nothing is sent: for a form the client is given the list of credentials in place of one.
# Who meets it: whoever describes a device that is open over one protocol (PSK of coaps, say) and needs a token over
#               another: the natural place of the scheme is the form.
# What to do:   name the scheme that needs credentials in the Thing's own `security`; serve one description for each
#               carriage if they differ.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
command -v node >/dev/null || exit 77
# core needs wot-thing-description-types, which it does not name among its dependencies
npm install --silent --no-audit --no-fund --prefix "$tmp" @node-wot/core@0.8.16 @node-wot/binding-http@0.8.16 \
    wot-thing-description-types@1.1.0-09-November-2023 >npm.log 2>&1 || { cat npm.log; exit 77; }

cat >read.js <<'JS'
const http = require('http');
const { Servient } = require('@node-wot/core');
const { HttpClientFactory } = require('@node-wot/binding-http');

const sent = [];
const server = http.createServer((request, response) => {
  sent.push(request.headers.authorization || null);
  response.setHeader('Content-Type', 'application/json');
  response.end('21.5');
});

async function read(security, form) {
  const servient = new Servient();
  servient.addClientFactory(new HttpClientFactory(null));
  servient.addCredentials({ 'urn:example:attic': { token: 'abc' } });
  const wot = await servient.start();
  const thing = await wot.consume({
    '@context': ['https://www.w3.org/2019/wot/td/v1', 'https://www.w3.org/2022/wot/td/v1.1'],
    id: 'urn:example:attic',
    title: 'attic',
    securityDefinitions: { open: { scheme: 'nosec' }, token: { scheme: 'bearer', in: 'header' } },
    security,
    properties: {
      temperature: {
        type: 'number',
        forms: [{ href: `http://127.0.0.1:${server.address().port}/`, op: ['readproperty'], ...form }],
      },
    },
  });
  try {
    return await (await thing.readProperty('temperature')).value();
  } catch (error) {
    return error.message;
  } finally {
    await servient.shutdown();
  }
}

server.listen(0, '127.0.0.1', async () => {
  const found = [await read(['token'], {}), await read(['open'], { security: ['token'] }), sent];
  console.log(JSON.stringify(found));
  server.close();
});
JS

seen=$(node read.js 2>node.log | tail -n 1)
echo "read with the Thing's security, with a form's, and what the server got: $seen"
[ "$seen" = '[21.5,"No Bearer credentials for Thing",["Bearer abc"]]' ] || { cat node.log; exit 1; }
