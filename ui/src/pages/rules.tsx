// Rule groups: expressions, states, and how their evaluation went.

import "../style/others.css";
import { useEffect, useState } from "preact/hooks";
import { worst, worstCase } from "../data/alerts";
import { type DrillProof, prom, type Rule, type RuleGroup } from "../data/api";
import { provenText } from "../data/drills";
import { pushedAlerts, serverNow } from "../data/live";
import { age, promDuration } from "../format/time";
import { formatText } from "../format/units";
import { ErrorBox } from "../panels/frame";
import { Promql } from "../promql/highlight";
import { param, search, setParams } from "../shell/router";
import { PageHead, State, useTitle } from "./page";

export function RulesPage() {
  useTitle("Rules");
  search.value;
  const [groups, setGroups] = useState<RuleGroup[] | null>(null);
  const [error, setError] = useState<string | null>(null);
  const beat = Math.floor(serverNow.value / 5000);
  useEffect(() => {
    if (document.hidden) return;
    prom<{ groups: RuleGroup[] }>("rules").then(
      ({ data }) => {
        setGroups(data.groups);
        setError(null);
      },
      (cause: Error) => setError(cause.message),
    );
  }, [pushedAlerts.value, beat]);
  const words = (param("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (rule: Rule, group: RuleGroup) => {
    const text = [rule.name, rule.query, rule.state ?? "", rule.health, group.name, ...Object.entries(rule.labels ?? {}).map(([k, v]) => `${k}=${v}`)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const all = (groups ?? []).flatMap((group) => group.rules);
  const broken = all.filter((rule) => rule.health === "err").length;
  return (
    <>
      <PageHead title="Rules" subtitle={groups ? `${all.length} rules in ${groups.length} groups${broken ? `, ${broken} failing` : ""}` : undefined}>
        <label class="search">
          <span class="sr">Filter rules</span>
          <input data-search type="search" placeholder="Filter  /" value={param("q") ?? ""} onInput={(event) => setParams({ q: event.currentTarget.value || null })} />
        </label>
        <a class="button" href="/backtest">Backtest</a>
      </PageHead>
      {error && <ErrorBox message={error} />}
      {groups?.length === 0 && <p class="all-clear">No rule files are configured.</p>}
      {(groups ?? []).map((group) => {
        const rules = group.rules.filter((rule) => matches(rule, group));
        if (rules.length === 0) return null;
        const last = Date.parse(group.lastEvaluation);
        return (
          <section key={`${group.file}${group.name}`} class="rule-group">
            <header>
              <h2>{group.name}</h2>
              <span class="dim mono">{group.file.split("/").slice(-3).join("/")}</span>
              <span class="page-gap" />
              <span class="dim">every {promDuration(group.interval * 1000)} · took {formatText("s", group.evaluationTime)}{last > 0 ? ` · ${age(Math.max(0, serverNow.value - last))} ago` : ""}</span>
            </header>
            <ul>
              {rules.map((rule) => <RuleItem key={`${rule.name}${rule.query}${JSON.stringify(rule.labels)}`} rule={rule} />)}
            </ul>
          </section>
        );
      })}
    </>
  );
}

/** When a drill last made the alert fire, reach somebody and clear. */
function Proven({ drills, now }: { drills: DrillProof[]; now: number }) {
  if (drills.length === 0) return <span class="dim" title="tradewatch drill shows that an alert fires, is told and clears">never drilled</span>;
  return (
    <>
      {drills.map((drill) => (
        <span key={drill.way} class={drill.proven ? "dim" : "bad"} title={provenText(drill)}>
          {drill.proven ? "✓ proven" : "✕ drill failed"} {drill.way === "live" ? "live" : "in simulation"} {age(Math.max(0, now - drill.at))} ago
        </span>
      ))}
    </>
  );
}

function RuleItem({ rule }: { rule: Rule }) {
  const state = rule.type === "recording" ? "recording" : (rule.state ?? "inactive");
  const tone = rule.health === "err" ? "bad" : state === "firing" ? "bad" : state === "pending" ? "warn" : state === "recording" ? "info" : rule.health === "unknown" ? "off" : "good";
  return (
    <li class={`rule ${rule.health === "err" ? "rule-bad" : ""}`}>
      <div class="rule-head">
        <State tone={tone}>{rule.health === "err" ? "failing" : state}</State>
        <b>{rule.name}</b>
        {rule.duration ? <span class="dim">for {promDuration(rule.duration * 1000)}</span> : rule.type === "alerting" ? <span class="dim">at once</span> : null}
        {Object.entries(rule.labels ?? {}).map(([name, value]) => <span key={name} class="label-chip">{name}=<b>{value}</b></span>)}
        <span class="page-gap" />
        {rule.latencyBudget && (
          <span class={rule.latencyBudget.withinLimit ? "dim" : "bad"} title={worstCase(rule.latencyBudget)}>
            {rule.latencyBudget.withinLimit ? "" : "✕ "}told within {formatText("s", worst(rule.latencyBudget))}
          </span>
        )}
        {rule.type === "alerting" && <Proven drills={rule.drills ?? []} now={serverNow.value} />}
        <span class="dim">{formatText("s", rule.evaluationTime)}</span>
      </div>
      <a class="rule-expr" href={`/explore?expr=${encodeURIComponent(rule.query)}`} title="Open in Explore"><Promql text={rule.query} /></a>
      {rule.annotations?.["summary"] && <p class="dim">{rule.annotations["summary"]}</p>}
      {(rule.missingMetrics ?? []).length > 0 && <p class="bad">▲ Reads {rule.missingMetrics!.join(", ")}, which nothing has: it cannot fire</p>}
      {rule.lastError && <p class="bad">✕ {rule.lastError}</p>}
    </li>
  );
}
