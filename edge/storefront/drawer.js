// The drawer beside the shop: what the worker sees of this shopper, from decisions as they are pushed and from the demo's explain.

import { chart, legend, slug } from "./chart.js";
import { html } from "./html.js";

const FEATURES = {
  session_duration: ["Time in the visit", "s", 600],
  num_clicks: ["Interactions", "", 60],
  pages_viewed: ["Different pages", "", 30],
  cart_additions: ["Put into the basket", "", 5],
  time_between_clicks: ["Mean pause between clicks", "s", 60],
  bounce_rate: ["Visits that ended on one page", "", 1],
  engagement_score: ["Interactions a second", "/s", 0.5],
  cart_ratio: ["Basket per page", "", 0.5],
  idle_time: ["Mean of the last pauses", "s", 60],
};
const OUTCOMES = {
  add_rest: "Puts something into the basket",
  order_rest: "Orders",
  checkout_rest: "Begins to check out",
  exit_next: "Leaves now",
  order_before_cart: "Orders, judged without a basket",
};
const KEPT = 400;
const ASKED = "the policy asks for"; // in the reason of an action that an outcome chose

let clickstage;
let drawer;
let session = "";
let points = [];
let explained = {};
let gone = false;
let last = {};

export function openDrawer(tracker) {
  clickstage = tracker;
  drawer = document.getElementById("drawer");
  const handle = document.createElement("button");
  handle.className = "handle";
  document.body.append(handle);
  const show = (open) => {
    document.body.classList.toggle("with-drawer", open);
    handle.textContent = open ? "Hide" : "What Clickstage sees";
    handle.setAttribute("aria-expanded", String(open));
    try {
      localStorage.setItem("nordlund.drawer", open ? "1" : "");
    } catch {
      // blocked: it opens again on the next page
    }
    render();
  };
  handle.addEventListener("click", () => show(!document.body.classList.contains("with-drawer")));
  clickstage.on("session", begin);
  clickstage.on("decision", add);
  clickstage.on("withdrawn", () => {
    gone = true;
    points = [];
    explained = {};
    render();
  });
  begin(clickstage.session()?.session_id ?? "");
  show(remembered("nordlund.drawer") !== "" && innerWidth > 900);
  setInterval(tick, 1000);
}

function remembered(name, storage = () => localStorage) {
  try {
    return storage().getItem(name);
  } catch {
    return null;
  }
}

function begin(id) {
  if (id === session) return;
  session = id;
  gone = false;
  points = JSON.parse(remembered("nordlund.story." + id, () => sessionStorage) ?? "[]");
  explained = {};
  render();
}

function add(decision) {
  if (!decision.probabilities) return render();
  const at = decision.event_ts;
  if (points.at(-1)?.seq === decision.seq) return;
  points = [...points, { at, seq: decision.seq, stage: decision.stage, action: decision.action, probabilities: decision.probabilities, outcomes: decision.outcomes, asked: decision.reasons?.filter((reason) => reason.includes(ASKED)) }].slice(-KEPT);
  if (decision.reasons?.length) last = { ...last, reasons: decision.reasons, stage: decision.stage };
  try {
    sessionStorage.setItem("nordlund.story." + session, JSON.stringify(points));
  } catch {
    // blocked or full: the chart begins with this page
  }
  render();
  void explain();
}

async function explain() {
  const mine = clickstage.session();
  if (!mine || explained.missing) return;
  const response = await fetch(`/v1/sessions/${mine.session_id}/explain?key=demo`, { headers: { authorization: "Bearer " + mine.token } }).catch(() => undefined);
  if (response?.status === 404 && !explained.features) explained = { missing: true };
  if (response?.ok) {
    const before = explained.features ?? {};
    explained = await response.json();
    explained.changed = Object.keys(FEATURES).filter((name) => before[name] !== explained.features?.[name]);
  }
  render();
}

function tick() {
  if (!document.body.classList.contains("with-drawer") || document.hidden || gone) return;
  void explain();
  render();
}

function render() {
  if (!document.body.classList.contains("with-drawer")) return;
  const open = drawer.querySelector("details")?.open;
  const decision = clickstage.decision();
  drawer.innerHTML = gone ? html`<h2>Withdrawn</h2><p class="did">This browser and the edge have forgotten the visit. Nothing is sent any more.</p>` : html`
    ${stageNow(decision)}
    <h2>The journey <small>${points.length === 1 ? "one decision" : `${points.length} decisions`}</small></h2>
    ${chart(points, clickstage.now())}${legend(points.some((p) => p.outcomes?.order_rest !== undefined))}
    ${outcomes(decision)}
    <h2>What it goes by <small>nine features</small></h2>
    ${features()}
    <h2>Why</h2>${why(decision)}
    <h2>The policy</h2>${policy(decision)}
    <h2>The decision</h2>
    <details><summary>${decision?.seq === undefined ? "none yet" : `number ${decision.seq}, by ${decision.model}`}</summary><pre>${JSON.stringify(decision ?? null, null, 1)}</pre></details>`;
  const details = drawer.querySelector("details");
  if (details) details.open = open ?? false;
}

