// Candles and volume of a series, over years: levels of detail from the server, and everything that is not a bar, too.

import {
  CandlestickSeries,
  HistogramSeries,
  type IChartApi,
  type ISeriesApi,
  type ISeriesMarkersPluginApi,
  LineSeries,
  LineType,
  type LogicalRange,
  type SeriesMarker,
  type Time,
  type UTCTimestamp,
  createChart,
  createSeriesMarkers,
  createTextWatermark,
} from "lightweight-charts";
import { type Beside, type Candles, type Market, type Marks, Refused, type Values, ask, askMarket } from "./api.js";
import { command, el, fill } from "./dom.js";
import { GapBands } from "./gaps.js";
import { listen } from "./live.js";
import { replaceQuery } from "./route.js";
import { colours, isStill, onChange } from "./theme.js";
import { count, intervalMs, minute, span, stepName } from "./time.js";

const SETTLE_MS = 80;
const FIRST_STEPS = 300;
const FIRST_STEP_PX = 3.5;
const STEP_PX = 2;
const EDGE = 0.15;
const LIST_MAX = 50;
const WORD_PX = 80;
const NARROW = matchMedia("(max-width: 640px)");
const PLAIN = { lineWidth: 1, priceLineVisible: false, lastValueVisible: false, crosshairMarkerVisible: false } as const;

type Asked = Record<"first_ms" | "last_ms", number>;

interface Shown {
  candles: Candles;
  marks: Marks;
  beside: Beside;
}

export async function chartView(query: URLSearchParams, signal: AbortSignal): Promise<HTMLElement> {
  const market = await askMarket(signal);
  const wanted = query.get("symbol") ?? market.rows.find((row) => row.symbol === "BTCUSDT")?.symbol ?? market.rows[0]?.symbol ?? "";
  const row = market.rows.find((each) => each.symbol === wanted && each.interval === (query.get("interval") ?? each.interval));
  const symbol = row?.symbol ?? wanted;
  const interval = row?.interval ?? query.get("interval") ?? "1h";
  const view = new ChartView(symbol, interval, market);
  const at = Number(query.get("at")) || null;
  await view.open(at, signal);
  signal.addEventListener("abort", () => view.close());
  return view.root;
}

class ChartView {
  readonly root: HTMLElement;
  private readonly place = el("div", { class: "chart", tabindex: 0, role: "application" });
  private readonly legend = el("div", { class: "legend" });
  private readonly list = el("section", { class: "events", "aria-label": "What stands out in this span" });
  private readonly level = el("span", { class: "level" });
  private readonly chart: IChartApi;
  private readonly bars: ISeriesApi<"Candlestick">;
  private readonly volume: ISeriesApi<"Histogram">;
  private readonly bands = new GapBands();
  private readonly markers: ISeriesMarkersPluginApi<Time>;
  private readonly fed = new Map<string, ISeriesApi<"Line">>();
  private said: ISeriesApi<"Line"> | null = null;
  private came: ISeriesApi<"Line"> | null = null;
  private shown: Shown | null = null;
  private asking: AbortController | null = null;
  private loaded: Promise<void> = Promise.resolve();
  private timer = 0;
  private asked = "";
  private enumerated = "";
  private pointed = false;
  private readonly ends: (() => void)[] = [];
  private readonly sized = new Promise<void>((resolve) => {
    const observer = new ResizeObserver(() => {
      if (!this.place.clientWidth) return;
      observer.disconnect();
      requestAnimationFrame(() => resolve());
    });
    observer.observe(this.place);
  });

