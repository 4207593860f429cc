// A line without axes, behind a number.

import { useEffect, useRef } from "preact/hooks";
import type { Source } from "../data/source";
import { addPaintable } from "./paint";
import { fade } from "./palette";

export interface SparkData {
  t: Float64Array;
  values: Float64Array;
}

export function Spark({ data, tint, source }: { data: SparkData; tint: string; source: Source }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const latest = useRef({ data, tint });
  latest.current = { data, tint };
  const painter = useRef<{ invalidate: () => void; remove: () => void } | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    painter.current = addPaintable({ paint: () => drawSpark(element, latest.current.data, latest.current.tint) }, element, 250);
    const resize = new ResizeObserver(() => painter.current?.invalidate());
    resize.observe(element);
    return () => {
      painter.current?.remove();
      resize.disconnect();
    };
  }, [source]);
  useEffect(() => painter.current?.invalidate());
  return <canvas class="spark" ref={canvas} aria-hidden="true" />;
}

function drawSpark(canvas: HTMLCanvasElement, { t, values }: SparkData, tint: string): void {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (width === 0 || height === 0) return;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  if (!ctx || t.length < 2) return;
  let min = Infinity;
  let max = -Infinity;
  for (const v of values) {
    if (!Number.isFinite(v)) continue;
    if (v < min) min = v;
    if (v > max) max = v;
  }
  if (min > max) return;
  if (min === max) {
    min -= 1;
    max += 1;
  }
  ctx.scale(ratio, ratio);
  const from = t[0]!;
  const span = t[t.length - 1]! - from || 1;
  const x = (i: number) => ((t[i]! - from) / span) * width;
  const y = (v: number) => height - 2 - ((v - min) / (max - min)) * (height - 4);
  const line = new Path2D();
  const area = new Path2D();
  let open = false;
  let lastX = 0;
  for (let i = 0; i < t.length; i++) {
    const v = values[i]!;
    if (!Number.isFinite(v)) {
      if (open) area.lineTo(lastX, height);
      open = false;
      continue;
    }
    lastX = x(i);
    if (open) {
      line.lineTo(lastX, y(v));
      area.lineTo(lastX, y(v));
    } else {
      line.moveTo(lastX, y(v));
      area.moveTo(lastX, height);
      area.lineTo(lastX, y(v));
      open = true;
    }
  }
  if (open) area.lineTo(lastX, height);
  ctx.fillStyle = fade(tint, 0.14);
  ctx.fill(area);
  ctx.strokeStyle = tint;
  ctx.lineWidth = 1.25;
  ctx.stroke(line);
}
