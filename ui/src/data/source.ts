// Where the frames of a panel come from: pushed for a range that ends now, asked once for a fixed one.

import { batch, signal, type Signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { ApiError, prom, type PromPoint, type PromResult } from "./api";
import { FrameBuffer, type WireSeries } from "./frame";
import { live, paused, serverNow, staleAfter } from "./live";

export interface QuerySpec {
  refId: string;
  expr: string;
  stepMs: number;
  instant: boolean;
}

export interface Window {
  from: number;
  to: number;
  /** Ends now: frames are pushed, and `from` and `to` only give the width. */
  live: boolean;
  /** Ask again this often when not pushed; 0 is never. */
  refreshMs: number;
}

export interface FrameState {
  spec: QuerySpec;
  buffer: FrameBuffer;
  ready: boolean;
  error: string | null;
  warnings: string[];
}

export class Source {
  readonly states: FrameState[];
  readonly window: Window;
  /** Grows with every change; reading it in a component subscribes the component. */
  readonly version: Signal<number> = signal(0);
  private readonly listeners = new Set<() => void>();
  private releases: (() => void)[] = [];
  private abort: AbortController | null = null;
  private timer: ReturnType<typeof setInterval> | undefined;
  private opened = false;
  private shown = false;

  constructor(specs: readonly QuerySpec[], window: Window) {
    this.window = window;
    this.states = specs.map((spec) => ({ spec, buffer: new FrameBuffer(spec.stepMs, spec.stepMs), ready: false, error: null, warnings: [] }));
  }

  get error(): string | null {
    return this.states.find((state) => state.error)?.error ?? null;
  }

  get ready(): boolean {
    return this.states.every((state) => state.ready || state.error !== null);
  }

  /** The newest time column of all queries. */
  get newest(): number | null {
    let newest: number | null = null;
    for (const { buffer } of this.states) if (buffer.newest !== null && (newest === null || buffer.newest > newest)) newest = buffer.newest;
    return newest;
  }

  get stepMs(): number {
    return this.states.reduce((step, state) => Math.max(step, state.spec.stepMs), 1000);
  }

  /** Since when these data are old, or null while they are fresh. A fixed range cannot become old. */
  staleSince(now: number): number | null {
    if (!this.window.live || !this.states.some((state) => state.ready)) return null;
    const newest = this.newest;
    if (newest === null) return null;
    return now - newest > staleAfter(this.stepMs) ? newest : null;
  }

  /** The range that a chart of these data shows. */
  extent(now: number): { from: number; to: number } {
    if (!this.window.live) return { from: this.window.from, to: this.window.to };
    const newest = this.newest;
    const to = newest === null || this.staleSince(now) !== null ? now : newest;
    return { from: to - (this.window.to - this.window.from), to };
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  open(): void {
    if (this.opened) return;
    this.opened = true;
    if (this.window.live) this.subscribe();
    else {
      void this.fetchAll();
      if (this.window.refreshMs > 0) this.timer = setInterval(() => document.hidden || void this.fetchAll(), this.window.refreshMs);
    }
  }

  close(): void {
    this.opened = false;
    for (const release of this.releases) release();
    this.releases = [];
    this.abort?.abort();
    clearInterval(this.timer);
  }

  private subscribe(): void {
    for (const state of this.states) {
      const rangeMs = this.window.to - this.window.from;
      const { expr, stepMs, instant } = state.spec;
      const { subscription, release } = live.subscribe({ expr, rangeMs, stepMs, instant }, (from) => {
        state.ready = from.ready;
        state.error = from.error;
        state.warnings = from.buffer.warnings;
        this.changed();
      });
      state.buffer = subscription.buffer;
      this.releases.push(release);
    }
  }

  private async fetchAll(): Promise<void> {
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    await Promise.all(
      this.states.map(async (state) => {
        try {
          const { series, warnings } = await ask(state.spec, this.window, abort.signal);
          const buffer = new FrameBuffer(this.window.to - this.window.from, state.spec.stepMs);
          buffer.apply({ full: true, step_ms: state.spec.stepMs, series });
          state.buffer = buffer;
          state.error = null;
          state.warnings = warnings;
        } catch (cause) {
          if (abort.signal.aborted) return;
          state.error = cause instanceof Error ? cause.message : String(cause);
        }
        state.ready = true;
        this.changed();
      }),
    );
  }

  /** Tells those who show this, once per animation frame: one scrape may answer many queries. */
  changed(): void {
    waiting.add(this);
    if (waiting.size === 1) requestAnimationFrame(tellWaiting);
  }

  tell(): void {
    // What has never been shown is shown once, even while the page is paused.
    if (paused.peek() && this.shown) return;
    this.shown = this.ready;
    this.version.value += 1;
    for (const listener of this.listeners) listener();
  }
}

const waiting = new Set<Source>();

function tellWaiting(): void {
  const all = [...waiting];
  waiting.clear();
  batch(() => all.forEach((source) => source.tell()));
}

/** One query over HTTP, in the form of a frame. */
export async function ask(spec: QuerySpec, window: { from: number; to: number }, signal?: AbortSignal): Promise<{ series: WireSeries[]; warnings: string[] }> {
  const answer = spec.instant
    ? await prom<PromResult>("query", { query: spec.expr, time: (window.to / 1000).toFixed(3) }, signal)
    : await prom<PromResult>(
        "query_range",
        { query: spec.expr, start: (window.from / 1000).toFixed(3), end: (window.to / 1000).toFixed(3), step: (spec.stepMs / 1000).toString() },
        signal,
      );
  return { series: toSeries(answer.data), warnings: answer.warnings };
}

export function toSeries(data: PromResult): WireSeries[] {
  const column = (points: PromPoint[]) => ({ t: points.map((p) => Math.round(p[0] * 1000)), v: points.map((p) => wire(p[1])) });
  switch (data.resultType) {
    case "matrix":
      return data.result.map((one) => ({ labels: one.metric, ...column(one.values ?? []) }));
    case "vector":
      return data.result.map((one) => ({ labels: one.metric, ...column(one.value ? [one.value] : []) }));
    case "scalar":
      return [{ labels: {}, ...column([data.result]) }];
    case "string":
      throw new ApiError(`The query gives the text "${data.result[1]}", which has no value to show.`, 200, "string");
  }
}

function wire(text: string): number | string {
  return text === "NaN" || text === "+Inf" || text === "-Inf" ? text : Number(text);
}

/** A source for as long as the component wants it; a new one when queries or window change. */
export function useSource(specs: readonly QuerySpec[], window: Window, enabled = true): Source {
  const width = window.to - window.from;
  // A live window slides: only its width makes a difference.
  const key = JSON.stringify([specs, window.live ? width : [window.from, window.to], window.live, window.refreshMs]);
  const source = useMemo(() => new Source(specs, window), [key]);
  const opened = useRef<Source | null>(null);
  useEffect(() => {
    if (!enabled) return;
    source.open();
    opened.current = source;
    return () => source.close();
  }, [source, enabled]);
  // Pausing drops no data: what came meanwhile is shown when it ends.
  useEffect(() => paused.subscribe((now) => !now && source.changed()), [source]);
  return source;
}

/** A window of `rangeMs` that ends now. */
export function liveWindow(rangeMs: number): Window {
  const to = serverNow.peek();
  return { from: to - rangeMs, to, live: true, refreshMs: 0 };
}
