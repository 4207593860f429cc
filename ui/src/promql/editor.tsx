// A field for PromQL: coloured as one types, completing metric names, functions, labels and their values.

import { useEffect, useId, useMemo, useRef, useState } from "preact/hooks";
import { prom } from "../data/api";
import { AGGREGATIONS, FUNCTIONS, spotAt, type Spot } from "./lex";
import { Promql } from "./highlight";

interface Choice {
  text: string;
  detail: string;
  kind: string;
  /** Put behind the text; the cursor stands before it when it closes something. */
  tail?: string;
}

const CHOICES_MAX = 50;
const DURATIONS = ["30s", "1m", "5m", "15m", "1h", "6h", "1d"];

class Names {
  private metrics: Promise<string[]> | null = null;
  private metadata: Promise<Record<string, { type: string; help: string; unit: string }[]>> | null = null;
  private readonly cache = new Map<string, Promise<string[]>>();
  private bornAt = 0;

  private fresh(): void {
    // New series appear all the time; a minute old is young enough for a list of names.
    if (Date.now() - this.bornAt < 60_000) return;
    this.bornAt = Date.now();
    this.metrics = null;
    this.cache.clear();
  }

  async choices(spot: Spot): Promise<Choice[]> {
    this.fresh();
    switch (spot.where) {
      case "nowhere": return [];
      case "duration": return rank(DURATIONS.map((text) => ({ text, detail: "", kind: "duration" })), spot.prefix);
      case "label": {
        const names = await this.list(`labels`, spot.metric);
        return rank(names.filter((name) => name !== "__name__").map((text) => ({ text, detail: "", kind: "label" })), spot.prefix);
      }
      case "value": {
        const values = await this.list(`label/${encodeURIComponent(spot.label)}/values`, spot.metric);
        return rank(values.map((text) => ({ text, detail: "", kind: "value" })), spot.prefix);
      }
      default: {
        if (spot.prefix === "") return [];
        this.metrics ??= prom<string[]>("label/__name__/values").then(({ data }) => data);
        this.metadata ??= prom<Record<string, { type: string; help: string; unit: string }[]>>("metadata").then(({ data }) => data);
        const [metrics, metadata] = await Promise.all([this.metrics.catch(() => []), this.metadata.catch(() => ({}) as Record<string, { type: string; help: string; unit: string }[]>)]);
        const about = (name: string) => metadata[name]?.[0] ?? metadata[name.replace(/_(bucket|count|sum|total)$/, "")]?.[0];
        return rank(
          [
            ...metrics.map((text): Choice => ({ text, detail: [about(text)?.type, about(text)?.help].filter(Boolean).join(" · "), kind: "metric" })),
            ...Object.entries(FUNCTIONS).map(([text, detail]): Choice => ({ text, detail, kind: "function", tail: "()" })),
            ...AGGREGATIONS.map((text): Choice => ({ text, detail: "aggregation", kind: "aggregation", tail: "()" })),
            ...["by", "without", "on", "ignoring", "group_left", "group_right"].map((text): Choice => ({ text, detail: "labels", kind: "keyword", tail: " ()" })),
            ...["and", "or", "unless", "offset", "bool"].map((text): Choice => ({ text, detail: "", kind: "keyword" })),
          ],
          spot.prefix,
        );
      }
    }
  }

  private list(path: string, metric: string | null): Promise<string[]> {
    const key = `${path} ${metric ?? ""}`;
    let found = this.cache.get(key);
    if (!found) {
      found = prom<string[]>(path, metric ? { "match[]": metric } : {}).then(({ data }) => data, () => []);
      this.cache.set(key, found);
    }
    return found;
  }
}

const names = new Names();

/** Beginnings first, then words inside, then anywhere; short names before long ones. */
export function rank(choices: Choice[], prefix: string): Choice[] {
  const wanted = prefix.toLowerCase();
  const score = (text: string) => {
    const lower = text.toLowerCase();
    if (lower === wanted) return 0;
    if (lower.startsWith(wanted)) return 1;
    if (lower.includes(`_${wanted}`)) return 2;
    return lower.includes(wanted) ? 3 : subsequence(lower, wanted) ? 4 : 9;
  };
  return choices
    .map((choice) => ({ choice, s: score(choice.text) }))
    .filter((one) => one.s < 9)
    .sort((a, b) => a.s - b.s || (wanted ? a.choice.text.length - b.choice.text.length : 0) || a.choice.text.localeCompare(b.choice.text))
    .slice(0, CHOICES_MAX)
    .map((one) => one.choice);
}

function subsequence(text: string, wanted: string): boolean {
  if (wanted.length < 3) return false;
  let at = 0;
  for (const c of text) if (c === wanted[at]) at += 1;
  return at === wanted.length;
}

