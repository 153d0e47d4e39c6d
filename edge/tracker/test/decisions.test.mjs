import assert from "node:assert/strict";
import { test } from "node:test";
import { decision, Edge, sleep, until, visit } from "./page.mjs";

const SLOT = `<div data-clickstage-slot="banner"><p>Welcome</p></div>`;

test("an older decision never follows a newer one; another source is always newer", async () => {
  const edge = new Edge();
  const { clickstage } = visit(edge);
  const shown = [];
  clickstage.on("decision", (d) => shown.push(d.action));
  const stream = await until(() => edge.streams[0]);
  for (const d of [decision("one", 10), decision("old", 9), decision("same", 10), decision("two", 11), decision("anew", 1, { source: "b" })])
    stream.send("decision", d);
  await until(() => shown.length === 3);
  assert.deepEqual(shown, ["one", "two", "anew"]);
  assert.ok(stream.address.startsWith("https://edge.example/v1/decisions/s1/events?key=k&token=t1"));
});

test("a stream is opened only where somebody looks, and closed while the page is hidden", async () => {
  const edge = new Edge();
  const page = visit(edge);
  await until(() => edge.events.length === 2);
  await sleep(20);
  assert.equal(edge.streams.length, 0);
  page.clickstage.on("decision", () => {});
  await until(() => edge.streams.length === 1);
  page.hide();
  assert.equal(edge.streams[0].readyState, 2);
  page.hide(false);
  await until(() => edge.streams.length === 2);
});

test("after its end an action is not shown", async () => {
  const edge = new Edge();
  const { document } = visit(edge, { html: SLOT });
  const stream = await until(() => edge.streams[0]);
  stream.send("decision", decision("offer", 1, { expires_at: Date.now() + 150 }));
  const slot = document.querySelector("div");
  await until(() => slot.textContent === "offer label");
  await until(() => slot.textContent === "Welcome");
});

test("the edge's clock counts, not the device's", async () => {
  const edge = new Edge();
  const hour = 36e5;
  edge.answers["POST sessions"] = () => ({ status: 201, body: { session_id: "s1", token: "t1", expires_at: Date.now() + 48 * hour, now: Date.now() + 2 * hour } });
  const { document, clickstage } = visit(edge, { html: SLOT });
  const stream = await until(() => edge.streams[0]);
  stream.send("decision", decision("ended", 1, { expires_at: Date.now() + hour }));
  await sleep(30);
  assert.equal(document.querySelector("div").textContent, "Welcome");
  assert.ok(Math.abs(clickstage.now() - Date.now() - 2 * hour) < 1000);
});

test("the next page of the visit shows the last known decision at once", async () => {
  const edge = new Edge();
  const page = visit(edge, { html: SLOT });
  (await until(() => edge.streams[0])).send("decision", decision("banner", 5));
  await until(() => page.document.querySelector("div").textContent === "banner label");
  const next = visit(edge, { html: SLOT, storage: page.stored() });
  assert.equal(next.document.querySelector("div").textContent, "banner label");
  assert.equal(next.clickstage.decision().seq, 5);
});

test("where the edge gives no stream, decisions are polled with their ETag", async () => {
  const edge = new Edge();
  edge.refusesStreams = true;
  edge.answers["GET decisions"] = (request) => (request.headers["if-none-match"] ? { status: 304 } : { status: 200, body: decision("polled", 1), headers: { etag: '"a:1"' } });
  const { document } = visit(edge, { html: SLOT });
  await until(() => document.querySelector("div").textContent === "polled label");
  assert.equal(edge.of("GET decisions")[0].headers.authorization, "Bearer t1");
});

test("a stream that something before the edge holds back is given up, and decisions are polled", async () => {
  const edge = new Edge();
  edge.holdsStreams = true;
  edge.answers["GET decisions"] = () => ({ status: 200, body: decision("polled", 1) });
  const { document } = visit(edge, { html: SLOT });
  await until(() => edge.streams[0]);
  await sleep(3000);
  assert.equal(edge.of("GET decisions").length, 0);
  await until(() => document.querySelector("div").textContent === "polled label");
  assert.equal(edge.streams[0].readyState, 2);
});