  constructor(
    private readonly symbol: string,
    private readonly interval: string,
    private readonly market: Market,
  ) {
    this.root = el("div", { class: "chartview" }, this.controls(), el("div", { class: "stage" }, this.place, this.legend), attribution(), this.list);
    // A finger that goes up or down scrolls the page, not the prices.
    this.chart = createChart(this.place, { autoSize: true, handleScroll: { vertTouchDrag: false } });
    this.bars = this.chart.addSeries(CandlestickSeries, { priceLineVisible: false, lastValueVisible: false });
    this.volume = this.chart.addSeries(HistogramSeries, {
      priceScaleId: "volume",
      priceFormat: { type: "volume" },
      priceLineVisible: false,
      lastValueVisible: false,
    });
    // The legend stands above the bars, and takes more of a phone.
    this.chart.priceScale("right").applyOptions({ scaleMargins: { top: NARROW.matches ? 0.35 : 0.2, bottom: 0.1 } });
    this.chart.priceScale("volume").applyOptions({ scaleMargins: { top: 0.82, bottom: 0 } });
    this.bars.attachPrimitive(this.bands);
    this.markers = createSeriesMarkers(this.bars, []);
    this.paint();
    this.chart.subscribeCrosshairMove((at) => {
      this.pointed = at.logical !== undefined;
      this.tell(at.logical === undefined ? null : Math.round(at.logical));
    });
    this.place.addEventListener("keydown", (event) => this.key(event));
    this.ends.push(
      onChange(() => this.paint()),
      listen(({ what }) => {
        if (what === "stored" || what === "ended" || what === "hello") void this.follow();
      }),
    );
  }

  /** The first look: the newest bars, or those around a moment. */
  async open(atMs: number | null, signal: AbortSignal): Promise<void> {
    const stepMs = intervalMs(this.interval);
    const asked = atMs === null ? {} : { first_ms: atMs - (FIRST_STEPS / 2) * stepMs, last_ms: atMs + (FIRST_STEPS / 2) * stepMs };
    const whole = await this.ask(atMs === null ? await this.newest(signal) : asked, FIRST_STEPS * 4, signal);
    this.show(whole);
    const at = atMs === null ? null : (atMs - whole.candles.first_ms) / whole.candles.step_ms;
    this.pointed = atMs !== null;
    if (at !== null) this.tell(Math.round(at));
    // Before it has a size, a chart does not know how much fits into it.
    void this.sized.then(() => {
      const [steps, room] = [this.firstSteps(), this.room()];
      const end = at === null ? whole.candles.bars.length + room : at + steps / 2;
      this.chart.timeScale().setVisibleLogicalRange({ from: end - steps, to: end });
      this.chart.timeScale().subscribeVisibleLogicalRangeChange(() => this.later());
    });
  }

  close(): void {
    clearTimeout(this.timer);
    this.asking?.abort();
    for (const end of this.ends) end();
    this.chart.remove();
  }

  private async newest(signal: AbortSignal): Promise<Record<string, number>> {
    const row = this.market.rows.find((each) => each.symbol === this.symbol && each.interval === this.interval);
    const lastMs = row?.last_ms ?? (await ask<Candles>("candles", { ...this.series, points: 1 }, signal)).history[1];
    return { first_ms: lastMs - FIRST_STEPS * 3 * intervalMs(this.interval), last_ms: lastMs };
  }

  /** So many that every bar is seen, at a screen's width or a phone's. */
  private firstSteps(): number {
    return Math.min(FIRST_STEPS, Math.round(this.place.clientWidth / FIRST_STEP_PX));
  }

  /** Steps right of the newest bar, so that a word at it is not cut off. */
  private room(steps = this.firstSteps()): number {
    return Math.ceil((steps * WORD_PX) / 2 / Math.max(200, this.place.clientWidth));
  }

  private get series(): { symbol: string; interval: string } {
    return { symbol: this.symbol, interval: this.interval };
  }

  private async ask(range: Record<string, number>, points: number, signal: AbortSignal): Promise<Shown> {
    const candles = await ask<Candles>("candles", { ...this.series, ...range, points }, signal);
    const lastMs = candles.first_ms + candles.bars.length * candles.step_ms;
    const [marks, beside] = await Promise.all([
      ask<Marks>("marks", { ...this.series, first_ms: candles.first_ms, last_ms: lastMs }, signal),
      ask<Beside>("beside", { ...this.series, ...range, points }, signal),
    ]);
    return { candles: withDue(candles, marks), marks, beside };
  }

