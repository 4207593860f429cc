// All keys that work on this page.

import { useEffect, useRef } from "preact/hooks";
import { bindings, type Binding } from "./keys";

export function Help({ close }: { close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const groups = new Map<string, Binding[]>();
  for (const binding of bindings.value) groups.set(binding.where, [...(groups.get(binding.where) ?? []), binding]);
  return (
    <dialog ref={dialog} class="dialog" aria-labelledby="help-title" onClose={close} onClick={(event) => event.target === dialog.current && dialog.current?.close()}>
      <div class="dialog-head">
        <h2 id="help-title">Keyboard</h2>
        <button type="button" class="tool" aria-label="Close" onClick={() => dialog.current?.close()}>✕</button>
      </div>
      <div class="help-groups">
        {[...groups].map(([where, list]) => (
          <section key={where}>
            <h3>{where}</h3>
            <dl>
              {list.map((binding) => (
                <div key={binding.keys}>
                  <dt>{binding.keys.split(" ").map((key) => <kbd key={key}>{key}</kbd>)}</dt>
                  <dd>{binding.what}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>In a chart</h3>
          <dl>
            <div><dt><kbd>←</kbd><kbd>→</kbd></dt><dd>Move the cursor; it is read out</dd></div>
            <div><dt><kbd>Home</kbd><kbd>End</kbd></dt><dd>Oldest and newest</dd></div>
            <div><dt><kbd>Esc</kbd></dt><dd>Leave</dd></div>
          </dl>
        </section>
      </div>
    </dialog>
  );
}
