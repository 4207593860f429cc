// The one WebSocket that everything on the screen comes through.
//
// The server evaluates a query when a scrape that can change it commits, and pushes the newest columns. Nothing is polled;
// while the tab is hidden the server is told so and evaluates nothing. A lost connection is retried with back-off and shown.

import { signal } from "@preact/signals";
import type { Alert, AlertSummary } from "./api";
import { FrameBuffer, type WireFrame } from "./frame";

export interface LiveQuery {
  expr: string;
  rangeMs: number;
  stepMs: number;
  instant: boolean;
}

export type Connection = "connecting" | "open" | "lost";

export const connection = signal<Connection>("connecting");
/** When the connection was lost, on the server's clock; null while it stands. */
export const lostSince = signal<number | null>(null);
/** The server's time, once a second; goes on by the local clock while disconnected, so that ages keep growing. */
export const serverNow = signal<number>(Date.now());
/** State of each market by its MIC, as the monitor's clock has it. */
export const marketClock = signal<Record<string, string>>({});
/** Alerts as last pushed; null until the first push. */
export const pushedAlerts = signal<Alert[] | null>(null);
/** All alerts counted, also those beyond the most urgent ones that are pushed; null until the first push. */
export const alertSummary = signal<AlertSummary | null>(null);
export const targetsChanged = signal(0);
export const dashboardsChanged = signal(0);
/** When the newest sample of any query on this page was taken. */
export const newestSample = signal<number | null>(null);
export const paused = signal(false);

type Listener = (subscription: Subscription) => void;

export class Subscription {
  readonly id: string;
  readonly query: LiveQuery;
  readonly buffer: FrameBuffer;
  error: string | null = null;
  /** At least one full frame has come. */
  ready = false;
  /** Time of the last frame on the server's clock. */
  receivedAt = 0;
  readonly listeners = new Set<Listener>();
  users = 0;
  releaseTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(id: string, query: LiveQuery) {
    this.id = id;
    this.query = query;
    this.buffer = new FrameBuffer(query.instant ? query.stepMs * 2 : query.rangeMs, query.stepMs);
  }

  /** The newest column's time on the server's clock, null before the first. */
  get newest(): number | null {
    return this.buffer.newest;
  }
}

/** The shortest scrape interval of any target: what Grafana calls the data source's interval. */
export const scrapeMs = signal(1000);

/**
 * When a column of that step is old. A column is called after the beginning of its step and a scrape may be missed once,
 * so a living series is never older than its step and two scrapes; some seconds are for a slow target.
 */
export function staleAfter(stepMs: number): number {
  return stepMs + 2 * scrapeMs.peek() + 3000;
}

const BACKOFF_FIRST_MS = 250;
const BACKOFF_LAST_MS = 5000;
/** A subscription outlives its last user a little, so that a page change or a scroll does not fetch the same frame again. */
const RELEASE_MS = 4000;

interface AlertsMessage extends Partial<AlertSummary> {
  full?: boolean;
  alerts?: Alert[];
  gone?: string[];
}

class Live {
  private socket: WebSocket | null = null;
  private readonly subscriptions = new Map<string, Subscription>();
  private readonly byKey = new Map<string, Subscription>();
  private backoff = BACKOFF_FIRST_MS;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private nextId = 1;
  private clockOffset = 0;
  private lastHeartbeat = 0;
  private started = false;
  private readonly alerts = new Map<string, Alert>();

  start(): void {
    if (this.started) return;
    this.started = true;
    this.connect();
    setInterval(() => this.tick(), 1000);
    document.addEventListener("visibilitychange", () => this.visibility());
    addEventListener("online", () => this.reconnectNow());
  }

  private url(): string {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    return `${scheme}//${location.host}/api/tradewatch/v1/live`;
  }

  private connect(): void {
    clearTimeout(this.retry);
    const socket = new WebSocket(this.url());
    this.socket = socket;
    socket.onopen = () => {
      this.backoff = BACKOFF_FIRST_MS;
      connection.value = "open";
      lostSince.value = null;
      this.lastHeartbeat = Date.now();
      if (document.hidden) this.sendJson({ type: "visible", value: false });
      for (const subscription of this.subscriptions.values()) this.sendSubscribe(subscription);
    };
    socket.onmessage = (event) => {
      if (typeof event.data === "string") this.receive(event.data);
    };
    socket.onclose = () => this.dropped(socket);
    socket.onerror = () => socket.close();
  }

  private dropped(socket: WebSocket): void {
    if (this.socket !== socket) return;
    this.socket = null;
    connection.value = "lost";
    if (lostSince.value === null) lostSince.value = this.now();
    // A little spread, so that ten screens of one desk do not come back in the same millisecond.
    const wait = this.backoff * (0.75 + Math.random() * 0.5);
    this.backoff = Math.min(BACKOFF_LAST_MS, this.backoff * 2);
    this.retry = setTimeout(() => this.connect(), wait);
  }

  reconnectNow(): void {
    if (this.socket || !this.started) return;
    this.backoff = BACKOFF_FIRST_MS;
    this.connect();
  }

