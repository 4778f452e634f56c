// BullMQ in its debounce mode behind Node's own HTTP server: `node bullmq.mjs api|worker`.
import http from "node:http";
import { Queue, Worker } from "bullmq";
import IORedis from "ioredis";

const connection = new IORedis(process.env.REDIS_URL.replace("unix://", ""), { maxRetriesPerRequest: null });
const store = new IORedis(process.env.REDIS_URL.replace("unix://", ""), { maxRetriesPerRequest: null });

async function take(text) {
  const message = JSON.parse(text);
  const delay = Math.round((message.ttl ?? 15) * 1000);
  await store.rpush(`m:${message.user}`, text);
  await queue.add("send", { user: message.user }, {
    delay,
    deduplication: { id: message.user, ttl: delay, extend: true, replace: true },
    removeOnComplete: true,
  });
  return JSON.stringify({ success: true, user: message.user });
}

async function send({ data: { user } }) {
  const bodies = (await store.lrange(`m:${user}`, 0, -1)).map((each) => JSON.parse(each));
  await fetch(process.env.WEBHOOK_URL, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user, messages: bodies.map((each) => each.message) }),
  });
  await store.ltrim(`m:${user}`, bodies.length, -1);
}

const queue = new Queue("contest", { connection });

if (process.argv[2] === "worker") {
  new Worker("contest", send, { connection, concurrency: 100 });
} else {
  const server = http.createServer((request, response) => {
    const pieces = [];
    request.on("data", (piece) => pieces.push(piece));
    request.on("end", async () => {
      const answer = await take(Buffer.concat(pieces).toString());
      response.writeHead(202, { "content-type": "application/json", "content-length": Buffer.byteLength(answer) });
      response.end(answer);
    });
  });
  await queue.waitUntilReady();
  server.keepAliveTimeout = 60_000;
  server.listen(Number(process.env.PORT), "127.0.0.1");
}