  // ---- what is drawn

  private show(shown: Shown): void {
    this.shown = shown;
    const { candles } = shown;
    const seconds = (step: number): UTCTimestamp => ((candles.first_ms + step * candles.step_ms) / 1000) as UTCTimestamp;
    const { accent, quiet } = colours();
    this.bars.setData(
      candles.bars.map((_, step) => {
        const [open, high, low, close] = [candles.open[step], candles.high[step], candles.low[step], candles.close[step]];
        // A step without a bar stays as white space: it is a gap, and the axis counts steps.
        if (open == null || high == null || low == null || close == null) return { time: seconds(step) };
        return { time: seconds(step), open, high, low, close };
      }),
    );
    this.volume.setData(
      candles.bars.map((_, step) => {
        const value = candles.volume[step];
        if (value == null) return { time: seconds(step) };
        const rose = (candles.close[step] ?? 0) >= (candles.open[step] ?? 0);
        return { time: seconds(step), value, color: `${rose ? accent : quiet}55` };
      }),
    );
    this.precision(candles);
    const step = (ms: number): number => Math.floor((ms - candles.first_ms) / candles.step_ms);
    this.showPredictions(shown.marks, seconds, step);
    this.showBeside(shown.beside);
    // Last of all: they keep their places on the axis, which counts the steps of every line.
    this.showMarks(shown, seconds, step);
    this.describe(shown);
    this.enumerate(shown);
  }

  private precision(candles: Candles): void {
    const digits = Math.max(0, ...candles.close.slice(-200).map((value) => (value == null ? 0 : decimals(value))));
    this.bars.applyOptions({ priceFormat: { type: "price", precision: Math.min(digits, 10), minMove: 10 ** -Math.min(digits, 10) } });
  }

  private showMarks({ candles, marks }: Shown, seconds: (step: number) => UTCTimestamp, step: (ms: number) => number): void {
    const { accent, trouble, gap } = colours();
    const grid = { firstMs: candles.first_ms, stepMs: candles.step_ms, intervalMs: intervalMs(this.interval) };
    this.bands.show(marks.gaps, grid, gap);
    const revised = marks.revisions.map((each): SeriesMarker<Time> => ({
      time: seconds(step(each.at_ms)), position: "aboveBar", shape: "square", color: accent, text: "revised",
    }));
    const refused = marks.refusals.map((each): SeriesMarker<Time> => ({
      time: seconds(step(each.at_ms)), position: "belowBar", shape: "circle", color: trouble, text: each.status,
    }));
    const wordSec = (WORD_PX / this.chart.timeScale().options().barSpacing) * (candles.step_ms / 1000);
    this.markers.setMarkers([...spoken(revised, wordSec), ...spoken(refused, wordSec)].sort(byTime));
  }

  private showPredictions(marks: Marks, seconds: (step: number) => UTCTimestamp, step: (ms: number) => number): void {
    const { accent, muted } = colours();
    if (!marks.predictions.length && !this.said) return;
    if (!this.said || !this.came) {
      const format = { type: "custom", formatter: (value: number) => `${(100 * value).toFixed(2)} %`, minMove: 0.0001 } as const;
      const pane = this.chart.panes().length;
      this.came = this.chart.addSeries(LineSeries, { ...PLAIN, priceFormat: format }, pane);
      this.said = this.chart.addSeries(LineSeries, { ...PLAIN, priceFormat: format }, pane);
      this.name(pane, "predicted, and what came");
    }
    this.said.applyOptions({ color: accent });
    this.came.applyOptions({ color: muted });
    // Of many hours in one step the last one stands.
    const said = new Map(marks.predictions.map((each) => [step(each.at_ms), each]));
    const steps = [...said.keys()].sort((one, other) => one - other);
    this.said.setData(steps.map((at) => ({ time: seconds(at), value: said.get(at)?.y_pred ?? 0 })));
    this.came.setData(
      steps.map((at) => {
        const value = said.get(at)?.came;
        return value == null ? { time: seconds(at) } : { time: seconds(at), value };
      }),
    );
  }

