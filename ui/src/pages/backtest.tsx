// The timeline of a backtest: what each alert did, with the incidents behind it. The file stays in the browser.

import "../style/backtest.css";
import { useState } from "preact/hooks";
import { ErrorBox } from "../panels/frame";
import { bars, place, readBacktest, rows, type Backtest, type Version } from "./backtestdata";
import { PageHead, useTitle } from "./page";

const percent = (share: number | null) => (share === null ? "–" : `${Math.round(share * 100)} %`);

function Timeline({ backtest, version }: { backtest: Backtest; version: Version }) {
  const incidents = backtest.incidents.map((incident) => ({ ...incident, ...place(backtest, incident.from, incident.to) }));
  const shown = rows(version);
  return (
    <section class="panel backtest" aria-label={version.name}>
      <header class="panel-head">
        <h2>{version.name}</h2>
        <span class="dim">
          fired {version.fired}, precision {percent(version.precision)}, recall {percent(version.recall)}, false pages {version.falsePages}
        </span>
      </header>
      {shown.length === 0 && <p class="dim">No alert was pending.</p>}
      <table>
        <tbody>
          {shown.map((alert) => (
            <tr key={alert}>
              <th scope="row">{alert}</th>
              <td>
                <div class="track">
                  {incidents.map((incident, at) => (
                    <i key={at} class="incident" title={incident.name} style={{ left: `${incident.left * 100}%`, width: `max(2px, ${incident.width * 100}%)` }} />
                  ))}
                  {bars(backtest, version, alert).map((bar, at) => (
                    <i key={`b${at}`} class={bar.kind} title={bar.title} style={{ left: `${bar.left * 100}%`, width: `max(2px, ${bar.width * 100}%)` }} />
                  ))}
                </div>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="dim backtest-ends"><span>{backtest.from}</span><span>{backtest.to}</span></p>
    </section>
  );
}

export function BacktestPage() {
  useTitle("Backtest");
  const [shown, setShown] = useState<Backtest | null>(null);
  const [error, setError] = useState<string | null>(null);
  const open = async (file: File | undefined) => {
    if (!file) return;
    try {
      setShown(readBacktest(await file.text()));
      setError(null);
    } catch (cause) {
      setShown(null);
      setError(`${file.name}: ${(cause as Error).message}`);
    }
  };
  return (
    <>
      <PageHead title="Backtest" subtitle="what rules would have done">
        <label class="button">
          Open a file
          <input type="file" class="sr" accept=".json,application/json" onChange={(event) => void open(event.currentTarget.files?.[0])} />
        </label>
      </PageHead>
      {error && <ErrorBox message={error} />}
      {!shown && !error && <p class="dim">Run <code>tradewatch backtest rules/ --data DIR --format json &gt; backtest.json</code>, then open that file here.</p>}
      {shown && <Timeline backtest={shown} version={shown.version} />}
      {shown?.against && <Timeline backtest={shown} version={shown.against} />}
    </>
  );
}
