// Other people's clients, unmodified: what a Node.js back end runs to send to Segment or Snowplow, with the edge's address.
//
//     node test/clients.mjs PORT
//
// Exits with 0 once both have delivered, and prints what went wrong otherwise. tests/integration/test_edge_clients.py runs it.
import { Analytics } from "@segment/analytics-node";
import { buildPageView, buildSelfDescribingEvent, newTracker } from "@snowplow/node-tracker";

const port = Number(process.argv[2]);
const problems = [];

async function segment() {
  const analytics = new Analytics({ writeKey: "demo", host: `http://127.0.0.1:${port}`, maxRetries: 0 });
  analytics.on("error", (error) => problems.push(`segment: ${JSON.stringify(error)}`));
  const anonymousId = "node-segment";
  analytics.page({ anonymousId, name: "Shoes", properties: { path: "/shoes" } });
  analytics.track({ anonymousId, event: "Product Added", properties: { product_id: "p1", price: 20, quantity: 2 } });
  analytics.identify({ anonymousId, userId: "u1" });
  await analytics.closeAndFlush({ timeout: 20_000 });
}

async function snowplow(eventMethod) {
  const tracker = newTracker(
    { namespace: "shop", appId: "demo", encodeBase64: eventMethod === "get" },
    {
      endpoint: "127.0.0.1",
      port,
      protocol: "http",
      eventMethod,
      bufferSize: 1,
      onRequestFailure: (failure) => problems.push(`snowplow ${eventMethod}: ${failure.status} ${failure.message}`),
    },
  );
  tracker.setDomainUserId(`node-snowplow-${eventMethod}`);
  tracker.track(buildPageView({ pageUrl: "http://shop.example/shoes" }));
  const product = {
    schema: "iglu:com.snowplowanalytics.snowplow.ecommerce/product/jsonschema/1-0-0",
    data: { id: "p1", name: "Shoe", price: 20, currency: "EUR", category: "shoes", quantity: 1 },
  };
  const event = {
    schema: "iglu:com.snowplowanalytics.snowplow.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2",
    data: { type: "add_to_cart" },
  };
  tracker.track(buildSelfDescribingEvent({ event }), [product]);
  await tracker.flush();
}

await segment();
await snowplow("post");
await snowplow("get");
for (const problem of problems) console.error(problem);
process.exitCode = problems.length ? 1 : 0;
