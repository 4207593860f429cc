// A query in colour.

import { FUNCTIONS, AGGREGATIONS, lex } from "./lex";

export function Promql({ text }: { text: string }) {
  return (
    <code class="promql">
      {lex(text).map((token, i) => (token.kind === "space" ? token.text : <span key={i} class={`pq-${token.kind}`}>{token.text}</span>))}
    </code>
  );
}

/** Whether a block of code without a language is a query: one expression with a selector, a call or a comparison. */
export function looksLikePromql(code: string): boolean {
  const text = code.trim();
  if (!text || /^[$#>]|^(curl|kill|ps|tail|cat|tradewatch|sudo|docker|systemctl)\b/m.test(text)) return false;
  const tokens = lex(text).filter((token) => token.kind !== "space");
  if (tokens.some((token) => token.kind === "other")) return false;
  const metrics = tokens.filter((token) => token.kind === "metric");
  return metrics.some((token) => token.text.includes("_") || token.text === "up") && (tokens.length === 1 || tokens.some((token) => token.kind === "bracket" || token.kind === "operator" || token.text in FUNCTIONS || AGGREGATIONS.includes(token.text)));
}

/** Line and column of a parser's message ("1:14: parse error: …"), or a caret that it drew itself. */
export function errorPosition(message: string): { line: number; column: number } | null {
  const at = /(?:^|\s|:)(\d+):(\d+)(?::|\b)/.exec(message) ?? /line (\d+),? column (\d+)/.exec(message);
  return at ? { line: Number(at[1]), column: Number(at[2]) } : null;
}

/** The message with the query and a caret under the place, unless the message shows the place itself. */
export function errorWithCaret(message: string, expr: string): string {
  if (/\n.*\^/.test(message)) return message;
  const at = errorPosition(message);
  const line = at ? expr.split("\n")[at.line - 1] : undefined;
  if (!at || line === undefined || at.column > line.length + 1) return message;
  return `${message}\n\n  ${line}\n  ${" ".repeat(Math.max(0, at.column - 1))}^`;
}
