// One cell a day: what is true of it. A click leads to the runs of that day.

import { type Calendar, type Day, type Market, ask, askMarket } from "./api.js";
import { el, empty } from "./dom.js";
import { DAY_MS, count, day } from "./time.js";

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MEANINGS: [Day["state"], string][] = [
  ["whole", "whole"],
  ["late", "late: a run had no bar yet"],
  ["refused", "refused: a run refused an hour"],
  ["revised", "revised: a stored bar was changed"],
  ["gap", "gap: bars are missing"],
];

export async function calendarView(query: URLSearchParams, signal: AbortSignal): Promise<HTMLElement> {
  const market = await askMarket(signal);
  const symbol = query.get("symbol") ?? market.rows.find((row) => row.symbol === "BTCUSDT")?.symbol ?? market.rows[0]?.symbol ?? "";
  const row = market.rows.find((each) => each.symbol === symbol && each.interval === (query.get("interval") ?? each.interval));
  if (!row) return empty(`The store holds no bar of ${symbol}.`, el("a", { href: "#/market" }, "Every series"));
  const years = yearsOf(row.first_ms ?? 0, row.last_ms ?? 0);
  const year = Number(query.get("year")) || years[0] || 1970;
  const asked = { symbol, interval: row.interval, first_ms: Date.UTC(year, 0, 1), last_ms: Date.UTC(year + 1, 0, 1) - 1 };
  const calendar = await ask<Calendar>("calendar", asked, signal);
  return el(
    "div",
    { class: "calendarview" },
    controls(market, symbol, row.interval, years, year),
    summary(calendar.days),
    legend(),
    grid(calendar, year),
  );
}

function yearsOf(firstMs: number, lastMs: number): number[] {
  const [first, last] = [new Date(firstMs).getUTCFullYear(), new Date(lastMs).getUTCFullYear()];
  return Array.from({ length: last - first + 1 }, (_, back) => last - back);
}

function controls(market: Market, symbol: string, interval: string, years: number[], year: number): HTMLElement {
  const go = (to: Record<string, string>): void => {
    location.hash = `#/calendar?${new URLSearchParams({ symbol, interval, year: String(year), ...to }).toString()}`;
  };
  const series = el("select", { "aria-label": "Series" }, ...market.rows
    .map((row) => `${row.symbol} ${row.interval}`)
    .sort()
    .map((name) => el("option", { selected: name === `${symbol} ${interval}` }, name)));
  series.addEventListener("change", () => {
    const [to = "", by = ""] = series.value.split(" ");
    location.hash = `#/calendar?${new URLSearchParams({ symbol: to, interval: by }).toString()}`;
  });
  const buttons = years.map((each) => {
    const made = el("button", { type: "button", "aria-pressed": String(each === year) }, String(each));
    made.addEventListener("click", () => go({ year: String(each) }));
    return made;
  });
  return el("div", { class: "controls" }, series, ...buttons);
}

function summary(days: Day[]): HTMLElement {
  const of = (state: Day["state"]): number => days.filter((each) => each.state === state).length;
  const parts = MEANINGS.map(([state]) => [state, of(state)] as const).filter(([, many]) => many > 0);
  return el("p", { class: "lead" }, `${count(days.length)} days: `, parts.map(([state, many]) => `${count(many)} ${state === "gap" ? "with a gap" : state}`).join(", "));
}

function grid(calendar: Calendar, year: number): HTMLElement {
  const days = new Map(calendar.days.map((each) => [each.day_ms, each]));
  const months = MONTHS.map((name, month) => {
    const firstMs = Date.UTC(year, month, 1);
    const before = (new Date(firstMs).getUTCDay() + 6) % 7;
    const length = Math.round((Date.UTC(year, month + 1, 1) - firstMs) / DAY_MS);
    const cells = Array.from({ length }, (_, number) => cell(calendar, days.get(firstMs + number * DAY_MS), firstMs + number * DAY_MS));
    return el("section", { class: "month" }, el("h2", {}, name), el("div", { class: "cells" },
      ...Array.from({ length: before }, () => el("span", { class: "cell outside", "aria-hidden": "true" })), ...cells));
  });
  // Months before the first bar, or after the last, have nothing to tell.
  const [first, last] = [calendar.days[0], calendar.days.at(-1)].map((each) => (each ? new Date(each.day_ms).getUTCMonth() : 0)) as [number, number];
  return el("div", { class: "months" }, ...months.slice(first, last + 1));
}

function cell(calendar: Calendar, of: Day | undefined, dayMs: number): HTMLElement {
  const number = String(new Date(dayMs).getUTCDate());
  if (!of) return el("span", { class: "cell none" }, number);
  const told = [`${of.bars} of ${of.due} bars`, of.revised && `${of.revised} revised`, of.refused && `${of.refused} refused`, of.late && `${of.late} late`];
  const says = `${of.state}, ${told.filter(Boolean).join(", ")}`;
  const spoken = `${number} ${MONTHS[new Date(dayMs).getUTCMonth()] ?? ""} ${new Date(dayMs).getUTCFullYear()}: ${says}`;
  const query = new URLSearchParams({ day: String(dayMs), symbol: calendar.symbol, interval: calendar.interval });
  return el("a", { class: `cell ${of.state}`, href: `#/runs?${query.toString()}`, title: `${day(dayMs)}: ${says}`, "aria-label": spoken }, number);
}

function legend(): HTMLElement {
  return el("ul", { class: "key" }, ...MEANINGS.map(([state, says]) => el("li", {}, el("span", { class: `cell ${state}`, "aria-hidden": "true" }), says)));
}
