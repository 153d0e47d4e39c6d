// html`...` escapes what is put in, so that a shopper's search or name never becomes markup.

class Markup {
  constructor(text) {
    this.text = text;
  }
  toString() {
    return this.text;
  }
}

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function text(value) {
  if (value instanceof Markup) return value.text;
  if (Array.isArray(value)) return value.map(text).join("");
  return value === undefined || value === null || value === false ? "" : String(value).replace(/[&<>"']/g, (c) => ESCAPES[c]);
}

export function html(strings, ...values) {
  return new Markup(strings.reduce((all, part, i) => all + text(values[i - 1]) + part));
}

/** Text of ours that is markup already, such as a drawing. */
export function trusted(markup) {
  return new Markup(markup);
}

/** The markup as one node. */
export function node(markup) {
  const template = document.createElement("template");
  template.innerHTML = markup.text;
  return template.content.firstElementChild;
}

export function euro(amount) {
  return new Intl.NumberFormat("en", { style: "currency", currency: "EUR" }).format(amount);
}
