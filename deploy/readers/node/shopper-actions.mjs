// What to show a shopper, read from Clickstage's decisions in Redis. Copy this file; it has no dependency.
//
//   import { createClient } from "redis";
//   const client = await createClient({ url: "redis://..." }).connect();
//   const actions = new ShopperActions((key) => client.get(key));
//   await actions.show("session-id");      // "free-shipping-nudge", or "none"
//   await actions.decision("session-id");  // the whole document, or null where there is nothing to show
//
// The ladder: the fresh decision; without an answer the last known one, while it lives; else the neutral action.

import { createHmac } from "node:crypto";

const VERSIONS = [1, 2]; // 2 has `outcomes` as well

export class ShopperActions {
  /**
   * @param {(key: string) => Promise<string | null>} get reads one key of Redis
   * @param {object} [options]
   * @param {string} [options.neutral] what to show when nothing else may be shown
   * @param {string} [options.idKey] the workers' CLICKSTAGE_ID_KEY, if they hash ids
   * @param {number} [options.sessions] of how many sessions to remember the last decision
   * @param {number} [options.timeoutMs] how long a page may wait for Redis
   * @param {string} [options.prefix] the workers' CLICKSTAGE_DECISION_PREFIX, if they have one of their own
   * @param {() => number} [options.nowMs] wall clock; keep it synchronised (NTP), since offers end by it
   */
  constructor(
    get,
    { neutral = "none", idKey = "", sessions = 10_000, timeoutMs = 50, prefix = "decision:", nowMs = Date.now } = {},
  ) {
    this.get = get;
    this.neutral = neutral;
    this.idKey = Buffer.from(idKey, "hex");
    this.sessions = sessions;
    this.timeoutMs = timeoutMs;
    this.prefix = prefix;
    this.nowMs = nowMs;
    this.known = new Map(); // key -> the newest decision seen; in the order of last use
  }

  /** The action to show now; rejects never, and waits no longer than `timeoutMs`. */
  async show(sessionId) {
    return (await this.decision(sessionId))?.action ?? this.neutral;
  }

  /** The whole decision that may be shown now, null for the neutral one; rejects never either. */
  async decision(sessionId) {
    const key = this.key(sessionId);
    let answer;
    try {
      answer = read(await within(this.timeoutMs, this.get(key)));
    } catch {
      answer = undefined; // away, too slow, or something this reader does not understand
    }
    const known = this.newest(key, answer);
    return known && this.nowMs() < known.expiresAt ? known.document : null;
  }

  newest(key, answer) {
    let known = this.known.get(key);
    if (answer === null) {
      // The session has ended, or its shopper withdrew consent: what was known must not be shown. Its place in the
      // log stays, so that an older decision is still refused.
      known = known && { ...known, expiresAt: 0 };
    } else if (answer && !(known && answer.source === known.source && answer.seq < known.seq)) {
      known = answer; // another source is a topic created anew: its numbers begin anew
    }
    if (known) {
      this.known.delete(key);
      this.known.set(key, known);
      if (this.known.size > this.sessions) this.known.delete(this.known.keys().next().value);
    }
    return known;
  }

  key(sessionId) {
    if (this.idKey.length === 0) return this.prefix + sessionId;
    const hash = createHmac("sha256", this.idKey).update(`session:${sessionId}`, "utf8").digest("hex");
    return this.prefix + hash.slice(0, 32);
  }
}

function read(document) {
  if (document === null) return null;
  const decision = JSON.parse(document);
  const { v, source, seq, action, expires_at: expiresAt } = decision;
  const understood =
    VERSIONS.includes(v) &&
    typeof source === "string" &&
    Number.isSafeInteger(seq) &&
    typeof action === "string" &&
    Number.isSafeInteger(expiresAt);
  if (!understood) throw new TypeError("another version of the document");
  return { source, seq, action, expiresAt, document: decision };
}

async function within(ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("too slow")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
