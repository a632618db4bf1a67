// Events that wait, in localStorage, one entry an event: tabs share it without overwriting each
// other's, and what a closed tab or a lost network left behind is sent by the next page.

const PREFIX = "millrace.";

const memory = new Map<string, string>();
let last = 0;

/** Reads what is kept under a name; where there is no localStorage, for this page only. */
export function read(name: string): string | null {
  try {
    const kept = localStorage.getItem(PREFIX + name);
    if (kept !== null) return kept;
  } catch {
    // The browser keeps nothing for this page: what memory holds is all there is.
  }
  return memory.get(PREFIX + name) ?? null;
}

/** Keeps a text; in memory where the browser's storage is full, forbidden or absent. */
export function write(name: string, text: string): void {
  memory.delete(PREFIX + name);
  try {
    localStorage.setItem(PREFIX + name, text);
  } catch {
    remove(name); // What was kept before is no longer so, here and on the next page.
    memory.set(PREFIX + name, text);
  }
}

export function remove(name: string): void {
  memory.delete(PREFIX + name);
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {
    // Nothing was kept.
  }
}

/** Reads JSON that is kept under a name; `undefined` where there is none, or what others wrote. */
export function readJson(name: string): unknown {
  try {
    return JSON.parse(read(name) ?? "");
  } catch {
    return undefined;
  }
}

/** Forgets all that this tracker ever kept in this browser. */
export function clear(): void {
  for (const name of names("")) remove(name);
}

/** Adds an event at the end and returns its name; beyond `most` of them the oldest go. */
export function add(event: object, most: number): string {
  last = Math.max(last + 1, Date.now() * 1000);
  const name = "event." + last.toString(36) + Math.random().toString(36).slice(2, 6);
  write(name, json(event));
  const all = waiting();
  for (const old of all.slice(0, Math.max(all.length - most, 0))) remove(old);
  return name;
}

/** Writes an event; a field that JSON has no word for, such as a circle, is left out. */
function json(event: object): string {
  try {
    return JSON.stringify(event);
  } catch {
    const fields = Object.entries(event).filter(([, value]) => {
      try {
        return [JSON.stringify(value)];
      } catch {
        return false;
      }
    });
    return JSON.stringify(Object.fromEntries(fields));
  }
}

/** Returns the names of the events that end with this page, since only memory holds them. */
export function fleeting(): string[] {
  return starting("event.", [...memory.keys()]).sort();
}

/** Returns the names of the events that wait, oldest first. */
export function waiting(): string[] {
  return names("event.").sort();
}

function names(start: string): string[] {
  const all = [...memory.keys()];
  try {
    all.push(...Object.keys(localStorage));
  } catch {
    // Only memory holds some.
  }
  return starting(start, all);
}

function starting(start: string, all: string[]): string[] {
  return all
    .filter((name) => name.startsWith(PREFIX + start))
    .map((name) => name.slice(PREFIX.length));
}
