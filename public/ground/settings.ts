/** Choices of the person that outlive a reload. The token is kept for this tab only, and is never part of an address. */
import { effect, type Signal, signal } from "@preact/signals";

export type Language = "en" | "zh";
export type Theme = "system" | "light" | "dark";
export type View = "topics" | "line" | "latency" | "server";

const prefix = "longwire.";

/** A signal that is written to `storage` when it changes. A browser may refuse storage; then it lasts for this page. */
export function stored<Value>(
  name: string,
  initial: Value,
  isValid: (value: unknown) => value is Value,
  storage: () => Storage = () => localStorage,
): Signal<Value> {
  const kept = signal(read(name, initial, isValid, storage));
  effect(() => {
    const text = JSON.stringify(kept.value);
    try {
      storage().setItem(prefix + name, text);
    } catch (error) {
      console.info("Longwire: the browser keeps no settings", error);
    }
  });
  return kept;
}

function read<Value>(
  name: string,
  initial: Value,
  isValid: (value: unknown) => value is Value,
  storage: () => Storage,
): Value {
  try {
    const value: unknown = JSON.parse(storage().getItem(prefix + name) ?? "null");
    return isValid(value) ? value : initial;
  } catch {
    return initial; // No storage, or a value of another version.
  }
}

export const isText = (value: unknown): value is string => typeof value === "string";

export const isOneOf =
  <Value>(...values: readonly Value[]) =>
  (value: unknown): value is Value =>
    values.includes(value as Value);

export const theme = stored<Theme>("theme", "system", isOneOf<Theme>("system", "light", "dark"));
export const view = stored<View>("view", "topics", isOneOf<View>("topics", "line", "latency", "server"));

/** An API key or a JWT; empty for none. */
export const token = stored("token", "", isText, () => sessionStorage);

/** Why the server asked for a token; undefined while it did not. */
export const tokenWanted = signal<string | undefined>(undefined);
