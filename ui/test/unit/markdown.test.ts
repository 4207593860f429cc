// @vitest-environment happy-dom
import { h, render } from "preact";
import { expect, test } from "vitest";
import { Markdown, safeUrl } from "../../src/shell/markdown";

function html(source: string, code?: (code: string, language: string) => unknown): string {
  const host = document.createElement("div");
  render(h(Markdown, { source, code: code as never }), host);
  return host.querySelector(".prose")!.innerHTML;
}

test.each([
  ["# One\n\ntext **bold** and *soft* `code`", '<h1 id="one">One</h1><p>text <strong>bold</strong> and <em>soft</em> <code>code</code></p>'],
  ["- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"],
  ["1. a\n2. b", '<ol start="1"><li>a</li><li>b</li></ol>'],
  ["a metric_name_total stays", "<p>a metric_name_total stays</p>"],
  ["[x](other.md)", '<p><a href="/runbooks/other">x</a></p>'],
  ["> quoted", "<blockquote><p>quoted</p></blockquote>"],
  ["a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"],
])("%s", (source, expected) => expect(html(source)).toBe(expected));

test("nothing in a file becomes markup or runs", () => {
  const text = html('<script>alert(1)</script> <img src=x onerror=alert(1)> [a](javascript:alert(1)) [b](data:text/html,x) ![c](javascript:x) <b>no</b>');
  const host = document.createElement("div");
  host.innerHTML = text;
  expect(host.querySelectorAll("script, img, b, a")).toHaveLength(0);
  expect(host.textContent).toContain("<script>alert(1)</script>");
});

test("addresses", () => {
  expect(safeUrl("java\nscript:alert(1)")).toBeNull();
  expect(safeUrl("//evil.example")).toBeNull();
  expect(safeUrl("vbscript:x")).toBeNull();
  expect(safeUrl("https://example.org")).toBe("https://example.org");
  expect(safeUrl("/desk")).toBe("/desk");
});

test("tables, code in lists, queries to run", () => {
  expect(html("| a | b |\n|---|--:|\n| 1 | `x\\|y` |")).toContain('<td class="cell-right"><code>x|y</code></td>');
  expect(html("1. first\n\n   ```\n   ls\n   ```\n2. second")).toContain("<code>ls</code>");
expect(html("```promql\nup\n```", (code, language) => h("b", null, `${language}: ${code}`))).toBe("<b>promql: up</b>");
});
