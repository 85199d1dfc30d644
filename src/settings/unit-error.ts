/** A value that is not allowed. The message continues the name of the setting: "must be …, not …". */
export class UnitError extends Error {
  override readonly name = "UnitError";
}
