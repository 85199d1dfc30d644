/** The token: typed here, kept for this tab, and asked for in words when the server wants one. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { fitsSocket } from "../frame/address.ts";
import { token, tokenWanted } from "../frame/settings.ts";
import { words } from "../frame/words.ts";

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
