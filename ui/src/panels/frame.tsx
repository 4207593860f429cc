// The frame around every panel: title, description, state of its data, and the ways to look at the same data otherwise.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { connection, lostSince, newestSample, serverNow } from "../data/live";
import type { Source } from "../data/source";
import { age, sinceText, timeOfDay } from "../format/time";
import { zone } from "../shell/settings";
import { DataTable, type TableData } from "./datatable";

export interface FrameProps {
  title: string;
  description?: string;
  source?: Source;
  /** Everything the panel shows, as rows; made when somebody asks for it. */
  table?: () => TableData;
  exploreUrl?: string;
  /** For charts: what a screen reader says about the drawing. */
  children: ComponentChildren;
  extra?: ComponentChildren;
  class?: string;
  level?: 2 | 3;
}

/** Since when the data of a source are old; reading it makes a component follow the clock. */
export function useStale(source: Source | undefined): number | null {
  if (!source) return null;
  const now = serverNow.value;
  const lost = lostSince.value;
  const since = source.staleSince(now);
  if (since !== null) return since;
  return source.window.live && lost !== null && now - lost > 2000 ? (source.newest ?? lost) : null;
}

export function PanelFrame({ title, description, source, table, exploreUrl, children, extra, class: className, level = 2 }: FrameProps) {
  const [open, setOpen] = useState(false);
  const id = useId();
  source?.version.value;
  const stale = useStale(source);
  const error = source?.error ?? null;
  const warnings = source?.states.flatMap((state) => state.warnings) ?? [];
  const Heading = level === 2 ? "h2" : "h3";
  return (
    <section class={`panel ${className ?? ""} ${stale !== null ? "is-stale" : ""}`} aria-labelledby={id}>
      <header class="panel-head">
        <Heading id={id} title={title}>{title || <span class="sr">Panel without a title</span>}</Heading>
        {description && <Hint text={description} label={`About ${title}`} />}
        {warnings.length > 0 && <Hint text={warnings.join("\n")} label={`Warnings of ${title}`} glyph="!" warn />}
        <span class="panel-gap" />
        {stale !== null && <StaleBadge since={stale} />}
        {extra}
        <span class="panel-tools">
          {table && (
            <button type="button" class="tool" aria-pressed={open} aria-label={`${open ? "Hide" : "Show"} the data of ${title} as a table`} title="Data table" onClick={() => setOpen(!open)}>
              <TableIcon />
            </button>
          )}
          {exploreUrl && (
            <a class="tool" href={exploreUrl} aria-label={`Explore the query of ${title}`} title="Open in Explore">
              <ExploreIcon />
            </a>
          )}
        </span>
      </header>
      <div class="panel-body">
        {error ? <ErrorBox message={error} /> : open && table ? <DataTable data={table()} caption={title} /> : children}
      </div>
    </section>
  );
}

/** The monitor may push and only this query have nothing new: then the line is alive and the source of the samples is not. */
export function StaleBadge({ since }: { since: number }) {
  const now = serverNow.value;
  const alive = connection.value === "open" && now - (newestSample.value ?? 0) < 5000;
  return (
    <span class="stale-badge" title={`Newest sample ${timeOfDay(since, zone.value || undefined)}, ${age(now - since)} ago`}>
      <span aria-hidden="true">▨</span> {alive ? "no sample since" : "stale since"} {sinceText(since, now, zone.value || undefined)}
    </span>
  );
}

export function ErrorBox({ message, children }: { message: string; children?: ComponentChildren }) {
  return (
    <div class="error-box" role="alert">
      <span class="error-mark" aria-hidden="true">✕</span>
      <div>
        <pre>{message}</pre>
        {children}
      </div>
    </div>
  );
}

/** A note that opens on click, Enter or hover; closed by Escape. */
export function Hint({ text, label, glyph = "i", warn = false }: { text: string; label: string; glyph?: string; warn?: boolean }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLSpanElement>(null);
  const id = useId();
  useEffect(() => {
    if (!open) return;
    const close = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !box.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener("pointerdown", close);
    document.addEventListener("keydown", close);
    return () => {
      document.removeEventListener("pointerdown", close);
      document.removeEventListener("keydown", close);
    };
  }, [open]);
  return (
    <span class={`hint ${warn ? "hint-warn" : ""}`} ref={box} onMouseEnter={() => setOpen(true)} onMouseLeave={() => setOpen(false)}>
      <button type="button" class="hint-button" aria-label={label} aria-expanded={open} aria-describedby={open ? id : undefined} onClick={() => setOpen(true)}>
        {glyph}
      </button>
      {open && (
        <span class="hint-box" id={id} role="tooltip">
          {text}
        </span>
      )}
    </span>
  );
}

export function TableIcon() {
  return (
    <svg viewBox="0 0 16 16" aria-hidden="true">
      <path d="M2 3.500h12v9H2zM2 6.500h12M2 9.500h12M6.500 6.500v6" />
    </svg>
  );
}

export function ExploreIcon() {
  return (
    <svg viewBox="0 0 16 16" aria-hidden="true">
      <path d="M7 3H3v10h10V9M9.500 2.500h4v4M13.500 2.500 7.500 8.500" />
    </svg>
  );
}
