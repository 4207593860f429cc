import { signal } from "@preact/signals";

/** A dashboard file that was dropped on the page: it lives as long as the tab. */
export const droppedFile = signal<unknown>(null);