  /** Funding and open interest, each in a pane of its own; where none was known, nothing is drawn. */
  private showBeside({ first_ms, step_ms, panes }: Beside): void {
    const { accent } = colours();
    for (const { name, unit } of panes.filter((each) => !this.fed.has(each.name))) {
      const pane = this.chart.panes().length;
      const format = { type: "custom", formatter: (value: number) => fedValue(name, value), minMove: 1e-8 } as const;
      this.fed.set(name, this.chart.addSeries(LineSeries, { ...PLAIN, lineType: LineType.WithSteps, priceFormat: format }, pane));
      this.name(pane, `${fedName(name)}, ${unit}`);
    }
    for (const [name, line] of this.fed) {
      const values = panes.find((each) => each.name === name)?.values ?? [];
      line.applyOptions({ color: accent });
      line.setData(
        values.map((value, step) => {
          const time = ((first_ms + step * step_ms) / 1000) as UTCTimestamp;
          return value == null ? { time } : { time, value };
        }),
      );
    }
    this.place.dataset.panes = [...this.fed.keys()].join(" ");
  }

  /** A new pane below the candles, with its name in it. */
  private name(pane: number, text: string): void {
    const made = this.chart.panes()[pane];
    const line = { text, color: colours().muted, fontSize: 12, fontFamily: getComputedStyle(document.body).fontFamily };
    if (made) createTextWatermark(made, { horzAlign: "left", vertAlign: "top", lines: [line] });
    // Below its name, and no figure half beyond the edge.
    made?.priceScale("right").applyOptions({ scaleMargins: { top: 0.35, bottom: 0.15 } });
    this.chart.panes().forEach((each, index) => each.setStretchFactor(index ? 1 : 5));
  }

  private paint(): void {
    const { text, muted, line, surface, accent, quiet } = colours();
    this.chart.applyOptions({
      layout: { background: { color: surface }, textColor: muted, fontSize: 12, fontFamily: getComputedStyle(document.body).fontFamily, attributionLogo: false, panes: { separatorColor: line } },
      grid: { vertLines: { color: `${line}80` }, horzLines: { color: `${line}80` } },
      crosshair: { mode: 0, vertLine: { color: muted, labelBackgroundColor: text }, horzLine: { color: muted, labelBackgroundColor: text } },
      rightPriceScale: { borderColor: line, entireTextOnly: true },
      kineticScroll: { touch: !isStill(), mouse: false },
      timeScale: { borderColor: line, timeVisible: true, secondsVisible: false, minBarSpacing: 0.3, rightOffset: 4 },
      localization: { timeFormatter: (time: Time) => `${minute(Number(time) * 1000)} UTC` },
    });
    this.bars.applyOptions({
      upColor: surface, downColor: quiet, borderUpColor: accent, borderDownColor: quiet, wickUpColor: accent, wickDownColor: quiet,
    });
    if (this.shown) this.show(this.shown);
  }

  // ---- what is asked for

