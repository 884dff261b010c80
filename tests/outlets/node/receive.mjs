// Reads requests from standard input, {key, secret, requests: [{body, authorization}]}, and gives
// each to the WebhookReceiver of livekit-server-sdk.  Writes a list of {event} or {error}.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const find = createRequire(pathToFileURL(process.argv[2] + "/"));
const { WebhookReceiver } = await import(pathToFileURL(find.resolve("livekit-server-sdk")));

let text = "";
for await (const part of process.stdin.setEncoding("utf8")) text += part;
const { key, secret, requests } = JSON.parse(text);
const receiver = new WebhookReceiver(key, secret);
const results = [];
for (const { body, authorization } of requests) {
  try {
    results.push({ event: (await receiver.receive(body, authorization)).toJson() });
  } catch (error) {
    results.push({ error: String(error.message) });
  }
}
process.stdout.write(JSON.stringify(results));
