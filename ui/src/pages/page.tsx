// The head of a page, its title in the tab, and small things that several pages need.

import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { newestSample, serverNow } from "../data/live";
import { age } from "../format/time";
import { Hint } from "../panels/frame";

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = `${title} · tradewatch`;
  }, [title]);
}

export function PageHead({ title, subtitle, description, children }: { title: string; subtitle?: string; description?: string; children?: ComponentChildren }) {
  return (
    <div class="page-head">
      <h1>{title}</h1>
      {description && <Hint text={description} label={`About ${title}`} />}
      {subtitle && <span class="dim">{subtitle}</span>}
      <span class="page-gap" />
      {children}
    </div>
  );
}

/** The age of the newest sample on the page, or that there is none. */
export function PageAge() {
  const newest = newestSample.value;
  const now = serverNow.value;
  if (newest === null) return null;
  return <span>{age(Math.max(0, now - newest))}</span>;
}

export function Sign({ value, children }: { value: number; children: ComponentChildren }) {
  const tone = value > 0 ? "up" : value < 0 ? "down" : "flat";
  return (
    <span class={`sign sign-${tone}`}>
      <span aria-hidden="true">{value > 0 ? "▲" : value < 0 ? "▼" : "■"}</span> {children}
    </span>
  );
}

/** State as glyph and word; the colour only repeats it. */
export function State({ tone, children }: { tone: "good" | "bad" | "warn" | "off" | "info"; children: ComponentChildren }) {
  const glyph = { good: "●", bad: "✕", warn: "▲", off: "○", info: "◆" }[tone];
  return (
    <span class={`state state-${tone}`}>
      <span aria-hidden="true">{glyph}</span> {children}
    </span>
  );
}
