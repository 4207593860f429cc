// A dashboard file as a page: variables and time above, sections of panels below.

import "../style/dashboards.css";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { getJson } from "../data/api";
import { dashboardsChanged, scrapeMs, serverNow } from "../data/live";
import type { Window } from "../data/source";
import { resolve, type TimeRange } from "../format/time";
import { parseDashboard } from "../grafana/parse";
import type { Dashboard, Panel } from "../grafana/model";
import { ALL, interpolate, loadVariables, select, valuesOf, type Values, type VariableState } from "../grafana/variables";
import { learnScrapeInterval, titleOf, type PageContext } from "../panels/context";
import { ErrorBox } from "../panels/frame";
import { PanelView } from "../panels/panel";
import { param, search, setParams } from "../shell/router";
import { MarketPicker, RefreshPicker, TimePicker } from "../shell/timepicker";
import { useKeys } from "../shell/keys";
import { safeLink } from "../panels/table";
import { useClosed, useMarket, useNotes } from "./backdrop";
import { PageHead, useTitle } from "./page";

const ROW_PX = 30;
const GAP_PX = 8;

export function DashboardPage({ uid, file }: { uid: string; file?: unknown }) {
  const [dashboard, setDashboard] = useState<Dashboard | null>(null);
  const [error, setError] = useState<string | null>(null);
  const changed = dashboardsChanged.value;
  useEffect(() => {
    let gone = false;
    const load = async () => {
      try {
        const json = file ?? (await getJson<unknown>(`/api/tradewatch/v1/dashboards/${encodeURIComponent(uid)}`));
        const parsed = parseDashboard(json);
        if (!gone) {
          setDashboard(parsed);
          setError(null);
        }
      } catch (cause) {
        if (!gone) setError(cause instanceof Error ? cause.message : String(cause));
      }
    };
    void load();
    return () => {
      gone = true;
    };
  }, [uid, changed, file]);
  useTitle(dashboard?.title ?? "Dashboard");
  if (error) {
    return (
      <>
        <PageHead title="Dashboard" />
        <ErrorBox message={error}><p><a href="/dashboards">All dashboards</a></p></ErrorBox>
      </>
    );
  }
  if (!dashboard) return <PageHead title="Dashboard" />;
  return <DashboardView dashboard={dashboard} key={uid} />;
}

