// The runs: what each was for, how it ended, and what it left, each file with its sha256 checked on demand.

import { type Check, type Detail, type File, type Finding, type Outcome, type Run, type RunList, address, ask } from "./api.js";
import { el, empty, head, hint, named, number, table } from "./dom.js";
import { listen } from "./live.js";
import { DAY_MS, bytes, count, day, minute } from "./time.js";

const PAGE = 100;
const FINDINGS_MAX = 200;
const HEADS = ["Hour", "Series", "Status", "Pulled", "Proven", "Appended", "Seconds", "Message"];

export async function runsView(query: URLSearchParams, signal: AbortSignal): Promise<HTMLElement> {
  const dayMs = query.get("day");
  const asked = { day_ms: dayMs, symbol: query.get("symbol"), interval: query.get("interval"), count: PAGE };
  const list = await ask<RunList>("runs", asked, signal);
  const body = el("tbody", {});
  const [all, none] = [table("Runs", HEADS.map(runHead), body), nothing(dayMs)];
  const known = new Set<string>();
  // What stands there stays: somebody may read it, or have gone back to older ones.
  const add = (runs: Run[], place: (...rows: HTMLElement[]) => void): void => {
    const unknown = runs.filter((run) => !known.has(nameOf(run)));
    for (const run of unknown) known.add(nameOf(run));
    place(...unknown.map(line));
    all.hidden = !known.size;
    none.hidden = known.size > 0;
  };
  const older = (runs: Run[]): void => add(runs, (...rows) => body.append(...rows));
  older(list.runs);
  const stop = listen(({ what }) => {
    if (what !== "ended" && what !== "hello") return;
    void ask<RunList>("runs", asked).then(({ runs }) => add(runs, (...rows) => body.prepend(...rows)), () => undefined);
  });
  signal.addEventListener("abort", stop);
  return el("div", { class: "runsview" }, heading(query), all, none, dayMs === null && more(list.runs, body, older));
}

function nameOf({ folder, run }: Run): string {
  return `${folder} ${run}`;
}

function heading(query: URLSearchParams): HTMLElement {
  const dayMs = Number(query.get("day"));
  const symbol = query.get("symbol");
  const link = (ms: number): string => `#/runs?${new URLSearchParams({ ...Object.fromEntries(query), day: String(ms) }).toString()}`;
  const date = el("input", { type: "date", "aria-label": "The runs of a day", value: dayMs ? day(dayMs) : "" });
  date.addEventListener("change", () => (location.hash = date.valueAsNumber ? link(date.valueAsNumber) : "#/runs"));
  return el("div", { class: "controls" },
    dayMs ? el("a", { class: "button", href: link(dayMs - DAY_MS), "aria-label": "The day before" }, "‹") : false,
    date,
    dayMs ? el("a", { class: "button", href: link(dayMs + DAY_MS), "aria-label": "The day after" }, "›") : false,
    symbol ? el("span", { class: "level" }, `${symbol} ${query.get("interval") ?? ""}`) : false,
    dayMs || symbol ? el("a", { class: "button", href: "#/runs" }, "All runs") : false);
}

function nothing(dayMs: string | null): HTMLElement {
  if (dayMs) return empty(`No run was for an hour of ${day(Number(dayMs))}.`, el("p", { class: "hint" }, "Its bars came by backfill, or by a run whose files are gone."));
  return empty("No run has left its files here yet.", hint("start one: barfeed run --catch-up"));
}

function line(run: Run): HTMLElement {
  const to = `#/run?${new URLSearchParams({ folder: run.folder, run: run.run }).toString()}`;
  const cells = [
    el("td", {}, el("a", { href: to }, run.target_ms === null ? "unknown" : minute(run.target_ms))),
    el("td", {}, `${run.series} ${run.interval}`),
    el("td", {}, status(run)),
    number("Pulled", count(run.pulled)),
    number("Proven", count(run.validated)),
    number("Appended", count(run.appended)),
    number("Seconds", run.total_sec.toFixed(2)),
    el("td", { class: "said" }, run.message || run.warnings[0] || ""),
  ];
  return el("tr", { class: run.exit_code ? "trouble" : "" }, ...cells);
}

function runHead(name: string): HTMLElement {
  return head(name, ["Pulled", "Proven", "Appended", "Seconds", "Rows", "Size"].includes(name));
}

export function status(run: Run): HTMLElement {
  return el("span", { class: `status ${run.exit_code ? "trouble" : "well"}` }, run.status);
}

function more(first: Run[], body: HTMLElement, older: (runs: Run[]) => void): HTMLElement | false {
  if (first.length < PAGE) return false;
  let beforeMs = first.at(-1)?.at_ms ?? 0;
  const button = el("button", { type: "button" }, "Older");
  button.addEventListener("click", () => {
    void ask<RunList>("runs", { before_ms: beforeMs, count: PAGE }).then(({ runs }) => {
      older(runs);
      beforeMs = runs.at(-1)?.at_ms ?? beforeMs;
      if (runs.length < PAGE) button.remove();
      else (body.lastElementChild?.querySelector("a") as HTMLElement | null)?.scrollIntoView({ block: "nearest" });
    });
  });
  return button;
}

