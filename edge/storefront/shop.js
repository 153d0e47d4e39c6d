// The shop: addresses, clicks, and the tracker's templates.

import { productOf } from "./catalogue.js";
import { keep, register } from "./offers.js";
import * as pages from "./pages.js";
import { compared, emptyBasket, itemsInBasket, lines, onChange, put, see, toggleCompared, totals } from "./state.js";
import { openDrawer } from "./drawer.js";

const clickstage = window.clickstage;
const main = document.querySelector("main");
const [banner, panel] = ["banner", "panel"].map((name) => document.querySelector(`[data-clickstage-slot=${name}]`));

function route() {
  const query = new URLSearchParams(location.search);
  const now = clickstage.now();
  if (productOf(query.get("p"))) return pages.product(query.get("p"));
  if (pages.isCategory(query.get("c"))) return pages.category(query.get("c"));
  if (query.has("q")) return pages.results(query.get("q"));
  if (query.has("compare")) return pages.compare();
  if (query.has("checkout") && lines().length) return pages.checkout(Math.min(3, Math.max(1, Number(query.get("checkout")) || 1)), now);
  if (query.has("basket") || query.has("checkout")) return pages.basket(now);
  return query.has("thanks") ? pages.thanks() : pages.home();
}

let refreshing = false;

function render() {
  const { title, body } = route();
  document.title = title;
  main.before(banner);
  main.after(panel);
  main.innerHTML = body;
  for (const slot of [panel, banner]) main.querySelector(`[data-place~=${slot.dataset.clickstageSlot}]`)?.append(slot);
  if (/[?&](basket|checkout)/.test(location.search)) main.after(banner);
  const id = new URLSearchParams(location.search).get("p");
  if (productOf(id)) see(id);
}

function count() {
  document.querySelector("[data-basket-count]").textContent = itemsInBasket() || "";
  document.querySelector("[data-compare-count]").textContent = compared().length || "";
}

function go(address) {
  if (address !== location.search) history.pushState({}, "", address || "?");
  render();
  register(clickstage);
  scrollTo({ top: 0, behavior: "instant" });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-put],[data-compare],[data-wish]");
  if (button) {
    if (button.dataset.put) put(button.dataset.put, Number(button.dataset.by ?? 1));
    if (button.dataset.compare) toggleCompared(button.dataset.compare);
    if ("wish" in button.dataset) button.textContent = "Remembered";
    if (button.matches(".add")) acknowledge(button);
    if (button.dataset.compare || button.dataset.by) render();
    return;
  }
  const link = event.target.closest("a[href^='?']");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

function acknowledge(button) {
  const { textContent } = button;
  if (button.classList.contains("done")) return;
  button.classList.add("done");
  button.textContent = "Added";
  setTimeout(() => {
    button.classList.remove("done");
    button.textContent = textContent;
  }, 1400);
}

// <details> say when they are opened; that is what counts as reading reviews
document.addEventListener("toggle", (event) => {
  const { openEvent, item } = event.target.dataset;
  if (openEvent && event.target.open) clickstage.track(openEvent, { item_id: item });
}, true);

document.addEventListener("submit", (event) => {
  event.preventDefault();
  const form = event.target;
  if (form.matches("[role=search]")) return go("?q=" + encodeURIComponent(form.elements.q.value.trim()));
  const step = Number(form.dataset.next);
  if (step < 3) return go(`?checkout=${step + 1}`);
  const { goods, discount } = totals(clickstage.now());
  const items = lines().map(({ product, count }) => ({ item_id: product.id, price: product.price, quantity: count, category: product.category }));
  clickstage.track("purchase", { value: Math.round((goods - discount) * 100) / 100, currency: "EUR", items });
  emptyBasket();
  go("?thanks");
});

addEventListener("popstate", () => {
  render();
  register(clickstage);
});

onChange(() => {
  count();
  if (refreshing) return;
  refreshing = true;
  queueMicrotask(() => {
    refreshing = false;
    if (/[?&](basket|checkout)/.test(location.search) && !main.contains(document.activeElement)) render();
  });
});

clickstage.on("decision", keep);
document.querySelector("[data-withdraw]").addEventListener("click", () => clickstage.consent(false));
clickstage.on("withdrawn", () => document.body.classList.add("withdrawn"));
render();
count();
register(clickstage);
openDrawer(clickstage);
