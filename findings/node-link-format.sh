#!/bin/sh
# Two parsers of Link headers lose links of a /.well-known/core: one behind `obs`, the other all without `rel`.
#
# Software:     http-link-header 1.1.4 and parse-link-header 2.0.0; LinkHeader 0.4.3 (which aiocoap uses) beside them;
#               Node 18 or later, Python 3.
# Expected:     a CoRE link-format document (RFC 6690) has the grammar of a Link header, so both read the three links of
#               `</s>;rt="temperature";obs,</t>;if="sensor";ct=40,</u>;sz=3`, the flag `obs` (RFC 7641, 6) included.
# Happens:      http-link-header takes "obs,</t>;if" for the name of an attribute of /s: the link /t is gone, and its
#               "ct" is now one of /s. With `obs` at the end of the document or without it all links come.
#               parse-link-header gives nothing, since it files links by "rel", which in link-format is "hosts" unless
#               written. LinkHeader reads all.
# Who meets it: gateways and dashboards in Node that discover CoAP devices and take a much used parser for the answer:
#               each resource behind an observable one is missing, and the one before it has a wrong format.
# What to do:   write a small parser by RFC 6690 (a comma or semicolon counts only outside quotes, an attribute may have
#               no value), or replace `;obs` outside quotes by `;obs=1` before http-link-header reads.
#
# Exit: 0 all is as said here; 1 it changed; 77 it can't run (no network, no Node, no Python).

set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' INT TERM
cd "$tmp"
npm install --silent --no-audit --no-fund --prefix "$tmp" http-link-header@1.1.4 parse-link-header@2.0.0 >npm.log 2>&1 \
    || { cat npm.log; exit 77; }
python3 -m venv venv && venv/bin/pip install --quiet LinkHeader==0.4.3 >pip.log 2>&1 \
    || { cat pip.log || true; exit 77; }

cat >parse.js <<'JS'
const header = require('http-link-header');
const byRelation = require('parse-link-header');
console.log(JSON.stringify(process.argv.slice(2).map((document) => ({
  'http-link-header': header.parse(document).refs.map(({ uri, ...attributes }) => [uri, attributes]),
  'parse-link-header': Object.values(byRelation(document) || {}).map(({ url, ...attributes }) => [url, attributes]),
}))));
JS

cat >check.py <<'PY'
import json
import subprocess
import sys

import link_header

FLAG = '</s>;rt="temperature";obs,</t>;if="sensor";ct=40,</u>;sz=3'
VALUE = FLAG.replace(";obs", ";obs=1")
LAST = '</t>;if="sensor";ct=40,</u>;sz=3,</s>;rt="temperature";obs'


def by_linkheader(document):
    return [
        [link.href, {name: value or "" for name, value in link.attr_pairs}]
        for link in link_header.parse(document).links
    ]


run = subprocess.run(["node", "parse.js", FLAG, VALUE, LAST], check=True, capture_output=True, timeout=60)
flag, value, last = json.loads(run.stdout)
s, t, u = ["/s", {"rt": "temperature"}], ["/t", {"if": "sensor", "ct": "40"}], ["/u", {"sz": "3"}]


def with_obs(link, obs):
    return [link[0], {**link[1], "obs": obs}]


seen = {
    "LinkHeader": by_linkheader(FLAG),
    "http-link-header": flag["http-link-header"],
    "http-link-header, obs=1": value["http-link-header"],
    "http-link-header, obs at the end": last["http-link-header"],
    "parse-link-header": flag["parse-link-header"],
}
stated = {
    "LinkHeader": [with_obs(s, ""), t, u],
    "http-link-header": [["/s", {"rt": "temperature", "obs,</t>;if": "sensor", "ct": "40"}], u],
    "http-link-header, obs=1": [with_obs(s, "1"), t, u],
    "http-link-header, obs at the end": [t, u, with_obs(s, "")],
    "parse-link-header": [],
}
for name, links in seen.items():
    print(f"{name}: {links}")
sys.exit(0 if seen == stated else 1)
PY
venv/bin/python check.py
