// The API's page: `openapi.json` for people. Renders what that file says and knows nothing itself.

import { ROOT as PLACE, call } from "./api.js";
import { byId, copyButton, el, jsonBlock, quoted } from "./dom.js";
import { wireSearch } from "./docs-search.js";
import { trial } from "./docs-try.js";
import { sampleOf, schemaList, typeOf } from "./schema.js";

const ROOT = PLACE.replace(/\/$/, "");
const VERBS = ["get", "post", "put", "patch", "delete"];
const BODY_VERBS = ["post", "put", "patch"];

let spec = null;

async function show() {
  try {
    spec = await call("GET", "openapi.json"); // asks for a key where this description needs one
  } catch (error) {
    byId("status").textContent = `openapi.json could not be read: ${error.message}. Reload to try again.`;
    return;
  }
  const tags = byTag(operations());
  byId("main").replaceChildren(opening(), ...tags.map(tagSection));
  byId("contents").append(...tags.flatMap(contentsOf));
  wireSearch();
  if (location.hash !== "") byId(location.hash.slice(1))?.scrollIntoView();
}

// What there is

function operations() {
  const calls = Object.entries(spec.paths ?? {}).flatMap(([path, item]) => inPath(path, resolve(item), false));
  const hooks = Object.entries(spec.webhooks ?? {}).flatMap(([name, item]) => inPath(name, resolve(item), true));
  return [...calls, ...hooks];
}

function inPath(path, item, sent) {
  return VERBS.filter((verb) => item[verb]).map((verb) => {
    const operation = item[verb];
    const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map(resolve);
    const id = `${verb}-${path}`.replace(/[^\w]+/g, "-").replace(/-$/, "");
    const tag = operation.tags?.[0] ?? (sent ? "Webhook" : "API");
    return { ...operation, verb, path, sent, parameters, id, tag, body: bodyOf(operation) };
  });
}

function bodyOf(operation) {
  const content = resolve(operation.requestBody ?? {}).content ?? {};
  const [type, media] = Object.entries(content)[0] ?? [];
  return type && { type, ...media, schema: media.schema ?? {} };
}

function byTag(all) {
  const described = spec.tags ?? [];
  const names = new Set([...described.map((tag) => tag.name), ...all.map((operation) => operation.tag)]);
  return [...names]
    .map((name) => ({
      name,
      description: described.find((tag) => tag.name === name)?.description,
      operations: all.filter((operation) => operation.tag === name),
    }))
    .filter((tag) => tag.operations.length > 0);
}

/** What a `$ref` points to, as long as it points into this file. */
function resolve(value) {
  let found = value;
  for (let hops = 0; found?.$ref?.startsWith("#/") && hops < 8; hops += 1) {
    const steps = found.$ref.slice(2).split("/");
    found = steps.reduce((at, step) => at?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], spec);
  }
  return found ?? {};
}

// On the page

function opening() {
  return el(
    "section",
    { class: "opening" },
    el("h1", {}, spec.info.title),
    prose(spec.info.description ?? spec.info.summary ?? ""),
    el("p", { class: "muted small" }, `Version ${spec.info.version} · `, el("a", { href: "openapi.json" }, "openapi.json")),
  );
}

function contentsOf(tag) {
  const link = (operation) => el("li", {}, el("a", { href: `#${operation.id}` }, title(operation)));
  return [el("h2", {}, tag.name), el("ul", {}, ...tag.operations.map(link))];
}

const title = (operation) => operation.summary ?? `${operation.verb.toUpperCase()} ${operation.path}`;

function tagSection(tag) {
  const intro = tag.description ? prose(tag.description) : "";
  return el("section", { class: "tag" }, el("h2", {}, tag.name), intro, ...tag.operations.map(operationPanel));
}

function operationPanel(operation) {
  const responses = Object.entries(operation.responses ?? {}).map(([status, response]) => [status, resolve(response)]);
  const good = responses.filter(([status]) => !isError(status));
  const bad = responses.filter(([status]) => isError(status));
  const tried = operation.sent || operation.path.endsWith("/events") ? [] : [trial(operation, operation.body ? exampleOf(operation.body) : undefined)];
  const samples = [...requestSample(operation), ...tried, ...good.flatMap(([status, response]) => responseSample(status, response))];
  return el(
    "article",
    { class: "operation panel", id: operation.id },
    el("header", {}, el("h3", {}, title(operation)), route(operation)),
    el("div", { class: "words" }, ...descriptions(operation), ...fields(operation), ...answers(good), ...errors(bad)),
    el("div", { class: "samples" }, ...samples),
  );
}

const isError = (status) => /^[45]/.test(status) || status === "default";

function route(operation) {
  const verb = el("span", { class: "verb", data: { verb: operation.verb } }, operation.verb.toUpperCase());
  const path = operation.sent ? "your webhook" : operation.path;
  return el("p", { class: "route" }, verb, el("code", {}, path));
}

const descriptions = (operation) => (operation.description ? [prose(operation.description)] : []);

function part(heading, ...content) {
  return el("section", {}, el("h4", {}, heading), ...content);
}

