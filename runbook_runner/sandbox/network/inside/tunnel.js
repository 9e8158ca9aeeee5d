// Docker sandbox: tunnel.py's inside for images that have Node and no Python. Runs as `node -e TUNNEL_JS -- PORT...`.
"use strict";
const net = require("net");

const [OPEN, DATA, END, CLOSE, TAKEN] = [0, 1, 2, 3, 4];
const HEAD = 9;
const WINDOW = 1 << 18;
const BLOCK = 1 << 15;
const streams = new Map();
let last = 0;

function send(id, kind, amount, data) {
  const head = Buffer.alloc(HEAD);
  head.writeUInt32BE(id, 0);
  head.writeUInt8(kind, 4);
  head.writeUInt32BE(amount, 5);
  process.stdout.write(data ? Buffer.concat([head, data]) : head);
}

function open(client, index) {
  const id = (last += 1);
  const stream = { client, credit: WINDOW };
  streams.set(id, stream);
  send(id, OPEN, index);
  client.on("data", (data) => {
    for (let at = 0; at < data.length; at += BLOCK) {
      const block = data.subarray(at, at + BLOCK);
      send(id, DATA, block.length, block);
    }
    stream.credit -= data.length;
    // Node hands over up to 64 KiB at once, so it stops while there is room for one more.
    if (stream.credit < 1 << 16) client.pause();
  });
  client.on("end", () => send(id, END, 0));
  client.on("error", () => client.destroy());
  client.on("close", (failed) => {
    if (streams.delete(id) && failed) send(id, CLOSE, 0);
  });
}

function take(id, kind, amount, data) {
  const stream = streams.get(id);
  if (!stream) return;
  if (kind === DATA) stream.client.write(data, () => send(id, TAKEN, data.length));
  else if (kind === END) stream.client.end();
  else if (kind === TAKEN) {
    stream.credit += amount;
    if (stream.credit >= 1 << 16) stream.client.resume();
  } else if (kind === CLOSE) {
    streams.delete(id);
    stream.client.destroy();
  }
}

let begun = Buffer.alloc(0);
process.stdin.on("data", (chunk) => {
  begun = begun.length ? Buffer.concat([begun, chunk]) : chunk;
  while (begun.length >= HEAD) {
    const [id, kind, amount] = [begun.readUInt32BE(0), begun.readUInt8(4), begun.readUInt32BE(5)];
    const size = HEAD + (kind === DATA ? amount : 0);
    if (begun.length < size) break;
    take(id, kind, amount, begun.subarray(HEAD, size));
    begun = begun.subarray(size);
  }
});
process.stdin.on("end", () => process.exit(0));

const ports = process.argv.slice(1);
let missing = ports.length;
ports.forEach((port, index) => {
  net.createServer({ allowHalfOpen: true }, (client) => open(client, index)).listen(Number(port), "127.0.0.1", () => {
    missing -= 1;
    if (missing === 0) process.stdout.write("ready\n");
  });
});
