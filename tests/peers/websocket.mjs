// WebSocket with Node's `ws`: a server, or a client that goes through lbd. See websocket.py.

import { createRequire } from "node:module";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
const { WebSocket, WebSocketServer } = createRequire(`${process.env.NODE_PEERS}/`)("ws");

const LARGE = 1 << 20;
const assert = (truth, what) => {
  if (!truth) throw new Error(what);
};

async function server() {
  const running = new WebSocketServer({ host: "127.0.0.1", port: 0 });
  running.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => {
      if (!isBinary && data.toString() === "close") socket.close(4001, "as asked");
      else socket.send(data, { binary: isBinary });
    });
  });
  await once(running, "listening");
  console.log(running.address().port);
}

async function opened(address, protocols = []) {
  const socket = new WebSocket(`ws://${address}/chat`, protocols);
  await once(socket, "open");
  return socket;
}

async function client(address) {
  const large = await opened(address);
  const data = randomBytes(LARGE);
  large.send(data);
  const [back] = await once(large, "message");
  assert(data.equals(back), "1 MiB came back otherwise");
  large.ping();
  await once(large, "pong");
  large.send("close");
  const [code, reason] = await once(large, "close");
  assert(code === 4001 && reason.toString() === "as asked", `closed with ${code} ${reason}`);
  const chat = await opened(address, ["chat"]);
  assert(chat.protocol === "chat", `the subprotocol is ${chat.protocol}`);
  chat.close(4002, "mine");
  await once(chat, "close");
  await Promise.all(
    Array.from({ length: 200 }, async (_, n) => {
      const socket = await opened(address);
      for (let k = 0; k < 5; k++) {
        socket.send(`${n} ${k}`);
        const [text] = await once(socket, "message");
        assert(text.toString() === `${n} ${k}`, "another's message");
      }
      socket.close();
      await once(socket, "close");
    }),
  );
  console.log("ok");
}

await (process.argv[2] === "server" ? server() : client(process.argv[3]));
