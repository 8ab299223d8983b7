// Renders /openapi.json readably, without anything from elsewhere.

import { byId, h, say } from "./dom.js";

const refName = (schema) => schema?.$ref?.split("/").pop();

/** A schema in a few words: `string or null`, `list of ResultMedia`. */
function typeOf(schema) {
  if (!schema || !Object.keys(schema).length) return "anything";
  if (schema.$ref) return h("a", { href: `#${refName(schema)}` }, refName(schema));
  const several = schema.anyOf || schema.oneOf;
  if (several) return several.flatMap((one, index) => [index ? " or " : "", typeOf(one)].flat());
  if (schema.type === "array") return ["list of ", typeOf(schema.items)].flat();
  if (schema.format === "binary") return "a file";
  return schema.format ? `${schema.type} (${schema.format})` : schema.type || "anything";
}

function rows(title, entries) {
  if (!entries.length) return null;
  return h("div", {}, h("h4", {}, title), h("dl", {}, entries.map(([name, type, words]) => [
    h("dt", {}, h("code", {}, name)),
    h("dd", {}, type, words ? h("span", { class: "hint" }, ` ${words}`) : null),
  ])));
}

function operation(path, method, about) {
  const parameters = (about.parameters || []).map((one) => [one.name, typeOf(one.schema), (one.description || `in ${one.in}`).replaceAll("`", "")]);
  const bodies = Object.entries(about.requestBody?.content || {}).map(([kind, { schema }]) => [kind, schema.properties ? h("code", {}, Object.keys(schema.properties).join(", ")) : typeOf(schema)]);
  const answers = Object.entries(about.responses || {}).map(([status, { description, content }]) => {
    const schema = Object.values(content || {})[0]?.schema;
    return [status, schema ? typeOf(schema) : Object.keys(content || {}).join(", "), description];
  });
  return h("article", { class: "operation", id: about.operationId },
    h("h3", {}, h("span", { class: "method" }, method.toUpperCase()), " ", h("code", {}, path)),
    h("p", {}, (about.description || about.summary || "").replaceAll("`", "")),
    rows("Parameters", parameters), rows("Body", bodies), rows("Answers", answers));
}

function schemaOf(name, schema) {
  const fields = Object.entries(schema.properties || {}).map(([field, type]) => [field, typeOf(type), type.description || ""]);
  return h("article", { class: "operation", id: name }, h("h3", {}, name), rows("Fields", fields));
}

async function open() {
  const place = byId("operations");
  try {
    const api = await (await fetch("/openapi.json")).json();
    const calls = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, about]) => operation(path, method, about)));
    const schemas = Object.entries(api.components.schemas).map(([name, schema]) => schemaOf(name, schema));
    place.append(h("h2", {}, "Calls"), ...calls, h("h2", {}, "Shapes"), ...schemas);
    if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  } catch (error) {
    say(byId("docs-error"), `The description could not be read: ${error.message}`);
  } finally {
    place.removeAttribute("aria-busy");
  }
}

open();
