/** The line panel: a WebSocket to any address, by default to the echo line of this server. */
import { useEffect } from "preact/hooks";
import { isOwnServer } from "../ground/address.ts";
import { words } from "../ground/words.ts";
import { Log } from "../log/log.tsx";
import { LineComposer } from "./composer.tsx";
import { EndingHelp, LineStatus } from "./status.tsx";
import { addressText, ownAddress, protocolsText } from "./target.ts";
import type { TestLine } from "./test-line.ts";

export function LinePanel({ line }: { readonly line: TestLine }) {
  const say = words.value;
  useEffect(() => {
    if (line.isUnused) line.connect();
  }, [line]);
  return (
    <section class="panel" id="line" aria-labelledby="line-title">
      <header class="heading">
        <h2 id="line-title">{say.lineTitle}</h2>
        <p>{say.lineMeaning}</p>
      </header>
      <AddressForm line={line} />
      <LineStatus
        line={line.line}
        state={line.state.value}
        address={line.url.value?.href}
        roundTripMilliseconds={line.roundTripMilliseconds.value}
        unused={say.notConnected}
      />
      <Log store={line.log} guide={<p>{say.lineGuide}</p>} onResend={({ data }) => line.send(data)} />
      <EndingHelp state={line.state.value} />
      {line.isRefused.value && line.url.value && !isOwnServer(line.url.value) && (
        <p class="help" data-part="originHelp">
          {say.originHelp} <code>--origin {location.origin}</code>
        </p>
      )}
      <LineComposer line={line} />
    </section>
  );
}

function AddressForm({ line }: { readonly line: TestLine }) {
  const say = words.value;
  const fault = line.fault.value;
  return (
    <form
      class="topic"
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        line.connect();
      }}
    >
      <label class="wide">
        <span>{say.addressLabel}</span>
        <input
          data-part="url"
          value={addressText.value}
          placeholder={ownAddress.href}
          onInput={({ currentTarget }) => (addressText.value = currentTarget.value)}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
          inputMode="url"
          aria-invalid={fault !== ""}
          aria-describedby="line-fault"
        />
      </label>
      <label>
        <span>{say.protocolsLabel}</span>
        <input
          data-part="protocols"
          value={protocolsText.value}
          placeholder={say.none}
          onInput={({ currentTarget }) => (protocolsText.value = currentTarget.value)}
          autocomplete="off"
          autocapitalize="off"
          spellcheck={false}
        />
      </label>
      <button type="submit" data-part="connect">
        {say.connect}
      </button>
      <p class="fault" id="line-fault" data-part="lineFault" role="alert">
        {fault}
      </p>
    </form>
  );
}
