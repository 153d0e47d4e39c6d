// The newest decision: pushed by server-sent events while the page is visible, polled where no stream can be had, kept
// for the next page of the visit. An older decision never follows a newer one, and none is shown after its end.

import { emit } from "./bus";
import { call, url } from "./net";
import type { Decision } from "./public";
import { render } from "./slots";
import { read, remove, write } from "./storage";
import { now, ongoing, type Visit } from "./visit";

const POLL_MS = 5000;
const STREAM_AGAIN_MS = 60_000;

let last: Decision | undefined;
let shown: Decision | undefined;
let followed: string | undefined;
let stream: EventSource | undefined;
let poll: ReturnType<typeof setTimeout> | undefined;
let end: ReturnType<typeof setTimeout> | undefined;
let etag: string | null | undefined;
let turn = 0;
let running = false;

/** Whether `next` may follow `last`: another source is a topic made anew; within a source `seq` grows. */
function newer(next: Decision): boolean {
  return next.source !== last?.source || next.seq! > last!.seq!;
}

function take(next: Decision): void {
  if (!newer(next)) return;
  last = next;
  write("d", [followed, next]);
  show();
}

function show(): void {
  const left = (last!.expires_at ?? Infinity) - now();
  shown = left > 0 ? last! : { action: "none", route: "expired" };
  clearTimeout(end);
  if (left > 0 && left < 2 ** 31) end = setTimeout(show, left);
  render(shown);
  emit("decision", shown);
}

/** The decision to show now; on a new page, the last page's. */
export function current(): Decision | undefined {
  const kept = shown ? undefined : read<[string, Decision]>("d");
  if (kept && ongoing()?.i === kept[0]) {
    [followed, last] = kept;
    show();
  }
  return shown;
}

/** Follow the session's decisions while the page is visible. */
export function follow(visit: Visit): void {
  if (followed && followed !== visit.i) forgetDecisions();
  if (document.visibilityState === "hidden" || running) return;
  followed = visit.i;
  running = true;
  open(visit);
}

/** Close the stream: hidden pages need none, and browsers allow few per host. */
export function pause(): void {
  turn++;
  running = false;
  stream?.close();
  clearTimeout(poll);
}

export function forgetDecisions(): void {
  pause();
  clearTimeout(end);
  last = shown = followed = etag = undefined;
  remove("d");
}

function open(visit: Visit): void {
  if (!window.EventSource) return void ask(visit, Infinity);
  const source = (stream = new EventSource(url(`decisions/${visit.i}/events`) + "&token=" + visit.t));
  source.addEventListener("decision", (event) => take(JSON.parse(event.data)));
  source.addEventListener("withdrawn", () => emit("withdrawn"));
  const fallBack = (streamAt: number): void => {
    source.close();
    void ask(visit, streamAt);
  };
  // Something before the edge holds the stream back, and may be for long, or (CLOSED) it is refused; else it was lost.
  poll = setTimeout(() => fallBack(Date.now() + STREAM_AGAIN_MS), POLL_MS);
  source.onopen = () => clearTimeout(poll);
  source.onerror = () => fallBack(source.readyState === 2 ? Date.now() + STREAM_AGAIN_MS : 0);
}

/** Poll until a stream may be tried again. */
async function ask(visit: Visit, streamAt: number): Promise<void> {
  const mine = ++turn;
  clearTimeout(poll);
  const { status, body, ...answer } = await call("GET", "decisions/" + visit.i, 0, visit.t, etag);
  if (mine !== turn) return; // paused meanwhile
  if (status === 200) {
    etag = answer.etag;
    if (body.source) take(body);
  }
  if (status === 410) emit("withdrawn");
  else if (status !== 401 && status !== 403) // else the next event begins a new session
    poll = setTimeout(() => (Date.now() < streamAt ? ask(visit, streamAt) : open(visit)), answer.retryMs || POLL_MS);
}
