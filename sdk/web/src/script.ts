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
    url: url ?? new URL(tag.src).origin,
    key: key ?? "",
    consent: consent === "required",
    pages: pages !== "off",
    hash: hash !== undefined,
    wait: Number(wait ?? 1000),
  });
}
