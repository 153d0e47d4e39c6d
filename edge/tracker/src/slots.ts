// Places of a page that follow the decision: <div data-clickstage-slot="banner">. A decision contributes text only; markup
// comes from the page: a registered function, or a <template data-clickstage-action="..."> in the slot.

import { report, reported } from "./exposures";
import type { Decision, Template } from "./public";
import { now } from "./visit";

const SHOWN_AFTER_MS = 1000;

interface Slot {
  name: string;
  /** What the page has there for everybody. */
  own: ChildNode[];
  templates: HTMLTemplateElement[];
  showing?: string;
  unwatch?: () => void;
}

const slots = new Map<Element, Slot>();
const registered: Record<string, Template> = {};
let shown: Decision | undefined;
let tick: ReturnType<typeof setTimeout> | undefined;

export function addTemplate(action: string, template: Template): void {
  registered[action] = template;
  for (const known of slots.values()) known.showing = "";
  render(shown);
}

export function hasSlots(): boolean {
  return !!slots.size;
}

/** Find new slots and show the decision in all. */
export function render(decision: Decision | undefined): void {
  shown = decision;
  for (const element of document.querySelectorAll<HTMLElement>("[data-clickstage-slot]")) {
    const templates = [...element.querySelectorAll<HTMLTemplateElement>("template[data-clickstage-action]")];
    if (!slots.has(element)) slots.set(element, { name: element.dataset.clickstageSlot!, own: [...element.childNodes], templates });
  }
  for (const [element, slot] of slots)
    if (element.isConnected) fill(element, slot);
    else slots.delete(element);
}

/** What the slot shows for the decision; undefined for the page's own content. */
function content(element: Element, slot: Slot): string | Node | undefined | void {
  if (!shown || shown.action === "none" || reported("dismissed", shown, slot.name)) return;
  const { action, label } = shown;
  if (registered[action])
    try {
      return registered[action](shown, element);
    } catch (error) {
      // shows in the console; other slots and the next decisions go on
      return void setTimeout(() => {
        throw error;
      });
    }
  const template = slot.templates.find((t) => t.dataset.clickstageAction!.split(" ").includes(action));
  return template ? document.importNode(template.content, true) : slot.templates.length ? undefined : label;
}

function fill(element: Element, slot: Slot): void {
  const showing = shown && shown.action + " " + shown.exposure_id;
  if (slot.showing !== showing) {
    slot.showing = showing;
    slot.unwatch?.();
    const made = content(element, slot);
    element.replaceChildren(...(made ? [made] : slot.own));
    element.toggleAttribute("data-clickstage-filled", !!made);
    slot.unwatch = made ? watch(element, slot, shown!) : undefined;
  }
  for (const field of element.querySelectorAll<HTMLElement>("[data-clickstage-text]")) {
    const text = String(valueAt(field.dataset.clickstageText!) ?? "");
    if (field.textContent !== text) field.textContent = text;
  }
}

/** "label", "parameters.discount_percent", or "remaining": mm:ss to the end of the offer. */
function valueAt(path: string): unknown {
  if (path !== "remaining") return path.split(".").reduce((value: any, part) => value?.[part], shown);
  clearTimeout(tick);
  tick = setTimeout(() => render(shown), 1000);
  const left = (shown?.parameters?.expires_at ?? shown?.expires_at ?? 0) - now();
  return new Date(Math.max(left, 0)).toISOString().slice(11, 19).replace(/^00:/, "");
}

/** Report the showing; answers how to stop. */
function watch(element: Element, slot: Slot, decision: Decision): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const click = ({ target }: Event): void => {
    const within = (selector: string): boolean => !!(target as Element).closest(selector);
    if (within("[data-clickstage-dismiss]")) {
      report("dismissed", decision, slot.name);
      slot.showing = "";
      fill(element, slot);
    } else if (within("a,button,[data-clickstage-click]")) report("clicked", decision, slot.name);
  };
  element.addEventListener("click", click);
  const observer = new IntersectionObserver(
    (entries) => {
      clearTimeout(timer);
      if (entries.pop()!.isIntersecting) timer = setTimeout(() => report("shown", decision, slot.name), SHOWN_AFTER_MS);
    },
    { threshold: 0.5 },
  );
  observer.observe(element);
  return () => {
    clearTimeout(timer);
    observer.disconnect();
    element.removeEventListener("click", click);
  };
}
