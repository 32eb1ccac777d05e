// A page's script, without the page: fetch of the WHATWG, events read from the body's stream.
const [base, token] = process.argv.slice(2);
const headers = {Authorization: "Bearer " + token};

async function ask(method, path, more = {}, body = undefined) {
  const answer = await fetch(base + path, {method, headers: {...headers, ...more}, body});
  const octets = Buffer.from(await answer.arrayBuffer());
  return {status: answer.status, place: answer.headers.get("location"), seq: answer.headers.get("atls-seq"), octets};
}

const opened = await ask("POST", "/atls?to=lamp&nonce=" + "ab".repeat(8), {"Content-Type": "application/adtls"});
const stream = await fetch(base + opened.place, {headers: {...headers, Accept: "text/event-stream"}});
const reader = stream.body.pipeThrough(new TextDecoderStream()).getReader();
const unit = Buffer.from("17fefd00010000000000050004a0a1a2a3", "hex");
const sent = await ask("POST", opened.place, {"Content-Type": "application/adtls", "ATLS-Seq": "0"}, unit);
let events = "";
while (!events.includes("\n\n")) events += (await reader.read()).value;
const read = await ask("POST", opened.place, {"ATLS-Seq": "0", Prefer: "wait=20"});
const acknowledged = await ask("POST", opened.place, {"ATLS-Seq": "1"});
const closed = await ask("DELETE", opened.place);
while (!events.includes("event: end")) events += (await reader.read()).value;
const shown = {
  statuses: [opened, sent, read, acknowledged, closed].map((each) => each.status),
  events, seq: read.seq, octets: read.octets.toString("hex"),
};
process.stdout.write(JSON.stringify(shown), () => process.exit(0));