export function Editor({ value, onChange, onRun, label, autofocus = false }: { value: string; onChange: (text: string) => void; onRun: () => void; label: string; autofocus?: boolean }) {
  const field = useRef<HTMLTextAreaElement>(null);
  const [choices, setChoices] = useState<Choice[]>([]);
  const [at, setAt] = useState(-1);
  const [spot, setSpot] = useState<Spot>({ where: "nowhere" });
  const id = useId().replace(/:/g, "");
  const asked = useRef(0);
  const place = useMemo(() => caretPlace(value, spot.where === "nowhere" ? 0 : spot.from), [value, spot]);

  useEffect(() => {
    if (autofocus) field.current?.focus();
  }, []);
  const grow = () => {
    const element = field.current;
    if (!element) return;
    element.style.height = "0";
    element.style.height = `${element.scrollHeight}px`;
  };
  useEffect(grow, [value]);

  const complete = async (force: boolean) => {
    const element = field.current;
    if (!element || element.selectionStart !== element.selectionEnd) return setChoices([]);
    const found = spotAt(element.value, element.selectionStart);
    const ticket = ++asked.current;
    const list = found.where === "expression" && found.prefix === "" && !force ? [] : await names.choices(found);
    if (ticket !== asked.current) return;
    const prefix = found.where === "nowhere" ? "" : found.prefix;
    const useful = list.length === 1 && list[0]!.text === prefix ? [] : list;
    setSpot(found);
    setChoices(useful);
    // Nothing is chosen until the arrows are used in an empty place: Enter must run the query.
    setAt(useful.length && prefix ? 0 : -1);
  };

  const take = (choice: Choice) => {
    const element = field.current;
    if (!element || spot.where === "nowhere") return;
    const end = element.selectionStart;
    const after = element.value.slice(end);
    const tail = choice.tail && !after.startsWith("(") ? choice.tail : "";
    const closing = spot.where === "value" && !/^["'`]/.test(after) ? '"' : "";
    const next = element.value.slice(0, spot.from) + choice.text + tail + closing + after;
    onChange(next);
    setChoices([]);
    const caret = spot.from + choice.text.length + (tail ? tail.length - 1 : 0) + (spot.where === "value" ? 1 : 0);
    // At once: the next key must not land where the cursor was before.
    element.value = next;
    element.focus();
    element.setSelectionRange(caret, caret);
  };

  return (
    <div class="editor">
      <pre aria-hidden="true"><Promql text={`${value}\n`} /></pre>
      <textarea
        ref={field}
        value={value}
        spellcheck={false}
        autocapitalize="off"
        autocomplete="off"
        rows={1}
        placeholder="PromQL, for example  sum by (status) (rate(execution_gateway_orders_total[1m]))"
        aria-label={label}
        aria-haspopup="listbox"
        aria-autocomplete="list"
        aria-controls={`${id}-list`}
        aria-activedescendant={choices.length && at >= 0 ? `${id}-${at}` : undefined}
        onInput={(event) => {
          onChange(event.currentTarget.value);
          void complete(false);
        }}
        onBlur={() => setTimeout(() => setChoices([]), 150)}
        onKeyDown={(event) => {
          if ((event.ctrlKey || event.metaKey) && event.key === " ") {
            event.preventDefault();
            void complete(true);
          } else if (choices.length && event.key === "ArrowDown") {
            event.preventDefault();
            setAt((at + 1) % choices.length);
          } else if (choices.length && event.key === "ArrowUp") {
            event.preventDefault();
            setAt((at - 1 + choices.length) % choices.length);
          } else if (choices.length && at >= 0 && (event.key === "Tab" || event.key === "Enter") && !event.ctrlKey) {
            event.preventDefault();
            take(choices[at]!);
          } else if (event.key === "Escape" && choices.length) {
            event.preventDefault();
            event.stopPropagation();
            setChoices([]);
          } else if (event.key === "Enter" && !event.shiftKey) {
            event.preventDefault();
            setChoices([]);
            onRun();
          }
        }}
      />
      <ul id={`${id}-list`} role="listbox" aria-label="Completions" class="completions" hidden={choices.length === 0} style={{ left: `${place.column}ch`, top: `${(place.line + 1) * 1.5}em` }}>
        {choices.map((choice, i) => (
          <li
            key={`${choice.kind}${choice.text}`}
            id={`${id}-${i}`}
            role="option"
            aria-selected={i === at}
            ref={(element) => { if (i === at) element?.scrollIntoView({ block: "nearest" }); }}
            onMouseDown={(event) => {
              event.preventDefault();
              take(choice);
            }}
          >
            <span class={`pq-${choice.kind}`}>{choice.text}</span>
            <span class="dim">{choice.detail || choice.kind}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

function caretPlace(text: string, at: number): { line: number; column: number } {
  const before = text.slice(0, at).split("\n");
  return { line: before.length - 1, column: Math.min(60, before[before.length - 1]!.length) };
}
