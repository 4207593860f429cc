// A runbook page, with its queries one click away.

import "../style/others.css";
import { useEffect, useState } from "preact/hooks";
import { getText } from "../data/api";
import { ErrorBox } from "../panels/frame";
import { Markdown } from "../shell/markdown";
import { looksLikePromql } from "../promql/highlight";
import { isOpen, runbookName, useAlerts } from "../data/alerts";
import { PageHead, State, useTitle } from "./page";

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
            queryUrl={(code, language) => (language === "promql" || (language === "" && looksLikePromql(code)) ? `/explore?expr=${encodeURIComponent(code.trim())}` : null)}
          />
        </article>
      )}
    </>
  );
}
