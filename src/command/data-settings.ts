/** The settings of `longwire data`, by its action. */
import { setting, settings } from "../settings/config.ts";
import { path } from "../settings/units.ts";

const { data } = settings;

export const dataActions = {
  check: { data },
  backup: {
    data,
    to: setting("to", path, "", "the file to write; nothing may be there"),
  },
  restore: {
    data,
    from: setting("from", path, "", "a file that longwire data backup wrote"),
  },
  "new-epochs": { data },
} as const;

export type DataAction = keyof typeof dataActions;