export function DashboardView({ dashboard }: { dashboard: Dashboard }) {
  search.value;
  const range: TimeRange = { from: param("from") ?? dashboard.time.from, to: param("to") ?? dashboard.time.to };
  const refreshMs = Number(param("refresh") ?? "-1");
  const [states, setStates] = useState<VariableState[] | null>(dashboard.variables.length ? null : []);
  const wanted = useMemo(() => wantedValues(search.value), [search.value]);
  const wantedKey = JSON.stringify(wanted);
  const [width, setWidth] = useState(1200);
  const body = useRef<HTMLDivElement>(null);

  useEffect(() => void learnScrapeInterval(), []);
  useEffect(() => {
    if (dashboard.variables.length === 0) return;
    // What was chosen is shown at once; what depends on it follows when it has been asked.
    setStates((before) => before?.map((state) => ({ ...state, selected: select(state.definition, state.choices, wanted[state.definition.name]) })) ?? null);
    const abort = new AbortController();
    const now = resolve(range, serverNow.peek());
    loadVariables(dashboard.variables, wanted, now.from, now.to, abort.signal)
      .then((loaded) => setStates((before) => (JSON.stringify(before) === JSON.stringify(loaded) ? before : loaded)))
      .catch(() => undefined);
    return () => abort.abort();
  }, [dashboard, wantedKey]);
  useEffect(() => {
    if (!body.current) return;
    const observer = new ResizeObserver((entries) => setWidth(entries[0]!.contentRect.width));
    observer.observe(body.current);
    return () => observer.disconnect();
  }, [states !== null]);

  const values = useMemo(() => valuesOf(states ?? []), [states]);
  const window = useMemo<Window>(() => {
    const now = resolve(range, serverNow.peek());
    const live = now.live && refreshMs < 0;
    return { from: now.from, to: now.to, live, refreshMs: now.live && refreshMs > 0 ? refreshMs : 0 };
  }, [range.from, range.to, refreshMs]);
  // A relative range that is asked for again and again has to move with the clock.
  const ticking = useTicking(window, range);
  const rangeMs = window.to - window.from;
  const fixed = window.live ? null : { from: ticking.from, to: ticking.to };
  const market = useMarket(values["mic"]?.values.length === 1 ? values["mic"].values[0] : undefined, dashboard.tags);
  const closed = useClosed(rangeMs, fixed, market);
  const notes = useNotes(rangeMs, fixed, dashboard.annotations);
  const onZoom = (from: number, to: number) => setParams({ from: String(from), to: String(to) });
  const page = useMemo<PageContext>(
    () => ({ window: ticking, values, dashboard: dashboard.title, syncKey: `dash-${dashboard.uid}`, closed, notes, onZoom }),
    [ticking, values, closed, notes, dashboard, scrapeMs.value],
  );
  useKeys(
    () => [
      { keys: "[", what: "Twice the time range", where: "Time", run: () => zoomOut() },
      { keys: "]", what: "Back to the file's time range", where: "Time", run: () => setParams({ from: null, to: null }) },
    ],
    [range.from, range.to],
  );
  const zoomOut = () => {
    const now = resolve(range, serverNow.peek());
    if (now.live) setParams({ from: `now-${Math.round((2 * (now.to - now.from)) / 60_000)}m`, to: "now" });
    else setParams({ from: String(Math.round(now.from - (now.to - now.from) / 2)), to: String(Math.round(now.to + (now.to - now.from) / 2)) });
  };

  const sections = useMemo(() => sectionsOf(expand(dashboard.panels, values, states)), [dashboard, values, states]);
  return (
    <>
      <PageHead title={dashboard.title} description={dashboard.description} subtitle={dashboard.tags.length ? dashboard.tags.join(" · ") : undefined}>
        {dashboard.links.map((link) => {
          const url = link.type === "link" || link.url ? safeLink(interpolate(link.url, values, null, "text")) : undefined;
          return url ? <a key={link.url + link.title} class="button" href={url}>{link.title || link.url}</a> : null;
        })}
        <MarketPicker market={market} />
        <TimePicker range={range} onChange={(next) => setParams({ from: next.from === dashboard.time.from ? null : next.from, to: next.to === dashboard.time.to ? null : next.to })} />
        <RefreshPicker live={resolve(range, serverNow.peek()).live} refreshMs={refreshMs} onChange={(ms) => setParams({ refresh: ms === -1 ? null : String(ms) })} />
      </PageHead>
      {states && states.some((state) => state.definition.hide < 2 && state.definition.type !== "datasource") && <Variables states={states} />}
      {dashboard.notes.map((note) => <p key={note} class="note-line">{note}</p>)}
      <div ref={body} class="dashboard">
        {states === null ? <p class="dim">Loading the values of the variables</p> : sections.map((section) => <Section key={section.key} section={section} page={page} width={width} />)}
      </div>
    </>
  );
}

function useTicking(window: Window, range: TimeRange): Window {
  const [now, setNow] = useState(window);
  useEffect(() => {
    setNow(window);
    if (window.live || window.refreshMs <= 0) return;
    const timer = setInterval(() => {
      if (document.hidden) return;
      const next = resolve(range, serverNow.peek());
      setNow({ ...window, from: next.from, to: next.to, refreshMs: 0 });
    }, window.refreshMs);
    return () => clearInterval(timer);
  }, [window]);
  return now;
}

function wantedValues(text: string): Record<string, string[]> {
  const out: Record<string, string[]> = {};
  for (const [name, value] of new URLSearchParams(text)) {
    if (name.startsWith("var-")) (out[name.slice(4)] ??= []).push(value);
  }
  return out;
}

