// What was really shown, clicked or dismissed, each reported once for a showing and a place.

import { call, transient } from "./net";
import type { Decision, ExposureKind } from "./public";
import { read, write } from "./storage";
import { ongoing } from "./visit";

const REMEMBERED = 100;

const known = (): string[] => read("x") ?? [];

export function reported(kind: ExposureKind, decision: Decision, slot: string): boolean {
  return known().includes(kind + slot + decision.exposure_id);
}

export function report(kind: ExposureKind, decision: Decision | undefined, slot: string): void {
  const id = decision?.exposure_id;
  if (!id || reported(kind, decision, slot)) return;
  write("x", [...known(), kind + slot + id].slice(-REMEMBERED));
  void send({ exposure_id: id, kind, action: decision.action, slot, ts: Date.now() }, 1000);
}

async function send(exposure: object, wait: number): Promise<void> {
  const { status } = await call("POST", "exposures", { exposures: [exposure], sent_ts: Date.now(), token: ongoing()?.t });
  if (transient(status) && wait < 60_000) setTimeout(() => send(exposure, wait * 2), wait);
}
