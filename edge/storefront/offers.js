// What each action of the policy looks like in this shop, and where. A decision brings its name, label and numbers; the rest is ours.

import { card, comparison, drawing, quote } from "./pages.js";
import { CATEGORIES, FREE_SHIPPING_FROM, PRODUCTS, TRENDING, reviewsOf } from "./catalogue.js";
import { euro, html, node } from "./html.js";
import { accept, lines, totals, viewed } from "./state.js";

const close = html`<button class="close" data-clickstage-dismiss aria-label="No, thanks">×</button>`;

/** The category that was looked at most, of the latest. */
function favourite() {
  const counts = {};
  for (const { category } of viewed()) counts[category] = (counts[category] ?? 0) + 1;
  return Object.entries(counts).sort((a, b) => b[1] - a[1])[0]?.[0] ?? "lamps";
}

function strip(title, products) {
  return html`<section class="strip" data-clickstage-view="view_promotion">${close}<h2>${title}</h2><div class="row">${products.map(card)}</div></section>`;
}

function ofCategory(title) {
  const category = favourite();
  const products = PRODUCTS.filter((p) => p.category === category).sort((a, b) => b.stars - a.stars);
  return strip(`${title} in ${CATEGORIES[category].name.toLowerCase()}`, products);
}

function candidates() {
  const category = favourite();
  const seen = viewed().filter((p) => p.category === category);
  return [...seen, ...PRODUCTS.filter((p) => p.category === category && !seen.includes(p))].slice(0, 3);
}

const latest = () => viewed()[0] ?? TRENDING[0];

const SHOWN = {
  banner: {
    "trending-banner": () => strip("Trending this week", TRENDING),
    "category-banner": () => ofCategory("More"),
    "category-bestsellers": () => ofCategory("Bestsellers"),
  },
  panel: {
    "comparison-panel": (d) => html`<section class="panel">${close}<h2>${d.label}</h2><div class="scroll">${comparison(candidates())}</div></section>`,
    reviews: (d) => html`<section class="panel">${close}<h2>${d.label} about ${latest().name}</h2><div class="quotes">${reviewsOf(latest()).map(quote)}</div></section>`,
    "feature-highlights": (d) => html`<section class="panel">${close}<h2>${d.label}</h2><ul class="ticks">${Object.entries(latest().facts).map(([name, value]) => html`<li><b>${name}</b> ${value}</li>`)}</ul></section>`,
  },
  offer: {
    "timed-discount": () => html`<div class="bar hot"><b><span data-clickstage-text="parameters.discount_percent"></span> % off your basket</b>
      <span>for another <time data-clickstage-text="remaining"></time></span><a href="?basket" data-clickstage-click="select_promotion">To the basket</a>${close}</div>`,
    "free-shipping-nudge": () => html`<div class="bar"><b>Free shipping from ${euro(FREE_SHIPPING_FROM)}</b>
      <span>${totals(0).goods >= FREE_SHIPPING_FROM ? "You are there." : `${euro(FREE_SHIPPING_FROM - totals(0).goods)} to go.`}</span><a href="?">Look around</a>${close}</div>`,
    coupon: (d) => html`<div class="bar hot"><b>${d.label}</b><span>Code <code>WELCOME-BACK</code></span>${close}</div>`,
  },
  reminder: {
    "exit-intent-reminder": (d) => reminder(d.label, "To the basket"),
    "follow-up": (d) => reminder(d.label, "Yes, please"),
  },
};

function reminder(label, button) {
  return html`<aside class="reminder" role="status">${close}<h2>Still there?</h2><p>${label}.</p>
    <div class="thumbs">${lines().slice(0, 4).map(({ product }) => html`<span class="art">${drawing(product)}</span>`)}</div><a class="button" href="?basket" data-clickstage-click="select_promotion">${button}</a></aside>`;
}

/** Tell the tracker how to show every action; again after a page has changed, since some show what was looked at last. */
export function register(clickstage) {
  for (const action of new Set(Object.values(SHOWN).flatMap(Object.keys)))
    clickstage.template(action, (decision, slot) => {
      const make = SHOWN[slot.dataset.clickstageSlot]?.[action];
      return make && node(make(decision));
    });
}

/** An offer that was made is kept, in the basket too. */
export function keep(decision) {
  const { discount_percent: percent, expires_at: until } = decision.parameters ?? {};
  if (percent && until) accept(percent, until);
}
