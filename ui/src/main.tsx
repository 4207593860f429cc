import { render } from "preact";
import "./shell/settings";
import "./style/base.css";
import "./style/parts.css";
import { live } from "./data/live";
import { interceptLinks } from "./shell/router";
import { listenToKeys } from "./shell/keys";
import { App } from "./shell/app";

live.start();
interceptLinks();
listenToKeys();
render(<App />, document.getElementById("app")!);
