// A page in jsdom with the built script, and an edge that answers what the test says. What jsdom lacks is added here.
import { JSDOM } from "jsdom";
import { readFileSync } from "node:fs";
import { after } from "node:test";

const SCRIPT = readFileSync(process.env.CLICKSTAGE_SCRIPT ?? new URL("../dist/clickstage.js", import.meta.url), "utf8");
const open = [];
after(() => open.forEach((window) => window.close()));

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(condition, what = String(condition)) {
  for (let waited = 0; waited < 5000; waited += 5) {
    const value = condition();
    if (value) return value;
    await sleep(5);
  }
  throw new Error("never: " + what);
}

/** Remembers what was asked; `refusesStreams` and `holdsStreams` keep streams from pages; `answers` overrides the answer of a path: (request) => ({status, body, headers}). */
export class Edge {
  requests = [];
  streams = [];
  answers = {};
  sessions = 0;

  answer(request) {
    const kind = request.method + " " + request.path.split("/")[0];
    const own = this.answers[kind]?.(request);
    if (own) return own;
    if (kind === "POST sessions") {
      const n = ++this.sessions;
      return { status: 201, body: { session_id: "s" + n, token: "t" + n, expires_at: Date.now() + 864e5, now: Date.now() } };
    }
    if (kind === "DELETE sessions") return { status: 204 };
    if (kind === "GET decisions") return { status: 200, body: { action: "none", route: "neutral" } };
    return { status: 202, body: { accepted: 1, refused: 0, now: Date.now() } };
  }

  of(kind) {
    return this.requests.filter((r) => r.method + " " + r.path.split("/")[0] === kind);
  }

  /** Events as accepted, in order, each id once, as the worker counts them. */
  get events() {
    const accepted = this.of("POST events").filter((r) => r.answered === 202);
    return [...new Map(accepted.flatMap((r) => r.body.events).map((event) => [event.event_id, event])).values()];
  }
}

/**
 * @param options.html body of the page
 * @param options.storage what an earlier page left in localStorage, or "blocked"
 * @param options.attributes of the script tag; null for a page that calls init itself
 */
export function visit(edge, { html = "", url = "https://shop.example/", referrer, storage = {}, attributes = { "data-key": "k" }, before } = {}) {
  const dom = new JSDOM(`<!doctype html><body>${html}</body>`, { url, referrer, runScripts: "outside-only", pretendToBeVisual: true });
  const { window } = dom;
  open.push(window);
  const errors = [];
  window.addEventListener("error", (event) => errors.push(event.message));
  dom.virtualConsole.on("jsdomError", (error) => errors.push(error.message));
  if (storage === "blocked") Object.defineProperty(window, "localStorage", { get: () => { throw new Error("blocked"); } });
  else for (const [name, text] of Object.entries(storage)) window.localStorage.setItem(name, text);

  const ask = (method, address, text, headers = {}) => {
    const { pathname, searchParams } = new URL(address);
    const request = { method, path: pathname.slice(4), key: searchParams.get("key"), body: text && JSON.parse(text), headers };
    edge.requests.push(request);
    const answer = edge.answer(request);
    request.answered = answer === "away" ? 0 : answer.status;
    return answer;
  };
  window.fetch = async (address, options) => {
    new Request(address, { ...options, signal: undefined }); // refuses what a browser refuses
    const { method, body, headers } = options;
    const answer = ask(method, address, body, headers);
    await sleep(1);
    if (answer === "away") throw new TypeError("Failed to fetch");
    return new Response(answer.body === undefined ? null : JSON.stringify(answer.body), { status: answer.status, headers: answer.headers });
  };
  window.navigator.sendBeacon = (address, text) => ask("POST", address, text) !== "away";
  window.EventSource = class extends window.EventTarget {
    readyState = 1;
    constructor(address) {
      super();
      this.address = address;
      edge.streams.push(this);
      if (!edge.refusesStreams && !edge.holdsStreams) setTimeout(() => this.onopen?.(), 1);
      if (edge.refusesStreams) setTimeout(() => ((this.readyState = 2), this.onerror?.()), 1);
    }
    send(name, data) {
      const event = new window.Event(name);
      event.data = JSON.stringify(data);
      this.dispatchEvent(event);
    }
    close() {
      this.readyState = 2;
    }
  };
  const watched = new Map();
  window.IntersectionObserver = class {
    constructor(callback) {
      this.callback = callback;
    }
    observe(element) {
      watched.set(element, this);
    }
    disconnect() {
      for (const [element, observer] of watched) if (observer === this) watched.delete(element);
    }
  };
  before?.(window);
  if (attributes) {
    const script = { dataset: new Proxy({}, { get: (_, name) => attributes["data-" + name] }), src: "https://edge.example/v1/tracker.js" };
    Object.defineProperty(window.document, "currentScript", { value: script, configurable: true });
  }
  window.eval(SCRIPT);
  return {
    window,
    errors,
    document: window.document,
    clickstage: window.clickstage,
    stored: () => (storage === "blocked" ? {} : { ...window.localStorage }),
    scrolledTo: (element) => watched.get(element)?.callback([{ isIntersecting: true }]),
    hide(hidden = true) {
      Object.defineProperty(window.document, "visibilityState", { value: hidden ? "hidden" : "visible", configurable: true });
      window.document.dispatchEvent(new window.Event("visibilitychange", { bubbles: true }));
    },
  };
}

/** A decision document that counts for an hour. */
export function decision(action, seq, more = {}) {
  return { v: 2, stage: "Explorer", action, seq, source: "a", label: action + " label", exposure_id: "x" + seq, expires_at: Date.now() + 36e5, ...more };
}
