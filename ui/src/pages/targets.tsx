// What is scraped, and how that went.

import "../style/others.css";
import { useEffect, useState } from "preact/hooks";
import { prom, type Target } from "../data/api";
import { serverNow, targetsChanged } from "../data/live";
import { age, sinceText } from "../format/time";
import { formatText } from "../format/units";
import { ErrorBox } from "../panels/frame";
import { param, search, setParams } from "../shell/router";
import { zone } from "../shell/settings";
import { PageHead, State, useTitle } from "./page";

export function TargetsPage() {
  useTitle("Targets");
  search.value;
  const [targets, setTargets] = useState<Target[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const filter = (param("q") ?? "").toLowerCase();
  // The server hints at a change of state; the ages move by each scrape, so they are asked for as well.
  const beat = Math.floor(serverNow.value / 2000);
  useEffect(() => {
    if (document.hidden) return;
    prom<{ activeTargets: Target[] }>("targets", { state: "active" }).then(
      ({ data }) => {
        setTargets(data.activeTargets);
        setError(null);
      },
      (cause: Error) => setError(cause.message),
    );
  }, [targetsChanged.value, beat]);
  const words = filter.split(/\s+/).filter(Boolean);
  const shown = (targets ?? []).filter((one) => {
    const text = [one.scrapePool, one.scrapeUrl, one.health, one.lastError, ...Object.entries(one.labels).map(([k, v]) => `${k}=${v}`)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
  const pools = [...new Set(shown.map((one) => one.scrapePool))].sort((a, b) => downCount(shown, b) - downCount(shown, a) || a.localeCompare(b));
  const up = (targets ?? []).filter((one) => one.health === "up").length;
  return (
    <>
      <PageHead title="Targets" subtitle={targets ? `${up} of ${targets.length} up` : undefined}>
        <label class="search">
          <span class="sr">Filter targets</span>
          <input data-search type="search" placeholder="Filter  /" value={param("q") ?? ""} onInput={(event) => setParams({ q: event.currentTarget.value || null })} />
        </label>
      </PageHead>
      {error && <ErrorBox message={error} />}
      {targets?.length === 0 && <p class="all-clear">No target is configured. Add a scrape_config to prometheus.yml.</p>}
      {shown.length > 0 && (
        <div class="table-wrap" tabIndex={0} role="region" aria-label="Targets, table">
          <table class="data roomy">
            <caption class="sr">Targets by job</caption>
            <thead>
              <tr>
                <th scope="col">Job</th>
                <th scope="col">State</th>
                <th scope="col">Endpoint</th>
                <th scope="col">Labels</th>
                <th scope="col" class="num">Last scrape</th>
                <th scope="col" class="num">Took</th>
                <th scope="col" class="num">Every</th>
                <th scope="col">Error</th>
              </tr>
            </thead>
            <tbody>
              {pools.flatMap((pool) => shown.filter((one) => one.scrapePool === pool).map((one) => <TargetRow key={`${pool}${one.scrapeUrl}`} target={one} />))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function downCount(targets: readonly Target[], pool: string): number {
  return targets.filter((one) => one.scrapePool === pool && one.health === "down").length;
}

function TargetRow({ target }: { target: Target }) {
  const now = serverNow.value;
  const last = Date.parse(target.lastScrape);
  const fresh = Number.isFinite(last) && last > 0;
  return (
    <tr class={target.health === "down" ? "row-bad" : ""}>
      <td><a href={`/explore?expr=${encodeURIComponent(`up{job="${target.scrapePool}"}`)}`}>{target.scrapePool}</a></td>
      <td><State tone={target.health === "up" ? "good" : target.health === "down" ? "bad" : "off"}>{target.health}</State></td>
      <td class="mono"><a href={target.scrapeUrl} rel="noreferrer">{target.scrapeUrl}</a></td>
      <td class="labels-cell">{Object.entries(target.labels).filter(([name]) => name !== "job").map(([name, value]) => <span key={name} class="label-chip">{name}=<b>{value}</b></span>)}</td>
      <td class="num" title={fresh ? sinceText(last, now, zone.value || undefined) : ""}>{fresh ? `${age(Math.max(0, now - last))} ago` : "never"}</td>
      <td class="num">{formatText("s", target.lastScrapeDuration)}</td>
      <td class="num">{target.scrapeInterval ?? ""}</td>
      <td class="error-cell">{target.lastError}</td>
    </tr>
  );
}
