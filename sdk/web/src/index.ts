import * as queue from "./queue.js";
import * as visitor from "./visitor.js";

/** How a tracker is set up. */
export interface Options {
  /** The ingestion API, such as `https://events.example.com`. */
  url: string;
  /** A browser's ingest key: it can only write, and only from its origins. */
  key: string;
  /** Whether to wait for `consent(true)` before anything is kept or sent (false). */
  consent?: boolean;
  /** Whether page views are sent of themselves (true). */
  pages?: boolean;
  /** Whether the part after `#` belongs to the page's name (false). */
  hash?: boolean;
  /** Milliseconds for which an event waits for company (1000). */
  wait?: number;
  /** Most events that are kept while the API can't be reached (500); the oldest go first. */
  most?: number;
  /** Is told of events that break the contract or a rule. */
  onRejected?: (rejected: Rejected[]) => void;
}

/** An event that arrived and was rejected; reasons are those of Millrace's docs. */
export interface Rejected {
  index: number;
  event_id: string;
  reason: string;
  field: string;
  detail: string;
}

/** The contract's own fields, and properties of your own. */
export type Fields = Record<string, unknown>;

export interface Tracker {
  /** Sends that something happened. */
  track(event: string, fields?: Fields): void;
  /** Sends a view of the page as it is now, or of a page of that name. */
  page(name?: string): void;
  /**
   * Says who is there: a whole number from 1 to 2^53-1 becomes `user_id`; any other id goes along
   * as the property `original_user_id`, and `user_id` stays the browser's number. `null` says that
   * nobody is known any more, and the browser gets another number.
   */
  identify(id: number | string | null): void;
  /** Remembers the visitor's answer; `false` forgets all that was kept in this browser. */
  consent(isGiven: boolean): void;
  /** Sends what waits without waiting longer. */
  flush(): Promise<void>;
}

/** What acknowledges a batch, unless something in between says something else. */
type Said = { count?: unknown; rejected?: unknown } | null | undefined;

const LARGEST = 60000; // Bytes; browsers take 64 KiB at most from pages that are being left.

const PATIENCE = 30000; // Milliseconds that the API has to acknowledge a batch.

/** Keeps what goes wrong in here out of the page that calls, whose work is worth more. */
function guarded<Given extends unknown[]>(work: (...given: Given) => void): typeof work {
  return (...given) => {
    try {
      work(...given);
    } catch (error) {
      console.error("millrace:", error);
    }
  };
}

const size = (text: string): number => new TextEncoder().encode(text).length;

const nothing = (): void => {};

/** Stands for a tracker that could not be made, so that the page may go on calling it. */
const idle: Tracker = {
  track: nothing,
  page: nothing,
  identify: nothing,
  consent: nothing,
  flush: async () => {},
};

/**
 * Makes a tracker. Where the browser says Do Not Track or Global Privacy Control, it does nothing; nor
 * where the options name no API or no key, which is said on the console.
 */
export function create(options: Options): Tracker {
  try {
    return start(options);
  } catch (error) {
    console.error("millrace:", error);
    return idle;
  }
}