function fields(operation) {
  const parts = [];
  for (const [place, heading] of PLACES) {
    const found = operation.parameters.filter((parameter) => parameter.in === place);
    if (found.length > 0) parts.push(part(heading, parameterList(found)));
  }
  if (operation.body) {
    const list = schemaList(operation.body.schema, resolve, prose);
    parts.push(part(`Body, ${operation.body.type}`, list ?? el("p", {}, typeOf(operation.body.schema, resolve))));
  }
  return parts;
}

const PLACES = [["path", "In the path"], ["query", "In the query"], ["header", "Headers"]];

function parameterList(parameters) {
  const properties = Object.fromEntries(
    parameters.map((parameter) => {
      const schema = resolve(parameter.schema ?? {});
      return [parameter.name, { ...schema, description: parameter.description ?? schema.description }];
    }),
  );
  const required = parameters.filter((parameter) => parameter.required).map((parameter) => parameter.name);
  return schemaList({ type: "object", properties, required }, resolve, prose);
}

function answers(good) {
  return good.flatMap(([status, response]) => {
    const [, media] = Object.entries(response.content ?? {})[0] ?? [];
    const list = media?.schema && schemaList(media.schema, resolve, prose);
    const said = response.description ? inline(response.description) : [];
    return [part(`Answer ${status}`, el("p", {}, ...said), list ?? "")];
  });
}

function errors(bad) {
  if (bad.length === 0) return [];
  const line = ([status, response]) =>
    el("li", {}, el("span", { class: "chip" }, status), el("span", {}, ...inline(response.description ?? "")));
  const chips = bad.map(([status]) => el("span", { class: "chip" }, status));
  const summary = el("summary", {}, "When the answer is no ", el("span", { class: "chips" }, ...chips));
  return [el("details", { class: "noes" }, summary, el("ul", { class: "errors" }, ...bad.map(line)))];
}

// Samples

function requestSample(operation) {
  const sample = operation.body ? exampleOf(operation.body) : undefined;
  if (operation.sent) return sample === undefined ? [] : [part("What you receive", jsonBlock(sample))];
  return [part("Request", curlBlock(operation, sample))];
}

function curlBlock(operation, sample) {
  const text = curl(operation, sample);
  return textBlock(text);
}

function curl(operation, sample) {
  const lines = [`curl ${quoted(ROOT + filled(operation))}`];
  const verb = operation.verb.toUpperCase();
  if (verb !== "GET" && !(verb === "POST" && sample !== undefined)) lines[0] = lines[0].replace("curl", `curl -X ${verb}`);
  if (operation.path.endsWith("/events")) lines[0] = lines[0].replace("curl", "curl -N");
  if (wantsKey(operation)) lines.push(`-H "authorization: Bearer $AQ_KEY"`);
  if (sample !== undefined && BODY_VERBS.includes(operation.verb)) {
    lines.push(`-H ${quoted(`content-type: ${operation.body.type}`)}`);
    lines.push(`-d ${quoted(typeof sample === "string" ? sample : JSON.stringify(sample, null, 2))}`);
  }
  return lines.join(" \\\n  ");
}

/** `{}` among the alternatives says that it also works without. */
function wantsKey(operation) {
  const ways = operation.security ?? spec.security ?? [];
  return ways.length > 0 && ways.every((way) => Object.keys(way).length > 0);
}

function filled(operation) {
  return operation.path.replace(/\{(\w+)\}/g, (_, name) => {
    const parameter = operation.parameters.find((candidate) => candidate.name === name && candidate.in === "path");
    const value = parameter && exampleOf({ ...parameter, schema: parameter.schema ?? {} });
    return encodeURIComponent(value === undefined || value === "…" ? name : value);
  });
}

function responseSample(status, response) {
  const [type, media] = Object.entries(response.content ?? {})[0] ?? [];
  if (!media) return [];
  const sample = exampleOf({ ...media, schema: media.schema ?? {} });
  if (sample === undefined) return [];
  if (typeof sample === "string") return [part(`Answer ${status}, ${type}`, textBlock(sample))];
  return [part(`Answer ${status}`, jsonBlock(sample))];
}

const textBlock = (text) => el("div", { class: "code" }, el("pre", { tabindex: "0" }, text), copyButton(() => text));

function exampleOf({ example, examples, schema }) {
  if (example !== undefined) return example;
  const [first] = Object.values(examples ?? {}).map(resolve);
  if (first?.value !== undefined) return first.value;
  return sampleOf(schema, resolve);
}

// Words: paragraphs, lists, `code` and **weight**

function prose(text) {
  const blocks = text.trim().split(/\n\s*\n/);
  return el("div", { class: "prose" }, ...blocks.map(block));
}

function block(text) {
  const lines = text.split("\n");
  if (!lines.every((line) => /^(\s*[-*] |\s{2,})/.test(line))) return el("p", {}, ...inline(lines.join(" ")));
  const items = text.split(/^\s*[-*] /m).filter((item) => item.trim() !== "");
  return el("ul", {}, ...items.map((item) => el("li", {}, ...inline(item.replace(/\s+/g, " ").trim()))));
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((piece) => {
    if (/^`.+`$/.test(piece)) return el("code", {}, piece.slice(1, -1));
    if (/^\*\*.+\*\*$/.test(piece)) return el("strong", {}, piece.slice(2, -2));
    return piece;
  });
}

show();
