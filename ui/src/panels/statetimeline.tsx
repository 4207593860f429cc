// Grafana's state timeline: value mappings and thresholds as blocks.

import { fade } from "../chart/palette";
import { blocksOf, Timeline, type StateRow } from "../chart/timeline";
import { serverNow } from "../data/live";
import type { Source } from "../data/source";
import { show } from "../grafana/field";
import type { Panel } from "../grafana/model";
import { theme, zone } from "../shell/settings";
import { fieldsOf, titleOf, type PageContext } from "./context";
import { Loading, NoData } from "./timeseries";

export function StateTimelinePanel({ panel, source, page }: { panel: Panel; source: Source; page: PageContext }) {
  source.version.value;
  theme.value;
  const fields = fieldsOf(panel, source, page).slice(0, 60);
  if (!source.ready) return <Loading />;
  if (fields.length === 0) return <NoData />;
  const { from, to } = source.extent(serverNow.peek());
  const rows: StateRow[] = fields.map((one) => ({
    name: one.field.title,
    blocks: blocksOf(one.t, one.values, source.stepMs, to, (v) => {
      const shown = show(one.field, v, undefined, zone.value || undefined);
      return { text: shown.full, tone: "off", color: fade(shown.color, 0.32) };
    }),
  }));
  return <Timeline rows={rows} from={from} to={to} label={titleOf(panel, page)} />;
}
