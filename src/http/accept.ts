/** What a client accepts as an answer. */

/**
 * Whether `Accept` names a media type, and does not rule it out by `q=0` (RFC 9110 section 12.5.1). A range of all types,
 * which curl sends with every request, names none.
 */
export function isNamedInAccept({ headers }: Request, mediaType: string): boolean {
  return (headers.get("accept") ?? "").split(",").some((range) => {
    const [type, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    return type === mediaType && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
}
