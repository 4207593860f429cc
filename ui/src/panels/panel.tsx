// One panel of a dashboard: asks for its data when it comes near the screen, and shows them by its type.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useSource, type Source } from "../data/source";
import { interpolate } from "../grafana/interpolate";
import { asText, get, type Panel } from "../grafana/model";
import { Markdown } from "../shell/markdown";
import { scopedValues, specsOf, titleOf, type PageContext } from "./context";
import { PanelFrame } from "./frame";
import { HeatmapPanel, heatmapTable } from "./heatmap";
import { BarGaugePanel, GaugePanel, singleTable, StatPanel } from "./single";
import { StateTimelinePanel } from "./statetimeline";
import { TablePanel, tableOf } from "./table";
import { TimeseriesPanel, timeseriesTable } from "./timeseries";

const DATA_TYPES = new Set(["timeseries", "barchart", "stat", "gauge", "bargauge", "piechart", "table", "heatmap", "state-timeline", "status-history"]);

export function PanelView({ panel, page, width }: { panel: Panel; page: PageContext; width: number }) {
  const box = useRef<HTMLDivElement>(null);
  const near = useNear(box);
  const title = titleOf(panel, page);
  const description = panel.description ? interpolate(panel.description, scopedValues(panel, page.values), null, "text") : undefined;
  return (
    <div class="panel-slot" ref={box}>
      {DATA_TYPES.has(panel.type) ? (
        <DataPanel panel={panel} page={page} width={width} title={title} description={description} near={near} />
      ) : (
        <PanelFrame title={title} description={description} class={panel.transparent ? "is-transparent" : ""}>
          <StaticPanel panel={panel} page={page} />
        </PanelFrame>
      )}
    </div>
  );
}

function useNear(box: { current: HTMLElement | null }): boolean {
  const [near, setNear] = useState(false);
  useEffect(() => {
    if (!box.current) return;
    const observer = new IntersectionObserver((entries) => setNear(entries[entries.length - 1]!.isIntersecting), { rootMargin: "400px" });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return near;
}

function DataPanel({ panel, page, width, title, description, near }: { panel: Panel; page: PageContext; width: number; title: string; description?: string; near: boolean }) {
  // A resize of the window by a few pixels is no reason to ask for other data.
  const rounded = Math.max(100, Math.round(width / 100) * 100);
  const specs = useMemo(() => specsOf(panel, page, rounded), [panel, page.values, page.window, rounded]);
  const source = useSource(specs, page.window, near);
  const first = specs[0];
  const exploreUrl = first ? `/explore?${specs.map((spec) => `expr=${encodeURIComponent(spec.expr)}`).join("&")}` : undefined;
  return (
    <PanelFrame
      title={title}
      description={description}
      source={source}
      table={panel.type === "table" ? undefined : () => dataOf(panel, source, page)}
      exploreUrl={exploreUrl}
      class={`panel-${panel.type} ${panel.transparent ? "is-transparent" : ""}`}
    >
      {specs.length === 0 ? <div class="no-data">This panel has no PromQL query</div> : body(panel, source, page, title)}
    </PanelFrame>
  );
}

function body(panel: Panel, source: Source, page: PageContext, title: string) {
  switch (panel.type) {
    case "stat": return <StatPanel panel={panel} source={source} page={page} />;
    case "gauge": return <GaugePanel panel={panel} source={source} page={page} />;
    // A share of a whole reads better as bars than as slices.
    case "piechart":
    case "bargauge": return <BarGaugePanel panel={panel} source={source} page={page} />;
    case "table": return <TablePanel panel={panel} source={source} page={page} title={title} />;
    case "heatmap": return <HeatmapPanel panel={panel} source={source} page={page} />;
    case "state-timeline":
    case "status-history": return <StateTimelinePanel panel={panel} source={source} page={page} />;
    default: return <TimeseriesPanel panel={panel} source={source} page={page} />;
  }
}

function dataOf(panel: Panel, source: Source, page: PageContext) {
  switch (panel.type) {
    case "stat":
    case "gauge":
    case "piechart":
    case "bargauge": return singleTable(panel, source, page);
    case "table": return tableOf(panel, source, page).data;
    case "heatmap": return heatmapTable(panel, source, page);
    default: return timeseriesTable(panel, source, page);
  }
}

function StaticPanel({ panel, page }: { panel: Panel; page: PageContext }) {
  if (panel.type === "text") {
    const mode = asText(panel.options["mode"], "markdown");
    const text = interpolate(asText(panel.options["content"]) || asText(get(panel, "content")), scopedValues(panel, page.values), null, "text");
    if (mode === "html") return <Unsupported what="text as HTML" detail="HTML from a dashboard file is not run here. Markdown is shown." />;
    if (mode === "code") return <pre class="text-code" tabIndex={0}>{text}</pre>;
    return (
      <div class="text-panel" tabIndex={0} role="region" aria-label={titleOf(panel, page) || "Text"}>
        <Markdown source={text} topLevel={3} />
      </div>
    );
  }
  return <Unsupported what={panel.type} detail="Grafana shows it; this page cannot." />;
}

export function Unsupported({ what, detail }: { what: string; detail: string }) {
  return (
    <div class="unsupported" role="note">
      <b>Unsupported panel type: {what}</b>
      <span>{detail}</span>
    </div>
  );
}
