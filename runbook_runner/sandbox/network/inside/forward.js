// Docker sandbox: forward.py for images that have Node and no Python. Runs as `node -e FORWARD_JS -- PORT=SOCKET...`.
"use strict";
const net = require("net");

const pairs = process.argv.slice(1).map((pair) => pair.split(/=(.*)/s, 2));
let missing = pairs.length;
for (const [port, path] of pairs) {
  const server = net.createServer({ allowHalfOpen: true }, (client) => {
    const target = net.connect({ path, allowHalfOpen: true });
    for (const [one, other] of [[client, target], [target, client]]) {
      one.on("error", () => other.destroy());
      one.pipe(other);
    }
  });
  server.listen(Number(port), "127.0.0.1", () => {
    missing -= 1;
    if (missing === 0) process.stdout.write("ready\n");
  });
}
