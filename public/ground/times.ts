/** How times are written. */

/** The same length in every language, so that the times align in a column. */
export function clock(milliseconds: number): string {
  const date = new Date(milliseconds);
  const two = (number: number): string => String(number).padStart(2, "0");
  const thousandths = String(date.getMilliseconds()).padStart(3, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${thousandths}`;
}

/** With a tenth below 10 ms, where it is more than noise. The clock of Firefox has whole milliseconds only. */
export function showMilliseconds(milliseconds: number): string {
  if (milliseconds === 0) return "< 1 ms";
  return `${milliseconds.toFixed(milliseconds < 10 && !Number.isInteger(milliseconds) ? 1 : 0)} ms`;
}
