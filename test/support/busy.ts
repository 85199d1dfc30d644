/** Preloaded into the real server by operations.test.ts: SIGUSR2 holds up its event loop for half a second. */
process.on("SIGUSR2", () => {
  const end = performance.now() + 500;
  while (performance.now() < end);
  // A turn later, when the delay has been measured.
  setTimeout(() => console.error('{"msg":"was busy"}'), 100);
});
