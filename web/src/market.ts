// Every series with its lag, its newest bar and its trouble: worst first, sorted and found in an instant.

import { type Market, type Row, ask, askMarket } from "./api.js";
import { el, fill, hint, number, table } from "./dom.js";
import { listen } from "./live.js";
import { count, day, duration, minute } from "./time.js";

interface Column {
  name: string;
  value: (row: Row) => number | string;
  cell: (row: Row) => HTMLElement;
  number?: boolean;
}

interface Line {
  told: string;
  made: HTMLElement;
}

// A browser lays out all rows of a table for each that changes: what nobody has scrolled to yet is not there.
const ROWS_AT_ONCE = 60;
// That a feed has fallen behind, nobody tells.
const ANEW_MS = 15_000;

const COLUMNS: Column[] = [
  { name: "Symbol", value: (row) => row.symbol, cell: link },
  { name: "Interval", value: (row) => row.interval, cell: (row) => el("td", {}, row.interval) },
  { name: "State", value: (row) => ["trouble", "well", "quiet"].indexOf(row.state), cell: (row) => el("td", {}, el("span", { class: `status ${row.state}` }, row.state)) },
  { name: "Newest bar", value: (row) => row.last_ms ?? 0, cell: (row) => el("td", {}, row.last_ms === null ? "none" : minute(row.last_ms)) },
  { name: "Lag", value: (row) => -(row.lag_ms ?? 0), cell: (row) => number("Lag", lag(row)), number: true },
  { name: "Bars", value: (row) => row.bars, cell: (row) => number("Bars", count(row.bars)), number: true },
  { name: "Missing", value: (row) => -row.missing, cell: (row) => number("Missing", row.missing ? count(row.missing) : ""), number: true },
  { name: "Revised", value: (row) => -row.revisions, cell: (row) => number("Revised", row.revisions ? count(row.revisions) : ""), number: true },
  { name: "Listing", value: (row) => row.status, cell: (row) => el("td", {}, listing(row)) },
  { name: "Trouble", value: (row) => row.trouble, cell: trouble },
];
const LAG = COLUMNS.findIndex((column) => column.name === "Lag");

export async function marketView(_: URLSearchParams, signal: AbortSignal): Promise<HTMLElement> {
  let market = await askMarket(signal);
  // Worst first, until somebody wants it otherwise.
  let order: { column: number; down: boolean } | null = null;
  const found = el("input", { type: "search", placeholder: "Find a symbol, a word", "aria-label": "Find", autocomplete: "off" });
  const lead = el("p", { class: "lead", role: "status" });
  const body = el("tbody", {});
  const below = el("div", {});
  const bad = el("div", { class: "trouble" });
  const lines = new Map<string, Line>();
  let rows: Row[] = [];
  const heads = COLUMNS.map((column, which) => {
    const button = el("button", { type: "button" }, column.name);
    button.addEventListener("click", () => {
      order = { column: which, down: order?.column === which ? !order.down : false };
      draw(ROWS_AT_ONCE);
    });
    return el("th", { scope: "col", class: column.number ? "number" : "" }, button);
  });
  const draw = (many: number): void => {
    rows = sorted(matching(market.rows, found.value), order);
    place(body, rows.slice(0, many).map((row) => line(row, lines)));
    heads.forEach((head, which) => head.setAttribute("aria-sort", order?.column === which ? (order.down ? "descending" : "ascending") : "none"));
    const says = told(market, rows);
    if (lead.textContent !== says) lead.textContent = says;
    fill(bad, market.trouble, hint(market.hint));
  };
  const more = new IntersectionObserver(([seen]) => {
    const drawn = body.childElementCount;
    if (!seen?.isIntersecting || drawn >= rows.length) return;
    body.append(...rows.slice(drawn, drawn + ROWS_AT_ONCE).map((row) => line(row, lines)));
    // Told anew where it is in sight still.
    more.unobserve(below);
    more.observe(below);
  }, { rootMargin: "800px" });
  more.observe(below);
  found.addEventListener("input", () => { draw(ROWS_AT_ONCE); });
  draw(ROWS_AT_ONCE);
  const anew = (): void => {
    void ask<Market>("market").then((fresh) => {
      // What cannot be read now is as it was last seen.
      market = fresh.rows.length ? fresh : { ...market, trouble: fresh.trouble, hint: fresh.hint };
      draw(Math.max(ROWS_AT_ONCE, body.childElementCount));
    }, () => undefined);
  };
  const stop = listen(({ what }) => {
    if (what === "ended" || what === "stored" || what === "hello") anew();
  });
  const asking = setInterval(() => {
    if (!document.hidden) anew();
  }, ANEW_MS);
  signal.addEventListener("abort", () => {
    clearInterval(asking);
    stop();
    more.disconnect();
  });
  return el("div", { class: "marketview" }, el("div", { class: "controls" }, found), lead, bad, table("Every series", heads, body), below);
}