function stageNow(decision) {
  if (!decision?.stage)
    return html`<h2>Now</h2><div class="now"><b>${decision ? "Between stages" : "Hello"}</b></div><p class="did">${decision ? "The last decision has ended." : "Click somewhere: the first event makes the first decision."}</p>`;
  // Of a decision by silence, event_ts is the moment of the silence; the quiet began with the last click.
  const clicked = points.findLast((point) => point.seq % 256 === 0)?.at ?? decision.event_ts;
  const quiet = Math.max(0, (clickstage.now() - clicked) / 1000);
  const silence = explained.silent_at ? (explained.silent_at - decision.event_ts) / 1000 : 0;
  const delay = decision.decided_at - decision.event_ts;
  return html`<h2>Now <small>${decision.seq % 256 ? "decided by silence" : delay >= 0 && delay < 10_000 ? `decided ${delay} ms after the click` : ""}</small></h2>
    <div class="now"><b class="${slug(decision.stage)}">${decision.stage}</b><span>${Math.round(decision.confidence * 100)} %</span></div>
    <p class="did">shows <b>${decision.action === "none" ? "nothing" : decision.label || decision.action}</b> · quiet for ${Math.round(quiet)} s${silence > quiet ? `, lost after ${Math.round(silence)} s` : ""}</p>
    <div class="silence" title="When this bar is full, silence decides"><i style="width:${silence ? Math.min(100, (quiet / silence) * 100) : 0}%"></i></div>`;
}

function outcomes(decision) {
  // A head that is only asked before the basket fills answers null after it.
  const rows = Object.entries(decision?.outcomes ?? {}).filter(([, value]) => value !== null);
  if (!rows.length) return "";
  return html`<h2>The rest of the visit <small>how likely</small></h2><table>${rows.map(([name, value]) => html`<tr><td>${OUTCOMES[name] ?? name.replaceAll("_", " ")}</td>
    <td class="meter">${meter(value)}</td><td>${figure(value)}</td></tr>`)}</table>`;
}

const meter = (share) => html`<div><i style="width:${Math.round(Math.min(1, Math.max(0, share)) * 100)}%"></i></div>`;

function figure(value) {
  if (value === null || value === undefined) return "unknown";
  return Number.isInteger(value) ? String(value) : value.toFixed(value < 1 ? 3 : 1);
}

function features() {
  if (explained.missing) return html`<p class="none">This edge does not explain sessions; the one of clickstage demo does.</p>`;
  return html`<table>${Object.entries(FEATURES).map(([name, [text, unit, full]]) => {
    const value = explained.features?.[name];
    return html`<tr class="${explained.changed?.includes(name) ? "changed" : ""}"><td>${text}<small>${name}</small></td><td class="meter">${meter((value ?? 0) / full)}</td>
      <td>${explained.features ? figure(value) : "–"}${value === null || value === undefined ? "" : ` ${unit}`}</td></tr>`;
  })}</table>`;
}

function why(decision) {
  const reasons = explained.why?.length ? explained.why : decision?.reasons?.length ? decision.reasons : last.stage === decision?.stage ? last.reasons : undefined;
  return reasons?.length ? html`<ul>${reasons.map((reason) => html`<li>${reason}</li>`)}</ul>` : html`<p class="none">Reasons come with a change of stage.</p>`;
}

/** Why the policy chose the action that is shown: said once, by the first decision that showed it. */
export function chosen(action, story) {
  const other = story.findLastIndex((point) => point.action !== action);
  return story.slice(other + 1).findLast((point) => point.asked?.length)?.asked ?? [];
}

function policy(decision) {
  if (!decision) return html`<p class="none">Nothing decided yet.</p>`;
  const shown = Object.entries(explained.policy?.actions_shown ?? {});
  return html`<div class="chips"><span>${decision.route}</span><span>${decision.action}</span>${Object.entries(decision.parameters ?? {}).filter(([name]) => name !== "expires_at").map(([name, value]) => html`<span>${name.replaceAll("_", " ")} ${value}</span>`)}
    ${(decision.guards ?? []).map((guard) => html`<span class="guard">${guard.replaceAll("_", " ")}</span>`)}
    ${Object.entries(decision.arm ?? {}).map(([name, arm]) => html`<span>${name}: ${arm}</span>`)}</div>
    ${chosen(decision.action, points).map((reason) => html`<p class="did">${reason}</p>`)}
    ${shown.length ? html`<p class="did">so far: ${shown.map(([name, times]) => `${name} × ${times}`).join(", ")}</p>` : ""}`;
}
