// What the server is asked, and what it answers: see /api/openapi.json.

export type Values = (number | null)[];

export interface Candles {
  symbol: string;
  interval: string;
  first_ms: number;
  step_ms: number;
  bars_of_step: number;
  open: Values;
  high: Values;
  low: Values;
  close: Values;
  volume: Values;
  bars: number[];
  history: [number, number];
}

export interface Beside {
  first_ms: number;
  step_ms: number;
  panes: { name: string; unit: string; values: Values }[];
}

export interface Gap {
  first_ms: number;
  last_ms: number;
  bars: number;
}

export interface Revision {
  at_ms: number;
  old: Values;
  new: Values;
  seen_at_ms: number;
  reason: string;
  run: string;
}

export interface Refusal {
  at_ms: number;
  status: string;
  message: string;
  hint: string;
  folder: string;
  run: string;
}

export interface Prediction {
  at_ms: number;
  y_pred: number;
  model: string;
  horizon_hours: number | null;
  came: number | null;
}

export interface Marks {
  gaps: Gap[];
  revisions: Revision[];
  refusals: Refusal[];
  predictions: Prediction[];
}

export interface Day {
  day_ms: number;
  state: "gap" | "revised" | "refused" | "late" | "whole" | "none";
  bars: number;
  due: number;
  revised: number;
  refused: number;
  late: number;
}

export interface Calendar {
  symbol: string;
  interval: string;
  days: Day[];
}

export interface Row {
  symbol: string;
  interval: string;
  state: "trouble" | "well" | "quiet";
  bars: number;
  first_ms: number | null;
  last_ms: number | null;
  missing: number;
  revisions: number;
  lag_ms: number | null;
  trouble: string;
  hint: string;
  status: string;
  contract: string;
  onboard_ms: number | null;
  delivery_ms: number | null;
}

export interface Market {
  now_ms: number;
  store: string;
  store_bytes: number;
  trouble: string;
  hint: string;
  rows: Row[];
  flags: string;
}

export interface Run {
  folder: string;
  run: string;
  at_ms: number;
  series: string;
  interval: string;
  status: string;
  exit_code: number;
  target_ms: number | null;
  message: string;
  hint: string;
  pulled: number;
  validated: number;
  appended: number;
  published: number;
  total_sec: number;
  is_market: boolean;
  findings: number;
  warnings: string[];
  troubles: { symbol: string; status: string; message: string; hint: string }[];
}

export interface RunList {
  runs: Run[];
}

export interface File {
  name: string;
  sha256: string;
  rows: number;
  bytes: number | null;
}

export interface Finding {
  open_time?: string;
  bar?: string;
  column?: string;
  stored?: number | null;
  exchange?: number | null;
  rule?: string;
  [key: string]: unknown;
}

/** What came of one series of a market's pass. */
export interface Outcome {
  symbol: string;
  findings?: Finding[];
}

export interface Detail {
  run: Run;
  manifest: { findings?: Finding[]; outcomes?: Outcome[]; durations_sec?: Record<string, number>; [key: string]: unknown };
  files: File[];
  manifest_file: string;
  where: string;
}

export interface Check {
  name: string;
  told: string;
  seen: string;
  is_same: boolean;
}

export interface Feeder {
  host: string;
  feed: string;
  version: string;
  last_pass_ms: number;
  status: string;
  lag_ms: number | null;
  trouble: string;
  hint: string;
}

export interface Now {
  now_ms: number;
  skew_sec: number | null;
  run: Run | null;
  log: string;
  interval_ms: number;
  version: string;
  feeders: Feeder[] | null;
  trouble: string;
  hint: string;
}

/** What the server said of why there is no answer. */
export class Refused extends Error {
  constructor(
    message: string,
    readonly hint: string,
    readonly status: number,
  ) {
    super(message);
  }
}

type Query = Record<string, string | number | null | undefined>;

export function address(view: string, query: Query = {}): string {
  const parts = Object.entries(query)
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`);
  return `/api/${view}${parts.length ? `?${parts.join("&")}` : ""}`;
}

export async function ask<Answer>(view: string, query: Query = {}, signal?: AbortSignal): Promise<Answer> {
  let answer: Response;
  try {
    answer = await fetch(address(view, query), signal ? { signal } : {});
  } catch (problem) {
    if (signal?.aborted) throw problem;
    throw new Refused("barfeed web does not answer", "start it: barfeed web", 0);
  }
  if (answer.ok) return (await answer.json()) as Answer;
  const said = (await answer.json().catch(() => ({}))) as { error?: string; hint?: string };
  throw new Refused(said.error ?? `the server answered ${answer.status}`, said.hint ?? "", answer.status);
}

/** The market, of one series at least: a view without any is made anew once something happens there. */
export async function askMarket(signal: AbortSignal): Promise<Market> {
  const market = await ask<Market>("market", {}, signal);
  if (market.rows.length) return market;
  throw new Refused(market.trouble || "The store holds no bar yet.", market.hint || `start it: barfeed run${market.flags} --catch-up`, 200);
}