  private later(): void {
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.refine(), SETTLE_MS);
  }

  private async refine(): Promise<void> {
    this.label();
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!this.shown || !range || !this.isLacking(range, this.shown.candles)) return;
    const { candles } = this.shown;
    const [firstMs, lastMs] = [at(range.from, candles), at(range.to, candles)];
    const marginMs = lastMs - firstMs;
    const asked = { first_ms: Math.floor(firstMs - marginMs), last_ms: Math.ceil(lastMs + marginMs) };
    if (JSON.stringify(asked) !== this.asked) await this.load(asked);
    this.asked = JSON.stringify(asked);
  }

  /** Whether what is seen is too coarse, too fine, or nearly at the end of what is here. */
  private isLacking(range: LogicalRange, candles: Candles): boolean {
    const [steps, width] = [range.to - range.from, Math.max(200, this.place.clientWidth)];
    const isCoarse = candles.bars_of_step > 1 && steps < width / STEP_PX / 4;
    const isFine = steps > width / STEP_PX;
    const [historyFirst, historyLast] = candles.history.map((ms) => (ms - candles.first_ms) / candles.step_ms) as [number, number];
    const margin = steps * EDGE;
    const isAtBegin = range.from < margin && historyFirst < -0.5;
    const isAtEnd = range.to > candles.bars.length - margin && historyLast > candles.bars.length;
    return isCoarse || isFine || isAtBegin || isAtEnd;
  }

  private load(asked: Asked, points = Math.ceil((3 * Math.max(200, this.place.clientWidth)) / STEP_PX)): Promise<void> {
    this.loaded = this.fetch(asked, points);
    return this.loaded;
  }

  private async fetch(asked: Asked, points: number): Promise<void> {
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const shown = await this.ask(asked, points, this.asking.signal);
      this.replace(shown);
    } catch (problem) {
      if (problem instanceof Refused) this.level.textContent = problem.message;
    }
  }

  /** Other steps under the same eyes: what was seen stays where it was. */
  private replace(shown: Shown): void {
    const before = this.shown?.candles;
    const range = this.chart.timeScale().getVisibleLogicalRange();
    this.show(shown);
    if (!before || !range) return;
    const step = (logical: number): number => (at(logical, before) - shown.candles.first_ms) / shown.candles.step_ms;
    this.chart.timeScale().setVisibleLogicalRange({ from: step(range.from), to: step(range.to) });
  }

  /** A new bar: who looks at the newest goes on with it. */
  private async follow(): Promise<void> {
    // What somebody has asked for comes first.
    await this.loaded;
    const [range, before] = [this.chart.timeScale().getVisibleLogicalRange(), this.shown?.candles];
    if (!range || !before) return;
    const wasNewest = range.to >= before.bars.length - 1;
    // In the same steps: as many as are asked for.
    const steps = before.bars.length + (wasNewest ? FIRST_STEPS : 0);
    await this.load({ first_ms: at(0, before), last_ms: at(steps - 1, before) }, steps);
    const grown = (this.shown?.candles.bars.length ?? 0) - before.bars.length;
    if (wasNewest && grown > 0 && this.shown?.candles.step_ms === before.step_ms) {
      this.chart.timeScale().setVisibleLogicalRange({ from: range.from + grown, to: range.to + grown });
    }
  }

  // ---- what is told

  private describe({ candles }: Shown): void {
    const step = candles.bars_of_step > 1 ? `steps of ${stepName(candles.step_ms)}` : `every ${this.interval} bar`;
    this.level.textContent = step;
    this.place.dataset.step = String(candles.step_ms);
    this.label();
    if (!this.pointed) this.tell(null);
  }

  /** What is in sight, for those who do not see it. */
  private label(): void {
    if (!this.shown) return;
    const { candles, marks } = this.shown;
    const last = candles.bars.length - 1;
    const range = this.chart.timeScale().getVisibleLogicalRange() ?? { from: 0, to: last };
    const [from, to] = [Math.ceil(range.from), Math.floor(range.to)].map((step) => at(Math.min(Math.max(step, 0), last), candles)) as [number, number];
    this.place.setAttribute(
      "aria-label",
      `Chart of ${this.symbol} ${this.interval}, ${this.level.textContent}, ${span(from, to)} in sight.` +
        ` Around it, ${span(candles.first_ms, at(last, candles))}: ${marks.gaps.length} gaps, ${marks.revisions.length} revised bars,` +
        ` ${marks.refusals.length} refused hours. Arrow keys pan, plus and minus zoom, comma and full stop step through the bars.`,
    );
  }

  private tell(step: number | null): void {
    if (!this.shown) return;
    const { candles, marks } = this.shown;
    const index = Math.min(Math.max(step ?? candles.bars.length - 1, 0), candles.bars.length - 1);
    this.place.dataset.at = String(index);
    const firstMs = at(index, candles);
    const endMs = firstMs + candles.step_ms;
    const within = (ms: number): boolean => ms >= firstMs && ms < endMs;
    const values = [candles.open, candles.high, candles.low, candles.close].map((column) => column[index]);
    const volume = candles.volume[index];
    // A bar's digits are the exchange's own; of a sum the last ones are nobody's.
    values.push(volume != null && candles.bars_of_step > 1 ? Number(volume.toPrecision(12)) : volume);
    // Far away, what stands out is listed below; the legend would hide the chart.
    const isNear = candles.bars_of_step === 1 || this.pointed;
    const marked = <Mark extends { at_ms: number }>(all: Mark[]): Mark[] => (isNear ? all.filter((each) => within(each.at_ms)) : []);
    const names = ["O", "H", "L", "C", "V"];
    const missing = Math.min(candles.bars_of_step, 1 + Math.floor((candles.history[1] - firstMs) / intervalMs(this.interval))) - (candles.bars[index] ?? 0);
    fill(
      this.legend,
      el("p", {}, el("b", {}, this.symbol), ` ${this.interval}  `, el("time", {}, `${minute(firstMs)} UTC`)),
      values[0] == null
        ? el("p", { class: "trouble" }, "no bar is stored")
        : el("p", { class: "values" }, ...names.flatMap((name, which) => [el("span", {}, el("span", {}, name), ` ${values[which] ?? ""}`), "  "])),
      values[0] != null && missing > 0 && el("p", { class: "trouble" }, `${missing} of its ${candles.bars_of_step} bars missing`),
      ...this.shown.beside.panes.map(({ name, values: known }) => (known[index] == null ? false : el("p", {}, `${fedName(name)} ${fedValue(name, known[index])}`))),
      ...marked(marks.revisions).slice(0, 3).map(revision),
      ...marked(marks.refusals).slice(0, 3).map((each) => el("p", {}, `${each.status}: ${each.message}`)),
      ...marked(marks.predictions).slice(-1).map(prediction),
    );
  }

  /** The same in words, with what helps: for those who do not see it, and for those who have to act. */
  private enumerate({ marks }: Shown): void {
    // What somebody has opened there, or is about to copy, stays as long as it is the same.
    const told = JSON.stringify([marks.gaps, marks.refusals, marks.revisions]);
    if (told === this.enumerated) return;
    this.enumerated = told;
    const gaps = marks.gaps.slice(-LIST_MAX).reverse().map((each) =>
      el("li", { class: "gap" }, el("a", { href: this.link(each.first_ms) }, span(each.first_ms, each.last_ms)), ` ${each.bars} missing  `,
        command(`barfeed backfill${this.market.flags} --symbol ${this.symbol} --interval ${this.interval} --from '${minute(each.first_ms)}'`)));
    const refusals = marks.refusals.slice(-LIST_MAX).reverse().map((each) =>
      el("li", {}, el("a", { href: `#/run?folder=${encodeURIComponent(each.folder)}&run=${each.run}` }, minute(each.at_ms)), ` ${each.status}: ${each.message}`));
    const revisions = marks.revisions.slice(-LIST_MAX).reverse().map((each) =>
      el("li", {}, el("a", { href: this.link(each.at_ms) }, minute(each.at_ms)), " revised: ", versions(each)));
    const group = (title: string, items: HTMLElement[], total: number): HTMLElement | false =>
      items.length > 0 && el("details", { open: total <= 5 }, el("summary", {}, `${title} (${count(total)})`), el("ul", {}, ...items));
    fill(
      this.list,
      group("Gaps", gaps, marks.gaps.length),
      group("Refused hours", refusals, marks.refusals.length),
      group("Revised bars", revisions, marks.revisions.length),
    );
    if (!this.list.firstChild) this.list.append(el("p", { class: "muted" }, "Nothing stands out in this span: no gap, no revised bar, no refused hour."));
  }

  private link(ms: number): string {
    return `#/chart?symbol=${encodeURIComponent(this.symbol)}&interval=${this.interval}&at=${ms}`;
  }

  // ---- what is done

  private controls(): HTMLElement {
    const symbols = [...new Set(this.market.rows.map((row) => row.symbol))].sort();
    const intervals = [...new Set(this.market.rows.filter((row) => row.symbol === this.symbol).map((row) => row.interval))];
    const symbol = el("input", { list: "symbols", value: this.symbol, "aria-label": "Symbol", size: 14, spellcheck: "false", autocomplete: "off" });
    const interval = el("select", { "aria-label": "Interval" }, ...intervals.map((each) => el("option", { selected: each === this.interval }, each)));
    const date = el("input", { type: "date", "aria-label": "Go to a day" });
    symbol.addEventListener("change", () => {
      if (symbols.includes(symbol.value)) location.hash = `#/chart?symbol=${encodeURIComponent(symbol.value)}`;
      else symbol.setCustomValidity("the store holds no such symbol");
      symbol.reportValidity();
    });
    symbol.addEventListener("input", () => symbol.setCustomValidity(""));
    interval.addEventListener("change", () => (location.hash = `#/chart?symbol=${encodeURIComponent(this.symbol)}&interval=${interval.value}`));
    date.addEventListener("change", () => {
      if (date.valueAsNumber) location.hash = this.link(date.valueAsNumber);
    });
    const button = (label: string, says: string, act: () => void): HTMLElement => {
      const made = el("button", { type: "button", title: says, "aria-label": says }, label);
      made.addEventListener("click", act);
      return made;
    };
    return el(
      "div",
      { class: "controls" },
      symbol,
      el("datalist", { id: "symbols" }, ...symbols.map((each) => el("option", { value: each }))),
      interval,
      date,
      button("−", "Zoom out", () => this.zoom(1.5)),
      button("+", "Zoom in", () => this.zoom(1 / 1.5)),
      button("All", "All that is stored", () => void this.everything()),
      button("Now", "Now: the newest bars", () => void this.latest()),
      this.level,
    );
  }

  private zoom(factor: number): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const [centre, half] = [(range.from + range.to) / 2, ((range.to - range.from) / 2) * factor];
    this.chart.timeScale().setVisibleLogicalRange({ from: centre - half, to: centre + half });
  }

  private pan(part: number): void {
    const range = this.chart.timeScale().getVisibleLogicalRange();
    if (!range) return;
    const by = (range.to - range.from) * part;
    this.chart.timeScale().setVisibleLogicalRange({ from: range.from + by, to: range.to + by });
  }

  private async everything(): Promise<void> {
    const history = this.shown?.candles.history;
    if (!history) return;
    await this.load({ first_ms: history[0], last_ms: history[1] });
    const steps = this.shown?.candles.bars.length ?? 0;
    this.chart.timeScale().setVisibleLogicalRange({ from: -1, to: steps + this.room(steps) });
  }

  private async latest(): Promise<void> {
    const history = this.shown?.candles.history;
    if (!history) return;
    await this.load({ first_ms: history[1] - FIRST_STEPS * 3 * intervalMs(this.interval), last_ms: history[1] });
    const end = (this.shown?.candles.bars.length ?? 0) + this.room();
    this.chart.timeScale().setVisibleLogicalRange({ from: end - this.firstSteps(), to: end });
    replaceQuery({ symbol: this.symbol, interval: this.interval });
  }

  private step(by: number): void {
    const candles = this.shown?.candles;
    if (!candles) return;
    const index = Math.min(Math.max(Number(this.place.dataset.at ?? candles.bars.length - 1) + by, 0), candles.bars.length - 1);
    const close = candles.close[index];
    this.tell(index);
    if (close != null) this.chart.setCrosshairPosition(close, (at(index, candles) / 1000) as UTCTimestamp, this.bars);
    else this.chart.clearCrosshairPosition();
    this.tell(index);
  }

  private key(event: KeyboardEvent): void {
    const acts: Record<string, () => void> = {
      ArrowLeft: () => this.pan(-0.2),
      ArrowRight: () => this.pan(0.2),
      PageUp: () => this.pan(-1),
      PageDown: () => this.pan(1),
      "+": () => this.zoom(1 / 1.5),
      "=": () => this.zoom(1 / 1.5),
      "-": () => this.zoom(1.5),
      ArrowUp: () => this.zoom(1 / 1.5),
      ArrowDown: () => this.zoom(1.5),
      Home: () => void this.everything(),
      End: () => void this.latest(),
      ",": () => this.step(-1),
      ".": () => this.step(1),
    };
    const act = acts[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }
}

