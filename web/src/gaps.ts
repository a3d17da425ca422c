// The gaps of the store, drawn behind the bars: a chart that counts points would let them vanish.

import type {
  IPrimitivePaneRenderer,
  IPrimitivePaneView,
  ISeriesPrimitive,
  Logical,
  SeriesAttachedParameter,
  Time,
} from "lightweight-charts";
import type { Gap } from "./api.js";

type Target = Parameters<IPrimitivePaneRenderer["draw"]>[0];

export interface Grid {
  firstMs: number;
  stepMs: number;
  intervalMs: number;
}

/** Where a gap begins and ends on an axis that counts steps, in steps. */
export function bounds(gap: Gap, grid: Grid): [number, number] {
  const begin = (gap.first_ms - grid.firstMs) / grid.stepMs;
  const end = (gap.last_ms + grid.intervalMs - grid.firstMs) / grid.stepMs;
  // A bar is drawn around its step: half of it stands before.
  return [begin - 0.5, end - 0.5];
}

export class GapBands implements ISeriesPrimitive<Time> {
  private attachedTo: SeriesAttachedParameter<Time> | null = null;
  private gaps: Gap[] = [];
  private grid: Grid = { firstMs: 0, stepMs: 1, intervalMs: 1 };
  private colour = "";
  /** How many were drawn the last time. */
  drawn = 0;

  attached(to: SeriesAttachedParameter<Time>): void {
    this.attachedTo = to;
  }

  detached(): void {
    this.attachedTo = null;
  }

  show(gaps: Gap[], grid: Grid, colour: string): void {
    [this.gaps, this.grid, this.colour] = [gaps, grid, colour];
    this.attachedTo?.requestUpdate();
  }

  paneViews(): readonly IPrimitivePaneView[] {
    return [{ zOrder: () => "bottom", renderer: () => ({ draw: (target) => this.draw(target) }) }];
  }

  private draw(target: Target): void {
    const scale = this.attachedTo?.chart.timeScale();
    if (!scale) return;
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio }) => {
      this.drawn = 0;
      context.fillStyle = this.colour;
      // Between two steps the scale tells no place of its own.
      const origin = scale.logicalToCoordinate(0 as Logical) ?? 0;
      const unit = (scale.logicalToCoordinate(1 as Logical) ?? 0) - origin;
      for (const gap of this.gaps) {
        const [begin, end] = bounds(gap, this.grid).map((at) => origin + at * unit) as [number, number];
        const left = Math.round(begin * horizontalPixelRatio);
        // One missing minute of six years is still a line.
        const width = Math.max(Math.round(horizontalPixelRatio), Math.round(end * horizontalPixelRatio) - left);
        if (left + width < 0 || left > bitmapSize.width) continue;
        context.fillRect(left, 0, width, bitmapSize.height);
        this.drawn += 1;
      }
    });
  }
}
