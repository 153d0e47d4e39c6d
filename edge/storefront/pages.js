// The pages of the shop, by address: ?c=lamps, ?p=halo, ?q=oak, ?compare, ?basket, ?checkout=1, ?thanks.
// data-clickstage-* attributes tell the tracker what happens; there is no other tagging.

import { picture } from "./art.js";
import { CATEGORIES, PRODUCTS, TRENDING, productOf, reviewsOf, search } from "./catalogue.js";
import { euro, html, trusted } from "./html.js";
import { compared, lines, offer, totals } from "./state.js";

export const drawing = (product) => trusted(picture(product));
export const starsOf = (stars) => html`<span class="stars" role="img" aria-label="${stars} of 5 stars" data-stars="${Math.round(stars)}"></span>`;

export function card(product) {
  return html`<article class="card">
    <a href="?p=${product.id}" data-clickstage-click="select_item" data-clickstage-item-id="${product.id}" data-clickstage-category="${product.category}">
      <div class="art">${drawing(product)}</div>
      <h3>${product.name}</h3>
      <p class="price">${euro(product.price)}</p>
    </a>
    ${addButton(product, "Add")}
  </article>`;
}

function addButton(product, text) {
  return html`<button class="add" data-put="${product.id}" data-clickstage-click="add_to_cart" data-clickstage-item-id="${product.id}"
    data-clickstage-category="${product.category}" data-clickstage-price="${product.price}" aria-label="Add ${product.name} to the basket">${text}</button>`;
}

export function home() {
  return {
    title: "Nordlund, things for a home",
    body: html`<section class="hero">
        <div>
          <p class="eyebrow">Autumn at home</p>
          <h1>Things you keep.</h1>
          <p class="lead">Thirty objects, made by people who answer the phone. No seasons, no drops, no noise.</p>
          <a class="button" href="?c=lamps">Start with light</a>
        </div>
        <div class="still">${["full-moon", "cockle", "monstera"].map((id) => html`<a href="?p=${id}" aria-label="${productOf(id).name}">${drawing(productOf(id))}</a>`)}</div>
      </section>
      <nav class="tiles" aria-label="Categories">
        ${Object.entries(CATEGORIES).map(([id, { name, text }]) => html`<a class="tile" href="?c=${id}"><div class="art">${drawing(PRODUCTS.find((p) => p.category === id))}</div><b>${name}</b><span>${text}</span></a>`)}
      </nav>
      <h2>People come back for</h2>
      <div class="grid">${TRENDING.map(card)}</div>`,
  };
}

export function category(id) {
  const { name, text } = CATEGORIES[id];
  return list(name, text, PRODUCTS.filter((product) => product.category === id), id);
}

export function results(query) {
  const found = search(query);
  return list(`“${query}”`, found.length ? `${found.length} found` : "Nothing found. Try “oak”, “stoneware” or “water weekly”.", found);
}

function list(title, text, products, id = "") {
  return {
    title,
    body: html`<header class="head"><h1>${title}</h1><p class="lead">${text}</p></header>
      <div data-place="panel"></div>
      <div class="grid" data-clickstage-view="view_item_list" data-clickstage-category="${id}">${products.map(card)}</div>`,
  };
}

export function product(id) {
  const p = productOf(id);
  const others = PRODUCTS.filter((other) => other.category === p.category && other !== p);
  const chosen = compared().includes(p);
  return {
    title: p.name,
    body: html`<section class="product" data-clickstage-view="view_item" data-clickstage-item-id="${p.id}" data-clickstage-category="${p.category}" data-clickstage-price="${p.price}">
        <div class="art">${drawing(p)}</div>
        <div class="about">
          <p class="eyebrow"><a href="?c=${p.category}">${CATEGORIES[p.category].name}</a></p>
          <h1>${p.name}</h1>
          <p class="rating">${starsOf(p.stars)} ${p.stars.toFixed(1)}</p>
          <p class="lead">${p.blurb}</p>
          <p class="price big">${euro(p.price)}</p>
          <div class="buttons">
            ${addButton(p, "Add to the basket")}
            <button class="quiet" data-compare="${p.id}" aria-pressed="${String(chosen)}" data-clickstage-click="compare" data-clickstage-item-id="${p.id}">${chosen ? "In comparison" : "Compare"}</button>
            <button class="quiet" data-wish data-clickstage-click="add_to_wishlist" data-clickstage-item-id="${p.id}">Remember</button>
          </div>
          ${facts(p)}
          <details data-clickstage-click="view_policy"><summary>Shipping and returns</summary>
            <p>2 to 4 days, €4.90, free from €50. Send it back within 60 days; we pay.</p></details>
        </div>
      </section>
      <div data-place="panel banner"></div>
      <details class="reviews" data-open-event="view_reviews" data-item="${p.id}"><summary><h2>What buyers say</h2></summary>
        <div class="quotes">${reviewsOf(p).map(quote)}</div></details>
      <h2>Beside it</h2>
      <div class="grid">${others.map(card)}</div>`,
  };
}

export const quote = (review) => html`<blockquote>${starsOf(review.stars)}<p>${review.text}</p><footer>${review.who}</footer></blockquote>`;

