// The keyboard: single keys and "g x" pairs, never while somebody types into a field.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";

export interface Binding {
  /** "a", "?", "Enter", "g d" */
  keys: string;
  what: string;
  run: (event: KeyboardEvent) => void;
  /** Grouping in the help. */
  where: string;
}

export const bindings = signal<readonly Binding[]>([]);
const PAIR_MS = 1200;
let pending: { key: string; at: number } | null = null;
/** The first key of a pair, shown in the corner until the second comes. */
export const pendingKey = signal<string | null>(null);

function typing(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  if (!element?.tagName) return false;
  return /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName) || element.isContentEditable;
}

function find(keys: string): Binding | undefined {
  const all = bindings.value;
  // The page's own binding was added last and wins over the shell's.
  for (let i = all.length - 1; i >= 0; i--) if (all[i]!.keys === keys) return all[i];
  return undefined;
}

export function listenToKeys(): void {
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key === "k") {
      event.preventDefault();
      find("Ctrl+k")?.run(event);
      return;
    }
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (typing(event.target)) {
      if (event.key === "Escape") (event.target as HTMLElement).blur();
      return;
    }
    const now = performance.now();
    const first = pending && now - pending.at < PAIR_MS ? pending.key : null;
    pending = null;
    pendingKey.value = null;
    const binding = (first && find(`${first} ${event.key}`)) || find(event.key);
    if (binding) {
      // Enter on a link or a button is that element's own.
      if (event.key === "Enter" && (event.target as HTMLElement).closest?.("a,button,summary,[role=button]")) return;
      event.preventDefault();
      binding.run(event);
      return;
    }
    if (bindings.value.some((b) => b.keys.startsWith(`${event.key} `))) {
      pending = { key: event.key, at: now };
      pendingKey.value = event.key;
      setTimeout(() => {
        if (pending && performance.now() - pending.at >= PAIR_MS) {
          pending = null;
          pendingKey.value = null;
        }
      }, PAIR_MS + 20);
    }
  });
}

export function addBindings(added: readonly Binding[]): () => void {
  bindings.value = [...bindings.value, ...added];
  return () => {
    bindings.value = bindings.value.filter((b) => !added.includes(b));
  };
}

/** Bindings for as long as a component is on the page. `make` sees the newest state through `deps`. */
export function useKeys(make: () => Binding[], deps: readonly unknown[]): void {
  useEffect(() => addBindings(make()), deps as unknown[]);
}
