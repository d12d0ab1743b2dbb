// Runs a test binary for wasm32-wasip1: `node run-wasm.mjs FILE.wasm ARGUMENT...`. One
// that has no 128-bit registers is refused: its SIMD was not compiled.
import { readFileSync } from "node:fs";
import { WASI } from "node:wasi";

/// Functions of a module that have local variables of type v128, by the binary format's
/// chapters 5.5.2 (sections) and 5.5.13 (code).
function functionsWithVectors(bytes) {
  const CODE = 10;
  const V128 = 0x7b;
  let at = 8;
  // LEB128, unsigned.
  const number = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
  };
  for (;;) {
    if (at >= bytes.length) return 0;
    const section = bytes[at++];
    const size = number();
    if (section === CODE) break;
    at += size;
  }
  let functions = 0;
  for (let left = number(); left > 0; left--) {
    const size = number();
    const end = at + size;
    let vectors = false;
    for (let groups = number(); groups > 0; groups--) {
      number();
      vectors ||= bytes[at] === V128;
      at++;
    }
    functions += vectors;
    at = end;
  }
  return functions;
}

const [file, ...rest] = process.argv.slice(2);
const bytes = readFileSync(file);
const vectors = functionsWithVectors(bytes);
console.log(`${vectors} functions with 128-bit registers`);
if (vectors === 0) {
  process.exit(1);
}

// Threads that Debian's C library for WASI lacks, and that nothing starts.
const noThreads = () => {
  throw new Error("there are no threads");
};
const threads = { pthread_join: noThreads, pthread_detach: noThreads };

// The panic alone takes ten.
Error.stackTraceLimit = 30;
const wasi = new WASI({ version: "preview1", args: [file, ...rest], env: process.env });
const imports = { ...wasi.getImportObject(), env: threads };
const { instance } = await WebAssembly.instantiate(bytes, imports);
process.exitCode = wasi.start(instance);
