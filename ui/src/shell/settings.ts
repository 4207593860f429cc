// What one reader prefers: theme, time zone, the name under which alerts are acknowledged. Kept in this browser only.

import { effect, signal } from "@preact/signals";

function stored(name: string): string | null {
  try {
    return localStorage.getItem(`tradewatch.${name}`);
  } catch {
    return null;
  }
}

function store(name: string, value: string): void {
  try {
    localStorage.setItem(`tradewatch.${name}`, value);
  } catch {
    // Private mode: the choice lasts as long as the page.
  }
}

export type ThemeChoice = "auto" | "dark" | "light";

const prefersLight = matchMedia("(prefers-color-scheme: light)");

export const themeChoice = signal<ThemeChoice>((stored("theme") as ThemeChoice | null) ?? "auto");
export const theme = signal<"dark" | "light">("dark");

function applyTheme(): void {
  const choice = themeChoice.value;
  const now = choice === "auto" ? (prefersLight.matches ? "light" : "dark") : choice;
  document.documentElement.dataset["theme"] = now;
  theme.value = now;
}

prefersLight.addEventListener("change", applyTheme);
effect(() => {
  store("theme", themeChoice.value);
  applyTheme();
});

/** "" is the browser's own zone. */
export const zone = signal<string>(stored("zone") ?? "");
effect(() => store("zone", zone.value));

export function zoneName(id: string): string {
  if (id === "UTC") return "UTC";
  if (id === "America/New_York") return "New York";
  return Intl.DateTimeFormat().resolvedOptions().timeZone.replace(/_/g, " ");
}

/** Whose closed hours the charts shade: a venue, "none", or "" for what the page says. */
export const shadedMarket = signal<string>(stored("market") ?? "");
effect(() => store("market", shadedMarket.value));

export const person = signal<string>(stored("person") ?? "desk");
effect(() => store("person", person.value));

export const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");