const facts = (p) => html`<dl class="facts">${Object.entries(p.facts).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;

export function comparison(products) {
  const rows = ["Price", "Rating", ...Object.keys(products[0].facts)];
  const value = (p, row) => (row === "Price" ? euro(p.price) : row === "Rating" ? starsOf(p.stars) : p.facts[row]);
  return html`<table class="compare">
    <thead><tr><th></th>${products.map((p) => html`<th scope="col"><a href="?p=${p.id}"><div class="art">${drawing(p)}</div>${p.name}</a></th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr><th scope="row">${row}</th>${products.map((p) => html`<td>${value(p, row)}</td>`)}</tr>`)}
    <tr><th></th>${products.map((p) => html`<td>${addButton(p, "Add")}</td>`)}</tr></tbody></table>`;
}

export function compare() {
  const chosen = compared();
  return {
    title: "Compare",
    body: html`<header class="head"><h1>Side by side</h1><p class="lead">${chosen.length ? "What you chose to compare." : "Choose “Compare” on two or more products, and they meet here."}</p></header>
      ${chosen.length ? html`<div class="scroll" data-clickstage-view="compare">${comparison(chosen)}</div>` : ""}`,
  };
}

export function sum(now) {
  const { goods, discount, shipping, total } = totals(now);
  return html`<dl class="sum">
    <div><dt>Goods</dt><dd>${euro(goods)}</dd></div>
    ${discount ? html`<div class="saved"><dt>${offer(now).percent} % off</dt><dd>−${euro(discount)}</dd></div>` : ""}
    <div><dt>Shipping</dt><dd>${shipping ? euro(shipping) : "free"}</dd></div>
    <div class="total"><dt>Total</dt><dd>${euro(total)}</dd></div></dl>`;
}

export function basket(now) {
  if (!lines().length)
    return { title: "Basket", body: html`<header class="head" data-clickstage-view="view_cart"><h1>Your basket is empty</h1><p class="lead">It is patient.</p><a class="button" href="?">Look around</a></header>` };
  return {
    title: "Basket",
    body: html`<h1>Basket</h1><div class="desk" data-clickstage-view="view_cart"><ul class="lines">${lines().map(line)}</ul>
      <aside>${sum(now)}<a class="button wide" href="?checkout=1">To the checkout</a></aside></div>`,
  };
}

function line({ product: p, count }) {
  const change = (by, type, sign, text) => html`<button data-put="${p.id}" data-by="${by}" data-clickstage-click="${type}"
    data-clickstage-item-id="${p.id}" data-clickstage-price="${p.price}" data-clickstage-category="${p.category}" aria-label="${text}">${sign}</button>`;
  return html`<li><a class="art" href="?p=${p.id}">${drawing(p)}</a><div><a href="?p=${p.id}"><b>${p.name}</b></a><span>${euro(p.price)}</span></div>
    <div class="count">${change(-1, "remove_from_cart", "−", "One less")}<output>${count}</output>${change(1, "add_to_cart", "+", "One more")}</div><b>${euro(p.price * count)}</b></li>`;
}

const STEPS = [
  ["Where to", "add_shipping_info", [["Name", "name", "Kim Example"], ["Street", "street-address", "Harbour Street 7"], ["Town", "address-level2", "1234 Nordlund"]]],
  ["How to pay", "add_payment_info", [["Card number", "off", "0000 0000 0000 0000"], ["Valid until", "off", "12/30"]]],
  ["All right?", "", []],
];

export function checkout(step, now) {
  const [title, event, fields] = STEPS[step - 1];
  return {
    title: "Checkout",
    body: html`<ol class="steps">${STEPS.map(([name], i) => html`<li ${i === step - 1 ? trusted('aria-current="step"') : ""}>${name}</li>`)}</ol>
      <div class="desk" ${step === 1 ? trusted('data-clickstage-view="begin_checkout" data-clickstage-checkout-step="1"') : ""}>
      <form data-next="${step}" ${event ? trusted(`data-clickstage-submit="${event}" data-clickstage-checkout-step="${step + 1}"`) : ""}>
        <h1>${title}</h1>
        ${fields.map(([label, autocomplete, value]) => html`<label>${label}<input value="${value}" autocomplete="${autocomplete}" required></label>`)}
        ${step === 3 ? html`<ul class="lines small">${lines().map(({ product: p, count }) => html`<li><span class="art">${drawing(p)}</span><div><b>${p.name}</b><span>${count} × ${euro(p.price)}</span></div></li>`)}</ul>` : ""}
        <p class="note">A demonstration: nothing is ordered, and what is written here stays on this page.</p>
        <button class="button wide">${step === 3 ? `Buy for ${euro(totals(now).total)}` : "Continue"}</button>
      </form><aside>${sum(now)}</aside></div>`,
  };
}

export function thanks() {
  return {
    title: "Thank you",
    body: html`<header class="head"><h1>Thank you.</h1><p class="lead">If this were a shop, somebody would be packing now.</p><a class="button" href="?">Back to the beginning</a></header>`,
  };
}

export function isCategory(id) {
  return Object.hasOwn(CATEGORIES, id ?? "");
}
