/** What a client accepts as an answer. */

/**
 * Whether `Accept` names a media type, and does not rule it out by `q=0` (RFC 9110 section 12.5.1). A range of all types,
 * which curl sends with every request, names none.
 */
export const isNamedInAccept = ({ headers }: Request, mediaType: string): boolean =>
  isNamed(headers.get("accept"), mediaType);

/** Whether `Accept-Encoding` names gzip (RFC 9110 section 12.5.3). A client that takes any coding need not know it. */
export const acceptsGzip = ({ headers }: Request): boolean => isNamed(headers.get("accept-encoding"), "gzip");

function isNamed(list: string | null, name: string): boolean {
  return (list ?? "").split(",").some((range) => {
    const [type, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    return type === name && !parameters.some((parameter) => /^q=0(?:\.0*)?$/.test(parameter));
  });
}
