// The frame around all pages: navigation, connection, age of the data, theme, help.

import { useMemo, useState } from "preact/hooks";
import { connection, lostSince, marketClock, newestSample, serverNow } from "../data/live";
import { age, sinceText } from "../format/time";
import { alertCounts, useAlerts } from "../data/alerts";
import { PageAge, PageHead } from "../pages/page";
import { announcement, toasts } from "./announce";
import { pendingKey, useKeys, type Binding } from "./keys";
import { paletteOpen } from "./palettestate";
import { PAGES } from "./pages";
import { lazy } from "./lazy";
import { droppedFile } from "../data/dropped";
import { go, path } from "./router";
import { themeChoice, zone, zoneName, type ThemeChoice } from "./settings";

// Each page comes when it is asked for; the frame around it is there at once.
const DeskPage = lazy(() => import("../pages/desk").then((m) => m.DeskPage));
const AlertsPage = lazy(() => import("../pages/alerts").then((m) => m.AlertsPage));
const DashboardPage = lazy(() => import("../pages/dashboard").then((m) => m.DashboardPage));
const DashboardsPage = lazy(() => import("../pages/dashboards").then((m) => m.DashboardsPage));
const ExplorePage = lazy(() => import("../pages/explore").then((m) => m.ExplorePage));
const TargetsPage = lazy(() => import("../pages/targets").then((m) => m.TargetsPage));
const RulesPage = lazy(() => import("../pages/rules").then((m) => m.RulesPage));
const StatusPage = lazy(() => import("../pages/status").then((m) => m.StatusPage));
const BacktestPage = lazy(() => import("../pages/backtest").then((m) => m.BacktestPage));
const CalendarPage = lazy(() => import("../pages/calendar").then((m) => m.CalendarPage));
const RunbookPage = lazy(() => import("../pages/runbook").then((m) => m.RunbookPage));

const Palette = lazy(() => import("./palette").then((m) => m.Palette));
const Help = lazy(() => import("./help").then((m) => m.Help));

const helpOpen = { toggle: () => {} };

export function App() {
  const [help, setHelp] = useState(false);
  helpOpen.toggle = () => setHelp((open) => !open);
  const shellKeys = useMemo<Binding[]>(
    () => [
      ...PAGES.map((page): Binding => ({ keys: `g ${page.key}`, what: page.name, where: "Go to", run: () => go(page.path) })),
      { keys: "?", what: "This help", where: "Everywhere", run: () => helpOpen.toggle() },
      {
        keys: "/",
        what: "Search in the page, or find anything",
        where: "Everywhere",
        run: () => {
          const field = document.querySelector<HTMLInputElement>("[data-search]");
          if (field) {
            field.focus();
            field.select?.();
          } else paletteOpen.value = true;
        },
      },
      { keys: "Ctrl+k", what: "Find anything", where: "Everywhere", run: () => (paletteOpen.value = true) },
      { keys: "T", what: "Change the theme", where: "Everywhere", run: nextTheme },
    ],
    [],
  );
  useKeys(() => shellKeys, [shellKeys]);
  return (
    <div class="shell">
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the content</a>
      <Header onHelp={() => setHelp(!help)} />
      <LostBar />
      <main id="main" tabIndex={-1}>
        <Page />
      </main>
      {help && <Help close={() => setHelp(false)} />}
      {paletteOpen.value && <Palette />}
      {pendingKey.value && <div class="pending-key" aria-hidden="true">{pendingKey.value} …</div>}
      <div class="toasts">
        {toasts.value.map((one) => (
          <div key={one.id} class={`toast ${one.bad ? "is-bad" : ""}`}>
            <span aria-hidden="true">{one.bad ? "✕" : "✔"}</span> {one.text}
          </div>
        ))}
      </div>
      <div class="sr" role="status" aria-live="polite">{announcement.value}</div>
    </div>
  );
}

