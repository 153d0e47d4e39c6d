import assert from "node:assert/strict";
import { test } from "node:test";
import { Edge, sleep, until, visit } from "./page.mjs";

const types = (edge) => edge.events.map((event) => event.type);

test("a page view begins a session: the edge makes it, then gets session_start and page_view in one request", async () => {
  const edge = new Edge();
  const { errors } = visit(edge, { url: "https://shop.example/shoes?size=42&utm_medium=cpc", before: (w) => (w.document.title = "x") });
  await until(() => edge.events.length === 2);
  assert.deepEqual(types(edge), ["session_start", "page_view"]);
  const [request] = edge.of("POST events");
  assert.equal(request.key, "k");
  assert.equal(request.body.token, "t1");
  assert.ok(Math.abs(request.body.sent_ts - Date.now()) < 5000);
  const [begun, view] = edge.events;
  assert.deepEqual([begun.device, begun.source, view.page], ["desktop", "paid", "/shoes?size=42&utm_medium=cpc"]);
  assert.equal(new Set(edge.events.map((event) => event.event_id)).size, 2);
  assert.equal(begun.visitor_id, undefined);
  assert.deepEqual(errors, []);
});

test("functions pushed before the script has loaded run once it has", async () => {
  const edge = new Edge();
  const seen = [];
  visit(edge, { before: (w) => (w.clickstage = [(cs) => cs.track("view_item", { item_id: "p1" }), (cs) => cs.on("session", (id) => seen.push(id))]) });
  await until(() => edge.events.length === 3);
  assert.deepEqual(types(edge), ["session_start", "page_view", "view_item"]);
  assert.deepEqual(seen, ["s1"]);
});

test("an overloaded edge gets the same events again, when it said, and nothing is lost", async () => {
  const edge = new Edge();
  let refuse = 2;
  edge.answers["POST events"] = () => (refuse-- > 0 ? { status: 503, headers: { "retry-after": "0.05" } } : undefined);
  const { clickstage } = visit(edge);
  clickstage.track("view_item", { item_id: "p1" });
  await until(() => edge.events.length === 3);
  const ids = edge.of("POST events").map((request) => request.body.events.map((event) => event.event_id).join());
  assert.equal(ids.length, 3);
  assert.equal(new Set(ids).size, 1);
});

test("sent_ts is the time of the sending, not of the event", async () => {
  const edge = new Edge();
  let away = true;
  edge.answers["POST events"] = () => away && "away";
  const { clickstage } = visit(edge);
  await until(() => edge.of("POST events").length === 1);
  await sleep(60);
  away = false;
  await clickstage.flush();
  const { events, sent_ts } = edge.of("POST events").at(-1).body;
  assert.ok(sent_ts - events[0].ts >= 60);
});

test("a refused token begins a new session with the same events, once", async () => {
  const edge = new Edge();
  edge.answers["POST events"] = (request) => (request.body.token === "t1" ? { status: 401 } : undefined);
  const { clickstage } = visit(edge);
  await until(() => edge.events.length === 2);
  assert.equal(clickstage.session().session_id, "s2");

  const stubborn = new Edge();
  stubborn.answers["POST events"] = () => ({ status: 403 });
  const page = visit(stubborn);
  await until(() => stubborn.of("POST events").length === 2);
  await page.clickstage.flush();
  assert.equal(stubborn.sessions, 2);
});

test("a batch that is too large is halved; a single event that is too large is dropped", async () => {
  const edge = new Edge();
  edge.answers["POST events"] = ({ body }) => (JSON.stringify(body).length > 900 ? { status: 413 } : undefined);
  const { clickstage } = visit(edge);
  for (let i = 0; i < 20; i++) clickstage.track("view_item", { item_id: "p" + i });
  clickstage.track("search", { query: "x".repeat(1000) });
  clickstage.track("view_cart");
  await until(() => types(edge).includes("view_cart"));
  assert.equal(edge.events.length, 23);
  assert.ok(!types(edge).includes("search"));
});

test("at most fifty events a request", async () => {
  const edge = new Edge();
  const { clickstage } = visit(edge);
  for (let i = 0; i < 130; i++) clickstage.track("click");
  await until(() => edge.events.length === 132);
  assert.deepEqual(edge.of("POST events").map((r) => r.body.events.length), [50, 50, 32]);
});