function Variables({ states }: { states: VariableState[] }) {
  return (
    <div class="variables" role="group" aria-label="Variables">
      {states
        .filter((state) => state.definition.hide < 2 && state.definition.type !== "datasource" && state.definition.type !== "constant")
        .map((state) => <VariableControl key={state.definition.name} state={state} />)}
    </div>
  );
}

function VariableControl({ state }: { state: VariableState }) {
  const { definition, choices, selected } = state;
  const name = definition.label || definition.name;
  const set = (values: string[]) => setParams({ [`var-${definition.name}`]: values });
  const label = definition.hide === 1 ? <span class="sr">{name}</span> : name;
  if (definition.type === "adhoc") return <span class="variable dim" title="Ad hoc filters are not applied here">{label}: ad hoc filters are not applied</span>;
  if (definition.type === "textbox") {
    return (
      <label class="variable">
        {label}
        <input value={selected[0] ?? ""} onChange={(event) => set([event.currentTarget.value])} />
      </label>
    );
  }
  if (definition.multi) return <MultiSelect name={name} label={label} choices={choices} selected={selected} onChange={set} error={state.error} />;
  return (
    <label class="variable" title={definition.description}>
      {label}
      <select value={selected[0] ?? ""} onChange={(event) => set([event.currentTarget.value])}>
        {choices.length === 0 && <option value="">{state.error ? "query failed" : "no values"}</option>}
        {choices.map((choice) => <option key={choice.value} value={choice.value}>{choice.text}</option>)}
      </select>
      {state.error && <span class="bad" title={state.error}>✕ {state.error}</span>}
    </label>
  );
}

function MultiSelect({ name, label, choices, selected, onChange, error }: { name: string; label: preact.ComponentChildren; choices: { text: string; value: string }[]; selected: string[]; onChange: (values: string[]) => void; error: string | null }) {
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
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
  const texts = choices.filter((choice) => selected.includes(choice.value)).map((choice) => choice.text);
  const toggle = (value: string) => {
    if (value === ALL) return onChange([ALL]);
    const rest = selected.filter((one) => one !== ALL);
    const next = rest.includes(value) ? rest.filter((one) => one !== value) : [...rest, value];
    onChange(next.length ? next : choices.some((choice) => choice.value === ALL) ? [ALL] : [value]);
  };
  return (
    <div class="variable" ref={box}>
      <span>{label}</span>
      <button type="button" class="button" aria-expanded={open} aria-label={`${name}: ${texts.join(", ") || "no values"}`} onClick={() => setOpen(!open)}>
        {error ? "query failed" : texts.length > 3 ? `${texts.length} of ${choices.length}` : texts.join(" + ") || "no values"} <span aria-hidden="true">▾</span>
      </button>
      {open && (
        <div class="multi" role="group" aria-label={name}>
          {choices.map((choice) => (
            <label key={choice.value}>
              <input type="checkbox" checked={selected.includes(choice.value)} onChange={() => toggle(choice.value)} /> {choice.text}
            </label>
          ))}
        </div>
      )}
    </div>
  );
}

interface SectionModel {
  key: string;
  row: Panel | null;
  panels: Panel[];
}

