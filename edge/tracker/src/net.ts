import type { Options } from "./public";

export let options: Options;

export function configure(given: Options): void {
  options = given;
}

/** What the edge answered; status 0 where nobody did. */
export interface Answer {
  status: number;
  body?: any;
  etag?: string | null;
  /** Ms of `Retry-After`, 0 if it said nothing. */
  retryMs: number;
}

export function url(path: string): string {
  return options.edge + "/v1/" + path + "?key=" + options.key;
}

/** Never throws. POST has no header of ours: then it needs no preflight and looks like a beacon. */
export async function call(method: string, path: string, data?: unknown, token?: string, seen?: string | null): Promise<Answer> {
  const body = data && JSON.stringify(data);
  try {
    const response = await fetch(url(path), {
      method,
      body: (body as string) || undefined,
      headers: { ...(token && { authorization: "Bearer " + token }), ...(seen && { "if-none-match": seen }) },
      credentials: "omit",
      // The page may be left before the answer. Browsers keep at most 64 KiB alive.
      keepalive: !body || (body as string).length < 60_000,
      signal: AbortSignal.timeout?.(10_000),
    });
    const { status, headers } = response;
    return {
      status,
      body: await response.json().catch(() => 0),
      etag: headers.get("etag"),
      retryMs: +headers.get("retry-after")! * 1000 || 0,
    };
  } catch {
    return { status: 0, retryMs: 0 };
  }
}

/** Whether sending the same again can help. */
export function transient(status: number): boolean {
  return !status || status === 408 || status === 429 || status >= 500;
}
