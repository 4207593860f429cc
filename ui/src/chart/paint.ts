// One animation-frame loop for everything that is drawn: a chart is painted when it has changed, is on the screen,
// and was not painted a moment ago. Nothing runs while nothing changes.

export interface Paintable {
  paint(): void;
}

interface Entry {
  target: Paintable;
  element: Element;
  dirty: boolean;
  visible: boolean;
  last: number;
  everyMs: number;
}

const entries = new Map<Element, Entry>();
let requested = false;
let timer: ReturnType<typeof setTimeout> | undefined;

const observer =
  typeof IntersectionObserver === "undefined"
    ? null
    : new IntersectionObserver(
        (changes) => {
          for (const change of changes) {
            const entry = entries.get(change.target);
            if (!entry) continue;
            entry.visible = change.isIntersecting;
            if (entry.visible && entry.dirty) request();
          }
        },
        { rootMargin: "120px" },
      );

function request(): void {
  if (requested) return;
  requested = true;
  requestAnimationFrame(run);
}

function run(): void {
  requested = false;
  const now = performance.now();
  let waitMs = Infinity;
  for (const entry of entries.values()) {
    if (!entry.dirty || !entry.visible) continue;
    const due = entry.last + entry.everyMs - now;
    if (due > 0) {
      waitMs = Math.min(waitMs, due);
      continue;
    }
    entry.dirty = false;
    entry.last = now;
    entry.target.paint();
  }
  clearTimeout(timer);
  if (waitMs < Infinity) timer = setTimeout(request, waitMs);
}

export function addPaintable(target: Paintable, element: Element, everyMs = 200): { invalidate: () => void; remove: () => void } {
  const entry: Entry = { target, element, dirty: true, visible: observer === null, last: -Infinity, everyMs };
  entries.set(element, entry);
  observer?.observe(element);
  return {
    invalidate() {
      entry.dirty = true;
      if (entry.visible) request();
    },
    remove() {
      observer?.unobserve(element);
      entries.delete(element);
    },
  };
}
