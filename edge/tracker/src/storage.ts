// localStorage, or an object where the browser blocks it: then each page is a session of its own, and nothing is kept.

function available(): Record<string, string> {
  try {
    const storage = localStorage;
    storage["cs.t"] = 1; // throws where storage is there but may not be used
    delete storage["cs.t"];
    return storage;
  } catch {
    return {};
  }
}

const storage = available();

export function read<T>(name: string): T | undefined {
  try {
    return JSON.parse(storage["cs." + name]!) ?? undefined;
  } catch {
    return undefined; // absent, or not ours
  }
}

export function write(name: string, value: unknown): void {
  try {
    storage["cs." + name] = JSON.stringify(value);
  } catch {
    // full: what is in memory still works
  }
}

export function remove(...names: string[]): void {
  for (const name of names) delete storage["cs." + name];
}

/** Calls back when another tab changes a value. */
export function watch(changed: (name: string) => void): void {
  addEventListener("storage", (event) => changed((event.key ?? "").slice(3)));
}

/** One tab at a time; at once where there are no Web Locks, or where they are blocked with the storage. */
export function exclusively<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? (navigator.locks.request("clickstage", work) as Promise<T>).catch(work) : work();
}
