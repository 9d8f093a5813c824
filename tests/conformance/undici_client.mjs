// What Node's undici asks over HTTP/1.1 and HTTP/2; prints a line for each case.
//
// undici_client.mjs PLAIN H2C TLS

import { createRequire } from "node:module";
import { randomBytes } from "node:crypto";
import { Readable } from "node:stream";
const { Client, Pool } = createRequire(`${process.env.NODE_PEERS}/`)("undici");

const [plain, , tls] = process.argv.slice(2);
const BODY = randomBytes(1 << 20);
const bytes = async (answer) => Buffer.from(await answer.body.arrayBuffer());
const get = (client, path) => client.request({ path, method: "GET" });

async function* pieces() {
  for (let at = 0; at < BODY.length; at += 50000) yield BODY.subarray(at, at + 50000);
}

const CASES = {
  GET: async (client) => (await bytes(await get(client, "/"))).toString() === "ok",
  HEAD: async (client) => (await bytes(await client.request({ path: "/", method: "HEAD" }))).length === 0,
  204: async (client) => (await get(client, "/status/204")).statusCode === 204,
  "POST of 1 MiB": async (client) =>
    (await bytes(await client.request({ path: "/echo", method: "POST", body: BODY }))).equals(BODY),
  "POST of 1 MiB in pieces": async (client) =>
    (await bytes(await client.request({ path: "/echo", method: "POST", body: Readable.from(pieces()) }))).equals(BODY),
  "a chunked answer": async (client) => (await bytes(await get(client, "/stream"))).toString() === "0123456789",
  "4 MiB": async (client) => (await bytes(await get(client, "/large"))).length === 4 << 20,
  "100 at once": async (client) => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => get(client, `/?${n}`).then(bytes)));
    return answers.every((answer) => answer.toString() === "ok");
  },
};

const ways = {
  "HTTP/1.1": () => new Pool(`http://127.0.0.1:${plain}`, { connections: 10 }),
  "HTTP/1.1 pipelined": () => new Client(`http://127.0.0.1:${plain}`, { pipelining: 10 }),
  "HTTP/1.1 with TLS": () =>
    new Pool(`https://localhost:${tls}`, { allowH2: false, connections: 10, connect: { rejectUnauthorized: false } }),
  "HTTP/2": () => new Client(`https://localhost:${tls}`, { allowH2: true, connect: { rejectUnauthorized: false } }),
};

for (const [way, make] of Object.entries(ways)) {
  const client = make();
  for (const [name, check] of Object.entries(CASES)) {
    let why = "another answer";
    const good = await check(client).catch((error) => {
      why = String(error);
      return false;
    });
    console.log(good ? `ok ${way} ${name}` : `failed ${way} ${name}: ${why}`);
  }
  await client.close();
}
