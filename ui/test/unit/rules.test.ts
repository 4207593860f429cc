// What the rules page says of drills.

import { expect, test } from "vitest";
import type { DrillProof } from "../../src/data/api";
import { provenText } from "../../src/data/drills";

const drill = (more: Partial<DrillProof>): DrillProof => ({ alert: "Lost", platform: "desk", drill: "gateway-killed", way: "live", at: 0, proven: true, ...more });

test("a drill is told in a sentence", () => {
  expect(provenText(drill({ told_after: 1, cleared_after: 2 }))).toBe("Drill gateway-killed: told after 1 s, cleared 2 s after the fault");
  expect(provenText(drill({ held_back_by: "GatewayDown", told_after: undefined }))).toBe("Drill gateway-killed: held back by GatewayDown");
  expect(provenText(drill({ proven: false, why: "did not fire" }))).toBe("Drill gateway-killed: did not fire");
  expect(provenText(drill({ proven: false }))).toBe("Drill gateway-killed: it was not proven");
});
