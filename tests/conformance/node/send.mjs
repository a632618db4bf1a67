// Sends events with a client of others, as its documentation says, once for each case: the
// counterpart of python/send.py. `node send.mjs CLIENT`, cases as JSON on standard input.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const PATIENCE = 45000; // Milliseconds for which a client may try.
const require = createRequire(import.meta.url);
const settled = (promise) =>
  Promise.race([promise, new Promise((done) => setTimeout(done, PATIENCE))]).catch(
    (error) => console.error(String(error)),
  );

const clients = {
  async segment(url, key, events) {
    const { Analytics } = await import("@segment/analytics-node");
    const client = new Analytics({ writeKey: key, host: url });
    client.on("error", (error) => console.error(error.code));
    for (const { name, user, mark } of events) {
      client.track({ event: name, userId: user, properties: { mark } });
    }
    await client.closeAndFlush({ timeout: PATIENCE });
  },

  async rudder(url, key, events) {
    const { default: Analytics } = await import("@rudderstack/rudder-sdk-node");
    const client = new Analytics(key, {
      dataPlaneUrl: url,
      errorHandler: (error) => console.error(String(error)),
    });
    const sent = events.map(
      ({ name, user, mark }) =>
        new Promise((done) =>
          client.track({ event: name, userId: user, properties: { mark } }, done),
        ),
    );
    await settled(client.flush());
    await settled(Promise.all(sent));
  },

  async posthog(url, key, events) {
    const { PostHog } = await import("posthog-node");
    const client = new PostHog(key, { host: url });
    for (const { name, user, mark } of events) {
      client.capture({ event: name, distinctId: user, properties: { mark } });
    }
    await client.shutdown(PATIENCE);
  },

  async amplitude(url, key, events) {
    const { createInstance } = await import("@amplitude/analytics-node");
    const client = createInstance();
    // An explicit flush() gives up what fails; its own timer does not.
    const options = { serverUrl: `${url}/2/httpapi`, flushIntervalMillis: 50 };
    await client.init(key, options).promise;
    const sent = events.map(({ name, user, mark }) =>
      client.track(name, { mark }, { user_id: user }).promise,
    );
    await settled(Promise.all(sent));
  },

  async mixpanel(url, key, events) {
    const { default: Mixpanel } = await import("mixpanel");
    const { host } = new URL(url);
    const client = Mixpanel.init(key, { host, protocol: "http", keepAlive: false });
    const [first, ...others] = events.map(({ name, user, mark }) => ({
      event: name,
      properties: { distinct_id: user, mark },
    }));
    await settled(new Promise((done) => client.track(first.event, first.properties, done)));
    await settled(new Promise((done) => client.track_batch(others, done)));
  },

  async snowplow(url, key, events) {
    const { newTracker, buildStructEvent } = await import("@snowplow/node-tracker");
    const { hostname, port } = new URL(url);
    const bufferSize = events.length;
    const sent = new Promise((done) => {
      const tracker = newTracker(
        { namespace: "conformance", appId: key, encodeBase64: false },
        {
          endpoint: hostname,
          protocol: "http",
          port: Number(port),
          bufferSize,
          onRequestSuccess: done,
          onRequestFailure: ({ willRetry }) =>
            willRetry ? setTimeout(() => tracker.flush(), 200) : done(), // As the next event does.
        },
      );
      for (const { name, user, mark } of events) {
        tracker.setUserId(user);
        tracker.track(buildStructEvent({ category: "shop", action: name, label: mark }));
      }
      tracker.flush();
    });
    await settled(sent);
  },

  async jitsu(url, key, events) {
    const { jitsuAnalytics } = require("@jitsu/js");
    // It takes only keys with a colon in them.
    const client = jitsuAnalytics({ host: url, writeKey: `${key}:x`, s2s: true });
    for (const { name, user, mark } of events) {
      client.setAnonymousId(user);
      await settled(client.track(name, { mark }));
    }
  },

  async openpanel(url, key, events) {
    const { OpenPanel } = await import("@openpanel/sdk");
    const client = new OpenPanel({ apiUrl: url, clientId: key, clientSecret: "none" });
    for (const { name, user, mark } of events) {
      await settled(client.track(name, { profileId: user, mark }));
    }
  },

  async umami(url, key, events) {
    const { Umami } = require("@umami/node");
    const client = new Umami({ websiteId: key, hostUrl: url });
    for (const { name, user, mark } of events) {
      await settled(client.track({ name, id: user, data: { mark } }));
    }
  },
};

const cases = Object.values(JSON.parse(await text(process.stdin)));
const send = clients[process.argv[2]];
await Promise.all(cases.map(({ url, key, events }) => send(url, key, events)));
process.exit(0); // Whatever timers a client leaves behind.