function start(options: Options): Tracker {
  const { url, key } = options;
  if (!/^(https?:\/)?\//i.test(url)) throw new Error("nothing is sent: url must begin with https://");
  if (!key) throw new Error("nothing is sent: no key is given");
  const address = url.replace(/\/$/, "") + "/v1/events?key=" + encodeURIComponent(key);
  const { most = 500, wait = 1000 } = options;
  const fresh = new Set<string>(); // Made by this page and not yet tried.
  const held: (() => void)[] = []; // What happened while consent was awaited.
  let batchSize = 100;
  let pause = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let isSending = false;
  let viewed: string | undefined;

  const isRefused = () => visitor.objects() || queue.read("consent") === "no";
  const isAllowed = () => !isRefused() && (!options.consent || queue.read("consent") === "yes");
  const here = () => location.pathname + (options.hash ? location.hash : "");

  function track(event: string, fields?: Fields): void {
    if (isRefused()) return;
    const made = {
      event_id: visitor.uuid(),
      event,
      timestamp: new Date().toISOString(),
      page: here(),
      ...visitor.surroundings(),
      ...fields,
    };
    const put = () => {
      fresh.add(queue.add({ ...visitor.identity(), ...made }, most));
      schedule(wait);
    };
    if (isAllowed()) put();
    else if (held.length < most) held.push(put);
  }

  function page(name?: string): void {
    viewed = here();
    track("page_view", name === undefined ? {} : { page: name });
  }

  function schedule(milliseconds: number): void {
    timer ??= setTimeout(() => {
      timer = undefined;
      void flush();
    }, milliseconds);
  }

  /** Takes events off the front of the list for one request, in which their JSON fits. */
  function batch(names: string[]): [names: string[], body: string] {
    const taken: string[] = [];
    let body = "";
    for (const name of names) {
      const event = queue.readJson(name);
      if (typeof event !== "object" || !event || Array.isArray(event)) {
        queue.remove(name); // Another tab has sent it, or others wrote what is none of ours.
        continue;
      }
      const longer = body + (body && "\n") + JSON.stringify(event);
      if (taken.length && (taken.length >= batchSize || size(longer) > LARGEST)) break;
      taken.push(name);
      body = longer;
    }
    return [taken, body];
  }

  /** One tab sends at a time, so that hardly an event is sent by two; its id tells, where one is. */
  async function flush(): Promise<void> {
    if (isSending || !isAllowed()) return;
    isSending = true;
    try {
      let begun: Promise<void> | undefined;
      const once = () => (begun ??= send());
      // Where a page may keep nothing, it may lock nothing either.
      await navigator.locks?.request("millrace", once).catch(() => undefined);
      await once();
    } catch (error) {
      console.error("millrace:", error);
    } finally {
      isSending = false;
    }
    if (queue.waiting().length) schedule(pause || wait);
  }

  /** Asks the API to take a batch; returns its answer's status, 0 for none, and what it says. */
  async function ask(body: string): Promise<[status: number, said: Said, seconds: number]> {
    const ending = new AbortController();
    const limit = setTimeout(() => ending.abort(), PATIENCE);
    let status = 0;
    let seconds = 0;
    let said: Said;
    try {
      // A text that is sent so needs no preflight: the key is in the address.
      const answer = await fetch(address, {
        method: "POST",
        body,
        keepalive: size(body) <= LARGEST,
        credentials: "omit",
        signal: ending.signal,
      });
      status = answer.status;
      seconds = Number(answer.headers.get("retry-after"));
      if (answer.ok) said = await answer.json();
    } catch {
      // No answer in time, or none that can be read: the batch goes again.
    }
    clearTimeout(limit);
    return [status, said, seconds];
  }

  async function send(): Promise<void> {
    for (;;) {
      const [names, body] = batch(queue.waiting());
      if (!names.length) return;
      names.forEach((name) => fresh.delete(name));
      const [status, said, seconds] = await ask(body);
      let rejected: unknown;
      if (said?.count === names.length) {
        pause = 0;
        rejected = said.rejected;
      } else if (status === 413 && names.length > 1) {
        batchSize = names.length >> 1;
        continue;
      } else if (status < 400 || status === 408 || status === 429 || status >= 500) {
        pause =
          seconds > 0
            ? Math.min(seconds, 300) * 1000
            : Math.min(pause * 2 || 1000, 60000) * (0.75 + Math.random() / 4);
        return;
      }
      for (const name of names) queue.remove(name); // Kept by the API, or refused for good.
      if (Array.isArray(rejected) && rejected.length) tell(rejected);
    }
  }

  const tell = guarded((rejected: Rejected[]) => options.onRejected?.(rejected));

  /**
   * Gives the browser what this page has not tried to send, to be sent when the page is gone. While
   * requests fail, the next page sends what is kept for it, so that only what isn't goes now.
   */
  function leave(): void {
    if (!isAllowed() || !navigator.onLine) return;
    let names = pause ? queue.fleeting() : [...fresh];
    for (;;) {
      const [given, body] = batch(names);
      if (!given.length || !navigator.sendBeacon(address, body)) return;
      names = names.filter((name) => !given.includes(name));
      if (pause) continue; // A page that is only hidden tries again.
      for (const name of given) {
        fresh.delete(name);
        queue.remove(name);
      }
    }
  }

  const tracker: Tracker = {
    track: guarded(track),
    page: guarded(page),
    identify: guarded((id) => {
      if (isAllowed()) visitor.identify(id);
      else if (!isRefused()) held.push(() => visitor.identify(id));
    }),
    consent: guarded((isGiven) => {
      if (!isGiven) {
        queue.clear();
        fresh.clear();
        held.length = 0;
      }
      queue.write("consent", isGiven ? "yes" : "no");
      if (isAllowed()) held.splice(0).forEach((put) => guarded(put)());
    }),
    flush,
  };
  if (visitor.objects()) return tracker;

  const left = guarded(leave);
  addEventListener("pagehide", left);
  addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") left();
  });
  addEventListener("online", () => {
    clearTimeout(timer);
    timer = undefined;
    void flush();
  });
  const watch = guarded(() => {
    const look = guarded(() => {
      if (here() !== viewed) page();
    });
    for (const name of ["pushState", "replaceState"] as const) {
      const original = history[name];
      history[name] = (...given) => {
        original.apply(history, given);
        look();
      };
    }
    addEventListener("popstate", look);
    addEventListener("hashchange", look);
    addEventListener("pageshow", (event) => {
      if (event.persisted) tracker.page(); // Seen again from the browser's cache of pages.
    });
    if ((document as { prerendering?: boolean }).prerendering) {
      document.addEventListener("prerenderingchange", look, { once: true });
    } else {
      look();
    }
  });
  if (options.pages !== false) watch();
  if (queue.waiting().length) schedule(wait);
  return tracker;
}
