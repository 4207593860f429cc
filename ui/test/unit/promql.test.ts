import { describe, expect, test } from "vitest";
import { lex, splitQueries, spotAt } from "../../src/promql/lex";
import { errorWithCaret, looksLikePromql } from "../../src/promql/highlight";

const kinds = (text: string) => lex(text).filter((t) => t.kind !== "space").map((t) => `${t.kind}:${t.text}`);

test("tokens cover the text exactly", () => {
  const text = 'sum by (a) (rate(x_total{b=~"c|d", e!="}"}[5m])) # why\n / 1e3 > bool -0.5';
  expect(lex(text).map((t) => t.text).join("")).toBe(text);
  expect(kinds('sum by (job) (rate(up{a="b"}[$__rate_interval]))')).toEqual([
    "aggregation:sum", "keyword:by", "bracket:(", "label:job", "bracket:)", "bracket:(", "function:rate", "bracket:(", "metric:up", "bracket:{", "label:a", "operator:=", 'string:"b"', "bracket:}", "bracket:[", "variable:$__rate_interval", "bracket:]", "bracket:)", "bracket:)",
  ]);
});

describe("what stands at the cursor", () => {
  const at = (text: string) => spotAt(text.replace("|", ""), text.indexOf("|"));
  test.each([
    ["rate(exec|", { where: "expression", prefix: "exec" }],
    ["up{|", { where: "label", prefix: "", metric: "up" }],
    ['up{job="a", in|}', { where: "label", prefix: "in", metric: "up" }],
    ['up{job="exec|"}', { where: "value", prefix: "exec", label: "job", metric: "up" }],
    ['up{job=~"|', { where: "value", prefix: "", label: "job" }],
    ["rate(up[|", { where: "duration" }],
    ["sum by (jo|", { where: "label", prefix: "jo" }],
    ["sum(rate(x[5m])) by (a, |)", { where: "label", prefix: "" }],
    ['label_replace(up, "|', { where: "nowhere" }],
    ["# exec|", { where: "nowhere" }],
    ["up + |", { where: "expression", prefix: "" }],
    ["up > 5|", { where: "nowhere" }],
  ])("%s", (text, expected) => expect(at(text)).toMatchObject(expected));
});

test("an error shows its place", () => {
  expect(errorWithCaret('1:5: parse error: unexpected ")"', "sum()")).toBe('1:5: parse error: unexpected ")"\n\n  sum()\n      ^');
  expect(errorWithCaret("2:3: oops", "a\nb c")).toContain("\n  b c\n    ^");
  const drawn = "no\n  sum()\n     ^";
  expect(errorWithCaret(drawn, "sum()")).toBe(drawn);
  expect(errorWithCaret("something else", "up")).toBe("something else");
});

test.each([
  ["execution_gateway_open_orders", true],
  ['up{job="x"} == 0', true],
  ["sum(rate(orders_total[5m]))", true],
  ["curl -s http://127.0.0.1:8002/health", false],
  ["tradewatch service list", false],
  ["hello world", false],
  ["", false],
])("%s is a query: %s", (code, expected) => expect(looksLikePromql(code)).toBe(expected));

test("a block of several queries", () => {
  expect(splitQueries('up{job="x"}\nlast_over_time(open_orders[5m])\n\n# a note\nsum(\n  rate(a_total[5m])\n)\n  / on() sum(b)\n')).toEqual(['up{job="x"}', "last_over_time(open_orders[5m])", "sum(\n  rate(a_total[5m])\n)\n  / on() sum(b)"]);
  expect(splitQueries("a +\nb\nand on() c\nd")).toEqual(["a +\nb\nand on() c", "d"]);
});
