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
    Bun.SHA256.hash(given, givenDigest);
    let found: string | undefined;
    for (const { digest, name } of this.#keys) if (crypto.timingSafeEqual(digest, givenDigest)) found = name;
    return found;
  }
}

/** Written anew for each comparison. */
const givenDigest = new Uint8Array(32);

/** Digests have one length, as a comparison in constant time needs it. */
const digestOf = (text: string): Uint8Array => Bun.SHA256.hash(text, new Uint8Array(32)) as Uint8Array;
