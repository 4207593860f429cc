// Colours by name, for both themes. Charts ask at draw time, so a change of theme needs no new chart.

import { theme } from "../shell/settings";

type Pair = readonly [dark: string, light: string];

/** Series colours, in an order in which neighbours stay apart for the common kinds of colour blindness. */
const CLASSIC: readonly Pair[] = [
  ["#5fb0f5", "#1f6fb8"],
  ["#f2a33c", "#a85f00"],
  ["#45c4a0", "#0f7a5c"],
  ["#e878b6", "#a8297a"],
  ["#b8a5f5", "#6a4bc4"],
  ["#e5d352", "#7d6b00"],
  ["#ef7a6d", "#b93a2b"],
  ["#7fd6e8", "#0c7489"],
  ["#a9cf6a", "#4d7410"],
  ["#d3a27f", "#8a5530"],
  ["#8fa3c0", "#4d6282"],
  ["#d58ff0", "#8a35ad"],
];

/** Grafana's five hues with their shades; ours are tuned for contrast on our two backgrounds. */
const HUES: Record<string, { dark: string[]; light: string[] }> = {
  // super-light, light, plain, semi-dark, dark
  red: { dark: ["#ffb3ab", "#ff8f85", "#f5685c", "#e0483b", "#c4302b"], light: ["#e5887f", "#dc5f54", "#c8362b", "#b02820", "#931c17"] },
  orange: { dark: ["#ffd0a0", "#ffb366", "#f79a3c", "#e37f1e", "#c4650a"], light: ["#e2a565", "#d0832f", "#b26206", "#9a5200", "#7f4300"] },
  yellow: { dark: ["#fff0a8", "#fbe377", "#ecd045", "#d6b722", "#b59708"], light: ["#c2a836", "#a68d16", "#877000", "#725e00", "#5e4d00"] },
  green: { dark: ["#b9f0d2", "#82dfb3", "#4cc38a", "#30a46c", "#1f8a58"], light: ["#63b98d", "#37a06c", "#12794a", "#0c683e", "#085532"] },
  blue: { dark: ["#bcdcff", "#8cc2ff", "#58a6ff", "#3b8bea", "#2470cc"], light: ["#6aa6e8", "#3f86d6", "#1a64b8", "#1355a0", "#0d4484"] },
  purple: { dark: ["#e2d0ff", "#cbb0fb", "#b08cf2", "#9670de", "#7c55c6"], light: ["#a98ae0", "#8f69d0", "#7147b8", "#603aa2", "#4e2d88"] },
};
const SHADES = ["super-light-", "light-", "", "semi-dark-", "dark-"];

const NAMED: Record<string, Pair> = {
  text: ["#d8dee6", "#1c232b"],
  white: ["#ffffff", "#1c232b"],
  black: ["#000000", "#000000"],
  gray: ["#8d98a6", "#5b6673"],
  transparent: ["transparent", "transparent"],
};

export function classic(index: number): string {
  return pick(CLASSIC[index % CLASSIC.length]!);
}

function pick(pair: Pair): string {
  return pair[theme.value === "dark" ? 0 : 1];
}

/** A colour as a dashboard names it: one of Grafana's names, or anything CSS knows. */
export function color(name: string | undefined, fallback = "gray"): string {
  const wanted = name ?? fallback;
  const named = NAMED[wanted];
  if (named) return pick(named);
  for (let i = SHADES.length - 1; i >= 0; i--) {
    const shade = SHADES[i]!;
    if (shade && !wanted.startsWith(shade)) continue;
    const hue = HUES[wanted.slice(shade.length)];
    if (hue) return hue[theme.value][i]!;
  }
  return wanted;
}

/** The same colour with an opacity. Understands #rgb, #rrggbb and rgb(); others are mixed by the browser. */
export function fade(value: string, alpha: number): string {
  const hex = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i.exec(value);
  if (hex) {
    const [r, g, b] = rgb(value);
    return `rgba(${r}, ${g}, ${b}, ${alpha})`;
  }
  if (value === "transparent") return value;
  return `color-mix(in srgb, ${value} ${Math.round(alpha * 100)}%, transparent)`;
}

export function rgb(hex: string): [number, number, number] {
  const digits = hex.slice(1);
  const full = digits.length === 3 ? [...digits].map((c) => c + c).join("") : digits;
  const n = parseInt(full, 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

export function mix(a: string, b: string, share: number): string {
  const [ar, ag, ab] = rgb(a);
  const [br, bg, bb] = rgb(b);
  const at = (x: number, y: number) => Math.round(x + (y - x) * share);
  return `rgb(${at(ar, br)}, ${at(ag, bg)}, ${at(ab, bb)})`;
}

/** Stops of the `continuous-…` colour modes. */
const CONTINUOUS: Record<string, string[]> = {
  "continuous-GrYlRd": ["green", "yellow", "red"],
  "continuous-RdYlGr": ["red", "yellow", "green"],
  "continuous-BlYlRd": ["blue", "yellow", "red"],
  "continuous-YlRd": ["super-light-yellow", "red"],
  "continuous-BlPu": ["blue", "purple"],
  "continuous-YlBl": ["super-light-yellow", "blue"],
  "continuous-blues": ["dark-blue", "super-light-blue"],
  "continuous-reds": ["dark-red", "super-light-red"],
  "continuous-greens": ["dark-green", "super-light-green"],
  "continuous-purples": ["dark-purple", "super-light-purple"],
};

export function continuous(mode: string, share: number): string {
  const stops = (CONTINUOUS[mode] ?? CONTINUOUS["continuous-GrYlRd"]!).map((name) => color(name));
  const at = Math.min(1, Math.max(0, Number.isNaN(share) ? 0 : share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at));
  return mix(stops[low]!, stops[low + 1]!, at - low);
}

/** Heat: from the panel's ground to a bright end; monotone in lightness in both themes. */
const HEAT: Record<"dark" | "light", string[]> = {
  dark: ["#1b2733", "#1d4a66", "#1f7d8c", "#4fb58a", "#c9d860", "#fff3b0"],
  light: ["#e8f0f4", "#b9dbe2", "#77bcc4", "#3e8fa6", "#275f87", "#1a2f5a"],
};

export function heat(share: number): string {
  const stops = HEAT[theme.value];
  const at = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(at));
  return mix(stops[low]!, stops[low + 1]!, at - low);
}

export function cssVar(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
