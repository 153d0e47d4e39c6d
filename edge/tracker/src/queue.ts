// Events on their way to the edge. Each has an id, so the edge may get one twice; none is dropped while sending it again
// can help, up to MAX_WAITING of a session.

import { emit } from "./bus";
import { call, transient, url } from "./net";
import type { EventFields } from "./public";
import { read, remove, write } from "./storage";
import { mint, renew, type Visit } from "./visit";

export type Sent = EventFields & { type: string; ts: number; event_id: string };

const BATCH_MS = 250; // how long an event waits for company
const MAX_BATCH = 50; // fewer than the event ids that the worker remembers of a session
const MAX_WAITING = 500;

let groups: [Visit, Sent[]][] = [];
let timer: ReturnType<typeof setTimeout> | undefined;
let sending: Promise<void> | undefined;
let failures = 0;
let size = MAX_BATCH;

export function enqueue(visit: Visit, event: Sent): void {
  const last = groups[groups.length - 1];
  if (last && last[0].g === visit.g) {
    Object.assign(last[0], visit);
    last[1].push(event);
    if (last[1].length > MAX_WAITING) last[1].shift();
  } else groups.push([visit, [event]]);
  if (!failures) later(visit.t ? BATCH_MS : 0); // getting a session takes its time, too
}

function later(ms: number): void {
  clearTimeout(timer);
  timer = setTimeout(flush, ms);
}

export function flush(): Promise<void> {
  return (sending ??= drain().finally(() => (sending = undefined)));
}

async function drain(): Promise<void> {
  while (groups.length) {
    const [visit, events] = groups[0]!;
    const wait = events.length ? await (visit.t ? send : prepare)(visit, events) : groups.shift() && 0;
    if (wait) return later(wait);
  }
}

/** Get a session id; answers how long to wait before the next try, 0 for none. */
async function prepare(visit: Visit, events: Sent[]): Promise<number> {
  const answer = await mint(visit);
  if (visit.t) emit("session", visit.i);
  else if (transient(answer!.status)) return backoff(answer!.retryMs);
  else events.length = 0; // the key is wrong
  return 0;
}

async function send(visit: Visit, events: Sent[]): Promise<number> {
  const batch = events.slice(0, size);
  const { status, retryMs } = await call("POST", "events", body(visit, batch));
  if (transient(status)) return backoff(retryMs);
  failures = 0;
  if ((status === 401 || status === 403) && renew(visit)) return 0;
  if (status === 413 && batch.length > 1) {
    size = batch.length >> 1;
    return 0;
  }
  if (status === 410) emit("withdrawn");
  size = MAX_BATCH;
  events.splice(0, events.length, ...events.filter((event) => !batch.includes(event)));
  return 0;
}

function body(visit: Visit, events: Sent[]): unknown {
  return { events, sent_ts: Date.now(), token: visit.t };
}

function backoff(retryMs: number): number {
  return (retryMs || Math.min(60_000, 1000 * 2 ** failures++)) * (1 + Math.random() / 4);
}

/** The page may not come back: hand everything to the browser, or else to storage. */
export function leave(): void {
  for (const [visit, events] of groups)
    while (visit.t && events.length && !failures && navigator.onLine && beacon(body(visit, events.slice(0, size)))) events.splice(0, size);
  const left = groups.filter(([, events]) => events.length);
  if (left.length) write("q", [...(read<typeof groups>("q") ?? []), ...left]);
  groups = [];
}

function beacon(data: unknown): boolean {
  try {
    return navigator.sendBeacon(url("events"), JSON.stringify(data));
  } catch {
    return false; // blocked: storage keeps it for the next page
  }
}

/** The page is here again: take back what was stored. */
export function resume(): void {
  groups = [...(read<typeof groups>("q") ?? []), ...groups];
  remove("q");
  void flush();
}

export function forgetEvents(): void {
  remove("q");
  groups = [];
}