/** What the chart's licence asks for; its own logo would need a style of its own. */
function attribution(): HTMLElement {
  const link = el("a", { href: "https://www.tradingview.com/", rel: "noopener noreferrer", target: "_blank" }, "TradingView, Inc.");
  return el("p", { class: "attribution" }, "TradingView Lightweight Charts™, Copyright (с) 2025 ", link);
}

/** With a step for the hour that is due next, where a run has refused it: its mark has no bar to stand at. */
function withDue(candles: Candles, { refusals }: Marks): Candles {
  const isDue = refusals.some((each) => each.at_ms >= at(candles.bars.length, candles));
  if (!isDue) return candles;
  const { open, high, low, close, volume } = candles;
  const [opens, highs, lows, closes, volumes] = [open, high, low, close, volume].map((column) => [...column, null]) as [Values, Values, Values, Values, Values];
  return { ...candles, open: opens, high: highs, low: lows, close: closes, volume: volumes, bars: [...candles.bars, 0] };
}

function fedName(name: string): string {
  return name.replaceAll("_", " ");
}

function fedValue(name: string, value: number): string {
  return name === "funding_rate" ? `${(100 * value).toFixed(4)} %` : count(Math.round(value));
}

function at(step: number, candles: Candles): number {
  return candles.first_ms + step * candles.step_ms;
}

