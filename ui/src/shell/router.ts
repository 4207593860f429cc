// Paths are pages; the search part holds what one wants to send to somebody else.

import { signal } from "@preact/signals";

export const path = signal(location.pathname);
export const search = signal(location.search);

function sync(): void {
  path.value = location.pathname;
  search.value = location.search;
}

addEventListener("popstate", sync);

export function go(url: string, replace = false): void {
  if (url === location.pathname + location.search) return;
  const leaves = new URL(url, location.href).pathname !== location.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", url);
  sync();
  if (leaves) {
    scrollTo(0, 0);
    // A page change is announced by moving the focus to the page's heading region.
    requestAnimationFrame(() => document.getElementById("main")?.focus({ preventScroll: true }));
  }
}

/** Sets or removes parameters of the current page without a new entry in the history. */
export function setParams(changes: Record<string, string | string[] | null>): void {
  const params = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    params.delete(name);
    if (value === null) continue;
    for (const one of Array.isArray(value) ? value : [value]) params.append(name, one);
  }
  const text = params.toString();
  go(location.pathname + (text ? `?${text}` : ""), true);
}

export function param(name: string): string | null {
  return new URLSearchParams(search.value).get(name);
}

/** Plain clicks on links of this site change the page in place; everything else is the browser's. */
export function interceptLinks(): void {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.("a[href]") as HTMLAnchorElement | null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname.startsWith("/api/") || link.pathname.startsWith("/metrics") || link.pathname.startsWith("/-/")) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}
