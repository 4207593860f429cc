import { describe, expect, test } from "vitest";
import { FrameBuffer, latest, unchangedSince, type WireValue } from "../../src/data/frame";

const frame = (full: boolean, ...series: [Record<string, string>, [number, WireValue][]][]) => ({
  full,
  step_ms: 1000,
  series: series.map(([labels, points]) => ({ labels, t: points.map((p) => p[0]), v: points.map((p) => p[1]) })),
});

function dump(buffer: FrameBuffer) {
  const { t, columns } = buffer.view();
  return { t: [...t], ...Object.fromEntries(columns.map((c) => [c.labels["a"] ?? "", [...c.values].map((v) => (Number.isNaN(v) ? null : v))])) };
}

describe("frames", () => {
  test("a full frame replaces, series share one time column", () => {
    const buffer = new FrameBuffer(5000, 1000);
    buffer.apply(frame(true, [{ a: "x" }, [[1000, 1], [2000, 2]]], [{ a: "y" }, [[2000, 5], [3000, 6]]]));
    expect(dump(buffer)).toEqual({ t: [1000, 2000, 3000], x: [1, 2, null], y: [null, 5, 6] });
    buffer.apply(frame(true, [{ a: "z" }, [[9000, 1]]]));
    expect(dump(buffer)).toEqual({ t: [9000], z: [1] });
  });

  test("deltas append, overwrite the provisional column and bring new series", () => {
    const buffer = new FrameBuffer(5000, 1000);
    buffer.apply(frame(true, [{ a: "x" }, [[1000, 1]]]));
    const shape = buffer.shape;
    buffer.apply(frame(false, [{ a: "x" }, [[1000, 7], [2000, 2]]]));
    expect(buffer.shape).toBe(shape);
    buffer.apply(frame(false, [{ a: "y" }, [[2000, 9]]]));
    expect(buffer.shape).toBe(shape + 1);
    expect(dump(buffer)).toEqual({ t: [1000, 2000], x: [7, 2], y: [null, 9] });
  });

  test("null ends a series; text stands for what JSON has no number for", () => {
    const buffer = new FrameBuffer(5000, 1000);
    buffer.apply(frame(true, [{ a: "x" }, [[1000, "+Inf"], [2000, "-Inf"], [3000, null], [4000, "NaN"]]]));
    const { t, columns } = buffer.view();
    expect([...columns[0]!.values]).toEqual([Infinity, -Infinity, NaN, NaN]);
    expect(columns[0]!.sawNaN).toBe(true);
    expect(latest(t, columns[0]!.values)).toEqual({ t: 2000, v: -Infinity });
  });

  test("the window slides for longer than its memory, and agrees with a plain list", () => {
    const buffer = new FrameBuffer(10_000, 1000);
    const plain: [number, number][] = [];
    buffer.apply(frame(true, [{ a: "x" }, [[0, 0]]]));
    plain.push([0, 0]);
    for (let i = 1; i < 500; i++) {
      buffer.apply(frame(false, [{ a: "x" }, [[i * 1000, i * 3]]]));
      plain.push([i * 1000, i * 3]);
      const { t, columns } = buffer.view();
      const tail = plain.slice(-t.length);
      expect(t.length).toBeLessThanOrEqual(buffer.capacity);
      expect([...t]).toEqual(tail.map((p) => p[0]));
      expect([...columns[0]!.values]).toEqual(tail.map((p) => p[1]));
    }
  });

  test("a column between two others finds its place; one before the window does not come back", () => {
    const buffer = new FrameBuffer(5000, 1000);
    buffer.apply(frame(true, [{ a: "x" }, [[1000, 1], [3000, 3]]]));
    buffer.apply(frame(false, [{ a: "x" }, [[2000, 2], [500, 9]]]));
    expect(dump(buffer)).toEqual({ t: [1000, 2000, 3000], x: [1, 2, 3] });
  });

  test("trimming drops the old and the series that have nothing left", () => {
    const buffer = new FrameBuffer(5000, 1000);
    buffer.apply(frame(true, [{ a: "x" }, [[1000, 1], [2000, 1]]], [{ a: "y" }, [[1000, 5]]]));
    buffer.trim(1500);
    expect(dump(buffer)).toEqual({ t: [2000], x: [1] });
  });
});

test("since when a state holds", () => {
  const t = Float64Array.from([1, 2, 3, 4, 5]);
  expect(unchangedSince(t, Float64Array.from([0, 0, 1, NaN, 1]))).toEqual({ t: 3, exact: true });
  expect(unchangedSince(t, Float64Array.from([1, 1, 1, 1, 1]))).toEqual({ t: 1, exact: false });
  expect(unchangedSince(t, new Float64Array(5).fill(NaN))).toBeNull();
});
