import assert from "node:assert/strict";
import { test } from "node:test";
import { decision, Edge, sleep, until, visit } from "./page.mjs";

const gpc = (w) => Object.defineProperty(w.navigator, "globalPrivacyControl", { value: true });

test("withdrawal: the edge is told, everything is forgotten, nothing is sent any more", async () => {
  const edge = new Edge();
  const page = visit(edge, { html: `<div data-clickstage-slot="a">own</div>` });
  let told = 0;
  page.clickstage.on("withdrawn", () => told++);
  (await until(() => edge.streams[0])).send("decision", decision("x", 1));
  await until(() => page.document.querySelector("div").textContent === "x label");
  page.clickstage.consent(false);
  await until(() => edge.of("DELETE sessions").length === 1);
  const [{ path, headers }] = edge.of("DELETE sessions");
  assert.deepEqual([path, headers.authorization], ["sessions/s1", "Bearer t1"]);
  await until(() => !page.stored()["cs.w"]);
  assert.deepEqual(page.stored(), { "cs.c": "0" });
  assert.equal(page.document.querySelector("div").textContent, "own");
  assert.equal(edge.streams[0].readyState, 2);
  assert.equal(told, 1);
  const before = edge.requests.length;
  page.clickstage.track("view_item");
  await page.clickstage.flush();
  visit(edge, { storage: page.stored() });
  await sleep(300);
  assert.equal(edge.requests.length, before);
});

test("a withdrawal that the edge could not hear is told on the next page", async () => {
  const edge = new Edge();
  edge.answers["DELETE sessions"] = () => "away";
  const page = visit(edge);
  await until(() => edge.events.length === 2);
  page.clickstage.consent(false);
  await until(() => edge.of("DELETE sessions").length === 1);
  await sleep(20);
  delete edge.answers["DELETE sessions"];
  const next = visit(edge, { storage: page.stored() });
  await until(() => edge.of("DELETE sessions").length === 2);
  await until(() => !next.stored()["cs.w"]);
});

test("a visitor id exists after consent only, and stays the same", async () => {
  const edge = new Edge();
  const page = visit(edge);
  page.clickstage.consent(true);
  page.clickstage.track("view_item");
  await until(() => edge.events.length === 3);
  const [, view, item] = edge.events;
  assert.equal(view.visitor_id, undefined);
  assert.ok(item.visitor_id.length >= 20);
  assert.equal(item.consent, true);
  visit(edge, { storage: page.stored() });
  await until(() => edge.events.length === 4);
  assert.equal(edge.events[3].visitor_id, item.visitor_id);
});

for (const [name, options] of [["Global Privacy Control", { before: gpc }], ["data-consent=required", { attributes: { "data-key": "k", "data-consent": "required" } }]])
  test(`${name}: nothing is sent or stored before consent`, async () => {
    const edge = new Edge();
    const page = visit(edge, options);
    page.clickstage.track("view_item");
    await sleep(300);
    assert.equal(edge.requests.length, 0);
    assert.deepEqual(page.stored(), {});
    page.clickstage.consent(true);
    await until(() => edge.events.length === 2);
    assert.deepEqual(edge.events.map((event) => event.type), ["session_start", "page_view"]);
  });

test("the edge's withdrawal counts like the shopper's own", async () => {
  for (const how of ["stream", "events"]) {
    const edge = new Edge();
    const page = visit(edge, { html: `<div data-clickstage-slot="a">own</div>` });
    const stream = await until(() => edge.streams[0]);
    if (how === "stream") stream.send("withdrawn", {});
    else {
      edge.answers["POST events"] = () => ({ status: 410 });
      page.clickstage.track("view_item");
      await page.clickstage.flush();
    }
    await until(() => page.stored()["cs.c"] === "0");
    assert.equal(page.clickstage.session(), undefined);
    assert.equal(edge.of("DELETE sessions").length, 0);
  }
});

test("where locks are blocked with the storage, the page works for itself", async () => {
  const edge = new Edge();
  const before = (w) => Object.defineProperty(w.navigator, "locks", { value: { request: () => Promise.reject(new Error("denied")) } });
  visit(edge, { storage: "blocked", before });
  await until(() => edge.events.length === 2);
});
