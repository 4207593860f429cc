// What drills showed of an alert.

import { formatText } from "../format/units";
import type { DrillProof } from "./api";

/** One drill in a sentence. */
export function provenText(drill: DrillProof): string {
  if (!drill.proven) return `Drill ${drill.drill}: ${drill.why || "it was not proven"}`;
  const told = drill.held_back_by ? `held back by ${drill.held_back_by}` : drill.told_after === undefined ? "told" : `told after ${formatText("s", drill.told_after)}`;
  const cleared = drill.cleared_after === undefined ? "" : `, cleared ${formatText("s", drill.cleared_after)} after the fault`;
  return `Drill ${drill.drill}: ${told}${cleared}`;
}
