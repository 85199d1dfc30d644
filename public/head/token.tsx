/** The token: typed here, kept for this tab, and asked for in words when the server wants one. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { fitsSocket } from "../ground/address.ts";
import { token, tokenWanted } from "../ground/settings.ts";
import { words } from "../ground/words.ts";

interface TokenProps {
  /** The token is another one from now on. */
  readonly onChange: () => void;
}

export function Token({ onChange }: TokenProps) {
  const say = words.value;
  const dialog = useRef<HTMLDialogElement>(null);
  const wanted = tokenWanted.value;
  const has = token.value !== "";
  return (
    <>
      <button
        type="button"
        class={wanted === undefined ? "" : "asked"}
        data-part="token"
        onClick={() => dialog.current?.showModal()}
      >
        {has ? say.tokenSet : say.token}
      </button>
      <TokenDialog dialog={dialog} onChange={onChange} />
    </>
  );
}

function TokenDialog({
  dialog,
  onChange,
}: TokenProps & { readonly dialog: preact.RefObject<HTMLDialogElement | null> }) {
  const say = words.value;
  const typed = useSignal("");
  const wanted = tokenWanted.value;
  // Asks once for each refusal, and not again for the same one.
  useEffect(() => {
    if (wanted !== undefined && !dialog.current?.open) dialog.current?.showModal();
  }, [wanted, dialog]);
  const use = (value: string): void => {
    token.value = value.trim();
    typed.value = "";
    tokenWanted.value = undefined;
    dialog.current?.close();
    onChange();
  };
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby="token-title"
      data-part="tokenDialog"
      onClose={() => (tokenWanted.value = undefined)}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          use(typed.value);
        }}
      >
        <h2 id="token-title">{say.tokenTitle}</h2>
        {wanted !== undefined && (
          <p class="help" data-part="tokenWanted">
            {say.tokenWanted(wanted)}
          </p>
        )}
        <p>{say.tokenMeaning}</p>
        <label>
          <span>{say.tokenLabel}</span>
          <input
            type="password"
            data-part="tokenText"
            value={typed.value}
            onInput={({ currentTarget }) => (typed.value = currentTarget.value)}
            autocomplete="off"
            spellcheck={false}
          />
        </label>
        <Claims token={typed.value.trim() || token.value} />
        <p class="fault">{fitsSocket(typed.value.trim()) ? "" : say.tokenFault}</p>
        <p class="buttons">
          <button type="submit" class="primary" data-part="useToken" disabled={typed.value.trim() === ""}>
            {say.useToken}
          </button>
          {token.value !== "" && (
            <button type="button" data-part="forgetToken" onClick={() => use("")}>
              {say.forgetToken}
            </button>
          )}
          <button type="button" onClick={() => dialog.current?.close()}>
            {say.close}
          </button>
        </p>
      </form>
    </dialog>
  );
}

const actions = ["subscribe", "publish", "end"] as const;

/** What the token allows, as it is written in a JWT. Whether it is genuine, only the server can say. */
function Claims({ token }: { readonly token: string }) {
  const say = words.value;
  if (token === "") return null;
  const claims = claimsOf(token);
  if (!claims) return <p data-part="claims">{say.tokenIsKey}</p>;
  const { sub, exp, presence, status } = claims;
  const listOf = (claim: unknown): string =>
    Array.isArray(claim) && claim.length > 0 ? claim.join(", ") : say.nothing;
  const rows = [
    [say.claims.sub, typeof sub === "string" ? sub : undefined],
    ...actions.map((action) => [say.claims[action], listOf(claims[action])]),
    [say.claims.presence, Array.isArray(presence) ? listOf(presence) : undefined],
    [say.claims.status, status === true ? say.yes : undefined],
    [say.claims.exp, typeof exp === "number" ? say.until(exp * 1000, exp - Date.now() / 1000) : say.forever],
  ].filter(([, value]) => value !== undefined);
  return (
    <dl class="figures" data-part="claims">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** @returns undefined for what is not a JWT (RFC 7519) */
function claimsOf(token: string): Record<string, unknown> | undefined {
  const [, payload = ""] = token.split(".");
  try {
    const text = atob(payload.replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return typeof claims === "object" && claims !== null ? { ...claims } : undefined;
  } catch {
    return undefined; // An API key is any text.
  }
}
