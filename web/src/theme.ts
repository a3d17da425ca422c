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

/** Called whenever the reader changes between light and dark; until the returned function is called. */
export function onChange(changed: () => void): () => void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", changed);
  return () => media.removeEventListener("change", changed);
}
