// Who feeds a database: every host's feed, worst first, and for how long each has not been heard of.

import type { Feeder, Now } from "./api.js";
import { el, head, hint, number, table } from "./dom.js";
import { exchangeMs } from "./live.js";
import { count, duration, timestamp } from "./time.js";

const HEADS = ["Host", "Last pass", "Ago", "Lag", "Trouble", "Feed", "barfeed"];
const NUMBERS = ["Ago", "Lag"];

export interface Feeders {
  place: HTMLElement;
  draw: (now: Now) => void;
  tick: () => void;
}

export function feeders(): Feeders {
  const lead = el("p", { class: "lead", role: "status" });
  const body = el("tbody", {});
  const all = table("Every feed", HEADS.map((name) => head(name, NUMBERS.includes(name))), body);
  const place = el("section", { class: "feeders", "aria-label": "Who feeds" }, el("h2", {}, "Who feeds"), lead, all);
  let told = "";
  let ticking: (() => void)[] = [];
  const tick = (): void => { for (const each of ticking) each(); };
  return {
    place,
    tick,
    draw: (now) => {
      const found = now.feeders;
      place.hidden = !found && !now.trouble;
      all.hidden = !found?.length;
      // What somebody has opened stays so, as long as there is nothing new.
      const news = JSON.stringify([now.trouble, found?.map((each) => ({ ...each, lag_ms: 0 }))]);
      if (news === told) return;
      told = news;
      lead.replaceChildren(...summary(now));
      const rows = (found ?? []).map((each) => line(each, now));
      body.replaceChildren(...rows.map((row) => row.made));
      ticking = rows.map((row) => row.tick);
      tick();
    },
  };
}

function summary({ feeders: found, trouble, hint: helps }: Now): Node[] {
  if (!found) return [el("span", { class: "trouble" }, trouble), ...shown(hint(helps))];
  if (!found.length) return [el("span", {}, "Nobody has fed it yet.")];
  const bad = found.filter((each) => each.trouble).length;
  const hosts = new Set(found.map((each) => each.host)).size;
  return [el("span", {}, `${feeds(found.length)} of ${count(hosts)} host${hosts > 1 ? "s" : ""}: ${count(bad)} in trouble, ${count(found.length - bad)} well.`)];
}

function feeds(many: number): string {
  return `${count(many)} feed${many > 1 ? "s" : ""}`;
}

function line(each: Feeder, now: Now): { made: HTMLElement; tick: () => void } {
  const ago = number("Ago", "");
  const lag = number("Lag", "");
  ago.title = `${timestamp(each.last_pass_ms)} UTC`;
  const made = el("tr", { class: each.trouble ? "trouble" : "" },
    el("td", {}, each.host), el("td", {}, el("span", { class: `status ${each.trouble ? "trouble" : "well"}` }, each.status)), ago, lag,
    el("td", { class: "said" }, ...trouble(each)), el("td", { class: "muted", title: each.feed }, folder(each.feed)), el("td", { class: "muted" }, each.version));
  const tick = (): void => {
    const atMs = exchangeMs();
    ago.textContent = duration(atMs - each.last_pass_ms);
    lag.textContent = each.lag_ms === null ? "" : duration(each.lag_ms + atMs - now.now_ms);
  };
  return { made, tick };
}

function folder(path: string): string {
  return path.split(/[\\/]/).filter(Boolean).pop() ?? path;
}

function trouble(each: Feeder): Node[] {
  if (!each.trouble) return [];
  return [el("span", {}, each.trouble), el("details", {}, el("summary", {}, "What helps"), hint(each.hint))];
}

function shown(made: HTMLElement | false): HTMLElement[] {
  return made ? [made] : [];
}
