// The script tag: <script async src=".../v1/tracker.js" data-key="..."></script>
// Functions that a page has pushed to window.clickstage before this has loaded run now.

import type { Clickstage, Options } from "./public";
import { clickstage } from "./tracker";

const page = window as unknown as { clickstage?: Clickstage | ((clickstage: Clickstage) => void)[] };
const early = page.clickstage;

if (!early || Array.isArray(early)) {
  page.clickstage = clickstage;
  const script = document.currentScript as HTMLScriptElement | null;
  const { key, edge, consent, auto, datalayer } = script?.dataset ?? {};
  if (key)
    clickstage.init({
      key,
      edge: edge ?? script!.src.split("/v1/")[0]!,
      consent: consent as Options["consent"],
      auto: auto !== "false",
      dataLayer: datalayer !== "false",
    });
  early?.forEach((callback) => callback(clickstage));
}
