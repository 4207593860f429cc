// A runbook page, with its queries one click away.

import "../style/others.css";
import { useEffect, useMemo, useState } from "preact/hooks";
import { getText } from "../data/api";
import { liveWindow, useSource } from "../data/source";
import { formatText } from "../format/units";
import { unitFor } from "../promql/units";
import { ErrorBox } from "../panels/frame";
import { Markdown } from "../shell/markdown";
import { looksLikePromql, Promql } from "../promql/highlight";
import { splitQueries } from "../promql/lex";
import { isOpen, runbookName, useAlerts } from "../data/alerts";
import { PageHead, State, useTitle } from "./page";

const ANSWER_ROWS_MAX = 6;

/** What the query says now, so that the first look needs no click. */
function Answer({ expr }: { expr: string }) {
  const window = useMemo(() => liveWindow(60_000), []);
  const source = useSource(useMemo(() => [{ refId: "A", expr, stepMs: 1000, instant: true }], [expr]), window);
  source.version.value;
  const state = source.states[0]!;
  if (state.error) return <p class="answer bad">✕ {state.error}</p>;
  if (!state.ready) return <p class="answer dim">asking</p>;
  const { t, columns } = state.buffer.view();
  if (t.length === 0 || columns.length === 0) return <p class="answer dim">now: no result, the condition does not hold for any series</p>;
  const names = Object.keys(columns[0]!.labels).filter((name) => columns.some((column) => column.labels[name] !== columns[0]!.labels[name]));
  return (
    <ul class="answer">
      {columns.slice(0, ANSWER_ROWS_MAX).map((column) => (
        <li key={column.key}>
          <span class="dim">{columns.length === 1 ? "now" : names.map((name) => column.labels[name] ?? "").join(", ")}</span> <b>{formatText(unitFor([expr]), column.values[t.length - 1]!)}</b>
        </li>
      ))}
      {columns.length > ANSWER_ROWS_MAX && <li class="dim">and {columns.length - ANSWER_ROWS_MAX} more</li>}
    </ul>
  );
}

function Query({ expr }: { expr: string }) {
  return (
    <div class="code-block">
      <pre tabIndex={0} role="region" aria-label="Query"><Promql text={expr} /></pre>
      <a class="button" href={`/explore?expr=${encodeURIComponent(expr)}`}>Run<span class="sr"> {expr} in Explore</span></a>
      <Answer expr={expr} />
    </div>
  );
}

export function RunbookPage({ name }: { name: string }) {
  const [text, setText] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const title = text?.match(/^#\s+(.+)$/m)?.[1] ?? name;
  useTitle(`${title} (runbook)`);
  useEffect(() => {
    getText(`/api/tradewatch/v1/runbooks/${encodeURIComponent(name)}`).then(setText, (cause: Error) => setError(cause.message));
  }, [name]);
  const mine = (useAlerts() ?? []).filter((alert) => runbookName(alert) === name && isOpen(alert));
  return (
    <>
      <PageHead title={title} subtitle="Runbook">
        {mine.length > 0 ? <State tone="bad">{mine.length} {mine.some((alert) => alert.state === "firing") ? "firing" : "pending"} now</State> : <State tone="good">not firing</State>}
        <a class="button" href={`/alerts?q=${encodeURIComponent(name)}`}>Alerts</a>
      </PageHead>
      {error && <ErrorBox message={error} />}
      {text !== null && (
        <article class="runbook">
          <Markdown
            source={text.replace(/^#\s+.+\n/, "")}
            topLevel={1}
            code={(code, language) => (language === "promql" || (language === "" && looksLikePromql(code)) ? splitQueries(code).map((expr) => <Query key={expr} expr={expr} />) : null)}
          />
        </article>
      )}
    </>
  );
}
