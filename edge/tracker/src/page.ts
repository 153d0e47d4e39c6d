// What a page tells by itself: page views (also of single-page apps), scroll depth, and what its markup names:
//   data-clickstage-view="view_item"    when the element is there
//   data-clickstage-click="add_to_cart" when it is clicked
//   data-clickstage-submit="search"     when the form is sent
// with the fields beside it: data-clickstage-item-id="p7" data-clickstage-price="49.90" ...; in a form, the value of
// <input data-clickstage-field="query">.

import type { EventFields } from "./public";

type Track = (type: string, fields?: EventFields) => void;

const NUMBER = /price|quantity|value|step/;

export function fieldsOf(element: Element): EventFields {
  const fields: Record<string, unknown> = {};
  for (const { name, value } of element.attributes) {
    const field = /^data-clickstage-(?!view|click|submit|slot|text)(.+)/.exec(name);
    if (field) set(fields, field[1]!.replace("-", "_"), value);
  }
  for (const input of element.querySelectorAll<HTMLInputElement>("[data-clickstage-field]"))
    set(fields, input.dataset.clickstageField!, input.value);
  return fields;
}

function set(fields: Record<string, unknown>, name: string, text: string): void {
  if (text) fields[name] = NUMBER.test(name) ? +text : text;
}

let address = "";
let viewed = new Set<string>();
let depth = 0;

export function pageAddress(): string {
  return (location.pathname + location.search).slice(0, 512);
}

/** A page view of the address as it is. */
export function view(track: Track): void {
  address = pageAddress();
  depth = 0;
  track("page_view");
}

/** Events of what is there now and was not at the last look: single-page apps make elements anew, or use them again. */
export function scan(track: Track): void {
  const there = new Set<string>();
  for (const element of document.querySelectorAll("[data-clickstage-view]")) {
    const event: [string, EventFields] = [element.getAttribute("data-clickstage-view")!, fieldsOf(element)];
    const text = JSON.stringify(event);
    if (!viewed.has(text)) track(...event);
    there.add(text);
  }
  viewed = there;
}

export function watchPage(track: Track): void {
  const moved = (): void => {
    if (pageAddress() !== address) view(track);
  };
  for (const method of ["pushState", "replaceState"] as const) {
    const original = history[method];
    history[method] = function (...args) {
      original.apply(this, args);
      moved();
    };
  }
  addEventListener("popstate", moved);

  for (const kind of ["click", "submit"]) {
    const attribute = "data-clickstage-" + kind;
    addEventListener(
      kind,
      ({ target }) => {
        const element = (target as Element).closest?.(`[${attribute}]`);
        if (element) track(element.getAttribute(attribute) || "click", fieldsOf(element));
      },
      true,
    );
  }

  addEventListener("scroll", () => {
    const { scrollHeight, clientHeight, scrollTop } = document.documentElement;
    const reached = 25 * Math.floor((4 * (scrollTop + clientHeight + 1)) / scrollHeight); // browsers round down
    if (scrollHeight > clientHeight && reached > depth) track("scroll", { scroll_depth: (depth = Math.min(reached, 100)) });
  });
}

/** desktop, mobile or tablet. */
export function device(): string {
  const agent = navigator.userAgent;
  if (/iPad|Tablet|Android(?!.*Mobile)/.test(agent)) return "tablet";
  return /Mobi/.test(agent) ? "mobile" : "desktop";
}

// Over the address's query and the referrer's host; the first that matches counts.
const SOURCES: [string, RegExp][] = [
  ["paid", /[?&](\w*clid=|utm_medium=(cpc|ppc|paid|display))/],
  ["email", /[?&]utm_medium=e?-?mail/],
  ["social", /[?&]utm_medium=social| .*(facebook|instagram|\bt\.co$|pinterest|tiktok|reddit|youtube|linkedin)/],
  ["organic", / .*(google|bing|duckduckgo|yahoo|baidu|yandex)\./],
  ["referral", / ./],
];

/** Where the visit came from. Neither the address nor the referrer is sent. */
export function source(): string {
  const host = document.referrer.split("/")[2] ?? "";
  const origin = location.search + " " + (host === location.host ? "" : host);
  return SOURCES.find(([, pattern]) => pattern.test(origin))?.[0] ?? "direct";
}
