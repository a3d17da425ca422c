// Now: the exchange's clock, the next close, and the pass as it happens.

import { type Now, ask } from "./api.js";
import { el, empty, hint } from "./dom.js";
import { feeders } from "./feeders.js";
import { type Happening, exchangeMs, know, listen } from "./live.js";
import { status } from "./runs.js";
import { duration, minute, timestamp } from "./time.js";

const KEPT = 40;
// That somebody is not heard of any more, nobody tells.
const ANEW_MS = 15_000;
const SAYS: Partial<Record<Happening["what"], string>> = {
  pulled: "the exchange's answer is kept as evidence",
  published: "the window is published",
  ended: "the run ended",
  stored: "the store was written",
};

export async function nowView(_: URLSearchParams, signal: AbortSignal): Promise<HTMLElement> {
  let now = know(await ask<Now>("now", {}, signal));
  const clock = el("time", { class: "big" });
  const left = el("span", { class: "big accent" });
  const hour = el("progress", { max: 1, "aria-label": "How much of the hour is over" });
  const skew = el("p", { class: "muted" });
  const last = el("section", { "aria-label": "The newest run" });
  const log = el("p", { class: "log" });
  const who = feeders();
  const happened = el("ol", { class: "happened", "aria-live": "polite" });
  const tick = (): void => {
    const atMs = exchangeMs();
    clock.textContent = `${timestamp(atMs)} UTC`;
    hour.value = (atMs % now.interval_ms) / now.interval_ms;
    left.textContent = duration(now.interval_ms - (atMs % now.interval_ms));
    who.tick();
  };
  const draw = (): void => {
    skew.textContent = clockSaid(now.skew_sec);
    last.replaceChildren(...newest(now));
    log.textContent = now.log;
    log.hidden = !now.log;
    who.draw(now);
  };
  const anew = (): Promise<void> => ask<Now>("now").then((fresh) => {
    now = know(fresh);
    draw();
  });
  const stop = listen((happening) => {
    if (!SAYS[happening.what] && happening.what !== "logged") return;
    void anew().then(() => {
      if (happening.what !== "logged") tellOnce(happened, entry(happening, now));
      while (happened.childElementCount > KEPT) happened.lastElementChild?.remove();
    }, () => undefined);
  });
  const timer = setInterval(tick, 250);
  const asking = setInterval(() => void anew().catch(() => undefined), ANEW_MS);
  signal.addEventListener("abort", () => {
    clearInterval(timer);
    clearInterval(asking);
    stop();
  });
  tick();
  draw();
  return el("div", { class: "nowview" },
    el("div", { class: "pair" }, el("div", {}, el("p", { class: "muted" }, "Exchange"), clock), el("div", {}, el("p", { class: "muted" }, "Next close in"), left)),
    hour, skew, last, who.place, el("section", {}, el("h2", {}, "As it happens"), happened), log);
}

function clockSaid(skewSec: number | null): string {
  if (skewSec === null) return "No run has asked the exchange for its time yet: this is the machine's clock.";
  const off = Math.abs(skewSec);
  const by = off < 60 ? `${off.toFixed(3)} s` : duration(1000 * off);
  const how = off < 0.0005 ? "right to the millisecond" : `${by} ${skewSec < 0 ? "behind" : "ahead"}`;
  return `By the exchange; the machine's clock was ${how} at the newest run.`;
}

function newest({ run, feeders: others, trouble }: Now): Node[] {
  if (!run && (others || trouble)) return [el("p", { class: "muted" }, "No run has left its files on this host.")];
  if (!run) return [empty("No run has left its files here yet.", hint("start one: barfeed run --catch-up"))];
  const to = `#/run?${new URLSearchParams({ folder: run.folder, run: run.run }).toString()}`;
  const made: (HTMLElement | false)[] = [
    el("h2", {}, "Newest run"),
    el("p", { class: "lead" }, status(run), "  ", el("a", { href: to }, run.target_ms === null ? run.run : `${minute(run.target_ms)}`), `  ${run.series} ${run.interval}`),
    run.message ? el("p", {}, run.message) : false,
    hint(run.hint),
  ];
  return made.filter((each) => each !== false);
}

/** In place of the newest, where that is the same once more: a store is written in several steps. */
function tellOnce(happened: Element, made: HTMLElement): void {
  const newest = happened.firstElementChild;
  if (newest instanceof HTMLElement && newest.dataset.of === made.dataset.of) newest.remove();
  happened.prepend(made);
}

function entry(happening: Happening, now: Now): HTMLElement {
  const isOwn = now.run?.run === happening.run && now.run.folder === happening.folder;
  const how = happening.what === "ended" && isOwn && now.run ? `: ${now.run.status}` : "";
  const of = `${happening.what} ${happening.folder} ${happening.run}`;
  return el("li", { "data-of": of }, el("time", {}, timestamp(exchangeMs()).slice(11)), ` ${happening.folder} ${happening.run} `, `${SAYS[happening.what] ?? happening.what}${how}`);
}
