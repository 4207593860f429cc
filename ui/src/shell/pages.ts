// The pages in the order of the navigation, each with its key after "g".

export const PAGES: readonly { path: string; name: string; key: string }[] = [
  { path: "/desk", name: "Desk", key: "d" },
  { path: "/alerts", name: "Alerts", key: "a" },
  { path: "/dashboards", name: "Dashboards", key: "b" },
  { path: "/explore", name: "Explore", key: "e" },
  { path: "/targets", name: "Targets", key: "t" },
  { path: "/rules", name: "Rules", key: "r" },
  { path: "/calendar", name: "Calendar", key: "c" },
  { path: "/status", name: "Status", key: "s" },
];
