// Find anything: pages, dashboards, alerts, runbooks, metrics, by a few letters.

import { useEffect, useRef, useState } from "preact/hooks";
import { getJson, prom, type Alert, type DashboardEntry } from "../data/api";
import { pushedAlerts } from "../data/live";
import { PAGES } from "./pages";
import { paletteOpen } from "./palettestate";
import { go } from "./router";

interface Entry {
  kind: string;
  name: string;
  url: string;
}

export function Palette() {
  const dialog = useRef<HTMLDialogElement>(null);
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [entries, setEntries] = useState<Entry[]>(() => [
    ...PAGES.map((page) => ({ kind: "page", name: page.name, url: page.path })),
    ...(pushedAlerts.peek() ?? []).map((alert: Alert) => ({ kind: "alert", name: alert.name, url: "/alerts" })),
  ]);
  useEffect(() => {
    dialog.current?.showModal();
    dialog.current?.querySelector("input")?.focus();
    const add = (more: Entry[]) => setEntries((before) => [...before, ...more]);
    getJson<DashboardEntry[]>("/api/tradewatch/v1/dashboards")
      .then((list) => add(list.map((one) => ({ kind: "dashboard", name: one.title, url: `/dashboards/${one.uid}` }))))
      .catch(() => undefined);
    prom<string[]>("label/__name__/values")
      .then(({ data }) => add(data.map((name) => ({ kind: "metric", name, url: `/explore?expr=${encodeURIComponent(name)}` }))))
      .catch(() => undefined);
  }, []);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const found = entries.filter((entry) => words.every((word) => `${entry.kind} ${entry.name}`.toLowerCase().includes(word))).slice(0, 12);
  const chosen = Math.min(at, found.length - 1);
  const open = (entry: Entry | undefined) => {
    if (!entry) return;
    dialog.current?.close();
    go(entry.url);
  };
  return (
    <dialog ref={dialog} class="dialog palette" aria-label="Find anything" onClose={() => (paletteOpen.value = false)} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <input
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={found[chosen] ? `palette-${chosen}` : undefined}
        aria-label="Find a page, dashboard, alert or metric"
        placeholder="Find a page, dashboard, alert or metric"
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(found.length - 1, chosen + 1));
          else if (event.key === "ArrowUp") setAt(Math.max(0, chosen - 1));
          else if (event.key === "Enter") open(found[chosen]);
          else return;
          event.preventDefault();
        }}
      />
      <ul id="palette-list" role="listbox" aria-label="Found">
        {found.map((entry, i) => (
          <li key={`${entry.kind}${entry.name}${i}`} id={`palette-${i}`} role="option" aria-selected={i === chosen} onClick={() => open(entry)} onMouseEnter={() => setAt(i)}>
            <span>{entry.name}</span>
            <span class="dim">{entry.kind}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p class="dim">Nothing has that name</p>}
    </dialog>
  );
}
