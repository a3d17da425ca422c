// One line to the server: what happens there, and the exchange's clock, for every view of this page.

import { type Now, Refused, ask } from "./api.js";
import { byId, el } from "./dom.js";
import { duration, timestamp } from "./time.js";

export interface Happening {
  what: "hello" | "pulled" | "published" | "ended" | "changed" | "stored" | "logged";
  folder: string;
  run: string;
}

type Listener = (happening: Happening) => void;

const EVENTS: Happening["what"][] = ["hello", "pulled", "published", "ended", "changed", "stored", "logged"];
const RETRY_MS = 1000;
// As the server gives a feed for an hour that has just closed.
const GRACE_MS = 5 * 60_000;

const listeners = new Set<Listener>();
let source: EventSource | null = null;
let now: Now | null = null;
let offsetMs = 0;
let version = "";

/** Hear what happens until the returned function is called. */
export function listen(listener: Listener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The exchange's clock, as the newest run measured it. */
export function exchangeMs(): number {
  return Date.now() + offsetMs;
}

export function newest(): Now | null {
  return now;
}

export function start(): void {
  connect();
  setInterval(tick, 250);
}

function connect(): void {
  source?.close();
  source = new EventSource("/api/events");
  for (const what of EVENTS) source.addEventListener(what, (event) => void heard(what, (event as MessageEvent<string>).data));
  source.onerror = () => {
    notice("barfeed web does not answer; this page comes back by itself");
    // A server that was started anew, or refuses, ends the line for good: it is opened anew.
    if (source?.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
}

async function heard(what: Happening["what"], data: string): Promise<void> {
  const said = JSON.parse(data) as Happening;
  if (what === "hello") {
    if (version && version !== said.run) location.reload();
    version = said.run;
    notice("");
  }
  if (what === "hello" || what === "ended" || what === "logged") await refresh();
  for (const listener of listeners) listener({ ...said, what });
}

/** What was told of now, and with it the exchange's clock, is known to every view. */
export function know(told: Now): Now {
  now = told;
  offsetMs = told.now_ms - Date.now();
  return told;
}

async function refresh(): Promise<void> {
  try {
    know(await ask<Now>("now"));
  } catch (problem) {
    if (problem instanceof Refused) notice(problem.message);
  }
}

export function notice(text: string): void {
  const place = byId("notice");
  if (place.textContent !== text) place.textContent = text;
}

function tick(): void {
  const place = byId("clock");
  if (!now) return;
  const atMs = exchangeMs();
  const leftMs = now.interval_ms - (atMs % now.interval_ms);
  const [state, says] = standing(now, atMs);
  if (!place.firstChild) {
    place.append(el("span", { class: "dot", role: "img" }), el("time", {}), el("span", { class: "left" }));
  }
  const [dot, time, left] = place.children as unknown as [HTMLElement, HTMLElement, HTMLElement];
  dot.className = `dot ${state}`;
  dot.setAttribute("aria-label", says);
  dot.title = says;
  time.textContent = `${timestamp(atMs).slice(11)} UTC`;
  left.textContent = `closes in ${duration(leftMs)}`;
}

/** How the feed of this host is: a run that does not come is trouble, too. */
function standing({ run, interval_ms: intervalMs, feeders }: Now, atMs: number): ["well" | "trouble" | "", string] {
  if (!run) return ["", feeders ? "No run of this host" : "No run yet"];
  if (run.exit_code) return ["trouble", `The last run: ${run.status}`];
  const agoMs = atMs - run.at_ms;
  if (agoMs > intervalMs + GRACE_MS) return ["trouble", `The last run was well, and ${duration(agoMs)} ago`];
  return ["well", "The last run was well"];
}
