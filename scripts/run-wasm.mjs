// Runs a test binary for wasm32-unknown-unknown: `node run-wasm.mjs FILE.wasm`.
//
// Such a binary has no arguments and no output. A failed test traps, and the trap's
// stack names it.
import { readFileSync } from "node:fs";

// The panic alone takes ten.
Error.stackTraceLimit = 30;
const { instance } = await WebAssembly.instantiate(readFileSync(process.argv[2]));
process.exitCode = instance.exports.main(0, 0);