function byTime(one: SeriesMarker<Time>, other: SeriesMarker<Time>): number {
  return Number(one.time) - Number(other.time);
}

/** Of marks that stand so near that their words would cover each other only the newest has one: all are listed below. */
function spoken(marks: SeriesMarker<Time>[], wordSec: number): SeriesMarker<Time>[] {
  const inTurn = marks.sort(byTime);
  return inTurn.map((each, which) => {
    const next = inTurn[which + 1];
    return next && byTime(next, each) < wordSec ? { ...each, text: "" } : each;
  });
}

function decimals(value: number): number {
  const text = String(value);
  const exponent = /e-(\d+)$/.exec(text);
  if (exponent) return Number(exponent[1]) + (text.split("e")[0]?.split(".")[1]?.length ?? 0);
  return text.split(".")[1]?.length ?? 0;
}

function versions(each: Marks["revisions"][number]): string {
  const names = ["open", "high", "low", "close", "volume"];
  if (!each.old.length) return `let pass as it is (${each.reason})`;
  const changed = names.flatMap((name, which) => (each.old[which] === each.new[which] ? [] : [`${name} ${each.old[which]} → ${each.new[which]}`]));
  return changed.join(", ");
}

function revision(each: Marks["revisions"][number]): HTMLElement {
  return el("p", { class: "revised" }, `revised: ${versions(each)}; seen ${minute(each.seen_at_ms)}`);
}

function prediction(each: Marks["predictions"][number]): HTMLElement {
  const percent = (value: number): string => `${value >= 0 ? "+" : ""}${(100 * value).toFixed(3)} %`;
  const came = each.came == null ? "not over yet" : `came ${percent(each.came)}`;
  return el("p", {}, `predicted ${percent(each.y_pred)}${each.horizon_hours ? ` in ${each.horizon_hours} h` : ""}, ${came}`);
}

