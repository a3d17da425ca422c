// The page: a view for each address, and one line to the server.

import { Refused } from "./api.js";
import { calendarView } from "./calendar.js";
import { chartView } from "./chart.js";
import { byId, el, empty, fill, hint } from "./dom.js";
import { listen, start } from "./live.js";
import { marketView } from "./market.js";
import { nowView } from "./now.js";
import { route } from "./route.js";
import { runView, runsView } from "./runs.js";

type View = (query: URLSearchParams, signal: AbortSignal) => Promise<HTMLElement>;

const VIEWS: Record<string, View> = {
  chart: chartView,
  calendar: calendarView,
  runs: runsView,
  run: runView,
  market: marketView,
  now: nowView,
};
const TABS = [["chart", "Chart"], ["calendar", "Calendar"], ["runs", "Runs"], ["market", "Market"], ["now", "Now"]] as const;

let leaving = new AbortController();
let failed = false;

async function show(): Promise<void> {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  const { view, query } = route();
  navigation(view);
  const main = byId("main");
  main.setAttribute("aria-busy", "true");
  let made: HTMLElement;
  try {
    made = await (VIEWS[view] ?? nowhere)(query, signal);
    failed = false;
  } catch (problem) {
    if (signal.aborted) return;
    failed = true;
    made = problem instanceof Refused ? empty(problem.message, hint(problem.hint)) : empty("This view could not be made.", el("p", {}, String(problem)));
  }
  if (signal.aborted) return;
  // Who hears a page goes by its headings; who sees it, by the tab that is marked.
  const title = made.querySelector("h1") ? false : el("h1", { class: "unseen" }, `${view} ${query.get("symbol") ?? ""}`);
  // Where the focus was is no more: it goes on from where the view begins.
  const isLost = main.contains(document.activeElement);
  fill(main, title, made);
  if (isLost) main.focus({ preventScroll: true });
  main.removeAttribute("aria-busy");
  document.title = `barfeed: ${query.get("symbol") ?? view}`;
}

function nowhere(): Promise<HTMLElement> {
  return Promise.resolve(empty("There is no such view.", el("a", { href: "#/chart" }, "To the chart")));
}

/** The same links throughout: who goes by keys stays on the one that was taken. */
function navigation(view: string): void {
  const nav = byId("nav");
  if (!nav.firstChild) nav.append(...TABS.map(([name, label]) => el("a", { href: `#/${name}` }, label)));
  const current = TABS.findIndex(([name]) => name === (view === "run" ? "runs" : view));
  [...nav.children].forEach((link, which) => {
    if (which === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
}

// An address with a hash of its own would be another view.
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", () => void show());
// What could not be had is asked for anew once something happens there, first of all that it is back.
listen(() => {
  if (failed) void show();
});
start();
void show();
