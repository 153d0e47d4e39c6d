// What this browser's shopper has in the basket, has looked at, compares, and was offered.

import { FREE_SHIPPING_FROM, SHIPPING, productOf } from "./catalogue.js";

const NAME = "nordlund";
const EMPTY = { basket: {}, viewed: [], compared: [], offer: null };
const listeners = new Set();
let state = load();

function load() {
  try {
    return { ...EMPTY, ...JSON.parse(localStorage.getItem(NAME)) };
  } catch {
    return { ...EMPTY };
  }
}

function save(changes) {
  state = { ...state, ...changes };
  try {
    localStorage.setItem(NAME, JSON.stringify(state));
  } catch {
    // blocked: the basket lives as long as the page
  }
  listeners.forEach((listener) => listener());
}

addEventListener("storage", (event) => {
  if (event.key !== NAME) return;
  state = load();
  listeners.forEach((listener) => listener());
});

export function onChange(listener) {
  listeners.add(listener);
}

export function lines() {
  return Object.entries(state.basket).map(([id, count]) => ({ product: productOf(id), count })).filter(({ product }) => product);
}

export function itemsInBasket() {
  return lines().reduce((sum, { count }) => sum + count, 0);
}

export function put(id, change) {
  const basket = { ...state.basket, [id]: (state.basket[id] ?? 0) + change };
  if (basket[id] <= 0) delete basket[id];
  save({ basket });
}

export function emptyBasket() {
  save({ basket: {}, offer: null });
}

export function viewed() {
  return state.viewed.map(productOf).filter(Boolean);
}

export function see(id) {
  if (state.viewed[0] !== id) save({ viewed: [id, ...state.viewed.filter((other) => other !== id)].slice(0, 8) });
}

export function compared() {
  return state.compared.map(productOf).filter(Boolean);
}

export function toggleCompared(id) {
  const others = state.compared.filter((other) => other !== id);
  save({ compared: others.length < state.compared.length ? others : [...others, id].slice(-4) });
}

/** Keep an offer until its own end, whatever is decided later: what was promised is given. */
export function accept(percent, until) {
  if (state.offer?.until !== until) save({ offer: { percent, until } });
}

export function offer(now) {
  return state.offer && state.offer.until > now ? state.offer : null;
}

export function totals(now) {
  const goods = lines().reduce((sum, { product, count }) => sum + product.price * count, 0);
  const discount = Math.round(goods * (offer(now)?.percent ?? 0)) / 100;
  const shipping = goods === 0 || goods - discount >= FREE_SHIPPING_FROM ? 0 : SHIPPING;
  return { goods, discount, shipping, total: goods - discount + shipping };
}

export function forget() {
  save({ ...EMPTY });
}
