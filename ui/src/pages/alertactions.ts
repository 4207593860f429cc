// What a person can do about alerts, each told in a line at the foot of the page.

import { refreshAlerts } from "../data/alerts";
import { send, type Alert } from "../data/api";
import { toast } from "../shell/announce";
import { person } from "../shell/settings";

async function done(what: Promise<string>, failed: string): Promise<boolean> {
  try {
    toast(await what);
    await refreshAlerts();
    return true;
  } catch (cause) {
    toast(`${failed}: ${cause instanceof Error ? cause.message : String(cause)}`, true);
    return false;
  }
}

function path(alert: Alert, what: string): string {
  return `/api/tradewatch/v1/alerts/${encodeURIComponent(alert.fingerprint)}/${what}`;
}

export function acknowledge(alert: Alert): Promise<boolean> {
  const work = send("POST", path(alert, "ack"), { by: person.peek(), comment: "" }).then(() => `${alert.name} acknowledged by ${person.peek()}`);
  return done(work, `${alert.name} could not be acknowledged`);
}

export function takeBack(alert: Alert): Promise<boolean> {
  const work = send("DELETE", `${path(alert, "ack")}?by=${encodeURIComponent(person.peek())}`).then(() => `${alert.name} is no longer acknowledged`);
  return done(work, `The acknowledgement of ${alert.name} could not be taken back`);
}

/** All alerts of a name at once: in a storm nobody clicks ten thousand times. */
export function acknowledgeAll(name: string): Promise<boolean> {
  const matchers = [{ name: "alertname", value: name, isRegex: false, isEqual: true }];
  const work = send<{ acknowledged: number }>("POST", "/api/tradewatch/v1/alerts/ack", { by: person.peek(), comment: "", matchers });
  return done(work.then((said) => `${said?.acknowledged ?? 0} alerts of ${name} acknowledged by ${person.peek()}`), `${name} could not be acknowledged`);
}

export function note(alert: Alert, text: string): Promise<boolean> {
  return done(send("POST", path(alert, "notes"), { by: person.peek(), text }).then(() => `Noted on ${alert.name}`), "The note was not taken");
}
