/** Preloaded into the server by operations.test.ts: SIGUSR2 blocks its event loop for half a second. */
process.on("SIGUSR2", () => {
  const end = performance.now() + 500;
  while (performance.now() < end);
  // A turn later, after the delay was measured.
  setTimeout(() => console.error('{"msg":"was busy"}'), 100);
});
