/** What the types of the package import from Bun. A name that is missing here loses its import there. */
export interface Server<Data> {
  readonly data: Data;
}
export interface WebSocketHandler<Data> {
  readonly data: Data;
}
