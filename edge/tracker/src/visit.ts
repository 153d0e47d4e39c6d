// The session, as this browser knows it: shared by all tabs through storage, made by the edge, renewed after 30 minutes
// without an event, as the worker's sessions are.

import { call, type Answer } from "./net";
import { exclusively, read, write } from "./storage";

const SESSION_GAP_MS = 30 * 60_000;

/** Stored, so the names are short. */
export interface Visit {
  /** Local name of the visit: events can wait for an edge that cannot be reached yet. */
  g: string;
  /** Last event, epoch ms, this device's clock. */
  l: number;
  /** Session id and token, once the edge has made them. */
  i?: string;
  t?: string;
  /** End of the token, epoch ms. */
  x?: number;
  /** The edge's clock minus this device's, ms. */
  o?: number;
  /** The edge has refused the token of this visit once. */
  r?: number;
}

export function randomId(): string {
  return [...crypto.getRandomValues(new Uint32Array(4))].map((n) => n.toString(36)).join("");
}

export function stored(): Visit | undefined {
  return read("v");
}

/** The edge's clock, epoch ms. */
export function now(): number {
  return Date.now() + (stored()?.o ?? 0);
}

/** The visit that goes on, or none: it never began, or it ended. */
export function ongoing(): Visit | undefined {
  const visit = stored();
  return visit && Date.now() - visit.l < SESSION_GAP_MS && !(visit.x! < now()) ? visit : undefined;
}

/** The visit for an event of now, begun if need be. */
export function touch(): Visit {
  const visit = ongoing() ?? { g: randomId(), l: 0 };
  write("v", { ...visit, l: Date.now() });
  return visit;
}

/** Id and token for a visit, from another tab or from the edge, which may fail: then the visit stays without. */
export function mint(visit: Visit): Promise<Answer | undefined> {
  return exclusively(async () => {
    const shared = stored();
    if (shared?.g === visit.g && shared.t) return void Object.assign(visit, shared);
    const sent = Date.now();
    const answer = await call("POST", "sessions", {});
    const { session_id: i, token: t, expires_at: x, now: at } = answer.body ?? {};
    if (t) {
      Object.assign(visit, { i, t, x, o: Math.round(at - (sent + Date.now()) / 2) || 0 });
      share(visit);
    }
    return answer;
  });
}

/** The edge refused the token: the visit begins anew, under the same local name, once. */
export function renew(visit: Visit): boolean {
  if (visit.r) return false;
  visit.r = 1;
  visit.t = undefined;
  share(visit);
  return true;
}

function share(visit: Visit): void {
  const shared = stored();
  if (shared?.g === visit.g) write("v", { ...visit, l: shared.l });
}