function Page() {
  const at = path.value.replace(/\/+$/, "") || "/desk";
  const parts = at.split("/").slice(1).map(decode);
  switch (parts[0]) {
    case "desk": return <DeskPage />;
    case "alerts": return <AlertsPage />;
    case "dashboards":
      if (parts[1] === "file" && droppedFile.value) return <DashboardPage uid="file" file={droppedFile.value} />;
      return parts[1] ? <DashboardPage uid={parts[1]} key={parts[1]} /> : <DashboardsPage />;
    case "explore": return <ExplorePage />;
    case "targets": return <TargetsPage />;
    case "rules": return <RulesPage />;
    case "status": return <StatusPage />;
    case "backtest": return <BacktestPage />;
    case "calendar": return <CalendarPage />;
    case "runbooks": return parts[1] ? <RunbookPage name={parts[1]} key={parts[1]} /> : <NotFound />;
    default: return <NotFound />;
  }
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function NotFound() {
  return (
    <>
      <PageHead title="No such page" />
      <p>There is nothing at {path.value}. The pages are:</p>
      <ul class="plain-list">{PAGES.map((page) => <li key={page.path}><a href={page.path}>{page.name}</a></li>)}</ul>
    </>
  );
}

function Header({ onHelp }: { onHelp: () => void }) {
  const at = path.value === "/" ? "/desk" : path.value;
  useAlerts();
  const firing = alertCounts.value?.firing ?? 0;
  const fresh = alertCounts.value?.open ?? 0;
  return (
    <header class="top">
      <a class="brand" href="/desk" aria-label="tradewatch, desk">
        <svg viewBox="0 0 24 16" aria-hidden="true"><path d="M1 9h5l3-7 4 12 3-8h3l2 3h2" /></svg>
        <span>tradewatch</span>
      </a>
      <nav aria-label="Pages">
        {PAGES.map((page) => {
          const here = at === page.path || at.startsWith(`${page.path}/`);
          return (
            <a key={page.path} href={page.path} aria-current={here ? "page" : undefined} title={`g ${page.key}`}>
              {page.name}
              {page.path === "/alerts" && firing > 0 && (
                <span class={`count ${fresh ? "is-bad" : ""}`}>
                  <span aria-hidden="true">{firing}</span>
                  <span class="sr">, {firing} firing, {fresh} not acknowledged</span>
                </span>
              )}
            </a>
          );
        })}
      </nav>
      <span class="page-gap" />
      <MarketChips />
      <LiveState />
      <label class="sr" for="zone">Time zone</label>
      <select id="zone" class="quiet" value={zone.value} onChange={(event) => (zone.value = event.currentTarget.value)} title="Time zone of all times">
        <option value="">{zoneName("")}</option>
        <option value="UTC">UTC</option>
        <option value="America/New_York">New York</option>
      </select>
      <ThemeButton />
      <button type="button" class="tool" onClick={onHelp} aria-label="Keyboard help" title="Keyboard (?)">?</button>
    </header>
  );
}

function MarketChips() {
  const clock = marketClock.value;
  return (
    <>
      {Object.entries(clock).sort().map(([mic, state]) => {
        const open = state === "open";
        return (
          <a key={mic} href="/calendar" class={`chip ${open ? "chip-open" : ""}`} title={`${mic}: ${state}`}>
            <span aria-hidden="true">{open ? "●" : "○"}</span> {mic} {state}
          </a>
        );
      })}
    </>
  );
}

function LiveState() {
  const state = connection.value;
  const newest = newestSample.value;
  const late = state === "open" && newest !== null && serverNow.value - newest > 5000;
  const word = state === "lost" ? "no connection" : state === "connecting" ? "connecting" : late ? "no new data" : "live";
  const glyph = state === "lost" ? "✕" : state === "connecting" ? "◌" : late ? "▨" : "●";
  return (
    <span class={`live live-${late ? "late" : state}`} title="Age of the newest data on this page">
      <span aria-hidden="true">{glyph}</span> {word} {state === "open" && <PageAge />}
    </span>
  );
}

/** Not quiet when the line is dead: everything on the page is old from that moment on. */
function LostBar() {
  const since = lostSince.value;
  const now = serverNow.value;
  if (since === null || now - since < 1500) return null;
  return (
    <div class="lost-bar" role="alert">
      <b>✕ No connection to the monitor</b> since {sinceText(since, now, zone.value || undefined)} ({age(now - since)}). What is shown is from before; it is retried by itself.
    </div>
  );
}

const ORDER: ThemeChoice[] = ["auto", "dark", "light"];

function nextTheme(): void {
  themeChoice.value = ORDER[(ORDER.indexOf(themeChoice.value) + 1) % ORDER.length]!;
}

function ThemeButton() {
  const choice = themeChoice.value;
  return (
    <button type="button" class="tool" onClick={nextTheme} aria-label={`Theme: ${choice}. Change`} title={`Theme: ${choice} (T)`}>
      {choice === "auto" ? "◐" : choice === "dark" ? "☾" : "☀"}
    </button>
  );
}
