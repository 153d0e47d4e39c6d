import assert from "node:assert/strict";
import { test } from "node:test";
import { Edge, sleep, until, visit } from "./page.mjs";

const seen = (edge) => edge.events.map(({ type, item_id, price, query, page }) => ({ type, item_id, price, query, page }));

test("single-page apps: each new address is a page view, the same one is none", async () => {
  const edge = new Edge();
  const { window } = visit(edge);
  window.history.pushState({}, "", "/a");
  window.history.replaceState({ scroll: 1 }, "", "/a");
  window.history.replaceState({}, "", "/a?page=2");
  window.history.pushState({}, "", "/a?page=2#reviews");
  await until(() => edge.events.length === 4);
  assert.deepEqual(seen(edge).slice(1).map((event) => event.page), ["/", "/a", "/a?page=2"]);
});

test("markup names clicks, forms and what is viewed, with their fields", async () => {
  const edge = new Edge();
  const { window, document } = visit(edge, {
    html: `<main data-clickstage-view="view_item" data-clickstage-item-id="p1" data-clickstage-price="49.90"></main>
      <button data-clickstage-click="add_to_cart" data-clickstage-item-id="p1" data-clickstage-price="49.90"><i>Add</i></button>
      <form data-clickstage-submit="search"><input data-clickstage-field="query" value="red shoes"></form>
      <button id="plain">no event</button>`,
  });
  document.querySelector("i").click();
  document.querySelector("#plain").click();
  document.querySelector("form").dispatchEvent(new window.Event("submit", { bubbles: true, cancelable: true }));
  document.body.insertAdjacentHTML("beforeend", `<div data-clickstage-view="view_promotion"></div>`);
  await until(() => edge.events.length === 6);
  assert.deepEqual(seen(edge).slice(2).map(({ page, ...event }) => JSON.parse(JSON.stringify(event))), [
    { type: "view_item", item_id: "p1", price: 49.9 },
    { type: "add_to_cart", item_id: "p1", price: 49.9 },
    { type: "search", query: "red shoes" },
    { type: "view_promotion" },
  ]);
});

test("scroll depth is told in quarters, each once a page", async () => {
  const edge = new Edge();
  const { window, document } = visit(edge);
  const root = document.documentElement;
  Object.defineProperties(root, { scrollHeight: { value: 4000 }, clientHeight: { value: 800 } });
  for (const top of [0, 150, 300, 1300, 1200, 3200, 3200]) {
    root.scrollTop = top;
    window.dispatchEvent(new window.Event("scroll"));
  }
  await until(() => edge.events.length === 5);
  assert.deepEqual(edge.events.slice(2).map((event) => event.scroll_depth), [25, 50, 100]);
});

test("where a visit came from", async () => {
  for (const [url, referrer, source] of [
    ["/", undefined, "direct"],
    ["/", "https://www.google.de/", "organic"],
    ["/", "https://duckduckgo.com/", "organic"],
    ["/", "https://t.co/xyz", "social"],
    ["/", "https://www.instagram.com/", "social"],
    ["/", "https://blog.example/", "referral"],
    ["/", "https://shop.example/other", "direct"],
    ["/?gclid=1", "https://www.google.de/", "paid"],
    ["/?utm_medium=email", "https://mail.example/", "email"],
    ["/?a=1&utm_medium=social", undefined, "social"],
  ]) {
    const edge = new Edge();
    visit(edge, { url: "https://shop.example" + url, referrer });
    await until(() => edge.events.length);
    assert.equal(edge.events[0].source, source, `${url} from ${referrer}`);
  }
});

test("GA4's dataLayer: gtag calls and ecommerce pushes, before and after the script, but no page view twice", async () => {
  const edge = new Edge();
  const items = [{ item_id: 7, price: "49.90", quantity: 2, item_category: "shoes" }, { item_id: "p2", price: 5 }];
  const { window, errors } = visit(edge, {
    before(w) {
      w.dataLayer = [];
      w.gtag = function () { w.dataLayer.push(arguments); };
      w.gtag("js", new Date());
      w.gtag("event", "view_item", { currency: "EUR", items: items.slice(0, 1) });
    },
  });
  window.gtag("event", "page_view");
  window.gtag("config", "G-1");
  const length = window.dataLayer.push({ ecommerce: null }, { event: "gtm.click" });
  window.dataLayer.push({ event: "add_to_cart", ecommerce: { items } });
  window.dataLayer.push({ event: "search", search_term: "boots" });
  window.gtag("event", "purchase", { transaction_id: "T1", value: 104.8, currency: "EUR", items });
  await until(() => edge.events.length === 6);
  assert.equal(length, 6);
  const [view, add, search, purchase] = edge.events.slice(2);
  assert.deepEqual([view.type, view.item_id, view.price, view.quantity, view.category, view.currency], ["view_item", "7", 49.9, 2, "shoes", "EUR"]);
  assert.equal(add.type, "add_to_cart");
  assert.deepEqual(add.items.map((item) => item.item_id), ["7", "p2"]);
  assert.equal(search.query, "boots");
  assert.deepEqual([purchase.value, purchase.event_id], [104.8, "purchase T1"]);
  assert.deepEqual(errors, []);
});

test("a dataLayer entry that is not as GA4 has it costs that entry; the shop's push goes on, and so do the events behind it", async () => {
  const edge = new Edge();
  const { window, errors } = visit(edge);
  const circular = {};
  circular.itself = circular;
  const odd = [{ items: [null] }, { items: [Object.create(null)], get currency() { throw new Error("no"); } }, { currency: circular }, { currency: 10n }];
  for (const ecommerce of odd) assert.equal(typeof window.dataLayer.push({ event: "view_item", ecommerce }), "number");
  assert.equal(window.dataLayer.length, odd.length);
  window.dataLayer.push({ event: "search", search_term: "boots" });
  await until(() => edge.events.length === 3);
  assert.equal(edge.events[2].query, "boots");
  assert.deepEqual(errors, []);
});

test("fields that cannot be sent throw where they are given, and block nothing", async () => {
  const edge = new Edge();
  const { clickstage } = visit(edge);
  assert.throws(() => clickstage.track("view_item", { price: 10n }));
  const fields = { item_id: "p1" };
  clickstage.track("view_item", fields);
  fields.item_id = "changed later";
  await until(() => edge.events.length === 3);
  assert.equal(edge.events[2].item_id, "p1");
});

test("data-auto and data-datalayer switch off what a shop tells by itself", async () => {
  const edge = new Edge();
  const { clickstage, window } = visit(edge, { attributes: { "data-key": "k", "data-auto": "false", "data-datalayer": "false" } });
  (window.dataLayer ??= []).push({ event: "view_item" });
  window.history.pushState({}, "", "/b");
  clickstage.track("view_cart");
  await until(() => edge.events.length === 2);
  await sleep(300);
  assert.deepEqual(seen(edge).map((event) => event.type), ["session_start", "view_cart"]);
});
