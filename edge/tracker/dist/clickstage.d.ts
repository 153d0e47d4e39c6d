/** Fields of an event, by the event contract. `items` counts as one interaction. */
export interface EventFields {
  page?: string;
  item_id?: string;
  category?: string;
  price?: number;
  currency?: string;
  quantity?: number;
  query?: string;
  value?: number;
  device?: string;
  source?: string;
  country?: string;
  scroll_depth?: number;
  checkout_step?: number;
  event_id?: string;
  items?: Item[];
}

export interface Item {
  item_id: string;
  price?: number;
  quantity?: number;
  category?: string;
}

/** Event names of the contract. The edge counts any other name as `click`. */
export type EventType =
  | "page_view"
  | "view_item_list"
  | "view_item"
  | "select_item"
  | "search"
  | "view_promotion"
  | "select_promotion"
  | "add_to_wishlist"
  | "add_to_cart"
  | "remove_from_cart"
  | "view_cart"
  | "begin_checkout"
  | "add_shipping_info"
  | "add_payment_info"
  | "purchase"
  | "login"
  | "share"
  | "contact"
  | "ask_question"
  | "view_policy"
  | "compare"
  | "view_reviews"
  | "scroll"
  | "click"
  | "refund"
  | "video_progress"
  | "user_engagement"
  | "page_ping"
  | "first_visit"
  | (string & {});

/** The decision document. Fields that this version does not name are there too. */
export interface Decision {
  /** What to show; `none` for nothing. */
  action: string;
  /** The action's text in the policy. */
  label?: string;
  /** Absent while the edge knows no decision, and in the neutral decision after one has expired. */
  stage?: string;
  confidence?: number;
  probabilities?: number[];
  route?: string;
  /** After this moment (epoch ms, the edge's clock: compare with `clickstage.now()`) the action must not be shown. */
  expires_at?: number;
  source?: string;
  seq?: number;
  parameters?: { discount_percent?: number; offer_minutes?: number; expires_at?: number; [name: string]: unknown };
  exposure_id?: string;
  provisional?: boolean;
  reasons?: string[];
  guards?: string[];
  arm?: Record<string, string>;
  [field: string]: unknown;
}

export type ExposureKind = "shown" | "clicked" | "dismissed";

export interface Options {
  /** The shop's write key. */
  key: string;
  /** The edge's address, without a slash at the end. The script's own origin is the default of the script tag. */
  edge: string;
  /** `optional` (default): sessions without a visitor id until `consent(true)`. `required`: nothing before `consent(true)`. */
  consent?: "optional" | "required";
  /** Page views, scroll depth and `data-clickstage-*` attributes. Default true. */
  auto?: boolean;
  /** Listen to `window.dataLayer`. Default true. */
  dataLayer?: boolean;
  /** The shop's own id of the visitor; used after `consent(true)` only. */
  visitorId?: string;
}

/** Fills a slot: the text or the node to show; nothing leaves the slot as the page has it. */
export type Template = (decision: Decision, slot: Element) => string | Node | undefined | void;

export interface Events {
  decision: Decision;
  /** Consent was withdrawn, here, in another tab, or at the edge. */
  withdrawn: undefined;
  /** The session id, whenever another session begins. */
  session: string;
}

export interface Clickstage {
  /** Start. The script tag does it by itself. */
  init(options: Options): void;
  /** Send one event. */
  track(type: EventType, fields?: EventFields): void;
  /** Listen; a decision that is known already is handed over at once. The answer stops listening. */
  on<Name extends keyof Events>(name: Name, listener: (value: Events[Name]) => void): () => void;
  /** `true` allows a visitor id; `false` withdraws: the edge erases the session, this browser forgets it and stops. */
  consent(given: boolean): void;
  /** Show an action by a function of yours. */
  template(action: string, template: Template): void;
  /** Report what was shown by a page that fills no slots. */
  exposure(kind: ExposureKind, decision?: Decision, slot?: string): void;
  /** The decision to show now. */
  decision(): Decision | undefined;
  /** Id and token of the session, once the edge has made them. */
  session(): { session_id: string; token: string } | undefined;
  /** The edge's clock, epoch ms. */
  now(): number;
  /** Send what waits. */
  flush(): Promise<void>;
  /** Run a function with the tracker: works before the script has loaded, too. */
  push(callback: (clickstage: Clickstage) => void): void;
}

export declare const clickstage: Clickstage;
export default clickstage;
