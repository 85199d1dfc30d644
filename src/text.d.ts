/** What `import x from "#redis/…" with { type: "text" }` yields; package.json's `imports` points the types here. */
declare const text: string;
export default text;
