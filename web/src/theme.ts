// The colours that are drawn with, out of the style sheet: one place for light and dark.

export interface Colours {
  text: string;
  muted: string;
  line: string;
  surface: string;
  accent: string;
  quiet: string;
  trouble: string;
  gap: string;
}

export function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of("text"),
    muted: of("muted"),
    line: of("line"),
    surface: of("surface"),
    accent: of("accent"),
    quiet: of("quiet"),
    trouble: of("trouble"),
    gap: of("gap"),
  };
}

const DARK = matchMedia("(prefers-color-scheme: dark)");
const STILL = matchMedia("(prefers-reduced-motion: reduce)");

/** Whether the reader wants nothing to move by itself. */
export function isStill(): boolean {
  return STILL.matches;
}

/** Called whenever the reader wants it otherwise, light or dark, still or not; until the returned function is called. */
export function onChange(changed: () => void): () => void {
  for (const media of [DARK, STILL]) media.addEventListener("change", changed);
  return () => {
    for (const media of [DARK, STILL]) media.removeEventListener("change", changed);
  };
}
