// What `<script src="…/m.js" data-key="…">` runs: a tracker at `window.millrace`, set up by the tag.
import { create, type Tracker } from "./index.js";

declare global {
  interface Window {
    millrace?: Tracker;
  }
}

const tag = document.currentScript as HTMLScriptElement | null;
if (tag && !window.millrace) {
  const { key, url, consent, pages, hash, wait } = tag.dataset;
  window.millrace = create({
    url: url ?? (tag.src && new URL(tag.src).origin), // A script within the page has no address.
    key: key ?? "",
    consent: consent === "required",
    pages: pages !== "off",
    hash: hash !== undefined,
    wait: Number(wait ?? 1000),
  });
}
