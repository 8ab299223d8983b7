// Renders /openapi.json as a page, without external resources.

import { byId, h, setText } from "./dom.js";

const refName = (schema) => schema?.$ref?.split("/").pop();

/** A short description of a schema: `string or null`, `list of ResultMedia`. */
function describeType(schema) {
  if (!schema || !Object.keys(schema).length) return "anything";
  if (schema.$ref) return h("a", { href: `#${refName(schema)}` }, refName(schema));
  const alternatives = schema.anyOf || schema.oneOf;
  if (alternatives) return alternatives.flatMap((one, index) => [index ? " or " : "", describeType(one)].flat());
  if (schema.type === "array") return ["list of ", describeType(schema.items)].flat();
  if (schema.format === "binary") return "a file";
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "anything";
}

function buildRows(title, entries) {
  if (!entries.length) return null;
  return h("div", {}, h("h4", {}, title), h("dl", {}, entries.map(([name, type, text]) => [
    h("dt", {}, h("code", {}, name)),
    h("dd", {}, type, text ? h("span", { class: "hint" }, ` ${text}`) : null),
  ])));
}

function buildOperation(path, method, about) {
  const parameters = (about.parameters || []).map((one) => [one.name, describeType(one.schema), (one.description || `in ${one.in}`).replaceAll("`", "")]);
  const bodies = Object.entries(about.requestBody?.content || {}).map(([kind, { schema }]) => [kind, schema.properties ? h("code", {}, Object.keys(schema.properties).join(", ")) : describeType(schema)]);
  const responses = Object.entries(about.responses || {}).map(([status, { description, content }]) => {
    const schema = Object.values(content || {})[0]?.schema;
    return [status, schema ? describeType(schema) : Object.keys(content || {}).join(", "), description];
  });
  return h("article", { class: "operation", id: about.operationId },
    h("h3", {}, h("span", { class: "method" }, method.toUpperCase()), " ", h("code", {}, path)),
    h("p", {}, (about.description || about.summary || "").replaceAll("`", "")),
    buildRows("Parameters", parameters), buildRows("Body", bodies), buildRows("Responses", responses));
}

function buildSchema(name, schema) {
  const fields = Object.entries(schema.properties || {}).map(([field, type]) => [field, describeType(type), type.description || ""]);
  return h("article", { class: "operation", id: name }, h("h3", {}, name), buildRows("Fields", fields));
}

async function open() {
  const container = byId("operations");
  try {
    const api = await (await fetch("/openapi.json")).json();
    const calls = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, about]) => buildOperation(path, method, about)));
    const schemas = Object.entries(api.components.schemas).map(([name, schema]) => buildSchema(name, schema));
    container.append(h("h2", {}, "Calls"), ...calls, h("h2", {}, "Schemas"), ...schemas);
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  } catch (error) {
    setText(byId("docs-error"), `The API description could not be loaded: ${error.message}`);
  } finally {
    container.removeAttribute("aria-busy");
  }
}

open();
