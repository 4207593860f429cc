// The parts of a field's settings that stand both in the defaults and in overrides.

import { asList, asNumber, asRecord, asText, get, type FieldOptions, type Mapping, type Threshold } from "./model";

export function readThresholds(value: unknown): { mode?: string; steps: Threshold[] } | undefined {
  const steps = asList(get(value, "steps"));
  if (steps.length === 0) return undefined;
  return {
    mode: asText(get(value, "mode"), "absolute"),
    steps: steps.map((one, i) => ({ color: asText(get(one, "color"), "green"), value: i === 0 ? null : (asNumber(get(one, "value")) ?? null) })),
  };
}

export function readMappings(value: unknown): Mapping[] {
  const out: Mapping[] = [];
  for (const one of asList(value)) {
    const type = get(one, "type");
    if (type === "value" || type === "range" || type === "regex" || type === "special") {
      out.push({ type, options: asRecord(get(one, "options")) });
    } else if (type === 1 || (typeof type === "undefined" && get(one, "value") !== undefined)) {
      // Before Grafana 8: 1 is a value, 2 a range; "null" as a value meant the missing one.
      const met = asText(get(one, "value"));
      const result = { text: asText(get(one, "text")) };
      if (met === "null") out.push({ type: "special", options: { match: "null", result } });
      else out.push({ type: "value", options: { [met]: result } });
    } else if (type === 2) {
      out.push({ type: "range", options: { from: asNumber(get(one, "from")), to: asNumber(get(one, "to")), result: { text: asText(get(one, "text")) } } });
    }
  }
  return out;
}

export function readLinks(value: unknown): FieldOptions["links"] {
  return asList(value).map((one) => ({ title: asText(get(one, "title")), url: asText(get(one, "url")), targetBlank: get(one, "targetBlank") === true }));
}
