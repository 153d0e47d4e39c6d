// The tracker: consent decides whether it runs; events go to the queue, decisions come back to listeners and slots.

import { emit, heard, on } from "./bus";
import { listen } from "./datalayer";
import { current, follow, forgetDecisions, pause } from "./decisions";
import { report } from "./exposures";
import { call, configure, options, transient } from "./net";
import { device, pageAddress, scan, source, view, watchPage } from "./page";
import type { Clickstage, EventFields } from "./public";
import { enqueue, flush, forgetEvents, leave, resume } from "./queue";
import { addTemplate, hasSlots, render } from "./slots";
import { read, remove, watch, write } from "./storage";
import { now, ongoing, randomId, stored, touch, type Visit } from "./visit";

const WITHDRAW_AGAIN_MS = 30_000;

let active = false;
let watching = false;

// -- events ----------------------------------------------------------------------------------------

function track(type: string, fields?: EventFields): void {
  if (!active) return;
  const visit = touch();
  const origin = { device: device(), source: source() };
  if (!visit.l) {
    forgetDecisions();
    render(undefined);
    send(visit, "session_start", origin);
  }
  send(visit, type, { ...(type === "page_view" && origin), ...fields });
  look();
}

function automatically(type: string, fields?: EventFields): void {
  if (options.auto !== false) track(type, fields);
}

function send(visit: Visit, type: string, fields: EventFields): void {
  const event = { type, ts: Date.now(), event_id: randomId(), page: pageAddress(), ...fields };
  if (read("c")) {
    const visitor_id = options.visitorId ?? read<string>("u") ?? randomId();
    write("u", visitor_id);
    Object.assign(event, { visitor_id, consent: true });
  }
  // As it is now, and as JSON can say it: what cannot be sent throws here, and not while others wait behind it.
  enqueue(visit, JSON.parse(JSON.stringify(event)));
}

// -- decisions -------------------------------------------------------------------------------------

/** A stream costs the edge a connection: it is opened only where somebody looks. */
function look(): void {
  const visit = active && ongoing();
  if (visit && visit.t && (heard("decision") || hasSlots())) follow(visit);
}

function show(): void {
  scan(automatically);
  render(decision());
  look();
}

function decision() {
  return active ? current() : undefined;
}

// -- consent ---------------------------------------------------------------------------------------

function start(): void {
  const asked = options.consent === "required" || (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl;
  if (active || (document as { prerendering?: boolean }).prerendering || !(read("c") ?? !asked)) return;
  active = true;
  resume();
  view(automatically);
  if (!watching) watchLife();
  watching = true;
  show();
}

/** Forget everything but the answer itself, and a withdrawal that the edge must still hear of. */
function stop(): void {
  if (!active) return;
  active = false;
  forgetEvents();
  forgetDecisions();
  write("c", 0);
  remove("v", "x", "u");
  render(undefined);
}

async function withdraw(): Promise<void> {
  const left = read<Visit>("w");
  if (!left) return;
  const { status } = await call("DELETE", "sessions/" + left.i, 0, left.t);
  if (transient(status)) setTimeout(withdraw, WITHDRAW_AGAIN_MS);
  else remove("w");
}

function consent(given: boolean): void {
  const visit = stored();
  write("c", +given);
  if (given) return start();
  if (visit?.t) write("w", visit);
  if (active) emit("withdrawn");
  void withdraw();
}

// -- the page's life -------------------------------------------------------------------------------

function watchLife(): void {
  watchPage(automatically);
  if (options.dataLayer !== false) listen(track);
  const away = (): void => {
    if (active) leave();
    pause(); // an open stream would keep the page out of the back/forward cache
  };
  addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") return away();
    if (active) resume();
    show();
  });
  addEventListener("pagehide", away);
  addEventListener("pageshow", ({ persisted }) => persisted && view(automatically));
  addEventListener("online", () => flush());
  let waiting = 0; // a page that changes all the time is looked at ten times a second
  new MutationObserver(() => {
    waiting ||= setTimeout(() => {
      waiting = 0;
      show();
    }, 100) as unknown as number;
  }).observe(document, { childList: true, subtree: true, attributeFilter: ["data-clickstage-item-id"] });
}

export const clickstage: Clickstage = {
  init(given) {
    configure(given);
    on("withdrawn", stop);
    on("session", look);
    // Another tab has answered for consent, or has got a session.
    watch((name) => {
      if (name === "c") read("c") ? start() : active && emit("withdrawn");
      look();
    });
    void withdraw();
    document.addEventListener("prerenderingchange", start);
    start();
  },
  track,
  on(name, listener) {
    const known = name === "decision" && decision();
    if (known) queueMicrotask(() => listener(known as any));
    queueMicrotask(look);
    return on(name, listener);
  },
  consent,
  template: addTemplate,
  exposure: (kind, shown = decision(), slot = "") => report(kind, shown, slot),
  decision,
  session() {
    const visit = active && ongoing();
    return visit && visit.t ? { session_id: visit.i!, token: visit.t } : undefined;
  },
  now,
  flush,
  push: (callback) => callback(clickstage),
};
