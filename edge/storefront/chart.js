// Stages over time: the four probabilities as stacked areas, a step at every decision, and the outcomes as lines over them.

import { html, trusted } from "./html.js";

export const STAGES = ["Explorer", "Evaluator", "Intent Buyer", "Drop-Off Risk"];
export const slug = (stage) => (stage ?? "").toLowerCase().replaceAll(" ", "-");
const WIDTH = 356;
const HEIGHT = 128;

/** @param points [{at, probabilities, outcomes}], oldest first; `now` is the right edge. */
export function chart(points, now) {
  if (!points.length) return trusted(`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}"><text x="14" y="70">The first decision is a click away.</text></svg>`);
  const begin = Math.min(points[0].at, now - 20_000);
  const x = (at) => (((at - begin) / (now - begin)) * WIDTH).toFixed(1);
  const steps = points.map((point, i) => ({ ...point, from: x(point.at), to: x(points[i + 1]?.at ?? now) }));
  const areas = STAGES.map((stage, k) => {
    const top = (p) => (HEIGHT - HEIGHT * p.slice(0, k + 1).reduce((a, b) => a + b, 0)).toFixed(1);
    const bottom = (p) => (HEIGHT - HEIGHT * p.slice(0, k).reduce((a, b) => a + b, 0)).toFixed(1);
    const there = steps.map((s) => `${s.from} ${top(s.probabilities)} ${s.to} ${top(s.probabilities)}`).join(" ");
    const back = steps.toReversed().map((s) => `${s.to} ${bottom(s.probabilities)} ${s.from} ${bottom(s.probabilities)}`).join(" ");
    return `<polygon points="${there} ${back}" fill="var(--${slug(stage)})" opacity=".82"/>`;
  });
  const order = steps.filter((s) => s.outcomes?.order_rest !== undefined);
  const line = order.map((s) => `${s.from} ${(HEIGHT * (1 - s.outcomes.order_rest)).toFixed(1)} ${s.to} ${(HEIGHT * (1 - s.outcomes.order_rest)).toFixed(1)}`).join(" ");
  const outcome = line && `<polyline points="${line}" fill="none" stroke="#fff" stroke-width="1.8" stroke-dasharray="1 4" stroke-linecap="round"/>`;
  return trusted(`<svg class="chart" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label="Probabilities of the stages over time">${areas.join("")}${outcome}</svg>`);
}

export const legend = (withOutcome) => html`<div class="legend">${STAGES.map((stage) => html`<span><i class="${slug(stage)}"></i>${stage}</span>`)}${withOutcome ? html`<span>⋯ chance of an order</span>` : ""}</div>`;