export async function runView(query: URLSearchParams, signal: AbortSignal): Promise<HTMLElement> {
  const [folder, name] = [query.get("folder") ?? "", query.get("run") ?? ""];
  const detail = await ask<Detail>("run", { folder, run: name }, signal);
  const { run, manifest } = detail;
  const title = run.target_ms === null ? run.run : `${minute(run.target_ms)} UTC`;
  return el("article", { class: "runview" },
    el("p", {}, el("a", { href: "#/runs" }, "Runs")),
    el("h1", {}, title),
    el("p", { class: "lead" }, status(run), `  ${run.series} ${run.interval}, run ${run.run}`),
    run.message ? el("p", {}, run.message) : false,
    hint(run.hint),
    ...run.warnings.map((each) => el("p", { class: "muted" }, each)),
    files(detail, folder),
    findings([...(manifest.findings ?? []), ...(manifest.outcomes ?? []).flatMap(ofSeries)]),
    troubles(run),
    durations(manifest.durations_sec ?? {}),
    el("details", {}, el("summary", {}, "The whole manifest"), el("pre", { tabindex: 0 }, JSON.stringify(manifest, null, 2))));
}

function files(detail: Detail, folder: string): HTMLElement {
  const all: File[] = [...detail.files];
  const rows = all.map((file) => {
    const verdict = el("td", {}, check(file, folder, detail.run.run));
    return el("tr", {},
      el("td", {}, file.bytes === null ? file.name : download(folder, detail.run.run, file.name)),
      number("Rows", count(file.rows)),
      number("Size", file.bytes === null ? "gone" : bytes(file.bytes)),
      el("td", { class: "hash", title: file.sha256 }, file.sha256.slice(0, 16)),
      verdict);
  });
  rows.push(el("tr", {}, el("td", {}, download(folder, detail.run.run, detail.manifest_file)), el("td", {}), el("td", {}), el("td", {}), el("td", {})));
  const heads = ["File", "Rows", "Size", "sha256", "Check"].map(runHead);
  return el("section", {}, el("h2", {}, "What it left"), table("Files", heads, el("tbody", {}, ...rows)));
}

function download(folder: string, run: string, file: string): HTMLElement {
  return el("a", { href: address("file", { folder, run, file }), download: file }, file);
}

function check(file: File, folder: string, run: string): HTMLElement {
  const button = el("button", { type: "button" }, "check");
  button.addEventListener("click", () => {
    button.disabled = true;
    ask<Check>("check", { folder, run, file: file.name }).then(
      ({ is_same, seen }) => button.replaceWith(el("span", { class: is_same ? "status well" : "status trouble", role: "status" },
        is_same ? "as written" : `changed: now ${seen.slice(0, 16)}`)),
      (problem: Error) => button.replaceWith(el("span", { class: "status trouble", role: "status" }, problem.message)),
    );
  });
  return button;
}

function findings(found: Finding[]): HTMLElement | false {
  if (!found.length) return false;
  const names = [...new Set(found.flatMap((each) => Object.keys(each)))];
  const rows = found.slice(0, FINDINGS_MAX).map((each) => el("tr", {}, ...names.map((name) => named(words(name), shown(each[name])))));
  const many = `${count(found.length)}${found.length > FINDINGS_MAX ? `, the first ${FINDINGS_MAX} here` : ""}`;
  return el("section", {}, el("h2", {}, `Findings (${many})`), table("Findings", names.map((name) => head(words(name))), el("tbody", {}, ...rows)));
}

function ofSeries({ symbol, findings: found }: Outcome): Finding[] {
  return (found ?? []).map((each) => ({ symbol, ...each }));
}

function words(name: string): string {
  return name.replaceAll("_", " ");
}

function shown(value: unknown): string {
  return value === null || value === undefined ? "" : typeof value === "object" ? Object.entries(value).map(([name, each]) => `${name} ${String(each)}`).join(", ") : String(value as string | number);
}

function troubles(run: Run): HTMLElement | false {
  if (!run.troubles.length) return false;
  return el("section", {}, el("h2", {}, `Series without a bar (${count(run.troubles.length)})`), el("ul", {},
    ...run.troubles.map((each) => el("li", {}, el("b", {}, each.symbol), ` ${each.status}: ${each.message}`, hint(each.hint)))));
}

function durations(sec: Record<string, number>): HTMLElement | false {
  const parts = Object.entries(sec);
  if (!parts.length) return false;
  return el("p", { class: "muted" }, parts.map(([name, value]) => `${name} ${value.toFixed(3)} s`).join(", "));
}

