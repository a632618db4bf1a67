// Drives Chromium for a test in Python: a request a line on standard input, an answer a line on
// standard output. Ends, and the browser with it, when standard input does.
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: process.argv[2],
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});
const PATIENCE = 60_000; // milliseconds; the machine may be busy
const pages = [];

const commands = {
  async open({ init, profile, sibling }) {
    const context =
      sibling === undefined ? await browser.newContext(profile) : pages[sibling].context();
    context.setDefaultTimeout(PATIENCE);
    if (init) await context.addInitScript(init);
    pages.push(await context.newPage());
    return pages.length - 1;
  },
  goto: ({ page, url }) => pages[page].goto(url).then(() => null),
  fill: ({ page, selector, value }) => pages[page].fill(selector, value).then(() => null),
  click: ({ page, selector }) => pages[page].click(selector).then(() => null),
  arrive: ({ page, url }) => pages[page].waitForURL(url).then(() => null),
  back: ({ page }) => pages[page].goBack().then(() => null),
  evaluate: ({ page, script }) => pages[page].evaluate(script),
  offline: ({ page, value }) => pages[page].context().setOffline(value),
  close: ({ page }) => pages[page].context().close(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { value: (await commands[command](given)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
await browser.close();