  now(): number {
    return Date.now() + this.clockOffset;
  }

  private tick(): void {
    if (document.hidden) return;
    // Heartbeats come each second; five missing ones mean that the line is dead although the socket stands.
    if (this.socket?.readyState === WebSocket.OPEN && Date.now() - this.lastHeartbeat > 5000) this.socket.close();
    if (connection.value !== "open") serverNow.value = this.now();
  }

  private visibility(): void {
    const visible = !document.hidden;
    this.sendJson({ type: "visible", value: visible });
    if (!visible) return;
    this.lastHeartbeat = Date.now();
    serverNow.value = this.now();
    this.reconnectNow();
    // The server answers with whole frames for what was committed in between.
  }

  private receive(text: string): void {
    let message: { type: string; [name: string]: unknown };
    try {
      message = JSON.parse(text) as { type: string };
    } catch {
      return;
    }
    switch (message.type) {
      case "frame":
        this.receiveFrame(message as unknown as WireFrame & { id: string });
        break;
      case "error": {
        const subscription = this.subscriptions.get(String(message["id"]));
        if (subscription) {
          subscription.error = String(message["message"] ?? "The query failed.");
          this.tell(subscription);
        }
        break;
      }
      case "alerts":
        this.receiveAlerts(message as unknown as AlertsMessage);
        break;
      case "targets":
        targetsChanged.value += 1;
        break;
      case "dashboards":
        dashboardsChanged.value += 1;
        break;
      case "heartbeat":
        this.lastHeartbeat = Date.now();
        this.clockOffset = Number(message["now"]) - Date.now();
        serverNow.value = Number(message["now"]);
        if (message["clock"]) this.setClock(message["clock"] as Record<string, string>);
        break;
    }
  }

  /** The first message of a connection is whole, the others say what changed. */
  private receiveAlerts(message: AlertsMessage): void {
    if (message.full !== false) this.alerts.clear();
    for (const one of message.gone ?? []) this.alerts.delete(one);
    for (const alert of message.alerts ?? []) this.alerts.set(alert.fingerprint, alert);
    pushedAlerts.value = [...this.alerts.values()];
    alertSummary.value = message.counts ? { total: message.total ?? this.alerts.size, counts: message.counts, names: message.names ?? [] } : null;
  }

  private setClock(clock: Record<string, string>): void {
    const before = marketClock.peek();
    const names = Object.keys(clock);
    if (names.length !== Object.keys(before).length || names.some((name) => clock[name] !== before[name])) marketClock.value = clock;
  }

  private receiveFrame(frame: WireFrame & { id: string }): void {
    const subscription = this.subscriptions.get(frame.id);
    if (!subscription) return;
    const first = !subscription.ready;
    subscription.error = null;
    subscription.ready = true;
    subscription.receivedAt = this.now();
    subscription.buffer.apply(frame);
    const newest = subscription.buffer.newest;
    if (newest !== null && !subscription.query.instant) subscription.buffer.trim(newest - subscription.query.rangeMs - subscription.query.stepMs);
    // After the first, a frame comes because a scrape has committed: what it says holds now, whatever its column is called.
    const at = first ? newest : subscription.receivedAt;
    if (at !== null && (newestSample.peek() === null || at > newestSample.peek()!)) newestSample.value = at;
    this.tell(subscription);
  }

  private tell(subscription: Subscription): void {
    for (const listener of subscription.listeners) listener(subscription);
  }

  private sendJson(message: unknown): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(message));
  }

  private sendSubscribe(subscription: Subscription): void {
    const { expr, rangeMs, stepMs, instant } = subscription.query;
    this.sendJson({ type: "subscribe", id: subscription.id, expr, range_ms: rangeMs, step_ms: stepMs, instant });
  }

  /** Subscribes, or joins those who have the same query already. The returned function gives it up. */
  subscribe(query: LiveQuery, listener: Listener): { subscription: Subscription; release: () => void } {
    this.start();
    const key = JSON.stringify([query.expr, query.rangeMs, query.stepMs, query.instant]);
    let subscription = this.byKey.get(key);
    if (!subscription) {
      subscription = new Subscription(`q${this.nextId++}`, query);
      this.byKey.set(key, subscription);
      this.subscriptions.set(subscription.id, subscription);
      this.sendSubscribe(subscription);
    }
    const mine = subscription;
    clearTimeout(mine.releaseTimer);
    mine.users += 1;
    mine.listeners.add(listener);
    if (mine.ready || mine.error) queueMicrotask(() => mine.listeners.has(listener) && listener(mine));
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      mine.listeners.delete(listener);
      mine.users -= 1;
      if (mine.users > 0) return;
      mine.releaseTimer = setTimeout(() => {
        if (mine.users > 0) return;
        this.byKey.delete(key);
        this.subscriptions.delete(mine.id);
        this.sendJson({ type: "unsubscribe", id: mine.id });
      }, RELEASE_MS);
    };
    return { subscription: mine, release };
  }
}

export const live = new Live();
