// Which view an address means: #/chart?symbol=BTCUSDT.

export interface Route {
  view: string;
  query: URLSearchParams;
}

export function route(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { view: path || "chart", query: new URLSearchParams(query) };
}

/** The address of what is seen, without another entry in the history. */
export function replaceQuery(query: Record<string, string>): void {
  history.replaceState(null, "", `#/${route().view}?${new URLSearchParams(query).toString()}`);
}
