// Markdown for runbooks and text panels. It makes elements, never HTML text, so a file cannot bring a script with it.

import { Fragment, type ComponentChildren } from "preact";

type Block =
  | { kind: "heading"; level: number; text: string }
  | { kind: "paragraph"; text: string }
  | { kind: "code"; language: string; text: string }
  | { kind: "list"; ordered: boolean; start: number; items: { text: string; children: Block[] }[] }
  | { kind: "quote"; blocks: Block[] }
  | { kind: "table"; head: string[]; align: string[]; rows: string[][] }
  | { kind: "rule" };

export function parseMarkdown(source: string): Block[] {
  return blocks(source.replace(/\r\n?/g, "\n").replace(/\t/g, "    ").split("\n"));
}

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+-]*)/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])\s+(.*)$/;

function blocks(lines: string[]): Block[] {
  const out: Block[] = [];
  let i = 0;
  while (i < lines.length) {
    const line = lines[i]!;
    if (line.trim() === "") {
      i += 1;
      continue;
    }
    const fence = FENCE.exec(line);
    if (fence) {
      const body: string[] = [];
      for (i += 1; i < lines.length && !lines[i]!.trim().startsWith(fence[1]!); i++) body.push(lines[i]!);
      i += 1;
      out.push({ kind: "code", language: fence[2] ?? "", text: body.join("\n") });
      continue;
    }
    const heading = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/.exec(line);
    if (heading) {
      out.push({ kind: "heading", level: heading[1]!.length, text: heading[2]! });
      i += 1;
      continue;
    }
    if (/^ {0,3}([-*_])(\s*\1){2,}\s*$/.test(line)) {
      out.push({ kind: "rule" });
      i += 1;
      continue;
    }
    if (/^ {0,3}>/.test(line)) {
      const inner: string[] = [];
      while (i < lines.length && lines[i]!.trim() !== "") inner.push(lines[i++]!.replace(/^ {0,3}> ?/, ""));
      out.push({ kind: "quote", blocks: blocks(inner) });
      continue;
    }
    const next = lines[i + 1] ?? "";
    if (line.includes("|") && /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/.test(next) && next.includes("-")) {
      const head = cells(line);
      const align = cells(next).map((cell) => (/^:-+:$/.test(cell) ? "center" : /-:$/.test(cell) ? "right" : "left"));
      const rows: string[][] = [];
      for (i += 2; i < lines.length && lines[i]!.includes("|"); i++) rows.push(cells(lines[i]!));
      out.push({ kind: "table", head, align, rows });
      continue;
    }
    if (ITEM.test(line)) {
      const [list, after] = readList(lines, i);
      out.push(list);
      i = after;
      continue;
    }
    const text: string[] = [];
    while (i < lines.length && lines[i]!.trim() !== "" && !FENCE.test(lines[i]!) && !/^ {0,3}(#{1,6}\s|>)/.test(lines[i]!) && !(text.length > 0 && ITEM.test(lines[i]!))) {
      text.push(lines[i++]!.trim());
    }
    out.push({ kind: "paragraph", text: text.join("\n") });
  }
  return out;
}

function readList(lines: string[], from: number): [Block, number] {
  const first = ITEM.exec(lines[from]!)!;
  const indent = first[1]!.length;
  const ordered = /\d/.test(first[2]!);
  const items: { text: string; children: Block[] }[] = [];
  let i = from;
  while (i < lines.length) {
    const match = ITEM.exec(lines[i]!);
    if (!match || match[1]!.length !== indent || /\d/.test(match[2]!) !== ordered) break;
    const text = [match[3]!];
    const inner: string[] = [];
    // What belongs to an item is indented as far as its text.
    const width = indent + match[2]!.length + 1;
    for (i += 1; i < lines.length; i++) {
      const line = lines[i]!;
      const deeper = line.startsWith(" ".repeat(indent + 2));
      if (line.trim() === "") {
        const follows = lines.slice(i + 1).find((l) => l.trim() !== "");
        if (!follows?.startsWith(" ".repeat(indent + 2))) break;
        inner.push("");
      } else if (deeper && (ITEM.test(line) || FENCE.test(line.trim()) || inner.length > 0)) inner.push(line.slice(Math.min(width, line.length - line.trimStart().length)));
      else if (deeper || !(ITEM.test(line) || FENCE.test(line) || /^#/.test(line))) text.push(line.trim());
      else break;
    }
    items.push({ text: text.join("\n"), children: blocks(inner) });
    while (i < lines.length && lines[i]!.trim() === "" && ITEM.exec(lines[i + 1] ?? "")?.[1]?.length === indent) i += 1;
  }
  return [{ kind: "list", ordered, start: parseInt(first[2]!, 10) || 1, items }, i];
}

function cells(line: string): string[] {
  return line
    .trim()
    .replace(/^\||\|$/g, "")
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

export interface MarkdownOptions {
  /** Headings start at this level: a panel's own heading is above. */
  topLevel?: number;
  /** Shows a block of code in another way; null leaves it as it is. */
  code?: (code: string, language: string) => ComponentChildren | null;
}

export function Markdown({ source, topLevel = 1, code }: { source: string } & MarkdownOptions) {
  return <div class="prose">{render(parseMarkdown(source), { topLevel, code })}</div>;
}

function render(list: Block[], options: MarkdownOptions): ComponentChildren {
  return list.map((block, i) => {
    switch (block.kind) {
      case "heading": {
        const Tag = `h${Math.min(6, block.level + (options.topLevel ?? 1) - 1)}` as "h1";
        return <Tag key={i} id={slug(block.text)}>{inline(block.text)}</Tag>;
      }
      case "paragraph": return <p key={i}>{inline(block.text)}</p>;
      case "rule": return <hr key={i} />;
      case "quote": return <blockquote key={i}>{render(block.blocks, options)}</blockquote>;
      case "code": {
        const own = options.code?.(block.text, block.language);
        if (own) return <Fragment key={i}>{own}</Fragment>;
        return (
          <div key={i} class="code-block">
            <pre tabIndex={0} aria-label={block.language || "code"} role="region"><code>{block.text}</code></pre>
          </div>
        );
      }
      case "list": {
        const children = block.items.map((item, n) => (
          <li key={n}>
            {task(item.text)}
            {item.children.length > 0 && render(item.children, options)}
          </li>
        ));
        return block.ordered ? <ol key={i} start={block.start}>{children}</ol> : <ul key={i}>{children}</ul>;
      }
      case "table":
        return (
          <table key={i} class="data">
            <thead><tr>{block.head.map((cell, n) => <th key={n} scope="col" class={`cell-${block.align[n] ?? "left"}`}>{inline(cell)}</th>)}</tr></thead>
            <tbody>
              {block.rows.map((row, r) => (
                <tr key={r}>{row.map((cell, n) => <td key={n} class={`cell-${block.align[n] ?? "left"}`}>{inline(cell)}</td>)}</tr>
              ))}
            </tbody>
          </table>
        );
    }
  });
}

export function slug(text: string): string {
  return text.toLowerCase().replace(/[^\w\s-]/g, "").trim().replace(/\s+/g, "-");
}

function task(text: string): ComponentChildren {
  const box = /^\[([ xX])\]\s+(.*)$/s.exec(text);
  if (!box) return inline(text);
  return <>{box[1] === " " ? "☐ " : "☑ "}{inline(box[2]!)}</>;
}

const INLINE = /(`+)(.+?)\1|!\[([^\]]*)\]\(([^)\s]+)[^)]*\)|\[([^\]]+)\]\(((?:[^()\s]|\([^()\s]*\))+)(?:\s+"[^"]*")?\)|<(https?:\/\/[^>\s]+)>|(\*\*|__)(?=\S)(.+?)(?<=\S)\8|(\*|_)(?=\S)(.+?)(?<=\S)\10(?!\w)|~~(.+?)~~|\\([\\`*_{}[\]()#+\-.!|<>])|(?<![\w"=(])(https?:\/\/[^\s<>)]+[^\s<>).,;:])|( {2,}\n)/gs;

function inline(text: string): ComponentChildren {
  const out: ComponentChildren[] = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index < at) continue;
    // An underscore inside a word is part of a name: metric_name_total.
    if (match[10] === "_" && match.index > 0 && /\w/.test(text[match.index - 1]!)) continue;
    if (match[8] === "__" && match.index > 0 && /\w/.test(text[match.index - 1]!)) continue;
    if (match.index > at) out.push(text.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] !== undefined) out.push(<code>{match[2].trim()}</code>);
    else if (match[4] !== undefined) out.push(link(match[4], match[3] || match[4]));
    else if (match[6] !== undefined) out.push(link(match[6], inline(match[5]!)));
    else if (match[7] !== undefined) out.push(link(match[7], match[7]));
    else if (match[9] !== undefined) out.push(<strong>{inline(match[9])}</strong>);
    else if (match[11] !== undefined) out.push(<em>{inline(match[11])}</em>);
    else if (match[12] !== undefined) out.push(<del>{inline(match[12])}</del>);
    else if (match[13] !== undefined) out.push(match[13]);
    else if (match[14] !== undefined) out.push(link(match[14], match[14]));
    else out.push(<br />);
  }
  if (at < text.length) out.push(text.slice(at));
  return out;
}

function link(url: string, children: ComponentChildren): ComponentChildren {
  const safe = safeUrl(url);
  if (safe === null) return <span>{children}</span>;
  return /^https?:/.test(safe) ? <a href={safe} rel="noopener noreferrer">{children}</a> : <a href={safe}>{children}</a>;
}

/** Web addresses and paths of this site; a runbook links to another as `other.md`. */
export function safeUrl(url: string): string | null {
  const clean = url.replace(/[\u0000-\u0020]/g, "");
  if (/^https?:\/\//i.test(clean) || /^mailto:/i.test(clean)) return clean;
  if (/^[a-z][a-z0-9+.-]*:/i.test(clean) || clean.startsWith("//")) return null;
  const runbook = /^(?:\.\/)?([\w-]+)\.md(#.*)?$/.exec(clean);
  return runbook ? `/runbooks/${runbook[1]}${runbook[2] ?? ""}` : clean;
}