test("a decision contributes text, never markup", async () => {
  const edge = new Edge();
  const { document } = visit(edge, {
    html: `<div data-clickstage-slot="a"></div>
      <div data-clickstage-slot="b"><template data-clickstage-action="offer other"><b data-clickstage-text="label"></b>
      <i data-clickstage-text="parameters.discount_percent"></i><u data-clickstage-text="remaining"></u></template></div>`,
  });
  const label = `<img src=x onerror="alert(1)">`;
  (await until(() => edge.streams[0])).send("decision", decision("offer", 1, { label, parameters: { discount_percent: 10, expires_at: Date.now() + 600_000 } }));
  await until(() => document.querySelector("b"));
  assert.equal(document.querySelector("img"), null);
  assert.equal(document.querySelector("div").textContent, label);
  assert.equal(document.querySelector("b").textContent, label);
  assert.equal(document.querySelector("i").textContent, "10");
  assert.match(document.querySelector("u").textContent, /^(10:00|09:59)$/);
  await until(() => document.querySelector("u").textContent === "09:58");
});

test("a registered template decides what a slot shows; without one that fits, the page's own content stays", async () => {
  const edge = new Edge();
  const { document, clickstage, window } = visit(edge, { html: `<div data-clickstage-slot="a">own<template data-clickstage-action="x">X</template></div>` });
  clickstage.template("made", (d, slot) => Object.assign(window.document.createElement("em"), { textContent: d.label + slot.tagName }));
  const stream = await until(() => edge.streams[0]);
  const slot = document.querySelector("div");
  stream.send("decision", decision("other", 1));
  await sleep(20);
  assert.equal(slot.textContent, "own");
  stream.send("decision", decision("made", 2));
  await until(() => slot.querySelector("em"));
  assert.equal(slot.textContent, "made labelDIV");
  stream.send("decision", decision("x", 3));
  await until(() => slot.textContent === "X");
  stream.send("decision", decision("none", 4));
  await until(() => slot.textContent === "own");
});

test("a template that throws leaves its slot as it is; other slots and later decisions go on", async () => {
  const edge = new Edge();
  const html = `<div data-clickstage-slot="a">own</div><p data-clickstage-slot="b">own</p>`;
  const { document, clickstage, errors } = visit(edge, { html });
  clickstage.template("odd", (d, slot) => {
    if (slot.tagName === "DIV") throw new Error("a fault of the shop");
    return "fits";
  });
  const stream = await until(() => edge.streams[0]);
  stream.send("decision", decision("odd", 1));
  await until(() => document.querySelector("p").textContent === "fits");
  assert.equal(document.querySelector("div").textContent, "own");
  await until(() => errors.length);
  assert.match(errors[0], /a fault of the shop/);
  stream.send("decision", decision("fine", 2));
  await until(() => document.querySelector("div").textContent === "fine label");
});

test("slots that come later are filled, too", async () => {
  const edge = new Edge();
  const { document, clickstage } = visit(edge);
  clickstage.on("decision", () => {});
  (await until(() => edge.streams[0])).send("decision", decision("late", 1));
  await sleep(20);
  document.body.insertAdjacentHTML("beforeend", SLOT);
  await until(() => document.querySelector("div").textContent === "late label");
});

test("exposures: shown after a second on the screen, clicked and dismissed, each once", async () => {
  const edge = new Edge();
  const html = `<div data-clickstage-slot="banner">own<template data-clickstage-action="offer"><a href="#x">go</a><button data-clickstage-dismiss>x</button></template></div>`;
  const page = visit(edge, { html });
  const { document } = page;
  const kinds = () => edge.of("POST exposures").map((r) => r.body.exposures[0].kind);
  (await until(() => edge.streams[0])).send("decision", decision("offer", 1));
  const link = await until(() => document.querySelector("a"));
  const slot = document.querySelector("div");
  page.scrolledTo(slot);
  assert.deepEqual(kinds(), []);
  await until(() => kinds().length === 1);
  link.click();
  link.click();
  document.querySelector("button").click();
  await until(() => kinds().length === 3);
  assert.deepEqual(kinds(), ["shown", "clicked", "dismissed"]);
  assert.equal(slot.textContent, "own");
  const { body } = edge.of("POST exposures")[0];
  assert.equal(body.token, "t1");
  const { exposure_id, action, slot: place } = body.exposures[0];
  assert.deepEqual([exposure_id, action, place], ["x1", "offer", "banner"]);
  const next = visit(edge, { html, storage: page.stored() });
  await sleep(20);
  assert.equal(next.document.querySelector("div").textContent, "own", "what was dismissed does not come back");
});
