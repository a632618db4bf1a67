// Who is there, as far as the visitor lets us know, and with what.
import { read, readJson, remove, write } from "./queue.js";

const SESSION_ENDS_AFTER = 30 * 60 * 1000;

/** Whether the browser says that its user is not to be tracked. */
export function objects(): boolean {
  const said = navigator as { doNotTrack?: string | null; globalPrivacyControl?: boolean };
  return said.doNotTrack === "1" || said.globalPrivacyControl === true;
}

function random(count: number): Uint32Array {
  return crypto.getRandomValues(new Uint32Array(count));
}

/** Returns a UUID of version 4; `crypto.randomUUID` is missing where pages come by plain HTTP. */
export function uuid(): string {
  const hex = [...random(4)].map((n) => n.toString(16).padStart(8, "0")).join("");
  const variant = ((parseInt(hex.charAt(16), 16) & 3) | 8).toString(16);
  return hex.replace(/(.{8})(.{4}).(.{3}).(.{3})(.{12})/, `$1-$2-4$3-${variant}$4-$5`);
}

/**
 * Returns this browser's number: random, from 2^52 to 2^53-1. JavaScript holds it exactly, and
 * numbers that an application gives to its own users, which are smaller, never meet it.
 */
function anonymous(): number {
  const kept = Number(read("anonymous"));
  if (kept >= 2 ** 52 && Number.isSafeInteger(kept)) return kept;
  const [high = 0, low = 0] = random(2);
  const made = 2 ** 52 + (high % 2 ** 20) * 2 ** 32 + low;
  write("anonymous", String(made));
  return made;
}

const isId = (id: unknown): id is number | string => ["number", "string"].includes(typeof id);

export function identify(id: number | string | null): void {
  if (id === null) {
    remove("anonymous");
    remove("user");
    remove("session");
  } else if (isId(id)) {
    write("user", JSON.stringify(id));
  }
}

/** Returns the fields that say whose event it is, in which session. */
export function identity(): object {
  const now = Date.now();
  const [session, at] = (read("session") ?? "").split(" ");
  const id = session && Math.abs(now - Number(at)) < SESSION_ENDS_AFTER ? session : uuid();
  write("session", id + " " + now);
  const number = anonymous();
  const user = readJson("user");
  const isNumber = Number.isSafeInteger(user) && (user as number) > 0;
  return {
    user_id: isNumber ? user : number,
    anonymous_id: String(number),
    ...(isId(user) && !isNumber && { original_user_id: String(user) }),
    session_id: id,
  };
}

/**
 * Returns the fields that say with what, and from where, the page is looked at. The kind of device
 * is not among them: the API tells it by the user agent that comes with the request.
 */
export function surroundings(): object {
  const campaign: Record<string, string> = {};
  new URLSearchParams(location.search).forEach((value, name) => {
    if (name.startsWith("utm_")) campaign[name] = value;
  });
  return {
    device_info: {
      language: navigator.language,
      screen: screen.width + "x" + screen.height,
    },
    title: document.title,
    ...(document.referrer && { referrer: document.referrer }),
    ...campaign,
  };
}
