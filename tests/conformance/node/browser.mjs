// What a page of a shop loads: `send(CLIENT, url, key, events)` sends events with a client of others.
import { AnalyticsBrowser } from "@segment/analytics-next";
import { posthog } from "posthog-js";
import * as plausible from "@plausible-analytics/tracker";

const clients = {
  segment(url, key, events) {
    const apiHost = url.replace("http://", "") + "/v1";
    const client = AnalyticsBrowser.load(
      { writeKey: key, cdnURL: url },
      { integrations: { "Segment.io": { apiHost, protocol: "http" } } },
    );
    client.identify(events[0].user, {}, { integrations: { "Segment.io": false } });
    for (const { name, mark } of events) client.track(name, { mark });
  },

  posthog(url, key, events) {
    posthog.init(key, {
      api_host: url,
      autocapture: false,
      capture_pageview: false,
      capture_pageleave: false,
      request_queue_config: { flush_interval_ms: 250 },
      opt_out_useragent_filter: true, // Else it takes a browser that is driven for a robot.
    });
    for (const { name, mark } of events) posthog.capture(name, { mark });
  },

  plausible(url, key, events) {
    window.__plausible = true; // Else it takes a browser that is driven for a robot.
    plausible.init({
      domain: key,
      endpoint: `${url}/api/event`,
      autoCapturePageviews: false,
      captureOnLocalhost: true,
    });
    for (const { name, mark } of events) plausible.track(name, { props: { mark } });
  },
};

window.send = (client, ...given) => clients[client](...given);
