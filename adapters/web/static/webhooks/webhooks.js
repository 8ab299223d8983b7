// Webhooks: where events of ended jobs go, how many were accepted, and sending one a test event.

import { post } from "../core/api.js";
import { html, nothing, repeat, signal } from "../core/render.js";
import { formatNumber, t } from "../core/text.js";
import { showToast } from "../core/toast.js";
import { factsView } from "../admin/facts.js";
import { attempt, Resource, resourceView } from "../admin/lists.js";

const webhooks = new Resource("/admin/webhooks");
/** The name of the webhook that is being tested. */
const tested = signal("");

export const load = () => void webhooks.load();

/** Nothing where there are no webhooks, and until that is known. */
export function view() {
  const { body, error } = webhooks.state.value;
  if (!error && !body?.webhooks.length) return nothing;
  return html`
    <h2>${t("Webhooks")}</h2>
    ${resourceView(webhooks, (body) => html`<ul class="admin-grid">${repeat(body.webhooks, (one) => one.name, webhookView)}</ul>`)}`;
}

function webhookView({ name, host, sent, pending, undeliverable, last_problem: problem }) {
  return html`
    <li class="card admin-card" data-webhook=${name} aria-labelledby=${`webhook-${name}`}>
      <div class="row">
        <h3 id=${`webhook-${name}`}>${name}</h3>
        ${host === null ? html`<span class="tag">${t("Not in the config")}</span>` : html`<span class="hint">${host}</span>`}
        <span class="spacer"></span>
        ${host === null ? nothing : html`<button type="button" aria-label=${t("Send {name} a test event", { name })} ?disabled=${tested.value === name} @click=${() => test(name)}>${t("Test")}</button>`}
      </div>
      ${factsView([
        [t("Sent"), formatNumber(sent)],
        [t("Waiting"), formatNumber(pending)],
        [t("Given up"), formatNumber(undeliverable)],
        [t("Last problem"), problem],
      ])}
    </li>`;
}

async function test(name) {
  if (tested.peek()) return;
  tested.value = name;
  await attempt(async () => {
    const { accepted, problem } = await post(`/admin/webhooks/${name}/test`, {});
    if (accepted) showToast(t("{name} accepted the test event.", { name }));
    else showToast(t("{name} did not accept the test event: {problem}.", { name, problem }), { kind: "error" });
  });
  tested.value = "";
  await webhooks.reload();
}