test("thirty minutes without an event end the session; the next event begins another", async () => {
  const edge = new Edge();
  const first = visit(edge);
  await until(() => edge.events.length === 2);
  const storage = first.stored();
  const kept = visit(edge, { storage });
  await until(() => edge.events.length === 3);
  assert.equal(kept.clickstage.session().session_id, "s1");
  assert.equal(edge.sessions, 1);
  const old = JSON.parse(storage["cs.v"]);
  const later = visit(edge, { storage: { "cs.v": JSON.stringify({ ...old, l: old.l - 30 * 60_000 }) } });
  await until(() => edge.events.length === 5);
  assert.deepEqual(types(edge).slice(3), ["session_start", "page_view"]);
  assert.equal(later.clickstage.session().session_id, "s2");
});

test("what waits when the page is hidden goes out as a beacon", async () => {
  const edge = new Edge();
  const page = visit(edge);
  await until(() => edge.events.length === 2);
  page.clickstage.track("add_to_cart", { item_id: "p1", price: 10 });
  page.hide();
  assert.equal(edge.events.at(-1).type, "add_to_cart");
  assert.equal(page.stored()["cs.q"], undefined);
});

test("where the beacon is blocked, the next page sends what the last one stored", async () => {
  const edge = new Edge();
  const page = visit(edge);
  await until(() => edge.events.length === 2);
  page.window.navigator.sendBeacon = () => { throw new Error("blocked"); };
  page.clickstage.track("add_to_cart", { item_id: "p1" });
  page.hide();
  assert.equal(edge.events.length, 2);
  visit(edge, { storage: page.stored() });
  await until(() => edge.events.length === 4);
  assert.deepEqual(types(edge).slice(2), ["add_to_cart", "page_view"]);
});

test("events of a visit that the edge never heard of survive a page without network", async () => {
  const edge = new Edge();
  edge.answers["POST sessions"] = () => "away";
  const page = visit(edge);
  await until(() => edge.of("POST sessions").length === 1);
  page.hide();
  delete edge.answers["POST sessions"];
  visit(edge, { storage: page.stored() });
  await until(() => edge.events.length === 3);
  assert.deepEqual(types(edge), ["session_start", "page_view", "page_view"]);
  assert.equal(edge.sessions, 1);
});

test("where storage is blocked the page works for itself", async () => {
  const edge = new Edge();
  const page = visit(edge, { storage: "blocked" });
  page.clickstage.track("view_item", { item_id: "p1" });
  await until(() => edge.events.length === 3);
  assert.deepEqual(types(edge), ["session_start", "page_view", "view_item"]);
  assert.deepEqual(page.errors, []);
});

test("a wrong write key is not asked for again and again", async () => {
  const edge = new Edge();
  edge.answers["POST sessions"] = () => ({ status: 403 });
  const { clickstage } = visit(edge);
  await until(() => edge.of("POST sessions").length === 1);
  await clickstage.flush();
  await sleep(300);
  assert.equal(edge.of("POST sessions").length, 1);
});

test("a page that the browser renders ahead of a visit sends nothing until it is visited", async () => {
  const edge = new Edge();
  const { document, window } = visit(edge, { before: (w) => (w.document.prerendering = true) });
  await sleep(300);
  assert.equal(edge.requests.length, 0);
  document.prerendering = false;
  document.dispatchEvent(new window.Event("prerenderingchange"));
  await until(() => edge.events.length === 2);
});

test("markup that names another item is another view; the same one is none, also as another element", async () => {
  const edge = new Edge();
  const { document, window } = visit(edge, { html: `<main data-clickstage-view="view_item" data-clickstage-item-id="p1"></main>` });
  window.history.pushState({}, "", "/p2");
  document.querySelector("main").setAttribute("data-clickstage-item-id", "p2");
  await until(() => edge.events.length === 5);
  document.querySelector("main").replaceWith(document.querySelector("main").cloneNode());
  await sleep(400);
  await until(() => edge.events.length === 5);
  assert.deepEqual(edge.events.slice(1).map(({ type, item_id }) => item_id ?? type), ["page_view", "p1", "page_view", "p2"]);
});
