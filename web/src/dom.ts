// Elements made of text only: nothing that a store or a file says is ever read as HTML.

export type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | undefined | ((event: Event) => void)>;

export function el<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, String(value));
  }
  fill(made, ...children);
  return made;
}

/** What a place holds, anew. */
export function fill(place: Element, ...children: Child[]): void {
  place.replaceChildren(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false));
}

export function byId(id: string): HTMLElement {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

/** A command to copy: the page itself changes nothing. */
export function command(text: string): HTMLElement {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy: ${text}` }, "copy");
  const code = el("code", {}, text);
  button.addEventListener("click", () => {
    void copied(text).then((isCopied) => {
      // Who may not write to the clipboard has what is to be copied marked.
      if (!isCopied) return getSelection()?.selectAllChildren(code);
      button.textContent = "copied";
      setTimeout(() => (button.textContent = "copy"), 1500);
    });
  });
  return el("span", { class: "command" }, code, button);
}

/** There is no clipboard for a page that came without TLS from another machine. */
async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export function empty(title: string, ...children: Child[]): HTMLElement {
  return el("div", { class: "empty" }, el("p", { class: "lead" }, title), ...children);
}

/** A hint is prose with a command in it, as `start it: barfeed run --catch-up`. */
export function hint(text: string): HTMLElement | false {
  if (!text) return false;
  const at = text.indexOf("barfeed ");
  if (at < 0) return el("p", { class: "hint" }, text);
  const said = text.slice(at).split(/[;,]/)[0] ?? "";
  return el("p", { class: "hint" }, text.slice(0, at), command(said.trim()), text.slice(at + said.length));
}

/** A table that scrolls in a place of its own; where there is no room for columns, each row stands by itself. */
export function table(label: string, heads: HTMLElement[], body: HTMLElement): HTMLElement {
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    el("table", {}, el("thead", {}, el("tr", {}, ...heads)), body));
}

export function head(name: string, isNumber = false): HTMLElement {
  return el("th", { scope: "col", class: isNumber ? "number" : "" }, name);
}

/** A cell that says little without its column's name. */
export function named(name: string, text: string): HTMLElement {
  return el("td", { "data-head": name }, text);
}

export function number(name: string, text: string): HTMLElement {
  return el("td", { class: "number", "data-head": name }, text);
}