function told(market: Market, rows: Row[]): string {
  const of = (state: Row["state"]): number => rows.filter((row) => row.state === state).length;
  const quiet = of("quiet") ? `, ${count(of("quiet"))} quiet` : "";
  return `${count(rows.length)} series: ${count(of("trouble"))} in trouble, ${count(of("well"))} well${quiet}. ${market.store}, ${(market.store_bytes / 1e6).toFixed(1)} MB`;
}

function matching(rows: Row[], text: string): Row[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return rows.filter((row) => {
    const all = `${row.symbol} ${row.interval} ${row.state} ${row.status} ${row.contract} ${row.trouble}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
}

function sorted(rows: Row[], order: { column: number; down: boolean } | null): Row[] {
  const column = order && COLUMNS[order.column];
  if (!column) return rows;
  const sign = order.down ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [left, right] = [column.value(one), column.value(other)];
    return sign * (left < right ? -1 : left > right ? 1 : one.symbol < other.symbol ? -1 : 1);
  });
}

/** Rows that stand there already stay, and with them what somebody has put the focus on. */
function place(body: HTMLElement, made: HTMLElement[]): void {
  const isSame = body.childElementCount === made.length && made.every((each, which) => body.children[which] === each);
  if (!isSame) body.replaceChildren(...made);
}

/** The row as it was made before, as long as nothing but the time has gone on. */
function line(row: Row, lines: Map<string, Line>): HTMLElement {
  const [of, told] = [`${row.symbol} ${row.interval}`, JSON.stringify({ ...row, lag_ms: 0 })];
  const before = lines.get(of);
  if (before?.told === told) {
    const cell = before.made.children[LAG];
    if (cell) cell.textContent = lag(row);
    return before.made;
  }
  const made = el("tr", { class: row.state }, ...COLUMNS.map((column) => column.cell(row)));
  lines.set(of, { told, made });
  return made;
}

function link(row: Row): HTMLElement {
  return el("td", {}, el("a", { href: `#/chart?${new URLSearchParams({ symbol: row.symbol, interval: row.interval }).toString()}` }, row.symbol));
}

/** How long its next bar has been due; of one that is quiet, nothing is. */
function lag(row: Row): string {
  return row.lag_ms && row.state !== "quiet" ? duration(row.lag_ms) : "";
}

function listing(row: Row): string {
  const since = row.onboard_ms ? `since ${day(row.onboard_ms)}` : "";
  const isEnding = row.delivery_ms !== null && row.delivery_ms < Date.UTC(2099, 0, 1);
  const until = isEnding && row.delivery_ms ? `until ${day(row.delivery_ms)}` : "";
  return [row.status === "TRADING" ? "" : row.status, since, until].filter(Boolean).join(", ");
}

function trouble(row: Row): HTMLElement {
  return el("td", { class: "said" }, row.trouble, row.trouble ? hint(row.hint) : false);
}
