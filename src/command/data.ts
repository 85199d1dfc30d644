/** `longwire data`: looks into a data directory, copies it and puts a copy back. */
import type { CheckReport, Maintenance } from "../engine/engine.ts";
import type { DataAction } from "./data-settings.ts";

/** An action on a directory; `file` is that of `--to` or `--from`. */
export interface DataTask {
  readonly action: DataAction;
  readonly directory: string;
  readonly file: string;
}

/** What is printed at the end, and whether it is good news. */
export interface DataResult {
  readonly text: string;
  readonly isWell: boolean;
}

/**
 * Blocks until it is done: minutes for many gigabytes.
 * @throws {DataDirectoryError}
 */
export function runDataTask({ action, directory, file }: DataTask, maintenance: Maintenance): DataResult {
  switch (action) {
    case "check":
      return checkResult(maintenance.checkData(directory));
    case "backup":
      return well(`${file} is a backup of ${directory}: ${shown(maintenance.backUp(directory, file))}.`);
    case "restore": {
      const former = maintenance.restore(file, directory);
      return well(
        `${directory} has the data of ${file}. At the next start every topic begins a new epoch.` +
          (former === undefined ? "" : `\nThe former data is in ${former}; delete it when it is not needed.`),
      );
    }
    case "new-epochs":
      maintenance.beginNewEpochs(directory);
      return well(
        `At the next start every topic of ${directory} has a new epoch: each client is told a gap.`,
      );
  }
}

const well = (text: string): DataResult => ({ text, isWell: true });

function checkResult({ faults, topics, messages, bytes }: CheckReport): DataResult {
  if (faults.length === 0)
    return well(`No damage was found: ${topics} topics, ${messages} messages, ${shown(bytes)}.`);
  return {
    text: [
      "The data is damaged:",
      ...faults.map((fault) => `  ${fault}`),
      'Put a backup back with "longwire data restore", or begin anew with --data elsewhere.',
    ].join("\n"),
    isWell: false,
  };
}

const shown = (bytes: number): string =>
  bytes < 1024 ** 2 ? `${Math.ceil(bytes / 1024)} KiB` : `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
