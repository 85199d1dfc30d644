/** The keys of backends, which may do everything. */
export class ApiKeys {
  readonly #keys: readonly { readonly digest: Uint8Array; readonly name: string }[];

  constructor(keys: readonly string[]) {
    this.#keys = keys.map((key) => ({ digest: digestOf(key), name: Bun.SHA256.hash(key, "base64url") }));
  }

  /** The name of each key. */
  get names(): readonly string[] {
    return this.#keys.map(({ name }) => name);
  }

  get isEmpty(): boolean {
    return this.#keys.length === 0;
  }

  includes(key: string | undefined): boolean {
    return key !== undefined && this.nameOf(key) !== undefined;
  }

  /**
   * A name of the key that does not reveal it, for as long as the key is set.
   * Compares with every key, in the same time whether one is right or not.
   */
  nameOf(given: string): string | undefined {
    if (this.isEmpty) return undefined;
    const givenDigest = digestOf(given, compared);
    let found: string | undefined;
    for (const { digest, name } of this.#keys) if (crypto.timingSafeEqual(digest, givenDigest)) found = name;
    return found;
  }
}

/** Digests have one length, as a comparison in constant time needs it. */
const digestBytes = 32;

/** The digest that keys are compared with, written anew each time. */
const compared = new Uint8Array(digestBytes);

const digestOf = (text: string, into = new Uint8Array(digestBytes)): Uint8Array =>
  Bun.SHA256.hash(text, into) as Uint8Array;
