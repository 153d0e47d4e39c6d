// A shop that tags for GA4 need not tag twice: e-commerce events of window.dataLayer, pushed as gtag("event", ...) or as
// {event, ecommerce}, become events of the same name.

import type { EventFields, Item } from "./public";

// page_view and scroll are the tracker's own: both would count them twice.
const TAKEN =
  /^(view_item(_list)?|select_item|search|(view|select)_promotion|add_to_(wishlist|cart)|remove_from_cart|view_cart|begin_checkout|add_(shipping|payment)_info|purchase|login|share)$/;

// What is no number becomes NaN, and JSON makes null of that, which the contract reads as absent.
export function toEvent(entry: any): [string, EventFields] | undefined {
  const byGtag = entry?.[0] === "event";
  const type = byGtag ? entry[1] : entry?.event;
  if (typeof type !== "string" || !TAKEN.test(type)) return undefined;
  const data = (byGtag ? entry[2] : entry.ecommerce ?? entry) ?? {};
  const items: Item[] = [].concat(data.items ?? []).map((item: any) => ({
    item_id: String(item.item_id ?? item.item_name ?? ""),
    price: parseFloat(item.price),
    quantity: parseFloat(item.quantity),
    category: item.item_category,
  }));
  const fields: EventFields = { currency: data.currency };
  if (items.length === 1) Object.assign(fields, items[0]);
  else if (items.length) fields.items = items;
  const term = data.search_term ?? entry.search_term;
  if (term) fields.query = String(term);
  if (type === "purchase") {
    fields.value = parseFloat(data.value);
    // the thank-you page may be loaded again
    if (data.transaction_id) fields.event_id = "purchase " + data.transaction_id;
  }
  return [type, fields];
}

export function listen(track: (type: string, fields: EventFields) => void): void {
  const layer: unknown[] = ((window as any).dataLayer ??= []);
  const take = (entry: unknown): void => {
    try {
      const event = toEvent(entry);
      if (event) track(...event);
    } catch {
      // not as GA4 has it; the shop's push goes on, since other tags read it too
    }
  };
  layer.forEach(take);
  const { push } = layer;
  layer.push = (...entries) => {
    entries.forEach(take);
    return push.apply(layer, entries);
  };
}
