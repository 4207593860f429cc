// A component whose code is loaded when it is first shown.

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";

export function lazy<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  let loaded: ComponentType<P> | null = null;
  return function Lazy(props: P) {
    const [state, setState] = useState<{ part: ComponentType<P> | null; error: string | null }>({ part: loaded, error: null });
    useEffect(() => {
      if (state.part) return;
      load().then(
        (part) => {
          loaded = part;
          setState({ part, error: null });
        },
        () => setState({ part: null, error: "This page could not be loaded: the monitor does not answer, or it was updated. Load the page again." }),
      );
    }, []);
    const Part = state.part;
    if (Part) return <Part {...props} />;
    return state.error ? <p class="note-line" role="alert">{state.error}</p> : <p class="sr">Loading</p>;
  };
}
