// All dashboard files, and a place to drop one that is not installed.

import "../style/dashboards.css";
import { useEffect, useState } from "preact/hooks";
import { getJson, type DashboardEntry } from "../data/api";
import { droppedFile } from "../data/dropped";
import { dashboardsChanged } from "../data/live";
import { parseDashboard } from "../grafana/parse";
import { ErrorBox } from "../panels/frame";
import { toast } from "../shell/announce";
import { useKeys } from "../shell/keys";
import { go } from "../shell/router";
import { PageHead, useTitle } from "./page";

async function openFile(file: File): Promise<void> {
  try {
    const json = JSON.parse(await file.text()) as unknown;
    parseDashboard(json);
    droppedFile.value = json;
    go("/dashboards/file");
  } catch (cause) {
    toast(`${file.name}: ${cause instanceof Error ? cause.message : String(cause)}`, true);
  }
}

export function DashboardsPage() {
  useTitle("Dashboards");
  const [entries, setEntries] = useState<DashboardEntry[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [filter, setFilter] = useState("");
  const [over, setOver] = useState(false);
  const changed = dashboardsChanged.value;
  useEffect(() => {
    getJson<DashboardEntry[]>("/api/tradewatch/v1/dashboards").then(
      (found) => {
        setEntries(found);
        setError(null);
      },
      (cause: Error) => setError(cause.message),
    );
  }, [changed]);
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = (entries ?? []).filter((one) => words.every((word) => [one.title, one.uid, one.platform ?? "", ...(one.tags ?? [])].join(" ").toLowerCase().includes(word)));
  const move = (by: number) => {
    const links = [...document.querySelectorAll<HTMLAnchorElement>(".card-link")];
    const at = links.indexOf(document.activeElement as HTMLAnchorElement);
    links[Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
  };
  useKeys(
    () => [
      { keys: "ArrowDown", what: "Next", where: "Dashboards", run: () => move(1) },
      { keys: "ArrowUp", what: "Previous", where: "Dashboards", run: () => move(-1) },
      { keys: "j", what: "Next", where: "Dashboards", run: () => move(1) },
      { keys: "k", what: "Previous", where: "Dashboards", run: () => move(-1) },
    ],
    [],
  );
  const platforms = [...new Set(shown.map((one) => one.platform ?? ""))].sort();
  return (
    <div
      class={over ? "drop-target is-over" : "drop-target"}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer?.files[0];
        if (file) void openFile(file);
      }}
    >
      <PageHead title="Dashboards" subtitle={entries ? `${entries.length} files` : undefined}>
        <label class="search">
          <span class="sr">Filter dashboards</span>
          <input data-search type="search" placeholder="Filter  /" value={filter} onInput={(event) => setFilter(event.currentTarget.value)} />
        </label>
        <label class="button">
          Open a file
          <input type="file" class="sr" accept="application/json,.json" onChange={(event) => { const file = event.currentTarget.files?.[0]; if (file) void openFile(file); }} />
        </label>
      </PageHead>
      {error && <ErrorBox message={error} />}
      {entries && shown.length === 0 && <p class="all-clear">{filter ? `No dashboard has “${filter}”` : "No dashboard files. They belong into platforms/<name>/dashboards; or drop one here."}</p>}
      {platforms.map((platform) => (
        <section key={platform} class="card-group">
          {platform && <h2>{platform}</h2>}
          <ul class="cards">
            {shown.filter((one) => (one.platform ?? "") === platform).map((one) => (
              <li key={one.uid} class="card">
                {one.error ? (
                  <>
                    <b>{one.title || one.uid}</b>
                    <span class="bad">✕ {one.error}</span>
                  </>
                ) : (
                  <a class="card-link" href={`/dashboards/${encodeURIComponent(one.uid)}`}>{one.title}</a>
                )}
                <span class="dim">{[...(one.tags ?? [])].join(" · ")}</span>
                <span class="dim mono">{one.file}</span>
              </li>
            ))}
          </ul>
        </section>
      ))}
      <p class="dim drop-hint">Drop any Grafana dashboard JSON on this page to see it on these data. It is not stored.</p>
    </div>
  );
}
