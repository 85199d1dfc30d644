/** The keys of backends, which may do everything. */
export class ApiKeys {
  readonly #digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest);
  }

  get isEmpty(): boolean {
    return this.#digests.length === 0;
  }

  /** Compares with every key, in the same time whether one is right or not. */
  includes(key: string | undefined): boolean {
    if (key === undefined || this.isEmpty) return false;
    const given = digest(key);
    return this.#digests.map((known) => crypto.timingSafeEqual(known, given)).includes(true);
  }
}

/** Digests have one length, as a comparison in constant time needs it. */
const digest = (text: string): Buffer => new Bun.CryptoHasher("sha256").update(text).digest();
