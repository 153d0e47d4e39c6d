// Plays scripts of answers to the Node reader. stdin: a list of scripts, each a list of {now, answer}; stdout: what it
// showed. An answer is "away", "slow", null (no key) or a document's text.
import { ShopperActions } from "../../../deploy/readers/node/shopper-actions.mjs";

let text = "";
for await (const chunk of process.stdin) text += chunk;

const shown = [];
for (const script of JSON.parse(text)) {
  let step;
  const get = (key) => {
    if (key !== "decision:s") throw new Error(key);
    if (step.answer === "away") return Promise.reject(new Error("away"));
    if (step.answer === "slow") return new Promise(() => {});
    return Promise.resolve(step.answer);
  };
  const actions = new ShopperActions(get, { neutral: "neutral", timeoutMs: 5, nowMs: () => step.now });
  const answers = [];
  for (step of script) answers.push(await actions.show("s"));
  shown.push(answers);
}
console.log(JSON.stringify(shown));