/** Rows divide a dashboard; each part is a grid of its own, so folding one moves nothing inside the others. */
export function sectionsOf(panels: readonly Panel[]): SectionModel[] {
  const sorted = [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  const out: SectionModel[] = [];
  let current: SectionModel = { key: "top", row: null, panels: [] };
  for (const panel of sorted) {
    if (panel.type !== "row") {
      current.panels.push(panel);
      continue;
    }
    if (current.row || current.panels.length) out.push(current);
    current = { key: `row-${panel.id}-${JSON.stringify(panel.scoped ?? {})}`, row: panel, panels: [...(panel.panels ?? [])] };
  }
  if (current.row || current.panels.length) out.push(current);
  return out;
}

/** Panels and rows that repeat for each value of a variable become their copies. */
export function expand(panels: readonly Panel[], values: Values, _states: readonly VariableState[] | null): Panel[] {
  const out: Panel[] = [];
  const sorted = [...panels].sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x);
  let shift = 0;
  for (let i = 0; i < sorted.length; i++) {
    const panel = sorted[i]!;
    const moved = { ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y + shift } };
    const over = panel.repeat ? values[panel.repeat]?.values : undefined;
    if (!over || over.length === 0) {
      out.push(panel.type === "row" && panel.panels ? { ...moved, panels: expand(panel.panels, values, null) } : moved);
      continue;
    }
    if (panel.type === "row") {
      // What follows up to the next row belongs to it and is repeated with it.
      const inside: Panel[] = panel.panels?.length ? [...panel.panels] : [];
      while (!panel.collapsed && i + 1 < sorted.length && sorted[i + 1]!.type !== "row") inside.push(sorted[++i]!);
      const bottom = inside.reduce((b, p) => Math.max(b, p.gridPos.y + p.gridPos.h), panel.gridPos.y + 1);
      const height = bottom - panel.gridPos.y;
      over.forEach((value, n) => {
        const scoped = { ...panel.scoped, [panel.repeat!]: value };
        const at = shift + n * height;
        const copies = inside.map((p) => ({ ...p, scoped, gridPos: { ...p.gridPos, y: p.gridPos.y + at } }));
        out.push({ ...panel, scoped, repeat: undefined, gridPos: { ...panel.gridPos, y: panel.gridPos.y + at }, panels: panel.collapsed ? expand(copies, values, null) : [] });
        if (!panel.collapsed) out.push(...expand(copies, values, null));
      });
      shift += (over.length - 1) * height;
      continue;
    }
    const { h } = panel.gridPos;
    if (panel.repeatDirection === "v") {
      over.forEach((value, n) => out.push({ ...moved, scoped: { ...panel.scoped, [panel.repeat!]: value }, gridPos: { ...moved.gridPos, y: moved.gridPos.y + n * h } }));
      shift += (over.length - 1) * h;
    } else {
      const perRow = Math.min(over.length, panel.maxPerRow ?? 4);
      const w = Math.floor(24 / perRow);
      over.forEach((value, n) => {
        const gridPos = { x: (n % perRow) * w, y: moved.gridPos.y + Math.floor(n / perRow) * h, w, h };
        out.push({ ...moved, scoped: { ...panel.scoped, [panel.repeat!]: value }, gridPos });
      });
      shift += (Math.ceil(over.length / perRow) - 1) * h;
    }
  }
  return out;
}

function Section({ section, page, width }: { section: SectionModel; page: PageContext; width: number }) {
  const [open, setOpen] = useState(!section.row?.collapsed);
  const top = section.panels.reduce((y, panel) => Math.min(y, panel.gridPos.y), Infinity);
  const narrow = width < 760;
  const columnPx = (width + GAP_PX) / 24;
  return (
    <div class="section">
      {section.row && (
        <h2 class="row-head">
          <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
            <span class="row-mark" aria-hidden="true">{open ? "▾" : "▸"}</span>
            {titleOf(section.row, page) || "Row"}
            {!open && <span class="dim"> {section.panels.length} {section.panels.length === 1 ? "panel" : "panels"}</span>}
          </button>
        </h2>
      )}
      {open && (
        <div class={`grid ${narrow ? "is-narrow" : ""}`} style={{ gridAutoRows: `${ROW_PX}px`, gap: `${GAP_PX}px` }}>
          {section.panels.map((panel) => {
            const { x, y, w, h } = panel.gridPos;
            const place = narrow ? { gridColumn: "1 / -1", gridRow: `span ${h}` } : { gridColumn: `${x + 1} / span ${w}`, gridRow: `${y - top + 1} / span ${h}` };
            return (
              <div key={`${panel.id}-${JSON.stringify(panel.scoped ?? {})}`} class="cell" style={place}>
                <PanelView panel={panel} page={page} width={narrow ? width : columnPx * w} />
              </div>
            );
          })}
        </div>
      )}
    </div>
  );
}
