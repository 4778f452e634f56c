// JSON Schema, as far as an OpenAPI 3.1 file uses it, in words and in samples.

import { el } from "./dom.js";

const DEPTH_MAX = 5;
const ENUM_SHOWN_MAX = 8;

/** The fields of an object (or of an array's objects) as a list; null if it has none. */
export function schemaList(given, resolve, prose, depth = 0) {
  const schema = whole(given, resolve);
  if (depth >= DEPTH_MAX) return null;
  if (schema.items) return schemaList(schema.items, resolve, prose, depth);
  const fields = Object.entries(schema.properties ?? {});
  if (fields.length === 0) return null;
  const must = new Set(schema.required ?? []);
  const lines = fields.map(([name, field]) => line(name, field, must.has(name), resolve, prose, depth));
  return el("ul", { class: "schema" }, ...lines);
}

function line(name, given, must, resolve, prose, depth) {
  const schema = whole(given, resolve);
  return el(
    "li",
    {},
    el(
      "p",
      { class: "head" },
      el("code", {}, name),
      el("span", { class: "kind" }, typeOf(given, resolve) + limits(schema)),
      must ? el("span", { class: "must" }, "required") : "",
    ),
    schema.description ? prose(schema.description) : "",
    schemaList(schema, resolve, prose, depth + 1) ?? "",
  );
}

export function typeOf(given, resolve) {
  const schema = whole(given, resolve);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.slice(0, ENUM_SHOWN_MAX).map((value) => JSON.stringify(value)).join(" · ");
  const branches = schema.oneOf ?? schema.anyOf;
  if (branches) return [...new Set(branches.map((branch) => typeOf(branch, resolve)))].join(" or ");
  const types = [schema.type ?? (schema.properties ? "object" : "any")].flat();
  return types.map((type) => (type === "array" ? `array of ${typeOf(schema.items ?? {}, resolve)}` : type)).join(" or ");
}

function limits(schema) {
  const said = [];
  if (schema.format) said.push(schema.format);
  if (schema.minimum !== undefined) said.push(`≥ ${schema.minimum}`);
  if (schema.maximum !== undefined) said.push(`≤ ${schema.maximum}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined) said.push(`default ${JSON.stringify(schema.default)}`);
  return said.map((text) => `, ${text}`).join("");
}

/** A value that fits the schema: its own example where it has one. */
export function sampleOf(given, resolve, depth = 0) {
  const schema = whole(given, resolve);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length > 0) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const [branch] = schema.oneOf ?? schema.anyOf ?? [];
  if (branch) return sampleOf(branch, resolve, depth + 1);
  return sampleOfType(schema, resolve, depth);
}

function sampleOfType(schema, resolve, depth) {
  const types = [schema.type ?? (schema.properties ? "object" : undefined)].flat();
  const type = types.includes("null") ? "null" : types[0];
  if (type === "object") return sampleObject(schema, resolve, depth);
  if (type === "array") return depth >= DEPTH_MAX ? [] : [sampleOf(schema.items ?? {}, resolve, depth + 1)];
  return { string: "…", integer: schema.minimum ?? 1, number: schema.minimum ?? 1.5, boolean: true, null: null }[type];
}

function sampleObject(schema, resolve, depth) {
  if (depth >= DEPTH_MAX) return {};
  const fields = Object.entries(schema.properties ?? {});
  return Object.fromEntries(fields.map(([name, field]) => [name, sampleOf(field, resolve, depth + 1)]));
}

/** A schema with its reference followed and its `allOf` put together. */
function whole(given, resolve) {
  const schema = { ...resolve(given) };
  if (given.$ref && given.description) schema.description = given.description;
  for (const branch of schema.allOf ?? []) {
    const { properties, required, ...rest } = whole(branch, resolve);
    schema.properties = { ...schema.properties, ...properties };
    schema.required = [...(schema.required ?? []), ...(required ?? [])];
    Object.assign(schema, { ...rest, ...schema });
  }
  return schema;
}
