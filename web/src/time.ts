// Moments as barfeed writes them everywhere: UTC, without a zone.

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

export function timestamp(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

export function minute(ms: number): string {
  return timestamp(ms).slice(0, 16);
}

export function day(ms: number): string {
  return timestamp(ms).slice(0, 10);
}

export function span(firstMs: number, lastMs: number): string {
  return firstMs === lastMs ? minute(firstMs) : `${minute(firstMs)} to ${minute(lastMs)}`;
}

export function duration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const [days, hours] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24];
  const rest = `${String(Math.floor(seconds / 60) % 60).padStart(2, "0")}:${String(seconds % 60).padStart(2, "0")}`;
  return `${days ? `${days} d ` : ""}${days || hours ? `${hours}:` : ""}${rest}`;
}

export function intervalMs(interval: string): number {
  const unit = { m: 60_000, h: HOUR_MS, d: DAY_MS }[interval.slice(-1)] ?? HOUR_MS;
  return Number(interval.slice(0, -1)) * unit;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

export function bytes(value: number): string {
  return value < 1e6 ? `${(value / 1e3).toFixed(1)} kB` : `${(value / 1e6).toFixed(1)} MB`;
}

export function stepName(ms: number): string {
  if (ms % (7 * DAY_MS) === 0) return `${ms / (7 * DAY_MS)} w`;
  if (ms % DAY_MS === 0) return `${ms / DAY_MS} d`;
  return ms % HOUR_MS === 0 ? `${ms / HOUR_MS} h` : `${ms / 60_000} min`;
}
