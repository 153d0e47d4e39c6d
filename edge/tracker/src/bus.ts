// Who listens to what; the page's listeners and the tracker's own parts alike.

import type { Events } from "./public";

type Listener = (value: any) => void;

const listeners: Record<string, Set<Listener>> = {};

export function on(name: keyof Events, listener: Listener): () => void {
  (listeners[name] ??= new Set()).add(listener);
  return () => listeners[name]!.delete(listener);
}

/** A fault of a listener shows in the console and stops nobody else. */
export function emit(name: keyof Events, value?: unknown): void {
  listeners[name]?.forEach((listener) => queueMicrotask(() => listener(value)));
}

export function heard(name: keyof Events): boolean {
  return !!listeners[name]?.size;
}
