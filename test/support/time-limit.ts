/** Runs before the tests of every process: a test that needs milliseconds may take this long on a busy machine. */
import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(120_000);
