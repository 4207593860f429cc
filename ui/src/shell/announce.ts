// What a screen reader is told when something changes that sight would notice.

import { signal } from "@preact/signals";

export const announcement = signal("");

export function announce(text: string): void {
  announcement.value = announcement.value === text ? `${text}\u00a0` : text;
}

export interface Toast {
  id: number;
  text: string;
  bad: boolean;
}

export const toasts = signal<Toast[]>([]);
let next = 1;

/** A line at the foot of the page for some seconds; it is announced as well. */
export function toast(text: string, bad = false): void {
  const id = next++;
  toasts.value = [...toasts.value.slice(-3), { id, text, bad }];
  announce(text);
  setTimeout(() => (toasts.value = toasts.value.filter((one) => one.id !== id)), bad ? 8000 : 4000);
}
