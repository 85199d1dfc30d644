/** The keys of backends, which may do everything. */
export class ApiKeys {
  readonly #digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest);
  }

  /** The name of each key. */
  get names(): readonly string[] {
    return this.#digests.map(nameOf);
  }

  get isEmpty(): boolean {
    return this.#digests.length === 0;
  }

  includes(key: string | undefined): boolean {
    return key !== undefined && this.nameOf(key) !== undefined;
  }

  /**
   * A name of the key that does not reveal it, for as long as the key is set.
   * Compares with every key, in the same time whether one is right or not.
   */
  nameOf(key: string): string | undefined {
    if (this.isEmpty) return undefined;
    const given = digest(key);
    const matches = this.#digests.map((known) => crypto.timingSafeEqual(known, given));
    return matches.includes(true) ? nameOf(given) : undefined;
  }
}

const nameOf = (digest: Buffer): string => digest.toString("base64url");

/** Digests have one length, as a comparison in constant time needs it. */
const digest = (text: string): Buffer => new Bun.CryptoHasher("sha256").update(text).digest();
