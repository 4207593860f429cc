/** The unit that a name promises, when all queries promise the same and nothing in them changes it. */
export function unitFor(exprs: readonly string[]): string | undefined {
  const units = exprs.map((expr) => {
    if (/\/|\bcount\b|changes\(|resets\(|_bucket\b(?![\s\S]*histogram_quantile)/.test(expr) && !/histogram_quantile/.test(expr)) return "";
    if (/histogram_quantile/.test(expr) && /seconds/.test(expr)) return "s";
    if (/\b(rate|irate|deriv)\(/.test(expr)) return "";
    if (/_seconds\b/.test(expr) && !/_timestamp_seconds/.test(expr)) return "s";
    if (/_bytes\b/.test(expr)) return "bytes";
    if (/_ratio\b/.test(expr)) return "percentunit";
    if (/_dollars\b/.test(expr)) return "currencyUSD";
    return "";
  });
  const first = units[0];
  return first && units.every((unit) => unit === first) ? first : undefined;
}
